"""What a case is made of: its series, and what is known of each before its first byte is read.

These types know no transport. Every transport (gRPC today) converts what it receives into them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from engine.errors import InvalidRequestError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.input_warning import InputWarning
from engine.volume import Acquisition


class SeriesRole(IntEnum):
    """What a series is within its case; the numbers are stored and must not change."""

    PLANNING_CT = 1
    VERIFICATION_CT = 2
    TUMOR_MASK = 3
    ABLATION_ZONE_MASK = 4
    ABLATION_CORE_MASK = 5

    @property
    def in_words(self) -> str:
        """The role as messages for people name it, for example ``tumor mask``."""
        return self.name.lower().replace("_", " ")

    @property
    def is_ct(self) -> bool:
        """Whether the series is a CT, not a mask."""
        return self in {SeriesRole.PLANNING_CT, SeriesRole.VERIFICATION_CT}


STRUCTURE_NAMES: Final = {
    SeriesRole.TUMOR_MASK: "tumor",
    SeriesRole.ABLATION_ZONE_MASK: "ablation zone",
    SeriesRole.ABLATION_CORE_MASK: "ablation core",
}
"""The structure that a mask of each role outlines."""

CT_OF_MASK: Final = {
    SeriesRole.TUMOR_MASK: SeriesRole.PLANNING_CT,
    SeriesRole.ABLATION_ZONE_MASK: SeriesRole.VERIFICATION_CT,
    SeriesRole.ABLATION_CORE_MASK: SeriesRole.VERIFICATION_CT,
}
"""The CT that a mask of each role is drawn on."""


@dataclass(frozen=True)
class VoxelContent:
    """The bytes are voxels: little-endian int16 HU of a CT, or one byte (0 or 1) for each voxel of a mask.

    Parameters
    ----------
    geometry : VolumeGeometry
    acquisition : Acquisition
        What the sender read of the file's header, and what was noticed; of a mask only the warnings.
    box : VoxelBox, optional
        For a mask: its bytes fill this part of the grid, all other voxels are 0. Without a box they fill the grid.
    """

    geometry: VolumeGeometry
    acquisition: Acquisition = field(default_factory=Acquisition)
    box: VoxelBox | None = None

    @property
    def filled(self) -> VoxelBox:
        """The part of the grid that the bytes fill.

        Raises
        ------
        InvalidRequestError
            If the box does not lie in the grid.
        """
        shape = self.geometry.shape_zyx
        if self.box is None:
            return VoxelBox.whole(shape)
        inside = all(
            0 <= start < stop <= size
            for start, stop, size in zip(self.box.start_zyx, self.box.stop_zyx, shape, strict=True)
        )
        if not inside:
            raise InvalidRequestError(
                f"the box of a mask needs start before stop within {shape}", "header.voxels.box"
            )
        return self.box

    @property
    def warnings(self) -> tuple[InputWarning, ...]:
        """What the sender noticed."""
        return self.acquisition.warnings


@dataclass(frozen=True)
class DicomContent:
    """The bytes are DICOM instances, one after the other: a CT series, or one SEG or RTSTRUCT as a mask.

    Parameters
    ----------
    instance_bytes : tuple of int
        Length of each instance, bytes.
    structure : str
        For a mask with several structures, the one to use: number or label of a SEG's segment, ROI name of an RTSTRUCT.
    series : str
        For a CT, if the instances are of several series, the one to use: number, UID or description.
    warnings : tuple of InputWarning
        What the sender noticed, for example files that it left out.
    """

    instance_bytes: tuple[int, ...]
    structure: str = ""
    series: str = ""
    warnings: tuple[InputWarning, ...] = ()


@dataclass(frozen=True)
class SeriesHeader:
    """The announcement of a series, sent before its bytes.

    Parameters
    ----------
    case_id : str
    role : SeriesRole
    total_bytes : int
        Number of bytes that follow.
    sha256 : str
        SHA-256 of those bytes, hexadecimal.
    content : VoxelContent or DicomContent
    reference_series_id : str
        For a mask: the id of the stored CT it was drawn on; empty if that is not known.
    """

    case_id: str
    role: SeriesRole
    total_bytes: int
    sha256: str
    content: VoxelContent | DicomContent
    reference_series_id: str = ""


@dataclass(frozen=True)
class SeriesRecord:
    """One stored series; its number grows with time.

    Parameters
    ----------
    number : int
    series_id : str
    role : SeriesRole
    header : bytes
        A :class:`SeriesHeader` in its stored form.
    sha256 : str
        Name of the blob that holds its bytes, hexadecimal.
    stored_bytes : int
    """

    number: int
    series_id: str
    role: SeriesRole
    header: bytes
    sha256: str
    stored_bytes: int


@dataclass(frozen=True)
class ReceivedSeries:
    """A series that was stored, and what was noticed while it was read."""

    series_id: str
    role: SeriesRole
    stored_bytes: int
    warnings: tuple[str, ...] = ()
