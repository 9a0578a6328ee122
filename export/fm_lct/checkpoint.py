"""The published checkpoint of FM-LCT: its encoder is loaded completely or not at all.

Source: github.com/zhenweishi/FM-LCT and LC-NICER (the same checkpoint). Their own loaders strip one prefix
and load what is left without complaint: with another prefix the network runs on random weights.

The position table is the checkpoint's own where it has one. FM-LCT's class sets sines and cosines and then
overwrites them with noise (its ``init_weights`` draws ``pos_embed`` anew), which is what its trainers train with
and keep; where a checkpoint has no table, that program draws another one at every start, and no two of its runs
agree. Sines and cosines, which were meant, are taken then, and the model card says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from engine.errors import SourceModelError
from export.checkpoints.checkpoint import read_torch_checkpoint
from export.fm_lct.vision_transformer import VisionTransformer, VisionTransformerPlan

PREFIXES: Final = ("module.base_encoder.", "base_encoder.", "module.encoder.", "encoder.", "module.", "")
"""Of MoCo, of the masked autoencoder and the segmentation network, and of the fine-tuned network, each with and
without the wrapper of distributed training."""

_IGNORED: Final = ("head.", "fc_norm.")
"""Parts of the encoder's checkpoint that the features do not come from."""

_POSITIONS: Final = "pos_embed"
_ENCODER_POSITIONS: Final = ("encoder_pos_embed", "module.encoder_pos_embed")
"""Names of the position table: in the encoder, and of the masked autoencoder beside it (without a class row)."""


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
        prefixes fit, or if the position table is none of this network or there are two that differ.
    UntrustedPickleError, UnreadableFileError
        See :func:`export.checkpoints.checkpoint.read_torch_checkpoint`.
    """
    plan = plan or VisionTransformerPlan()
    state = _state(read_torch_checkpoint(path), path)
    prefix = _prefix(state, path)
    weights = _encoder(state, prefix)
    network = VisionTransformer(plan, _positions(state, prefix, plan, path))
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


def _prefix(state: Mapping[str, torch.Tensor], path: Path) -> str:
    """What the names of the encoder begin with."""
    known = [prefix for prefix in PREFIXES if f"{prefix}patch_embed.proj.weight" in state]
    if len(known) != 1:
        reason = "several fit" if known else f"its names begin with {_list(_beginnings(state))}"
        known_prefixes = ", ".join(prefix for prefix in PREFIXES if prefix)
        raise SourceModelError(f"{path} has no encoder under exactly one of {known_prefixes}: {reason}")
    return known[0]


def _encoder(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Weights of the encoder, without prefix and without what is not used."""
    stripped = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    return {
        key: value
        for key, value in stripped.items()
        if not key.startswith(_IGNORED) and key != _POSITIONS and not _is_elsewhere(key, prefix)
    }


def _is_elsewhere(key: str, prefix: str) -> bool:
    """Whether a bare name belongs to a decoder next to the encoder (masked autoencoder)."""
    return prefix in {"", "module."} and key.startswith(("decoder", "mask_token", "encoder_"))


def _positions(
    state: Mapping[str, torch.Tensor], prefix: str, plan: VisionTransformerPlan, path: Path
) -> torch.Tensor | None:
    """The checkpoint's own position table (1, tokens, width), if it has one."""
    tables = {
        key: _table(key, state[key], plan, path)
        for key in (f"{prefix}{_POSITIONS}", *_ENCODER_POSITIONS)
        if key in state
    }
    if not tables:
        return None
    first, *others = tables.values()
    if not all(torch.equal(first, other) for other in others):
        raise SourceModelError(
            f"{path} has several position tables that differ ({_list(list(tables))}), and features by one have nothing "
            "to do with features by the other; remove those that the encoder was not trained with"
        )
    return first


def _table(key: str, table: torch.Tensor, plan: VisionTransformerPlan, path: Path) -> torch.Tensor:
    """A position table with its row for the class token, which is zero where the checkpoint leaves it out."""
    shape = (1, plan.tokens, plan.width)
    if key in _ENCODER_POSITIONS and tuple(table.shape) == (1, plan.tokens - 1, plan.width):
        table = torch.cat([torch.zeros(1, 1, plan.width, dtype=table.dtype), table], dim=1)
    _require_weight(key, table, torch.empty(shape), path)
    patches = table[0, 1:].float()
    if torch.equal(patches, patches[:1].expand_as(patches)):
        raise SourceModelError(
            f"{path}: {key} has the same row for every patch, so it says nothing about places; the file is damaged, "
            "or this is another network"
        )
    return table.float()


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
