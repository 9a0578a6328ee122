"""Uploads: admitted, received, decoded and stored; acknowledged only when all of that is done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from engine.errors import ColdspotError
from engine.input_warning import messages
from engine.volume import CtVolume
from service.cases.disk import disk_full_as_capacity_error
from service.cases.selection import choose_ct
from service.cases.series import CT_OF_MASK, DicomContent, ReceivedSeries, SeriesHeader
from service.cases.stored_form import encode
from service.intake.upload import Received, check_disk, check_header, receive

if TYPE_CHECKING:
    from service.admission import Admission
    from service.cases.store import CaseStore
    from service.cases.volumes import Arrival, VolumeShelf
    from service.metrics import Metrics
    from service.settings import Settings

_CHUNKS_AFTER_FAILURE: Final = 2
"""Number of chunks still read from an upload that has failed."""


@dataclass(frozen=True)
class Reception:
    """Receives uploads: checks, decodes and stores them."""

    settings: Settings
    store: CaseStore
    volumes: VolumeShelf
    admission: Admission
    metrics: Metrics

    def receive_series(self, header: SeriesHeader, chunks: Iterator[bytes | memoryview]) -> ReceivedSeries:
        """Receive, decode and store one series; durable when this returns.

        Raises
        ------
        ColdspotError
            The header's errors before a chunk is taken, then those of the transfer, the reader and the store.
        """
        with self.admission.admit(header.case_id):
            self.store.require_case(header.case_id)
            check_header(header, self.settings)
            check_disk(self.settings.state_dir, header, self.settings)
            reference = self._reference_ct(header)
            try:
                series_id, arrival, last_byte_at = self._take(chunks, header, reference)
            except ColdspotError:
                _let_finish(chunks)
                raise
        self.volumes.arrived(series_id, last_byte_at)
        if arrival is not None:
            self.volumes.put(series_id, arrival)
            self.metrics.decoded_upload(arrival.decode_s)
        self.metrics.stored_upload(header.total_bytes)
        return ReceivedSeries(series_id, header.role, header.total_bytes, _warnings(arrival))

    def _take(
        self,
        chunks: Iterator[bytes | memoryview],
        header: SeriesHeader,
        reference: CtVolume | None,
    ) -> tuple[str, Arrival | None, float]:
        """Write and decode at the same time, so that the disk does not delay the verification CT.

        Returns the series id, the decoded series (None for a mask that is read only when its CT is known), and when
        (monotonic) its last byte came.
        """
        with self.store.blobs.writer() as writer, ThreadPoolExecutor(max_workers=1) as disk:
            received = receive(chunks, header, writer, disk)
            flushed = disk.submit(writer.flush)
            arrival = self._decode(header, received, reference)
            with disk_full_as_capacity_error():
                flushed.result()
                series_id = self.store.add_series(header.case_id, header.role, encode(header), writer)
        return series_id, arrival, received.last_byte_at

    def _decode(self, header: SeriesHeader, received: Received, reference: CtVolume | None) -> Arrival | None:
        if isinstance(header.content, DicomContent) and not header.role.is_ct and reference is None:
            return None  # read when it is used, on the CT it is used with
        arrival = self.volumes.decode(header, received.content, reference)
        return replace(arrival, decoded_on_arrival=True)

    def _reference_ct(self, header: SeriesHeader) -> CtVolume | None:
        if not header.reference_series_id:
            return None
        case = self.store.series(header.case_id)
        return self.volumes.ct(choose_ct(case, CT_OF_MASK[header.role], header.reference_series_id))[0]


def _warnings(arrival: Arrival | None) -> tuple[str, ...]:
    if arrival is None:
        return ("read when it is used: the upload did not say on which CT this mask was drawn",)
    return messages(arrival.volume.warnings)


def _let_finish(chunks: Iterator[bytes | memoryview]) -> None:
    """Read a little more of a failed upload, so that a client about to finish can do so.

    A call that ends while the client's last message is on its way can reach it as CANCELLED instead of the
    status that says what was wrong.
    """
    for _ in range(_CHUNKS_AFTER_FAILURE):
        if next(chunks, None) is None:
            return
