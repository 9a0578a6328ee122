"""Stored series as volumes: decoded once when they arrive, from disk only after a restart."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engine.arrays import Int16Array
from engine.errors import InvalidRequestError
from engine.hounsfield import padding_to_air
from engine.input_warning import require_clinical
from engine.structures.mask_warnings import inspected
from engine.unit_doubt import UNIT_CODES, unit_warnings
from engine.volume import Acquisition, CtVolume, LabelMask
from service.cases.series import (
    STRUCTURE_NAMES,
    DicomContent,
    SeriesHeader,
    SeriesRecord,
    SeriesRole,
    VoxelContent,
)
from service.cases.stored_form import decode_header

if TYPE_CHECKING:
    from service.cases.store import CaseStore


class ImageReader(Protocol):
    """Reads DICOM, and brings masks onto the grid of their CT."""

    def read_ct(self, instances: Sequence[bytes], series: str) -> CtVolume:
        """Return the volume of a DICOM series in memory: of the only one, or of the one that is named."""

    def read_mask(self, instance: bytes, ct: CtVolume, name: str, structure: str) -> LabelMask:
        """Return one structure of a DICOM SEG or RTSTRUCT on its CT."""

    def in_axis_order_of(self, ct: CtVolume, mask: LabelMask) -> LabelMask:
        """Return a mask with its axes in the order of its CT's axes, if both have the same voxels in another order."""


@dataclass(frozen=True)
class Arrival:
    """A decoded series, how long decoding it took, and whether that was while it arrived or only when it was used."""

    volume: CtVolume | LabelMask
    decode_s: float
    decoded_on_arrival: bool = False

    @property
    def nbytes(self) -> int:
        """Memory its voxels take."""
        voxels = self.volume.voxels_hu if isinstance(self.volume, CtVolume) else self.volume.voxels
        return voxels.nbytes


class SeriesDecoder:
    """Makes a volume of the bytes of a series: the one reader of whatever comes in.

    Parameters
    ----------
    reader : ImageReader
    clinical_mode : bool
        Whether a series with a warning that clinical mode does not accept is refused.
    """

    def __init__(self, reader: ImageReader, *, clinical_mode: bool = False) -> None:
        self._reader, self._clinical_mode = reader, clinical_mode

    def decode(self, header: SeriesHeader, content: memoryview, ct: CtVolume | None) -> CtVolume | LabelMask:
        """Return the volume that the bytes of a series hold; of a mask with what its inspection found.

        Parameters
        ----------
        header : SeriesHeader
            One that was accepted when it was announced.
        content : memoryview
            All bytes of the series.
        ct : CtVolume or None
            The CT that a mask is drawn on; a DICOM mask cannot be read without it.

        Raises
        ------
        InputError
            What the reader raises; EmptyMaskError and GridMismatchError of a mask; ClinicalModeError.
        """
        if isinstance(header.content, VoxelContent):
            volume = _from_voxels(header.role, header.content, content)
        else:
            volume = self._from_dicom(header.role, header.content, content, ct)
        if isinstance(volume, LabelMask):
            volume = inspected(volume if ct is None else self.on_grid_of(volume, ct))
        if self._clinical_mode:
            require_clinical(volume.warnings)
        return volume

    def _from_dicom(
        self, role: SeriesRole, described: DicomContent, content: memoryview, ct: CtVolume | None
    ) -> CtVolume | LabelMask:
        instances = [bytes(part) for part in _split(content, described.instance_bytes)]
        if role.is_ct:
            ct = self._reader.read_ct(instances, described.series)
            noticed = (*described.warnings, *ct.warnings)
            return replace(ct, acquisition=replace(ct.acquisition, warnings=noticed))
        if ct is None:
            raise InvalidRequestError(
                "a DICOM mask is read on the grid of its CT; name that CT", "header.reference_series_id"
            )
        mask = self._reader.read_mask(instances[0], ct, STRUCTURE_NAMES[role], described.structure)
        return replace(mask, warnings=(*described.warnings, *mask.warnings))

    def on_grid_of(self, mask: LabelMask, ct: CtVolume) -> LabelMask:
        """Return a mask that lies on a CT with its axes in the order of that CT's.

        Raises
        ------
        EmptyMaskError, GridMismatchError
        """
        if not mask.geometry.same_grid(ct.geometry):
            mask = self._reader.in_axis_order_of(ct, mask)
        return mask.require_on(ct)


