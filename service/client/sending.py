"""What a client sends: DICOM instances as they are, anything else as voxels with their geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from coldspot.v1 import service_pb2

from engine.errors import UnreadableFileError
from engine.volume import CtVolume, LabelMask
from service.wire.geometry import geometry_message
from service.wire.upload import Part

CHUNK_BYTES: Final = 1 << 20
DICOM_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".ima"})


@dataclass(frozen=True)
class Outgoing:
    """Bytes to send and what they are.

    Parameters
    ----------
    parts : tuple of memoryview
        Sent one after the other.
    content : VoxelContent or DicomContent
    """

    parts: tuple[memoryview, ...]
    content: service_pb2.VoxelContent | service_pb2.DicomContent

    def header(
        self, case_id: str, role: service_pb2.SeriesRole, reference_series_id: str
    ) -> service_pb2.UploadHeader:
        """Return the header that announces these bytes."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part)
        header = service_pb2.UploadHeader(
            case_id=case_id,
            role=role,
            total_bytes=sum(part.nbytes for part in self.parts),
            sha256=digest.digest(),
            reference_series_id=reference_series_id,
        )
        if isinstance(self.content, service_pb2.VoxelContent):
            header.voxels.CopyFrom(self.content)
        else:
            header.dicom.CopyFrom(self.content)
        return header


def parts_of(header: service_pb2.UploadHeader, outgoing: Outgoing) -> Iterator[Part]:
    """Yield the parts of one upload: the header, then chunks."""
    yield service_pb2.UploadSeriesRequest(header=header)
    for part in outgoing.parts:
        for start in range(0, part.nbytes, CHUNK_BYTES):
            yield part[start : start + CHUNK_BYTES]


def ct_content(ct: Path | CtVolume) -> Outgoing:
    """Return what is sent for a CT: the bytes and their description.

    Raises
    ------
    InputError
        If the CT or mask cannot be read.
    """
    if isinstance(ct, Path):
        if _holds_dicom(ct):
            return _instances(_dicom_files(ct))
        from engine.files.reading import read_ct

        ct = read_ct(ct)
    acquisition = ct.acquisition
    described = service_pb2.VoxelContent(
        geometry=geometry_message(ct.geometry),
        patient_id=acquisition.patient_id,
        study_instance_uid=acquisition.study_instance_uid,
        series_instance_uid=acquisition.series_instance_uid,
        slice_thickness_mm=acquisition.slice_thickness_mm,
    )
    return Outgoing((_bytes_of(ct.voxels_hu.astype("<i2", copy=False)),), described)


def mask_content(mask: Path | LabelMask, name: str, structure: str = "") -> Outgoing:
    """Return what is sent for a mask: the bytes and their description.

    Raises
    ------
    InputError
        If the CT or mask cannot be read.
    """
    if isinstance(mask, Path):
        if _holds_dicom(mask):
            return _instances(_dicom_files(mask), structure)
        from engine.files.image_file import read_mask_image

        label = int(structure) if structure.isdecimal() else None
        mask = read_mask_image(mask, name, label=label)
    described = service_pb2.VoxelContent(geometry=geometry_message(mask.geometry))
    voxels = mask.voxels
    if (
        voxels.any()
    ):  # a zone fills a thousandth of its CT: the rest would only take time on the critical path
        box = mask.bounding_box()
        described.box.CopyFrom(service_pb2.VoxelBox(start_zyx=box.start_zyx, stop_zyx=box.stop_zyx))
        voxels = voxels[box.slices]
    return Outgoing((_bytes_of(voxels.view(np.uint8)),), described)


def _bytes_of(voxels: npt.NDArray[np.int16] | npt.NDArray[np.uint8]) -> memoryview:
    return np.ascontiguousarray(voxels).data.cast("B")


def _instances(files: list[Path], structure: str = "") -> Outgoing:
    parts = []
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UnreadableFileError(f"{file.name} cannot be read: {error.strerror}") from error
        if not content:
            raise UnreadableFileError(f"{file.name} is empty; export or send it again")
        parts.append(memoryview(content))
    described = service_pb2.DicomContent(instance_bytes=[part.nbytes for part in parts], structure=structure)
    return Outgoing(tuple(parts), described)


def _holds_dicom(path: Path) -> bool:
    if not path.exists():
        raise UnreadableFileError(f"{path} does not exist; check the path")
    return path.is_dir() or path.suffix.lower() in DICOM_SUFFIXES or _starts_as_dicom(path)


def _dicom_files(path: Path) -> list[Path]:
    """Return the DICOM files of a folder and the folders right below it, in a fixed order."""
    if path.is_file():
        return [path]
    below = [
        file
        for entry in sorted(path.iterdir())
        if not entry.name.startswith(".")
        for file in (sorted(entry.iterdir()) if entry.is_dir() else [entry])
    ]
    files = [
        file for file in below if file.is_file() and not file.name.startswith(".") and _is_instance(file)
    ]
    if not files:
        raise UnreadableFileError(f"there is no DICOM file in {path}; choose the folder of one series")
    return files


def _is_instance(file: Path) -> bool:
    """Whether a file is DICOM or has to be treated as such, so that a damaged slice is not silently left out."""
    if file.name.upper() == "DICOMDIR":
        return False
    return file.suffix.lower() in DICOM_SUFFIXES or file.stat().st_size == 0 or _starts_as_dicom(file)


def _starts_as_dicom(path: Path) -> bool:
    from engine.dicom.instances import is_dicom_file

    return is_dicom_file(path)
