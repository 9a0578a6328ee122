"""nnU-Net models as bundles: read a trained folder, write ONNX, measure it, pack it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from engine.errors import InvalidRequestError
from engine.manifest import ModelManifest, ParityReport, Purpose, SegmentationSection
from engine.progress import ShareProgress, ignore_progress
from export.bundle.writing import require_free, write_bundle_folder
from export.nnunet import v1 as nnunet_v1
from export.nnunet import v2 as nnunet_v2
from export.nnunet.archive import ModelFolder
from export.nnunet.fold_export import FoldExport, Steps, graph_of
from export.nnunet.meaning import channels_named, labels_with_meaning
from export.nnunet.model import NnunetModel, segmentation_section
from export.nnunet.orientation import Orientation, is_laid_out_as_published, known_orientation
from export.nnunet.parity import tensor_specs
from export.parity.sample_patches import sample_patches

_ExportPrecision = Literal["fp32", "fp16_mixed"]


def read_model_folder(
    path: Path,
    *,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: str | None = None,
    purpose: Purpose = "other",
    label_names: Mapping[int | str, str] | None = None,
    channel_names: Mapping[int | str, str] | None = None,
    orientation: Orientation | None = None,
) -> NnunetModel:
    """Read a trained nnU-Net, version 1 or 2, without running anything of it.

    Parameters
    ----------
    path : Path
        The folder with ``plans.json`` (or ``plans.pkl``), one above it, or a zip of either, as
        TotalSegmentator publishes them.
    configuration : str, optional
        ``3d_fullres`` (``stage0`` for version 1) where a folder holds several.
    folds : sequence of int or str, optional
        By default all there are; several are an ensemble.
    checkpoint : str, optional
        By default ``checkpoint_final.pth`` (``model_final_checkpoint.model``).
    purpose : str, optional
        What the labels stand for in an assessment.
    label_names : mapping of int or str to str, optional
        What labels mean, by number or name; see :func:`export.nnunet.meaning.labels_with_meaning`.
    channel_names : mapping of int or str to str, optional
        Names of channels, by number or by the data set's name, in place of the data set's.
    orientation : str, optional
        How the axes of its images ran in training: ``as_stored``, ``ras`` or ``lps``, which no folder says.
        By default ``as_stored``; a model that may be TotalSegmentator's must be told.

    Raises
    ------
    SourceModelError
        If part of it is missing, does not fit the rest, or is not supported; if a fold lacks its checkpoint or
        the model may be TotalSegmentator's, and nothing was said of it.
    UntrustedPickleError
        If a file would run code when loaded as its author meant it to be.
    UnreadableFileError
        If a file is damaged, or an archive leads out of itself.
    """
    source = ModelFolder(path, configuration)
    folder = source.path
    is_v2 = (folder / nnunet_v2.PLANS).is_file()
    read = nnunet_v2.read_v2_folder if is_v2 else nnunet_v1.read_v1_folder
    usual = nnunet_v2.CHECKPOINT if is_v2 else nnunet_v1.CHECKPOINT
    chosen_checkpoint = checkpoint or usual
    model = read(folder, configuration=configuration, folds=folds, checkpoint=chosen_checkpoint)
    places = [model.name, path.name.removesuffix(".zip"), *folder.resolve().parts[-2:]]
    chosen, assumption = known_orientation(
        orientation,
        names=places,
        trainer=model.trainer,
        where=str(path),
        published_alike=not path.is_dir() and is_laid_out_as_published(folder),
    )
    labels, roles = labels_with_meaning(model.section, purpose, label_names or {}, str(path))
    section = segmentation_section(
        str(path),
        **{name: getattr(model.section, name) for name in SegmentationSection.model_fields}
        | {
            "purpose": purpose,
            "labels": labels,
            "roles": roles,
            "channels": channels_named(model.section, channel_names or {}, str(path)),
            "orientation": chosen,
        },
    )
    # A fold that does not fit is refused now, not after the minutes that the folds before it take.
    deque(model.networks, maxlen=0)
    return replace(
        model,
        section=section,
        assumptions=(*model.assumptions, *_checkpoint_assumption(chosen_checkpoint, usual), assumption),
        checkpoint=chosen_checkpoint,
        folder=source,
    )


def export_nnunet(
    folder: Path,
    out: Path,
    *,
    licence: str,
    provenance: str,
    configuration: str | None = None,
    folds: Sequence[int | str] | None = None,
    checkpoint: str | None = None,
    purpose: Purpose = "other",
    label_names: Mapping[int | str, str] | None = None,
    channel_names: Mapping[int | str, str] | None = None,
    orientation: Orientation | None = None,
    precisions: Sequence[_ExportPrecision] = ("fp32", "fp16_mixed"),
    images: Sequence[Path] = (),
    model_id: str | None = None,
    version: str = "1.0.0",
    on_progress: ShareProgress | None = None,
) -> Path:
    """Export a trained nnU-Net as a bundle.

    Parameters
    ----------
    folder : Path
        See :func:`read_model_folder`, also for ``configuration``, ``folds``, ``checkpoint``, ``purpose``,
        ``label_names``, ``channel_names`` and ``orientation``.
    out : Path
        The bundle's folder, ``models/<id>/<version>``; must not exist.
    licence, provenance : str
        Of the weights: under what terms they may be used, and where they come from.
    precisions : sequence of str, optional
        ``fp32`` is always written.
    images : sequence of Path, optional
        CTs to measure on; see :func:`export.parity.sample_patches.sample_patches`.
    model_id : str, optional
        By default made from the name of the data set.
    version : str, optional
    on_progress : callable, optional
        Called with what is being done and a share from 0 to 1.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    SourceModelError, UntrustedPickleError, UnreadableFileError
        See :func:`read_model_folder`.
    PrecisionOverflowError
        If FP16 was asked for and an activation is too large for it.
    ParityError
        If a variant does not give what the PyTorch network gives.
    InvalidRequestError
        If the folder exists already.
    """
    require_free(out)
    if on_progress is not None:
        on_progress("reading the model", 0.0)
    model = read_model_folder(
        folder,
        configuration=configuration,
        folds=folds,
        checkpoint=checkpoint,
        purpose=purpose,
        label_names=label_names,
        channel_names=channel_names,
        orientation=orientation,
    )
    manifest = ModelManifest.model_construct(
        schema_version=1,
        id=model_id or model.slug,
        version=version,
        kind="segmentation",
        description=f"Segmentation by {model.description}.",
        intended_use=f"Masks of {_structures(model.section)} in CT.",
        demo=False,
        fitted_on=f"data set {model.name}, as its publisher describes it",
        licence=licence,
        provenance=provenance,
    )
    return export_networks(
        model, out, manifest=manifest, precisions=precisions, images=images, on_progress=on_progress
    )


def export_networks(
    model: NnunetModel,
    out: Path,
    *,
    manifest: ModelManifest,
    precisions: Sequence[_ExportPrecision] = ("fp32", "fp16_mixed"),
    images: Sequence[Path] = (),
    on_progress: ShareProgress | None = None,
) -> Path:
    """Export networks held in memory, such as freshly trained ones, as a bundle.

    Parameters
    ----------
    model : NnunetModel
    out : Path
        The bundle's folder, ``models/<id>/<version>``; must not exist.
    manifest : ModelManifest
        Made by ``model_construct``; only what describes the model is taken from it (id, version,
        description, intended_use, demo, fitted_on, licence, provenance, performance).
    precisions, images, on_progress
        As for :func:`export_nnunet`.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    PrecisionOverflowError, ParityError, InvalidRequestError
        As for :func:`export_nnunet`.
    """
    unknown = set(precisions) - {"fp32", "fp16_mixed"}
    if unknown:
        raise InvalidRequestError(f"precision {', '.join(sorted(unknown))} is not known; fp32 or fp16_mixed")
    require_free(out)
    report = on_progress or ignore_progress
    report("reading CTs to measure on", 0.0)
    patches = sample_patches(model.section, images)
    variants: dict[str, tuple[str, ...]] = {}
    reports: list[ParityReport] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-networks-", dir=out.parent) as networks:
        terms = {"licence": manifest.licence, "provenance": manifest.provenance}
        export = FoldExport(model, patches, terms, "fp16_mixed" in precisions, Path(networks))
        steps = Steps(export.step_count, report)
        for member in range(len(model.networks)):
            names, measured = export.run(member, steps)
            reports += measured
            variants |= {key: (*variants.get(key, ()), name) for key, name in names.items()}
        steps.begin("writing the bundle")
        inputs, outputs = tensor_specs(model.section)
        complete = manifest.model_copy(
            update={
                "variants": variants,
                "inputs": inputs,
                "outputs": outputs,
                "parity_reports": tuple(reports),
                "segmentation": model.section,
                "assumptions": model.assumptions,
            }
        )
        files = {name: Path(networks) / name for names in variants.values() for name in names}
        return write_bundle_folder(complete, files, out).folder


def network_graph(model: NnunetModel, member: int, metadata: Mapping[str, str] | None = None) -> bytes:
    """One fold's network as ONNX, with its source in the metadata.

    Parameters
    ----------
    model : NnunetModel
    member : int
        Position in ``model.networks``.
    metadata : mapping of str to str, optional
        Added to what is known of the source.

    Raises
    ------
    SourceModelError
        See :func:`export.onnx_graph.network_graph.network_to_onnx`.
    """
    return graph_of(model.networks[member], model, member, metadata or {})


def _checkpoint_assumption(checkpoint: str, usual: str) -> tuple[str, ...]:
    """Which weights were taken, where they are not those of the end of the training."""
    if checkpoint == usual:
        return ()
    return (
        f"The weights are those of {checkpoint}, as was asked for, not those that the training ended with.",
    )


def _structures(section: SegmentationSection) -> str:
    """Names of the labels that count."""
    counted = section.counted_labels
    return ", ".join(name for name, number in section.labels.items() if number in counted)
