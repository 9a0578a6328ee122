"""Uploads: admitted, received, decoded and stored; acknowledged only when all of that is done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from coldspot.v1 import service_pb2

from engine.errors import ColdspotError, InvalidRequestError
from engine.volume import CtVolume
from service.cases.selection import CT_OF_MASK, choose_ct
from service.intake.upload import Received, check_disk, check_header, full_disk_is_no_room, receive
from service.wire.upload import header_of

if TYPE_CHECKING:
    from service.admission import Admission
    from service.cases.store import CaseStore
    from service.cases.volumes import Arrival, VolumeShelf
    from service.metrics import Metrics
    from service.settings import Settings
    from service.wire.upload import Part


_LAST_WORDS: Final = 2
"""Messages still read of an upload that has failed."""


@dataclass(frozen=True)
class Reception:
    """Takes uploads in."""

    settings: Settings
    store: CaseStore
    volumes: VolumeShelf
    admission: Admission
    metrics: Metrics

    def receive_series(self, parts: Iterator[Part]) -> service_pb2.UploadSeriesResponse:
        """Receive, decode and store one series; durable when this returns."""
        header = header_of(next(parts, None))
        if header is None:
            raise InvalidRequestError("an upload begins with its header", "header")
        with self.admission.admit():
            self.store.request_of(header.case_id)
            check_header(header, self.settings)
            check_disk(self.settings.state_dir, header, self.settings)
            reference = self._reference_ct(header)
            try:
                series_id, arrival = self._take(parts, header, reference)
            except ColdspotError:
                _hear_out(parts)
                raise
        if arrival is not None:
            self.volumes.put(series_id, arrival)
            self.metrics.decoded_upload(arrival.decode_s)
        self.metrics.stored_upload(header.total_bytes)
        return service_pb2.UploadSeriesResponse(
            series_id=series_id,
            role=header.role,
            stored_bytes=header.total_bytes,
            warnings=_warnings(arrival),
        )

    def _take(
        self,
        parts: Iterator[Part],
        header: service_pb2.UploadHeader,
        reference: CtVolume | None,
    ) -> tuple[str, Arrival | None]:
        """Write and decode at the same time: the disk must not delay the verification CT."""
        with self.store.blobs.writer() as writer, ThreadPoolExecutor(max_workers=1) as disk:
            received = receive(parts, header, writer, disk)
            flushed = disk.submit(writer.flush)
            arrival = self._decode(header, received, reference)
            with full_disk_is_no_room():
                flushed.result()
                content = header.SerializeToString(deterministic=True)
                series_id = self.store.add_series(header.case_id, header.role, content, writer)
        return series_id, arrival

    def _decode(
        self, header: service_pb2.UploadHeader, received: Received, reference: CtVolume | None
    ) -> Arrival | None:
        if header.WhichOneof("content") == "dicom" and header.role in CT_OF_MASK and reference is None:
            return None  # read when it is used, on the CT it is used with
        arrival = self.volumes.decode(header, received.content, reference)
        return replace(arrival, last_byte_at=received.last_byte_at)

    def _reference_ct(self, header: service_pb2.UploadHeader) -> CtVolume | None:
        if not header.reference_series_id:
            return None
        case = self.store.series(header.case_id)
        return self.volumes.ct(choose_ct(case, CT_OF_MASK[header.role], header.reference_series_id))[0]


def _warnings(arrival: Arrival | None) -> tuple[str, ...]:
    if arrival is None:
        return ("read when it is used: the upload did not say on which CT this mask was drawn",)
    return arrival.volume.acquisition.warnings if isinstance(arrival.volume, CtVolume) else ()


def _hear_out(parts: Iterator[Part]) -> None:
    """Let a client that is about to finish do so.

    A call that ends while the client's last message is on its way can reach it as CANCELLED instead of the
    status that says what was wrong.
    """
    for _ in range(_LAST_WORDS):
        if next(parts, None) is None:
            return
