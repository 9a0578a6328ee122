"""What the service refuses to take, and when: as early as it can be known."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from coldspot.v1 import geometry_pb2, service_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engine.errors import (
    CapacityError,
    ChecksumError,
    ColdspotError,
    InvalidGeometryError,
    InvalidRequestError,
    NotFoundError,
    ServiceUnavailableError,
    UnreadableFileError,
)
from service.admission import Admission
from service.client.client import ColdspotClient
from service.server import ColdspotServer, running_server
from service.wire.status import error_from_call
from tests.support.stub_engine import StubPipeline, make_case, settings_for

VOXELS = b"\x01\x00" * 24
PARTS_AHEAD = 64
"""More messages than gRPC buffers on the way, so that a refusal shows before all of them are asked for."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ColdspotServer]:
    settings = settings_for(
        tmp_path,
        max_admitted=2,
        max_series_bytes=1 << 20,
        max_voxels=1000,
        max_instances=3,
        upload_idle_s=0.4,
    )
    with running_server(settings, StubPipeline()) as running:
        yield running


@pytest.fixture
def client(server: ColdspotServer) -> Iterator[ColdspotClient]:
    with ColdspotClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def grid(**changes: Any) -> geometry_pb2.VolumeGeometry:
    chosen: dict[str, Any] = {
        "shape_zyx": [2, 3, 4],
        "spacing_zyx_mm": [1, 1, 1],
        "directions_zyx_lps": [0, 0, 1, 0, 1, 0, 1, 0, 0],
    }
    return geometry_pb2.VolumeGeometry(**{**chosen, **changes})


def header(case_id: str, content: bytes = VOXELS, **changes: Any) -> service_pb2.UploadHeader:
    chosen: dict[str, Any] = {
        "case_id": case_id,
        "role": service_pb2.SERIES_ROLE_PLANNING_CT,
        "total_bytes": len(content),
        "sha256": hashlib.sha256(content).digest(),
    }
    if "dicom" not in changes:
        chosen["voxels"] = service_pb2.VoxelContent(geometry=grid())
    return service_pb2.UploadHeader(**{**chosen, **changes})


def upload(client: ColdspotClient, head: service_pb2.UploadHeader, *chunks: bytes) -> str:
    def parts() -> Iterator[service_pb2.UploadSeriesRequest]:
        yield service_pb2.UploadSeriesRequest(header=head)
        for chunk in chunks:
            yield service_pb2.UploadSeriesRequest(chunk=chunk)

    try:
        return str(client._connection.service.UploadSeries(parts(), timeout=30).series_id)
    except grpc.RpcError as error:
        raise error_from_call(error) from None


def unfinished(server: ColdspotServer) -> list[Path]:
    return list((server.settings.state_dir / "unfinished").iterdir())


