"""A DICOM mask of either kind: segmentation or structure set."""

from __future__ import annotations

from pathlib import Path

from engine.dicom.attributes import text
from engine.dicom.instances import read_instances
from engine.dicom.segmentation import read_segmentation
from engine.dicom.structure_set import read_structure_set
from engine.errors import InvalidRequestError, UnreadableFileError
from engine.volume import CtVolume, LabelMask


def read_dicom_mask(path: Path, ct: CtVolume, name: str, *, label: str | None = None) -> LabelMask:
    """Read the one SEG or RTSTRUCT at ``path``.

    Parameters
    ----------
    path : Path
        A file, or a folder that holds one such file and no other DICOM.
    ct : CtVolume
        The CT it was drawn on.
    name : str
        What it marks, for messages.
    label : str, optional
        Segment number, or name of the region (ROI).

    Returns
    -------
    LabelMask
        On the grid of ``ct``.

    Raises
    ------
    InvalidRequestError
        If there is no such object, or several.
    UnreadableFileError, GridMismatchError
        As for the two readers.
    """
    instances = read_instances(path)
    kinds = [text(instance.dataset, "Modality", instance.name) for instance in instances]
    if len(instances) != 1 or kinds[0] not in {"SEG", "RTSTRUCT"}:
        raise InvalidRequestError(
            f"{path.name} holds {len(instances)} DICOM instances ({', '.join(sorted(set(kinds)))}), "
            f"not one SEG or RTSTRUCT; choose the file of the {name}"
        )
    file = path if path.is_file() else _only_file(path, instances[0].name)
    if kinds[0] == "RTSTRUCT":
        return read_structure_set(file, ct, roi=label)
    if label is not None and not label.isdecimal():
        raise InvalidRequestError(
            f"{label!r} is not a segment number; choose the segment of the {name} by its number"
        )
    return read_segmentation(file, ct, segment=None if label is None else int(label))


def _only_file(folder: Path, name: str) -> Path:
    match = next((file for file in sorted(folder.rglob(name)) if file.is_file()), None)
    if match is None:
        raise UnreadableFileError(f"{name} has gone from {folder.name}; send it again")
    return match
