"""Upload of a 157 MB CT to the real service, compared with the same messages to a service that only counts them."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from coldspot.v1 import service_pb2, service_pb2_grpc

from benchmarks.serving.processes import bare_stream, coldspot_service
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume
from service.client.client import ColdspotClient
from service.client.sending import CHUNK_BYTES, Outgoing, ct_content, parts_of
from service.wire.upload import METHOD, encoded

SHAPE_ZYX: Final = (300, 512, 512)
QUICK_SHAPE_ZYX: Final = (30, 512, 512)
BARE, WHOLE, SENT, DIGEST = (
    "bare stream",
    "upload_ct",
    "upload_ct without the client's digest",
    "client's digest",
)
VERIFICATION: Final = service_pb2.SERIES_ROLE_VERIFICATION_CT


def plain_messages(
    header: service_pb2.UploadHeader, outgoing: Outgoing
) -> Iterator[service_pb2.UploadSeriesRequest]:
    """What any client of the generated code sends."""
    yield service_pb2.UploadSeriesRequest(header=header)
    for part in outgoing.parts:
        for start in range(0, part.nbytes, CHUNK_BYTES):
            yield service_pb2.UploadSeriesRequest(chunk=bytes(part[start : start + CHUNK_BYTES]))


def measure_upload(runs: int, *, quick: bool) -> dict[str, Any]:
    """Time uploads in turns, each round in another order: a bare stream, ``upload_ct``, and without its digest."""
    shape = QUICK_SHAPE_ZYX if quick else SHAPE_ZYX
    voxels = np.random.default_rng(1).integers(-1000, 400, shape, dtype=np.int16)
    ct = CtVolume(voxels[:], VolumeGeometry(shape, (1.0, 0.75, 0.75)))
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_stream() as bare,
        coldspot_service(Path(folder) / "state", COLDSPOT_SELF_TEST="false") as running,
        ColdspotClient(running.address) as client,
        grpc.insecure_channel(bare) as bare_channel,
        grpc.insecure_channel(running.address) as channel,
    ):
        make_stub: Callable[[grpc.Channel], Any] = service_pb2_grpc.ColdspotServiceStub
        counting = make_stub(bare_channel)
        storing = channel.stream_unary(METHOD, encoded, service_pb2.UploadSeriesResponse.FromString)

        def stream(case: str) -> float:
            outgoing = ct_content(ct)
            header = outgoing.header(case, VERIFICATION, "")
            return _seconds(lambda: counting.UploadSeries(plain_messages(header, outgoing)))

        def upload(case: str) -> float:
            return _seconds(lambda: client.upload_ct(case, ct, "verification"))

        def send(case: str) -> float:
            outgoing = ct_content(ct)
            header = outgoing.header(case, VERIFICATION, "")
            return _seconds(lambda: storing(parts_of(header, outgoing)))

        def digest(_case: str) -> float:
            return _seconds(lambda: hashlib.sha256(ct_content(ct).parts[0]).digest())

        contestants = {BARE: stream, WHOLE: upload, SENT: send, DIGEST: digest}
        times: dict[str, list[float]] = {name: [] for name in contestants}
        names = list(contestants)
        for round_number in range(runs + 1):
            for name in (*names[round_number % len(names) :], *names[: round_number % len(names)]):
                voxels[0, 0, 0] += 1  # other bytes than last time, so that they are stored anew
                case = client.open_case()
                times[name].append(contestants[name](case))
                client.delete_case(case)
        high_water_mb = running.memory_high_water_mb()
    median_s = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}  # the first warms up
    return {
        "bytes": voxels.nbytes,
        "runs": runs,
        "median_s": median_s,
        "spread_s": {name: [min(seconds[1:]), max(seconds[1:])] for name, seconds in times.items()},
        "mb_per_s": {name: voxels.nbytes / 1e6 / seconds for name, seconds in median_s.items()},
        "share_of_bare_stream": median_s[BARE] / median_s[WHOLE],
        "share_without_the_clients_digest": median_s[BARE] / median_s[SENT],
        "service_memory_high_water_mb": high_water_mb,
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
