"""FM-LCT, a foundation model for lung CT: from its published checkpoint to a bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from engine.manifest import (
    DEMO_MODEL,
    MODEL_FILE,
    FeatureSection,
    ModelManifest,
    ParityReport,
    Precision,
    TensorSpec,
)
from engine.manifest.features import FEATURES, PATCH, PositionTable, Recipe
from engine.progress import ShareProgress, ignore_progress
from engine.runtime.onnx_session import OnnxSession
from export.bundle.writing import require_free, write_bundle_folder
from export.fm_lct.checkpoint import load_fm_lct
from export.fm_lct.graph import transformer_to_onnx
from export.fm_lct.vision_transformer import VisionTransformer, VisionTransformerPlan
from export.onnx_graph.mixed_precision import emulate_mixed_precision
from export.onnx_graph.precision import fp16_variant
from export.parity.comparison import NamedSession, compare_sessions, require_parity
from export.parity.sample_lesions import SampleLesions, sample_lesions
from export.parity.torch_session import TorchSession

TOLERANCES: Final[Mapping[Precision, float]] = {"fp32": 1e-5, "fp16_mixed": 1e-3}
"""Largest cosine distance from the checkpoint's own network."""

FILES: Final[Mapping[Precision, str]] = {"fp32": MODEL_FILE, "fp16_mixed": "model.fp16_mixed.onnx"}
LICENCE: Final = "CC BY 3.0 (stated in the README of FM-LCT: scientific and educational purposes)"
_POSITIONS: Final[Mapping[PositionTable, str]] = {
    "checkpoint": "The position table is the checkpoint's own, as FM-LCT's program uses it.",
    "sine_cosine": (
        "The checkpoint has no position table. FM-LCT's program then draws a random one at every start, and no two of "
        "its runs give the same features; here it is sines and cosines, which the program sets before it overwrites "
        "them."
    ),
}
_FITTED_ON_NOTHING: Final = f"nothing ({DEMO_MODEL}): random weights, features without a meaning"
_INTENDED_USE: Final = "Features of lung lesions for research. Not for any decision about a patient."


def export_fm_lct(
    checkpoint: Path,
    out: Path,
    *,
    recipe: Recipe,
    roi_only: bool = False,
    precisions: Sequence[Precision] = ("fp32", "fp16_mixed"),
    licence: str = LICENCE,
    provenance: str = "",
    lesions: Sequence[tuple[Path, Path]] = (),
    version: str = "1.0.0",
    demo: bool = False,
    plan: VisionTransformerPlan | None = None,
    on_progress: ShareProgress | None = None,
) -> Path:
    """Export FM-LCT as a feature bundle.

    Parameters
    ----------
    checkpoint : Path
    out : Path
        The bundle's folder; must not exist.
    recipe : str
        How patches are normalized; the published programs contradict each other.
    roi_only : bool, optional
        Blank the tissue outside the mask.
    precisions : sequence of {"fp32", "fp16_mixed"}, optional
        ``fp32`` is always among them.
    licence, provenance : str, optional
        For the manifest; the checkpoint's name and SHA-256 are added to the provenance.
    lesions : sequence of (Path, Path), optional
        CTs with masks to measure on; see :func:`export.parity.sample_lesions.sample_lesions`.
    version : str, optional
    demo : bool, optional
        The weights were not trained on lung CT: random ones, of a test. Every result says so.
    plan : VisionTransformerPlan, optional
    on_progress : callable, optional
        Called with what is being done and a share from 0 to 1.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    SourceModelError, UntrustedPickleError, UnreadableFileError
        See :func:`load_fm_lct`.
    ParityError, PrecisionOverflowError
        If a variant does not answer as the checkpoint's network does.
    InvalidRequestError
        If ``out`` exists.
    """
    require_free(out)
    notify = on_progress or ignore_progress
    notify("reading the checkpoint", 0.0)
    network = load_fm_lct(checkpoint, plan)
    size = network.plan.image_size
    section = FeatureSection(
        recipe=recipe,
        patch_shape=(size, size, size),
        roi_only=roi_only,
        feature_count=network.plan.width,
        position_table=network.position_table,
    )
    notify("cutting patches", 0.1)
    samples = sample_lesions(section, lesions)
    notify("writing the graph", 0.2)
    graph = transformer_to_onnx(network, name="fm_lct", metadata={"recipe": recipe})
    networks: dict[Precision, bytes] = {"fp32": graph}
    if "fp16_mixed" in precisions:
        notify("writing the FP16-mixed graph", 0.3)
        networks["fp16_mixed"], _ = fp16_variant(graph, samples.inputs)
    notify("comparing with the source", 0.6)
    reports = tuple(_compared(network, graph, kind, samples) for kind in networks)
    notify("writing the bundle", 0.9)
    manifest = ModelManifest(
        schema_version=1,
        id="fm-lct",
        version=version,
        kind="features",
        description=f"FM-LCT, a 3D vision transformer for lung CT: {section.feature_count} features.",
        intended_use=_INTENDED_USE,
        demo=demo,
        fitted_on=_FITTED_ON_NOTHING if demo else "as its authors say; this export does not know",
        licence=licence,
        provenance=_provenance(checkpoint, provenance),
        assumptions=_assumptions(section),
        files={FILES[kind]: "0" * 64 for kind in networks},  # replaced when the files are written
        variants={kind: (FILES[kind],) for kind in networks},
        inputs=(TensorSpec(name=PATCH, dtype="float32", shape=("batch", 1, *section.patch_shape)),),
        outputs=(TensorSpec(name=FEATURES, dtype="float32", shape=("batch", section.feature_count)),),
        parity_reports=reports,
        features=section,
    )
    write_bundle_folder(manifest, {FILES[kind]: content for kind, content in networks.items()}, out)
    notify("done", 1.0)
    return out


