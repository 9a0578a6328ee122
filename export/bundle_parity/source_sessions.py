"""The models that bundles were exported from, opened again in PyTorch as references."""

from __future__ import annotations

from pathlib import Path

from engine.errors import InvalidRequestError
from engine.manifest import Bundle
from export.fm_lct.bundle import fm_lct_session
from export.fm_lct.checkpoint import load_fm_lct
from export.nnunet.bundle import read_model_folder
from export.onnx_graph.network_graph import graph_metadata
from export.parity.torch_session import TorchSession


def source_sessions(bundle: Bundle, source: Path) -> list[TorchSession]:
    """Open the source of a bundle, one session for each member.

    Parameters
    ----------
    bundle : Bundle
        Its networks name the folds and the checkpoint that they were made from.
    source : Path
        A trained nnU-Net, or FM-LCT's checkpoint.

    Raises
    ------
    SourceModelError, UntrustedPickleError, UnreadableFileError
        If it cannot be read.
    InvalidRequestError
        If it is another kind of model, or has other members.
    """
    manifest = bundle.manifest
    if manifest.features is not None:
        return [fm_lct_session(load_fm_lct(source))]
    if manifest.segmentation is None:
        raise InvalidRequestError(
            "a risk model's source is not kept; its manifest holds the source's outputs, and they were checked"
        )
    made_from = [graph_metadata(content) for content in bundle.variant("fp32")]
    model = read_model_folder(
        source,
        folds=[one["fold"] for one in made_from] if all("fold" in one for one in made_from) else None,
        checkpoint=made_from[0].get("checkpoint"),
        orientation=manifest.segmentation.orientation,
    )
    same = (model.section.patch_shape, model.section.spacing_mm, model.section.output_count) == (
        manifest.segmentation.patch_shape,
        manifest.segmentation.spacing_mm,
        manifest.segmentation.output_count,
    )
    if len(model.networks) != len(made_from) or not same:
        raise InvalidRequestError(
            f"{source} is not what this bundle was exported from: {model.description}, {len(model.networks)} "
            f"networks of {model.section.patch_shape} voxels; the bundle has {len(made_from)} of "
            f"{manifest.segmentation.patch_shape}"
        )
    return [TorchSession(network, manifest.inputs, manifest.outputs) for network in model.networks]
