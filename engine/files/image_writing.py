"""Writing voxels with their place, through ITK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from engine.arrays import AnyArray
from engine.geometry import VolumeGeometry


def write_image(
    path: Path,
    voxels: AnyArray,
    grid: VolumeGeometry,
    *,
    is_vector: bool = False,
    compression_level: int = -1,
) -> None:
    """Write voxels on a grid; the suffix of the path names the format.

    Parameters
    ----------
    path : Path
        Any name that the file system takes.
    voxels : ndarray, (z, y, x) or (z, y, x, components)
    grid : VolumeGeometry
    is_vector : bool
        Whether the last axis of ``voxels`` has the components of a vector.
    compression_level : int
        As of zlib; -1 leaves it to ITK.
    """
    image = sitk.GetImageFromArray(voxels, isVector=is_vector)
    image.SetSpacing(grid.spacing_zyx_mm[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(np.array(grid.directions_zyx_lps)[::-1].T.ravel().tolist())
    with _name_in_utf8(path) as name:
        sitk.WriteImage(image, name, useCompression=True, compressionLevel=compression_level)


@contextmanager
def _name_in_utf8(path: Path) -> Iterator[str]:
    """A name for a file that ITK takes: its own, or one in UTF-8 through the open folder and its own afterwards."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        pass
    else:
        yield str(path)
        return
    unfinished = path.with_name(
        ".unfinished" + "".join(path.suffixes[-2:]).encode("ascii", "ignore").decode()
    )
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{unfinished.name}"
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        os.close(folder)
