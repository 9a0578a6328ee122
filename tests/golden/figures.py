"""What is kept of an answer: every figure and word but times and identities, and digests of written arrays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk

EXCLUDED: Final = frozenset(
    {
        "timings_s",
        "latency_s",
        "duration_s",
        "assessed_at",
        "case_id",
        "assessment_id",
        "software",
        "tried",
        "out",
        "written",
    }
)
"""Keys that are left out wherever they stand: time, identity, version of the software, paths."""

MOST_LABELS: Final = 16
"""An array with no more values than this is a mask, of which the voxels of each label are counted."""


def kept(answer: Any) -> Any:
    """Return an answer without the keys of :data:`EXCLUDED`."""
    if isinstance(answer, dict):
        return {key: kept(value) for key, value in answer.items() if key not in EXCLUDED}
    if isinstance(answer, list):
        return [kept(item) for item in answer]
    return answer


def array_figures(path: Path) -> dict[str, Any]:
    """Return grid, digest and a few figures of the voxels of an image file.

    Parameters
    ----------
    path : Path
        NIfTI.

    Returns
    -------
    dict
        ``sha256`` is of the decoded voxels, so that the compression does not matter. Lengths in mm. ``voxels`` is
        the count of each label of a mask; other arrays have ``least``, ``greatest``, ``mean`` and ``sd``, in
        the unit of the array.
    """
    image = sitk.ReadImage(str(path))
    voxels = np.ascontiguousarray(sitk.GetArrayFromImage(image))
    grid = {
        "shape": list(voxels.shape),
        "spacing_mm": list(image.GetSpacing()),
        "origin_mm": list(image.GetOrigin()),
        "direction": list(image.GetDirection()),
    }
    figures = {**grid, "type": str(voxels.dtype), "sha256": hashlib.sha256(voxels.tobytes()).hexdigest()}
    if voxels.dtype.kind in "iu":
        labels, counts = np.unique(voxels, return_counts=True)
        if labels.size <= MOST_LABELS:
            counted = {str(label): int(n) for label, n in zip(labels, counts, strict=True)}
            return {**figures, "voxels": counted}
    wide = voxels.astype(np.float64)
    return {
        **figures,
        "least": float(wide.min()),
        "greatest": float(wide.max()),
        "mean": float(wide.mean()),
        "sd": float(wide.std()),
    }


HEADING_ROWS = 400
"""Rows of a sheet above its images: verdict, case, time and the figures in words, which the JSON has as well."""


def picture_figures(path: Path) -> dict[str, Any]:
    """Return size and digest of the pixels of a picture, without the lines that name the case and the time."""
    pixels = np.ascontiguousarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    below = pixels[HEADING_ROWS:]
    return {"shape": list(pixels.shape), "sha256": hashlib.sha256(below.tobytes()).hexdigest()}


def folder_figures(folder: Path) -> dict[str, Any]:
    """Return the figures of every file that a command wrote, by name."""
    return {
        path.relative_to(folder).as_posix(): file_figures(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def file_figures(path: Path) -> Any:
    """Return what is kept of one file: content of JSON, arrays and pictures decoded, the digest of any other."""
    if path.suffix == ".json":
        return kept(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".png":
        return picture_figures(path)
    if path.name.endswith((".nii", ".nii.gz")):
        return array_figures(path)
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