def fm_lct_session(network: VisionTransformer) -> TorchSession:
    """The source network behind the protocol of a session."""
    size, width = network.plan.image_size, network.plan.width
    return TorchSession(
        network,
        (TensorSpec(name=PATCH, dtype="float32", shape=("batch", 1, size, size, size)),),
        (TensorSpec(name=FEATURES, dtype="float32", shape=("batch", width)),),
    )


def _compared(
    network: VisionTransformer, graph: bytes, kind: Precision, samples: SampleLesions
) -> ParityReport:
    """Compare a variant with the source; a difference beyond the tolerance is an error."""
    emulated = kind == "fp16_mixed"
    # ONNX Runtime computes FP16 in FP32 on a CPU; the emulation rounds as a device would.
    with OnnxSession(emulate_mixed_precision(graph) if emulated else graph) as session:
        variant = "fp16_mixed emulated (FP16 storage, FP32 arithmetic)" if emulated else kind
        report = compare_sessions(
            fm_lct_session(network),
            NamedSession(session, f"{session.backend}, {variant}"),
            samples.inputs,
            tolerance=TOLERANCES[kind],
            measured_on=samples.measured_on,
            kind="features",
        )
    return require_parity(report)


def _provenance(checkpoint: Path, stated: str) -> str:
    """The stated provenance, with the checkpoint's name and digest."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    return f"{stated + '; ' if stated else ''}{checkpoint.name}, SHA-256 {digest}, by coldspot-export fm-lct"


def _assumptions(section: FeatureSection) -> tuple[str, ...]:
    """What the published programs leave open."""
    spacing = (
        "No resampling to a physical spacing, as published: the same lesion in slices of another thickness has "
        "other features."
    )
    recipe = f"The published programs normalize in three ways that exclude each other; here it is {section.recipe}."
    order = "The axes of a patch are z, y, x, as SimpleITK gives arrays in that program."
    if section.recipe == "hu_-1024_3072":
        order = "The axes of a patch are x, y, z, as MONAI gives arrays in that program."
    return spacing, recipe, order, _POSITIONS[section.position_table]
