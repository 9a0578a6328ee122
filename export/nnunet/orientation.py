"""Axis orientation of the images that a network was trained on, which no model folder records.

nnU-Net takes images as they are stored; TotalSegmentator turns every image to its closest RAS axes first. A
network given the other order labels a third of its voxels otherwise, without a sign of it. So nobody guesses:
whatever may be TotalSegmentator's needs the answer of whoever exports it.

Source of names, numbers and trainers: ``map_tasks_config.py``, ``custom_trainers.py`` and the history of
``libs.py`` of the repository ``wasserth/TotalSegmentator`` (versions 1 to 3, read in 2026).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from engine.errors import SourceModelError

Orientation = Literal["as_stored", "ras", "lps"]

_DATA_SETS: Final = frozenset(
    {
        *(8, 113, 115, 117, 150, 152, 200, 201, *range(251, 257), 258, 260, 269, 273, 278, *range(291, 306)),
        *(315, 343, 351, 409, 415, 417, 435, 481, 485, 503, 507, 509, 514, 517, 527, 552, 570, 576, 589, 591),
        *(597, 598, 615, 710, 713, 716, *range(730, 735), 737, 756, *range(775, 780), 789, 803),
        *(*range(831, 838), *range(850, 858), 913, 920, 925, 952, 955, 956, 957),
    }
)
"""Numbers of TotalSegmentator's data sets, public and commercial; most of their names do not contain its own."""

_NUMBER: Final = re.compile(r"(?:dataset|task)_?(\d{3,4})(?!\d)", re.IGNORECASE)
_OWN_NAME: Final = re.compile(r"total_?seg", re.IGNORECASE)
_SUBJECTS: Final = re.compile(r"_\d+subj(?![a-z])", re.IGNORECASE)
_TRAINERS: Final = re.compile(
    r"no_?mirror|DASegOrd0|MOSAIC_1k|SkeletonRecall|DiceTopK10Loss_2000epochs|onlyMirror01", re.IGNORECASE
)
"""Of its trainers only ``nnUNetTrainer`` and ``nnUNetTrainerV2`` are those that everybody uses."""


def known_orientation(
    requested: Orientation | None,
    *,
    names: Sequence[str],
    trainer: str,
    where: str,
    published_alike: bool = False,
) -> tuple[Orientation, str]:
    """How the axes of the training images ran, and why that is believed.

    Parameters
    ----------
    requested : str, optional
        What whoever exports the model says.
    names : sequence of str
        Of the data set, of the folders that hold the model and of its archive.
    trainer : str
        Class that trained it.
    where : str
        The folder or archive, for messages.
    published_alike : bool, optional
        Whether it is an archive laid out as TotalSegmentator's are; see :func:`is_laid_out_as_published`.

    Returns
    -------
    orientation : str
        ``as_stored`` unless something else was requested.
    assumption : str
        A sentence for the model card.

    Raises
    ------
    SourceModelError
        If nothing was requested and the model may be one of TotalSegmentator's.
    """
    if requested is not None:
        return requested, _assumption(requested, f"as was asked for (--orientation {requested})")
    signs = tuple(_signs_of_totalsegmentator(names, trainer))
    if published_alike and not signs:
        signs = ("an archive of one data set with fold 0 alone, as it publishes its models",)
    if signs:
        raise SourceModelError(
            f"{where} may be a model of TotalSegmentator: {'; '.join(signs)}. TotalSegmentator turns images to RAS "
            "axes before its networks see them, nnU-Net itself does not, and the folder does not say which was "
            "done; the wrong one changes a third of the labels. Give --orientation ras for TotalSegmentator's own "
            "weights, or --orientation as_stored for a network that nnU-Net trained on images as they are stored"
        )
    return "as_stored", _assumption(
        "as_stored", "as nnU-Net does, and nothing in the folder points to TotalSegmentator, which turns them"
    )


def is_laid_out_as_published(folder: Path) -> bool:
    """Whether an unpacked archive holds ``Dataset123_…/<trainer>__<plans>…/fold_0`` and no other fold.

    nnU-Net's own export of a single fold looks the same.
    """
    folds = [path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("fold_")]
    return folds == ["fold_0"] and "__" in folder.name and _NUMBER.match(folder.parent.name) is not None


def _signs_of_totalsegmentator(names: Sequence[str], trainer: str) -> Iterator[str]:
    """What in the names of a model is TotalSegmentator's, in words."""
    for name in dict.fromkeys(names):
        number = _NUMBER.search(name)
        if _OWN_NAME.search(name):
            yield f"{name} bears its name"
        elif number and int(number[1]) in _DATA_SETS:
            yield f"{name} has the number of one of its data sets"
        elif _SUBJECTS.search(name):
            yield f"{name} counts its subjects, as its data sets do"
    if _TRAINERS.search(trainer):
        yield f"{trainer} is one of its trainers"


def _assumption(orientation: Orientation, reason: str) -> str:
    """What is done with the axes, for the model card."""
    if orientation == "as_stored":
        return (
            f"Images are given to the network in the order in which they are stored, {reason}. If it was trained on "
            "images turned to one orientation beforehand, export it again with that orientation."
        )
    return (
        f"Images are turned to the closest {orientation.upper()} axes before the network sees them, and labels back, "
        f"{reason}."
    )