def test_a_good_upload_is_taken(client: ColdspotClient) -> None:
    case = client.open_case()
    assert upload(client, header(case), VOXELS[:10], VOXELS[10:])


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"role": service_pb2.SERIES_ROLE_UNSPECIFIED}, InvalidRequestError, "header.role"),
        ({"role": 99}, InvalidRequestError, "header.role"),
        ({"sha256": b"short"}, InvalidRequestError, "header.sha256"),
        ({"total_bytes": 0}, InvalidRequestError, "header.total_bytes"),
        ({"total_bytes": 47}, InvalidRequestError, "header.total_bytes"),
        ({"total_bytes": 2**63}, InvalidRequestError, "header.total_bytes"),
        ({"voxels": None}, InvalidRequestError, "header.content"),
        ({"reference_series_id": "x"}, InvalidRequestError, "header.reference_series_id"),
        (
            {"voxels": service_pb2.VoxelContent(geometry=grid(shape_zyx=[2**31, 2**31, 4]))},
            InvalidRequestError,
            "header.voxels.geometry.shape_zyx",
        ),
        ({"voxels": service_pb2.VoxelContent(geometry=grid(shape_zyx=[2, 3]))}, InvalidGeometryError, ""),
        ({"voxels": service_pb2.VoxelContent(geometry=grid(shape_zyx=[0, 3, 4]))}, InvalidGeometryError, ""),
        (
            {"voxels": service_pb2.VoxelContent(geometry=grid(spacing_zyx_mm=[1, 1, float("nan")]))},
            InvalidGeometryError,
            "",
        ),
        (
            {"voxels": service_pb2.VoxelContent(geometry=grid(spacing_zyx_mm=[1, 1, -1]))},
            InvalidGeometryError,
            "",
        ),
        (
            {"voxels": service_pb2.VoxelContent(geometry=grid(directions_zyx_lps=[1] * 9))},
            InvalidGeometryError,
            "",
        ),
        (
            {
                "voxels": service_pb2.VoxelContent(
                    geometry=grid(), box=service_pb2.VoxelBox(start_zyx=[0, 0, 0], stop_zyx=[2, 3, 4])
                )
            },
            InvalidRequestError,
            "header.voxels.box",
        ),
        *(
            (
                {
                    "role": service_pb2.SERIES_ROLE_TUMOR_MASK,
                    "voxels": service_pb2.VoxelContent(
                        geometry=grid(), box=service_pb2.VoxelBox(start_zyx=start, stop_zyx=stop)
                    ),
                },
                InvalidRequestError,
                field,
            )
            for start, stop, field in (
                ([0, 0, 0], [2, 3, 5], "header.voxels.box"),
                ([0, 3, 0], [2, 3, 4], "header.voxels.box"),
                ([2, 3, 4], [0, 0, 0], "header.voxels.box"),
                ([0, 0], [2, 3], "header.voxels.box"),
                ([], [], "header.voxels.box"),
                ([0, 0, 0], [1, 1, 1], "header.total_bytes"),
            )
        ),
        ({"dicom": service_pb2.DicomContent()}, InvalidRequestError, "header.dicom.instance_bytes"),
        (
            {"dicom": service_pb2.DicomContent(instance_bytes=[40, 9])},
            InvalidRequestError,
            "header.dicom.instance_bytes",
        ),
        (
            {"dicom": service_pb2.DicomContent(instance_bytes=[48, 0])},
            InvalidRequestError,
            "header.dicom.instance_bytes",
        ),
        (
            {"dicom": service_pb2.DicomContent(instance_bytes=[12] * 4)},
            InvalidRequestError,
            "header.dicom.instance_bytes",
        ),
        (
            {
                "role": service_pb2.SERIES_ROLE_TUMOR_MASK,
                "dicom": service_pb2.DicomContent(instance_bytes=[24, 24]),
            },
            InvalidRequestError,
            "header.dicom.instance_bytes",
        ),
    ],
)
def test_a_bad_header_is_refused_before_any_byte(
    client: ColdspotClient, changes: dict[str, Any], kind: type[ColdspotError], field: str
) -> None:
    asked_for = []

    def parts() -> Iterator[service_pb2.UploadSeriesRequest]:
        yield service_pb2.UploadSeriesRequest(header=header(client.open_case(), **changes))
        for number in range(PARTS_AHEAD):
            asked_for.append(number)
            time.sleep(0.01)
            yield service_pb2.UploadSeriesRequest(chunk=VOXELS)

    with pytest.raises(grpc.RpcError) as caught:
        client._connection.service.UploadSeries(parts(), timeout=30)
    assert len(asked_for) < PARTS_AHEAD
    error = error_from_call(caught.value)
    assert type(error) is kind
    assert getattr(error, "field", "") == field


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        ([VOXELS[:-1] + b"\x07"], ChecksumError),
        ([VOXELS[:-1]], ChecksumError),
        ([VOXELS, b"\x00"], ChecksumError),
        ([], ChecksumError),
        ([VOXELS[:3], b"", VOXELS[3:]], InvalidRequestError),
        ([b"\x00" * ((1 << 20) + 1)], InvalidRequestError),
    ],
)
def test_other_bytes_than_announced(
    server: ColdspotServer, client: ColdspotClient, chunks: list[bytes], kind: type[ColdspotError]
) -> None:
    case = client.open_case()
    with pytest.raises(kind):
        upload(client, header(case), *chunks)
    assert not client.case(case).series
    assert not unfinished(server)


def test_an_upload_begins_with_one_header(client: ColdspotClient) -> None:
    case = client.open_case()
    for parts in (
        [],
        [service_pb2.UploadSeriesRequest(chunk=VOXELS)],
        [service_pb2.UploadSeriesRequest(header=header(case))] * 2,
        [service_pb2.UploadSeriesRequest()],
    ):
        with pytest.raises(grpc.RpcError) as caught:
            client._connection.service.UploadSeries(iter(parts), timeout=30)
        assert isinstance(error_from_call(caught.value), InvalidRequestError)


