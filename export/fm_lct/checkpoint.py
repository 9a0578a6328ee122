"""The published checkpoint of FM-LCT: its encoder is loaded completely or not at all.

Source: github.com/zhenweishi/FM-LCT and LC-NICER (the same checkpoint). Their own loaders strip one prefix
and load what is left without complaint: with another prefix the network runs on random weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from engine.errors import SourceModelError
from export.checkpoints.checkpoint import read_torch_checkpoint
from export.fm_lct.vision_transformer import VisionTransformer, VisionTransformerPlan

PREFIXES: Final = ("module.base_encoder.", "base_encoder.", "encoder.", "")
"""As the published loaders know them (MoCo with and without DDP, masked autoencoder); bare names too."""

_IGNORED: Final = ("head.", "fc_norm.")
"""Parts of the encoder's checkpoint that the features do not come from."""

_POSITIONS: Final = ("pos_embed", "encoder_pos_embed")
"""Names under which a checkpoint may bring the fixed position embedding (with and without a class row)."""

_POSITION_TOLERANCE: Final = 1e-3
"""Half precision keeps sines to 5e-4."""


def load_fm_lct(path: Path, plan: VisionTransformerPlan | None = None) -> VisionTransformer:
    """Load the encoder of a checkpoint.

    Parameters
    ----------
    path : Path
        ``*.pth.tar``: a state dict, or a dict that holds one under ``state_dict``.
    plan : VisionTransformerPlan, optional
        FM-LCT's sizes by default.

    Returns
    -------
    VisionTransformer
        In evaluation mode, single precision.

    Raises
    ------
    SourceModelError
        If a weight of the encoder is missing, unexpected, of another shape or not finite, if several
        prefixes fit, or if the checkpoint's position embedding is not the fixed one.
    UntrustedPickleError, UnreadableFileError
        See :func:`export.checkpoints.checkpoint.read_torch_checkpoint`.
    """
    network = VisionTransformer(plan)
    state = _state(read_torch_checkpoint(path), path)
    weights = _encoder(state, path)
    _require_positions(state, network, path)
    expected = network.state_dict()
    missing, unexpected = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or unexpected:
        raise SourceModelError(
            f"{path} does not hold the encoder of FM-LCT: missing {_list(missing)}; unexpected "
            f"{_list(unexpected)}; with random weights in their place it would still give numbers"
        )
    for name, weight in weights.items():
        _require_weight(name, weight, expected[name], path)
    network.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=True)
    network.eval().requires_grad_(requires_grad=False)
    return network


def _state(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name."""
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise SourceModelError(f"{path} is no state dict, and holds none; give the published checkpoint")
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def _encoder(state: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Weights of the encoder, without prefix and without what is not used."""
    known = [prefix for prefix in PREFIXES if f"{prefix}patch_embed.proj.weight" in state]
    if len(known) != 1:
        reason = "several fit" if known else f"its names begin with {_list(_beginnings(state))}"
        known_prefixes = ", ".join(prefix for prefix in PREFIXES if prefix)
        raise SourceModelError(f"{path} has no encoder under exactly one of {known_prefixes}: {reason}")
    (prefix,) = known
    stripped = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    return {
        key: value
        for key, value in stripped.items()
        if not key.startswith(_IGNORED) and key not in _POSITIONS and not _is_elsewhere(key, prefix)
    }


def _is_elsewhere(key: str, prefix: str) -> bool:
    """Whether a bare name belongs to a decoder next to the encoder (masked autoencoder)."""
    return not prefix and key.startswith(("decoder", "mask_token", "encoder_"))


def _require_positions(
    state: Mapping[str, torch.Tensor],
    network: VisionTransformer,
    path: Path,
) -> None:
    """A position embedding in the checkpoint must be the fixed one that is baked in."""
    fixed = network.pos_embed
    for key, position in state.items():
        last = key.rsplit(".", 1)[-1]
        if last not in _POSITIONS or key.startswith(
            ("decoder", "module.momentum_encoder", "momentum_encoder")
        ):
            continue
        expected = fixed if position.shape == fixed.shape else fixed[:, 1:]
        if position.shape != expected.shape or not torch.allclose(
            position.float(), expected, atol=_POSITION_TOLERANCE, rtol=0
        ):
            raise SourceModelError(
                f"{path}: {key} is not the fixed position embedding of FM-LCT (sines and cosines along three "
                "axes); this is another network"
            )


def _require_weight(name: str, weight: torch.Tensor, expected: torch.Tensor, path: Path) -> None:
    """Refuse a weight of another shape, of another type, or with values that are not finite."""
    if weight.shape != expected.shape:
        raise SourceModelError(
            f"{path}: {name} has the shape {tuple(weight.shape)}, FM-LCT's is {tuple(expected.shape)}; "
            "this is another network"
        )
    if not weight.is_floating_point() or not bool(torch.isfinite(weight).all()):
        raise SourceModelError(f"{path}: {name} holds no finite floating-point numbers; the file is damaged")


def _beginnings(state: Mapping[str, torch.Tensor]) -> list[str]:
    return sorted({key.split(".", 1)[0] for key in state})


def _list(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
