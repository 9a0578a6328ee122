"""Voxels with their place: a CT in HU, and a mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.acquisition_time import TimeSource
from engine.arrays import BoolArray, Int16Array
from engine.errors import EmptyMaskError, GridMismatchError, InvalidGeometryError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.input_warning import InputWarning
from engine.patient import Patient


@dataclass(frozen=True)
class Acquisition:
    """What a header says about the scan, as far as the assessment needs it, and what its reader noticed.

    Empty strings and ``None`` mean that the header does not say.

    Parameters
    ----------
    acquired_at : str
        ISO 8601 by the scanner's clock; with an offset from UTC only if the header states one.
    time_source : TimeSource
        What ``acquired_at`` is the time of, where the header does not name the acquisition's own.
    instance_count : int, optional
        Number of DICOM instances that the volume was read from.
    """

    patient_id: str = ""
    patient_birth_date: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    series_description: str = ""
    patient_position: str = ""
    slice_thickness_mm: float | None = None
    acquired_at: str = ""
    time_source: TimeSource = TimeSource.ACQUISITION
    convolution_kernel: str = ""
    instance_count: int | None = None
    warnings: tuple[InputWarning, ...] = ()

    @property
    def patient(self) -> Patient:
        """Whose scan it is."""
        return Patient(self.patient_id, self.patient_birth_date)


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT.

    Parameters
    ----------
    voxels_hu : ndarray of int16, (z, y, x)
        Hounsfield units; kept read-only.
    geometry : VolumeGeometry
    acquisition : Acquisition

    Raises
    ------
    InvalidGeometryError
        If the array and the geometry have different shapes, or the array is not int16.
    """

    voxels_hu: Int16Array
    geometry: VolumeGeometry
    acquisition: Acquisition = field(default_factory=Acquisition)

    def __post_init__(self) -> None:
        if self.voxels_hu.dtype != np.int16:
            raise InvalidGeometryError(f"CT voxels must be int16 HU, not {self.voxels_hu.dtype}")
        if self.voxels_hu.shape != self.geometry.shape_zyx:
            raise InvalidGeometryError(
                f"{self.voxels_hu.shape} voxels do not fit a grid of {self.geometry.shape_zyx}"
            )
        self.voxels_hu.flags.writeable = False

    @property
    def warnings(self) -> tuple[InputWarning, ...]:
        """What its reader noticed."""
        return self.acquisition.warnings

    def crop(self, box: VoxelBox) -> CtVolume:
        """The part in a box; it shares its voxels with this CT."""
        return CtVolume(self.voxels_hu[box.slices], self.geometry.crop(box), self.acquisition)


@dataclass(frozen=True, eq=False)
class LabelMask:
    """One structure on the grid of a CT.

    Parameters
    ----------
    voxels : ndarray of bool, (z, y, x)
        True inside; kept read-only.
    geometry : VolumeGeometry
    name : str
        What it marks, for messages: ``tumor``, ``ablation zone``, …
    warnings : tuple of InputWarning
        What its reader noticed.

    Raises
    ------
    InvalidGeometryError
        If the array and the geometry have different shapes, or the array is not bool.
    """

    voxels: BoolArray
    geometry: VolumeGeometry
    name: str = "mask"
    warnings: tuple[InputWarning, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.dtype != np.bool_:
            raise InvalidGeometryError(f"mask voxels must be bool, not {self.voxels.dtype}")
        if self.voxels.shape != self.geometry.shape_zyx:
            raise InvalidGeometryError(
                f"{self.voxels.shape} voxels do not fit a grid of {self.geometry.shape_zyx}"
            )
        self.voxels.flags.writeable = False

    @property
    def volume_ml(self) -> float:
        """Volume of the marked voxels, mL."""
        return float(np.count_nonzero(self.voxels)) * self.geometry.voxel_volume_ml

    def require_on(self, ct: CtVolume) -> LabelMask:
        """Return this mask if it is not empty and lies on the grid of ``ct``.

        Raises
        ------
        EmptyMaskError, GridMismatchError
        """
        if not self.geometry.same_grid(ct.geometry):
            raise GridMismatchError(
                f"the {self.name} mask has {self.geometry.shape_zyx} voxels of "
                f"{_mm(self.geometry.spacing_zyx_mm)} mm from {_mm(self.geometry.origin_lps_mm)}, its CT "
                f"{ct.geometry.shape_zyx} of {_mm(ct.geometry.spacing_zyx_mm)} mm from "
                f"{_mm(ct.geometry.origin_lps_mm)}; export the mask on the grid of its CT"
            )
        if not self.voxels.any():
            raise EmptyMaskError(f"the {self.name} mask has no voxel; draw it, or leave it out")
        return self

    def bounding_box(self) -> VoxelBox:
        """The smallest box that holds the marked voxels; found once.

        Raises
        ------
        EmptyMaskError
        """
        return self._bounding_box

    @cached_property
    def _bounding_box(self) -> VoxelBox:
        box = bounding_box(self.voxels)
        if box is None:
            raise EmptyMaskError(f"the {self.name} mask has no voxel")
        return box

    def tight(self, pad_voxels: int = 0) -> LabelMask:
        """The part of the grid that the mask needs, with so many empty voxels around it where there are any.

        Raises
        ------
        EmptyMaskError
        """
        return self.crop(self.bounding_box().padded(pad_voxels).clipped(self.geometry.shape_zyx))

    def with_warnings(self, warnings: Iterable[InputWarning]) -> LabelMask:
        """The same voxels, with more that was noticed; what is known of them is not computed again."""
        warned = replace(self, warnings=(*self.warnings, *warnings))
        if "_bounding_box" in self.__dict__:
            warned.__dict__["_bounding_box"] = self._bounding_box
        return warned

    def crop(self, box: VoxelBox) -> LabelMask:
        """A copy of the part in a box."""
        return LabelMask(self.voxels[box.slices].copy(), self.geometry.crop(box), self.name, self.warnings)


def bounding_box(marked: BoolArray) -> VoxelBox | None:
    """The smallest box that holds every true voxel; None where none is.

    Only the first of the three passes reads the whole array. ``engine.kernels.cpu.occupied_box`` is quicker by a
    third and needs compiled code, which a client that sends a mask need not load.
    """
    start: list[int] = []
    stop: list[int] = []
    for axis in range(3):
        occupied = np.flatnonzero(marked.any(axis=tuple(a for a in range(3) if a != axis)))
        if occupied.size == 0:
            return None
        start.append(int(occupied[0]))
        stop.append(int(occupied[-1]) + 1)
        marked = marked[(slice(None),) * axis + (slice(start[axis], stop[axis]),)]
    return VoxelBox.between(start, stop)


def _mm(values: tuple[float, float, float]) -> str:
    return " × ".join(f"{v:.3g}" for v in values)
