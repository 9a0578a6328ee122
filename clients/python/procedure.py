"""A whole procedure on a Coldspot service, from its .proto files alone. Research software, not a medical device.

::

    pip install grpcio grpcio-tools googleapis-common-protos numpy
    python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. ../../proto/coldspot/v1/*.proto
    python procedure.py 127.0.0.1:50051
    python procedure.py host:50051 --ca ca.pem --certificate client.pem --key client-key.pem --token-file token
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from coldspot.v1 import geometry_pb2, service_pb2, service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

CHUNK_BYTES = 512 * 1024
CALL_S = 60.0
ATTEMPTS = 5

SHAPE_ZYX = (64, 72, 72)
SPACING_ZYX_MM = (1.5, 1.25, 1.25)
TUMOR_XYZ_MM = np.array([44.0, 46.0, 47.0])
MOVED_XYZ_MM = np.array([2.5, -1.25, 3.0])


def made_up_scans() -> dict[str, Any]:
    """Return two CTs (HU) and their masks, of lung-like texture; a real client sends what it has."""
    random = np.random.default_rng(7)
    waves = random.standard_normal((60, 3))
    waves *= (2 * np.pi / random.uniform(7, 35, 60) / np.linalg.norm(waves, axis=1))[:, None]
    phases = random.uniform(0, 2 * np.pi, 60)
    spacing_xyz = np.array(SPACING_ZYX_MM[::-1])
    points = np.moveaxis(np.indices(SHAPE_ZYX)[::-1], 0, -1) * spacing_xyz

    def texture(at: Any) -> Any:
        return sum(18 * np.cos(at @ wave + phase) for wave, phase in zip(waves, phases, strict=True)) - 820

    tumor = np.linalg.norm(points - TUMOR_XYZ_MM, axis=-1) <= 7
    zone = np.linalg.norm(points - TUMOR_XYZ_MM - MOVED_XYZ_MM - (2, 0, 0), axis=-1) <= 11
    return {
        "planning": np.where(tumor, 30, np.rint(texture(points))).astype("<i2"),
        "tumor": tumor.astype(np.uint8),
        "verification": np.where(zone, -40, np.rint(texture(points - MOVED_XYZ_MM))).astype("<i2"),
        "zone": zone.astype(np.uint8),
    }


def details_of(error: grpc.RpcError) -> tuple[str, float | None]:
    """Return the reason of a failed call, and how long to wait before it is tried again."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    reason, wait_s = "", None
    for detail in status_pb2.Status.FromString(packed).details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            wait_s = retry.retry_delay.ToNanoseconds() / 1e9
    return reason, wait_s


def patiently(attempt: Callable[[], Any]) -> Any:
    """Try again as long as the service is full, after the time that it names."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return attempt()
        except grpc.RpcError as error:
            _, wait_s = details_of(error)
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or wait_s is None or not left:
                raise
            print(f"the service is full; again in {wait_s} s")
            time.sleep(wait_s)
    raise AssertionError


def parts(header: service_pb2.UploadHeader, content: bytes) -> Iterator[service_pb2.UploadSeriesRequest]:
    """Yield the messages of an upload."""
    yield service_pb2.UploadSeriesRequest(header=header)
    for start in range(0, len(content), CHUNK_BYTES):
        yield service_pb2.UploadSeriesRequest(chunk=content[start : start + CHUNK_BYTES])


def run(service: service_pb2_grpc.ColdspotServiceStub, metadata: list[tuple[str, str]], out: Path) -> None:
    """Do a procedure; print the answer and keep its picture."""
    scans = made_up_scans()
    geometry = geometry_pb2.VolumeGeometry(
        shape_zyx=SHAPE_ZYX,
        spacing_zyx_mm=SPACING_ZYX_MM,
        directions_zyx_lps=[0, 0, 1, 0, 1, 0, 1, 0, 0],
        origin_lps_mm=geometry_pb2.Point(x=0, y=0, z=0),
    )
    asked: dict[str, Any] = {"timeout": CALL_S, "metadata": metadata}

    info = service.GetServerInfo(service_pb2.GetServerInfoRequest(), **asked)
    print(f"Coldspot {info.version}{', mock answers' if info.mock else ''}. {info.disclaimer}")
    opened = service_pb2.OpenCaseRequest(request_id=str(uuid.uuid4()))
    case_id = patiently(lambda: service.OpenCase(opened, **asked)).case_id

    def send(role: service_pb2.SeriesRole, name: str, reference_series_id: str = "") -> str:
        content = scans[name].tobytes()
        header = service_pb2.UploadHeader(
            case_id=case_id,
            role=role,
            total_bytes=len(content),
            sha256=hashlib.sha256(content).digest(),
            voxels=service_pb2.VoxelContent(geometry=geometry),
            reference_series_id=reference_series_id,
        )
        stored = patiently(lambda: service.UploadSeries(parts(header, content), **asked))
        for warning in stored.warnings:
            print(f"{name}: {warning}")
        return str(stored.series_id)

    send(service_pb2.SERIES_ROLE_TUMOR_MASK, "tumor", send(service_pb2.SERIES_ROLE_PLANNING_CT, "planning"))
    for event in patiently(
        lambda: list(service.Prepare(service_pb2.PrepareRequest(case_id=case_id), **asked))
    ):
        if event.prepared.HasField("refusal"):
            sys.exit(f"refused: {event.prepared.refusal.reason}")

    verification = send(service_pb2.SERIES_ROLE_VERIFICATION_CT, "verification")
    send(service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK, "zone", verification)

    def assess() -> Any:
        final = None
        for event in service.Assess(service_pb2.AssessRequest(case_id=case_id), **asked):
            if event.HasField("preliminary"):
                print(f"PRELIMINARY, not for decision: {event.preliminary.summary}")
            elif event.HasField("final"):
                final = event.final
        return final

    answer = patiently(assess)
    for warning in answer.warnings:
        print(f"warning: {warning}")
    if answer.HasField("refusal"):
        print(f"NO NUMBER: {answer.refusal.reason}")
    else:
        print(f"TCR {answer.coverage.tcr:.3f}, minimal margin {answer.margin.minimal_mm:.1f} mm")
        wanted = service_pb2.FetchArtifactRequest(
            case_id=case_id, assessment_id=answer.provenance.assessment_id, name="sheet.png"
        )
        out.write_bytes(b"".join(part.chunk for part in service.FetchArtifact(wanted, **asked)))
        print(out)
    print(answer.summary)
    service.DeleteCase(service_pb2.DeleteCaseRequest(case_id=case_id), **asked)


def main() -> None:
    """Read the arguments, connect, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="127.0.0.1:50051")
    for name in ("ca", "certificate", "key", "token-file"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    chosen = parser.parse_args()
    metadata = []
    if chosen.token_file:
        metadata = [("authorization", f"Bearer {chosen.token_file.read_text('utf-8').strip()}")]
    if chosen.ca:
        certificate = chosen.certificate and chosen.certificate.read_bytes()
        key = chosen.key and chosen.key.read_bytes()
        credentials = grpc.ssl_channel_credentials(chosen.ca.read_bytes(), key, certificate)
        channel = grpc.secure_channel(chosen.address, credentials)
    else:
        channel = grpc.insecure_channel(chosen.address)
    try:
        with channel:
            run(service_pb2_grpc.ColdspotServiceStub(channel), metadata, chosen.out)
    except grpc.RpcError as error:
        reason, _ = details_of(error)
        sys.exit(f"failed ({reason or error.code().name}): {error.details()}")


if __name__ == "__main__":
    main()