class VolumeShelf:
    """Keeps the most recently used series decoded in memory, and decodes the others from disk.

    Parameters
    ----------
    store : CaseStore
    reader : ImageReader
    limit_bytes : int
        Memory to keep volumes in; the newest one is always kept.
    clinical_mode : bool
        Whether a series with a warning that clinical mode does not accept is refused.
    """

    def __init__(
        self, store: CaseStore, reader: ImageReader, limit_bytes: int, *, clinical_mode: bool = False
    ) -> None:
        self._store, self._limit_bytes = store, limit_bytes
        self._decoder = SeriesDecoder(reader, clinical_mode=clinical_mode)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Arrival] = OrderedDict()
        self._last_byte_at: dict[str, float] = {}

    def put(self, series_id: str, arrival: Arrival) -> None:
        """Keep a decoded series in memory while there is room."""
        with self._lock:
            self._kept[series_id] = arrival
            self._kept.move_to_end(series_id)
            while (
                len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._limit_bytes
            ):
                self._kept.popitem(last=False)

    def forget(self, series_id: str) -> None:
        """Drop a deleted series from memory."""
        with self._lock:
            self._kept.pop(series_id, None)
            self._last_byte_at.pop(series_id, None)

    def arrived(self, series_id: str, last_byte_at: float) -> None:
        """Remember when (monotonic) the last byte of a series came, for as long as the service runs."""
        with self._lock:
            self._last_byte_at[series_id] = last_byte_at

    def last_byte_of(self, series_ids: Iterable[str]) -> float | None:
        """Return when (monotonic) the last byte of the last of several series came.

        Series that came before the service was started count as earlier than the others; None if all of them did.
        """
        with self._lock:
            known = [
                self._last_byte_at[series_id] for series_id in series_ids if series_id in self._last_byte_at
            ]
        return max(known, default=None)

    def ct(self, record: SeriesRecord) -> tuple[CtVolume, Arrival]:
        """Return a stored CT, and its :class:`Arrival`."""
        arrival = self._arrival(record, None)
        if not isinstance(arrival.volume, CtVolume):
            raise InvalidRequestError(f"the series {record.series_id} is a mask, not a CT")
        return arrival.volume, arrival

    def mask(self, record: SeriesRecord, ct: CtVolume) -> LabelMask:
        """Return a stored mask on its CT.

        Raises
        ------
        EmptyMaskError, GridMismatchError
        """
        volume = self._arrival(record, ct).volume
        if not isinstance(volume, LabelMask):
            raise InvalidRequestError(f"the series {record.series_id} is a CT, not a mask")
        return self._decoder.on_grid_of(volume, ct)

    def decode(self, header: SeriesHeader, content: memoryview, ct: CtVolume | None) -> Arrival:
        """Decode the bytes of a series, as :meth:`SeriesDecoder.decode` does, and say how long it took."""
        started = time.perf_counter()
        return Arrival(self._decoder.decode(header, content, ct), time.perf_counter() - started)

    def _arrival(self, record: SeriesRecord, ct: CtVolume | None) -> Arrival:
        with self._lock:
            kept = self._kept.get(record.series_id)
            if kept is not None:
                self._kept.move_to_end(record.series_id)
                return kept
        header = decode_header(record.header)
        started = time.perf_counter()
        content = memoryview(self._store.blobs.read(record.sha256))
        arrival = Arrival(self.decode(header, content, ct).volume, time.perf_counter() - started)
        self.put(record.series_id, arrival)
        return arrival


def _from_voxels(role: SeriesRole, described: VoxelContent, content: memoryview) -> CtVolume | LabelMask:
    grid = described.geometry
    if role.is_ct:
        stored = np.frombuffer(content, dtype="<i2").astype(np.int16, copy=False).reshape(grid.shape_zyx)
        voxels_hu = padding_to_air(stored)
        return CtVolume(voxels_hu, grid, _with_unit_warnings(described.acquisition, voxels_hu))
    marks = np.frombuffer(content, dtype=np.uint8)
    if marks.max() > 1:
        raise InvalidRequestError(
            f"a mask has one byte, 0 or 1, for each voxel; this one has {int(marks.max())}", "chunk"
        )
    voxels = np.zeros(grid.shape_zyx, dtype=np.bool_)
    filled = voxels[described.filled.slices]
    filled[...] = marks.view(np.bool_).reshape(filled.shape)
    return LabelMask(voxels, grid, STRUCTURE_NAMES[role], described.warnings)


def _with_unit_warnings(acquisition: Acquisition, voxels_hu: Int16Array) -> Acquisition:
    """What is known of a scan, and whether its voxels can be HU, where its sender has not said so."""
    if UNIT_CODES & {warning.code for warning in acquisition.warnings}:
        return acquisition
    return replace(acquisition, warnings=(*acquisition.warnings, *unit_warnings(voxels_hu, "the CT")))


def _split(content: memoryview, lengths: Iterable[int]) -> Iterator[memoryview]:
    start = 0
    for length in lengths:
        yield content[start : start + length]
        start += length
