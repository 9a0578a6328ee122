"""The models that bundles were exported from, opened again in PyTorch as references."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InvalidRequestError
from engine.manifest import ModelManifest
from export.fm_lct.bundle import fm_lct_session
from export.fm_lct.checkpoint import load_fm_lct
from export.nnunet.bundle import read_model_folder
from export.parity.torch_session import TorchSession


def source_sessions(manifest: ModelManifest, source: Path) -> list[TorchSession]:
    """Open the source of a bundle, one session for each member.

    Parameters
    ----------
    manifest : ModelManifest
    source : Path
        A trained nnU-Net, or FM-LCT's checkpoint.

    Raises
    ------
    SourceModelError, UntrustedPickleError, UnreadableFileError
        If it cannot be read.
    InvalidRequestError
        If it is another kind of model, or has other members.
    """
    members = len(manifest.variants["fp32"])
    if manifest.features is not None:
        return [fm_lct_session(load_fm_lct(source))]
    if manifest.segmentation is None:
        raise InvalidRequestError(
            "a risk model's source is not kept; its manifest holds the source's outputs, and they were checked"
        )
    names = {number: name for name, number in manifest.segmentation.labels.items()}
    model = read_model_folder(
        source,
        purpose=manifest.segmentation.purpose,
        label_names=names,
        orientation=manifest.segmentation.orientation,
    )
    same = (model.section.patch_shape, model.section.spacing_mm, model.section.output_count) == (
        manifest.segmentation.patch_shape,
        manifest.segmentation.spacing_mm,
        manifest.segmentation.output_count,
    )
    if len(model.networks) != members or not same:
        raise InvalidRequestError(
            f"{source} is not what this bundle was exported from: {model.description}, {len(model.networks)} "
            f"networks of {model.section.patch_shape} voxels; the bundle has {members} of "
            f"{manifest.segmentation.patch_shape}"
        )
    return [TorchSession(network, manifest.inputs, manifest.outputs) for network in model.networks]
