"""What a client sends: DICOM instances as they are, anything else as voxels with their geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from coldspot.v1 import service_pb2

from engine.errors import UnreadableFileError
from engine.input_warning import InputWarning
from engine.path_text import path_text
from engine.volume import CtVolume, LabelMask
from service.wire.acquisition import described_acquisition, warning_messages
from service.wire.geometry import geometry_message
from service.wire.upload import Part

CHUNK_BYTES: Final = 1 << 20


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

    @property
    def is_dicom(self) -> bool:
        """Whether the bytes are DICOM instances: a mask of these can be read on its CT alone."""
        return isinstance(self.content, service_pb2.DicomContent)

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


def ct_content(ct: Path | CtVolume, series: str = "") -> Outgoing:
    """Return what is sent for a CT: the bytes and their description.

    Parameters
    ----------
    ct : Path or CtVolume
    series : str, optional
        Which one, where a folder holds several: number, UID or description.

    Raises
    ------
    InputError
        If the CT or mask cannot be read.
    """
    if isinstance(ct, Path):
        if _is_dicom(ct):
            from engine.dicom.series_choice import choose_series

            chosen = choose_series(ct, series)
            files = ((file, chosen.found.name(file)) for file in chosen.files)
            return _instances(files, warnings=chosen.warnings)
        from engine.files.reading import read_ct

        ct = read_ct(ct, series)
    described = described_acquisition(ct.acquisition)
    described.geometry.CopyFrom(geometry_message(ct.geometry))
    return Outgoing((_bytes_of(ct.voxels_hu.astype("<i2", copy=False)),), described)


def mask_content(mask: Path | LabelMask, name: str, structure: str = "") -> Outgoing:
    """Return what is sent for a mask: the bytes and their description.

    Raises
    ------
    InputError
        If the CT or mask cannot be read.
    """
    if isinstance(mask, Path):
        if _is_dicom(mask):
            from engine.dicom.series_choice import choose_mask_file

            file = choose_mask_file(mask, name)
            return _instances([(file, file.name)], structure)
        from engine.files.image_file import read_mask_image
        from engine.files.reading import label_value

        mask = read_mask_image(mask, name, label=label_value(structure or None, name))
    described = service_pb2.VoxelContent(
        geometry=geometry_message(mask.geometry), warnings=warning_messages(mask.warnings)
    )
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


def _instances(
    files: Iterable[tuple[Path, str]], structure: str = "", warnings: Iterable[InputWarning] = ()
) -> Outgoing:
    """Files, each with its name for messages, as they are."""
    from engine.dicom.instances import file_content

    parts = tuple(memoryview(file_content(file, name)) for file, name in files)
    described = service_pb2.DicomContent(
        instance_bytes=[part.nbytes for part in parts],
        structure=structure,
        warnings=warning_messages(warnings),
    )
    return Outgoing(parts, described)


def _is_dicom(path: Path) -> bool:
    from engine.dicom.folder import is_dicom

    if not path.exists():
        raise UnreadableFileError(f"{path_text(path)} does not exist; check the path")
    return is_dicom(path)