def test_a_mask_has_zeros_and_ones(client: ColdspotClient) -> None:
    content = b"\x00\x01\x02" * 8
    head = header(client.open_case(), content, role=service_pb2.SERIES_ROLE_TUMOR_MASK)
    with pytest.raises(InvalidRequestError, match="0 or 1"):
        upload(client, head, content)


def test_unknown_cases(client: ColdspotClient) -> None:
    with pytest.raises(NotFoundError):
        upload(client, header("3f333df6-90a4-4fda-8dd3-9485d27cee36"), VOXELS)
    with pytest.raises(InvalidRequestError):
        upload(client, header("../../etc"), VOXELS)


def test_a_long_message_fits_into_the_trailers(
    client: ColdspotClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: StubPipeline, _instances: object, _series: str) -> None:
        raise UnreadableFileError("long " * 5000)

    monkeypatch.setattr(StubPipeline, "read_ct", refuse)
    head = header(client.open_case(), dicom=service_pb2.DicomContent(instance_bytes=[48]))
    with pytest.raises(UnreadableFileError):
        upload(client, head, VOXELS)


def stalled_upload(client: ColdspotClient, case: str, release: threading.Event) -> Any:
    def parts() -> Iterator[service_pb2.UploadSeriesRequest]:
        yield service_pb2.UploadSeriesRequest(header=header(case))
        release.wait(30)
        yield service_pb2.UploadSeriesRequest(chunk=VOXELS)

    return client._connection.service.UploadSeries.future(parts(), timeout=30)


def taken(server: ColdspotServer) -> int:
    return server.app.admission._taken.total()


def wait_until(true: Any) -> None:
    give_up_at = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_over_the_bound_the_answer_says_when_to_try_again(tmp_path: Path) -> None:
    release = threading.Event()
    with (
        running_server(settings_for(tmp_path, max_admitted=2), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case()
        uploads = [stalled_upload(client, case, release) for _ in range(2)]
        wait_until(lambda: taken(server) == 2)
        with pytest.raises(grpc.RpcError) as caught:
            client._connection.service.UploadSeries(
                iter([service_pb2.UploadSeriesRequest(header=header(case))])
            )
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        status = rpc_status.from_call(caught.value)
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in status.details)
        assert retry.retry_delay.ToNanoseconds() > 0
        error = error_from_call(caught.value)
        assert isinstance(error, CapacityError)
        assert error.retry_after_s > 0
        release.set()
        assert all(future.result().series_id for future in uploads)
        assert taken(server) == 0
        assert upload(client, header(case), VOXELS), "places come back"


def test_a_patient_client_waits_for_a_place(tmp_path: Path) -> None:
    release, sent = threading.Event(), make_case(seed=1)
    with (
        running_server(settings_for(tmp_path, max_admitted=1), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}", patience_s=30) as client,
    ):
        case = client.open_case()
        held = stalled_upload(client, case, release)
        wait_until(lambda: taken(server) == 1)
        threading.Timer(0.2, release.set).start()
        assert client.upload_ct(case, sent.planning, "planning").series_id
        assert held.result()


def test_a_stalled_upload_is_dropped(server: ColdspotServer, client: ColdspotClient) -> None:
    release = threading.Event()
    future = stalled_upload(client, client.open_case(), release)
    with pytest.raises(grpc.RpcError) as caught:
        future.result()
    release.set()
    assert isinstance(error_from_call(caught.value), ServiceUnavailableError)
    wait_until(lambda: taken(server) == 0)
    wait_until(lambda: not unfinished(server))


def test_a_client_that_goes_away_leaves_nothing(server: ColdspotServer, client: ColdspotClient) -> None:
    release, case = threading.Event(), client.open_case()
    future = stalled_upload(client, case, release)
    wait_until(lambda: taken(server) == 1)
    future.cancel()
    release.set()
    wait_until(lambda: taken(server) == 0)
    wait_until(lambda: not unfinished(server))
    assert not client.case(case).series


def test_a_full_disk_is_no_room(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, min_free_bytes=1 << 60)
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
        pytest.raises(CapacityError, match="disk"),
    ):
        upload(client, header(client.open_case()), VOXELS)


def test_admission_counts_every_place_once() -> None:
    admission = Admission(limit=1)
    with pytest.raises(ColdspotError, match="warming up"):
        admission.admit("case")
    admission.open()
    place = admission.admit("case")
    with pytest.raises(CapacityError):
        admission.admit("case")
    place.release()
    place.release()
    admission.admit("case")
    with pytest.raises(CapacityError):
        admission.admit("case")
