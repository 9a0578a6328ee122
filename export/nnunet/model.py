"""A trained nnU-Net in memory: its networks, one for each fold, and what surrounds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from pydantic import ValidationError
from torch import nn

from engine.errors import SourceModelError
from engine.manifest.segmentation import SegmentationSection
from export.nnunet.archive import ModelFolder

_WRAPPERS = ("module.", "_orig_mod.")
_DUPLICATE = re.compile(r"\.all_modules\.(\d+)\.")
_LISTED = 6


@dataclass(frozen=True, eq=False)
class NnunetModel:
    """A trained model, read from its folder, as far as inference needs it.

    Parameters
    ----------
    section : SegmentationSection
    networks : sequence of torch.nn.Module
        One for each fold, in evaluation mode; (N, C, z, y, x) to logits (N, K, z, y, x). Those of a folder are
        read again each time that one is taken, so that no more than one is in memory.
    folds : tuple of str
        As their folders are named, without ``fold_``.
    name, configuration, trainer : str
        Data set, ``3d_fullres`` or ``stage1``, and the trainer's class.
    assumptions : tuple of str
        What the folder does not say.
    checkpoint : str, optional
        File name in each fold, where there are folders.
    folder : ModelFolder, optional
        Where ``networks`` reads; an unpacked archive lasts as long as this.
    """

    section: SegmentationSection
    networks: Sequence[nn.Module]
    folds: tuple[str, ...]
    name: str
    configuration: str
    trainer: str
    assumptions: tuple[str, ...]
    checkpoint: str = ""
    folder: ModelFolder | None = None

    @property
    def description(self) -> str:
        """One line for metadata and provenance."""
        folds = ", ".join(self.folds)
        return f"{self.section.framework} {self.name}, {self.configuration}, {self.trainer}, fold {folds}"

    @property
    def slug(self) -> str:
        """The name as lower-case words, for an id."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "nnunet"


class FoldNetworks(Sequence[nn.Module]):
    """The networks of a folder, each read when it is taken and kept by nobody else.

    Parameters
    ----------
    load : callable
        Reads the network of one checkpoint.
    checkpoints : sequence of Path
    """

    def __init__(self, load: Callable[[Path], nn.Module], checkpoints: Sequence[Path]) -> None:
        self._load, self._checkpoints = load, tuple(checkpoints)

    def __len__(self) -> int:
        return len(self._checkpoints)

    @overload
    def __getitem__(self, member: int) -> nn.Module: ...
    @overload
    def __getitem__(self, member: slice) -> FoldNetworks: ...
    def __getitem__(self, member: int | slice) -> nn.Module | FoldNetworks:
        """The network of a fold, by its place; a slice reads nothing yet."""
        chosen = self._checkpoints[member]
        return FoldNetworks(self._load, chosen) if isinstance(chosen, tuple) else self._load(chosen)


def load_weights(network: nn.Module, state: Mapping[str, Any], where: str) -> nn.Module:
    """Load a checkpoint's weights, every one of them and no other.

    Prefixes of ``DataParallel`` and ``torch.compile`` are taken off, and the second names under which
    nnU-Net v2 lists its weights again (``decoder.encoder.*``, ``*.all_modules.*``) are merged.

    Parameters
    ----------
    network : torch.nn.Module
    state : mapping of str to tensor
    where : str
        The file, for messages.

    Returns
    -------
    torch.nn.Module
        The same network in evaluation mode.

    Raises
    ------
    SourceModelError
        If a weight is missing, unexpected, of another shape or not finite, or if two copies of one
        weight differ.
    """
    weights = _merged(state, where)
    expected = network.state_dict()
    missing, unexpected = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or unexpected:
        raise SourceModelError(
            f"{where} does not fit the network that its plans describe: missing {_list(missing)}; "
            f"unexpected {_list(unexpected)}. The trainer may have built another network; it cannot be exported"
        )
    for key, weight in weights.items():
        if weight.shape != expected[key].shape:
            raise SourceModelError(
                f"{where}: {key} has the shape {tuple(weight.shape)}, the plans say "
                f"{tuple(expected[key].shape)}; plans and checkpoint do not belong together"
            )
        if not bool(torch.isfinite(weight).all()):
            raise SourceModelError(f"{where}: {key} holds values that are not finite; training had failed")
    network.load_state_dict(weights, strict=True)
    return network.float().eval().requires_grad_(requires_grad=False)


def segmentation_section(where: str, **parts: Any) -> SegmentationSection:
    """Build the manifest's section.

    Raises
    ------
    SourceModelError
        If plans and labels contradict each other or need what inference here does not do.
    """
    try:
        return SegmentationSection(**parts)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SourceModelError(f"{where} cannot be exported: {field or 'plans'}: {first['msg']}") from error


def required(mapping: Any, key: Any, where: str) -> Any:
    """Entry of a plan or checkpoint.

    Raises
    ------
    SourceModelError
        If it is missing.
    """
    if not isinstance(mapping, Mapping) or key not in mapping:
        raise SourceModelError(f"{where} has no entry {key!r}; it is not complete, or not of nnU-Net")
    return mapping[key]


def triples(values: Any, where: str) -> tuple[tuple[int, int, int], ...]:
    """Kernel sizes or strides, three whole numbers each.

    Raises
    ------
    SourceModelError
        If they are of another dimension: only 3D networks are exported.
    """
    try:
        rows = tuple(tuple(int(n) for n in row) for row in values)
    except TypeError as error:
        raise SourceModelError(f"{where} does not list one size per axis for each stage") from error
    if any(len(row) != 3 for row in rows):
        raise SourceModelError(f"{where} is not three-dimensional; only 3D configurations are exported")
    return tuple((z, y, x) for z, y, x in rows)


def _merged(state: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Weights by canonical name, each once."""
    weights: dict[str, Any] = {}
    for key, weight in state.items():
        name = _canonical(str(key))
        if not isinstance(weight, torch.Tensor):
            raise SourceModelError(f"{where}: {key} is not a tensor; this is no state of a network")
        known = weights.get(name)
        if known is not None and not torch.equal(known, weight):
            raise SourceModelError(f"{where} holds two copies of {name} that differ; it is damaged")
        weights[name] = weight
    return weights


def _canonical(key: str) -> str:
    """The name under which nnU-Net v2 defines a weight: without wrappers and second paths."""
    stripped = True
    while stripped:
        stripped = False
        for wrapper in _WRAPPERS:
            if key.startswith(wrapper):
                key, stripped = key.removeprefix(wrapper), True
    if key.startswith("decoder.encoder."):
        key = key.removeprefix("decoder.")
    return _DUPLICATE.sub(lambda match: ".conv." if match[1] == "0" else ".norm.", key)


def _list(names: list[str]) -> str:
    """A few names and how many more there are."""
    if not names:
        return "nothing"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
