"""The whole procedure over a real loopback channel, with a stub in the engine's place."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from coldspot.v1 import assessment_pb2, service_pb2

from engine.errors import (
    ColdspotError,
    ConflictError,
    EmptyMaskError,
    GridMismatchError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
    ServiceError,
    UnreadableFileError,
)
from engine.files.image_file import write_mask, write_volume
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient, SentSeries
from service.server import ColdspotServer, running_server
from tests.support.dicom_files import write_ct_series, write_segmentation
from tests.support.stub_engine import (
    BROKEN_HU,
    PATIENT,
    REFUSED_HU,
    StubCase,
    StubPipeline,
    make_case,
    settings_for,
)


@pytest.fixture
def pipeline() -> StubPipeline:
    return StubPipeline()


@pytest.fixture
def server(tmp_path: Path, pipeline: StubPipeline) -> Iterator[ColdspotServer]:
    with running_server(settings_for(tmp_path), pipeline) as running:
        yield running


@pytest.fixture
def client(server: ColdspotServer) -> Iterator[ColdspotClient]:
    with ColdspotClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def send(client: ColdspotClient, sent: StubCase, case: str = "") -> str:
    case = case or client.open_case()
    planning = client.upload_ct(case, sent.planning, "planning")
    client.upload_mask(case, sent.tumor, "tumor", planning)
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    return case


def with_first_voxel(sent: StubCase, hu: int) -> StubCase:
    voxels = sent.verification.voxels_hu.copy()
    voxels[0, 0, 0] = hu
    return replace(sent, verification=CtVolume(voxels, sent.verification.geometry))


def test_a_procedure_from_planning_to_artifacts(client: ColdspotClient, tmp_path: Path) -> None:
    sent = make_case(seed=1)
    case = client.open_case(sex="f", fibrinogen_g_per_l=3.1, target_lps_mm=(1.0, 2.0, 3.0))
    planning = client.upload_ct(case, sent.planning, "planning")
    client.upload_mask(case, sent.tumor, "tumor", planning)
    stages: list[tuple[str, int]] = []
    prepared = client.prepare(case, on_stage=lambda event: stages.append((event.stage, event.state)))
    assert ("locate_lesion", service_pb2.STAGE_STATE_STARTED) in stages
    assert ("locate_lesion", service_pb2.STAGE_STATE_FINISHED) in stages
    assert prepared.lesion.centroid_lps_mm.z == 3.0
    assert client.case(case).prepared

    verification = client.upload_ct(case, sent.verification, "verification")
    zone = client.upload_mask(case, sent.zone, "zone", verification)
    client.upload_mask(case, LabelMask(sent.zone.voxels, sent.zone.geometry), "core", verification)
    preliminaries: list[assessment_pb2.Assessment] = []
    final = client.assess(case, on_preliminary=preliminaries.append, include_risk_if_complete=True)
    assert zone.series_id in {series.series_id for series in client.case(case).series}
    assert final.coverage.tcr == pytest.approx(sent.tcr)
    assert final.summary.endswith("f 3.1")
    assert 0 < final.latency_s < 60
    assert {"read_verification", "coarse_alignment", "coverage"} <= set(final.timings_s)
    assert final.risk.probability_if_complete
    assert list(final.warnings) == ["stub"]
    provenance = final.provenance
    assert provenance.verification_sha256 == hashlib.sha256(sent.verification.voxels_hu.tobytes()).hexdigest()
    assert provenance.disclaimer == "Research software, not a medical device."
    assert provenance.risk_model == "demo 1"
    assert provenance.registration == "deformable; grid 0 mm"
    assert client.assessment(case, provenance.assessment_id) == final
    assert client.case(case).assessment_ids == [provenance.assessment_id]

    (preliminary,) = preliminaries
    assert preliminary.coverage.HasField("tcr_interval_90")
    for field in ("tcr", "complete"):
        assert not preliminary.coverage.HasField(field), "a preliminary answer gives ranges only"
    assert not preliminary.margin.HasField("minimal_mm")
    assert not preliminary.HasField("risk")

    for name in ("tumor.nii.gz", "margin_mm.nii.gz", "sheet.png"):
        assert client.fetch_artifact(final, name, tmp_path / "out").stat().st_size > 0
    stored = json.loads(client.fetch_artifact(final, "assessment.json", tmp_path / "out").read_text("utf-8"))
    assert stored["coverage"]["tcr"] == final.coverage.tcr
    with pytest.raises(InvalidRequestError):
        client.fetch_artifact(final, "../cases.sqlite", tmp_path / "out")
    with pytest.raises(grpc.RpcError, match="an artifact is one of"):
        next(
            client._connection.service.FetchArtifact(
                service_pb2.FetchArtifactRequest(
                    case_id=case, assessment_id=provenance.assessment_id, name="../../cases.sqlite"
                )
            )
        )
    assert not list((tmp_path / "out").glob(".*"))

    client.delete_case(case)
    with pytest.raises(NotFoundError):
        client.case(case)


def test_assess_prepares_what_was_not_prepared(client: ColdspotClient, pipeline: StubPipeline) -> None:
    sent = make_case(seed=2)
    case = send(client, sent)
    assert client.assess(case).summary == sent.summary
    client.assess(case)
    assert pipeline.prepared_count == 1


def test_a_refusal_carries_no_number(client: ColdspotClient, tmp_path: Path) -> None:
    final = client.assess(send(client, with_first_voxel(make_case(seed=3), REFUSED_HU)))
    assert final.refusal.code == assessment_pb2.REFUSAL_CODE_NO_ZONE
    assert not any(
        final.coverage.HasField(name)
        for name in ("tcr", "complete", "probability_complete", "tcr_interval_90", "lung_clipped")
    )
    assert not final.coverage.core.HasField("tcr")
    assert not any(
        final.margin.HasField(name)
        for name in ("minimal_mm", "minimal_interval_90_mm", "shares", "lung_clipped", "core")
    )
    assert not final.uncovered
    assert not final.HasField("risk")
    with pytest.raises(NotFoundError, match="refused"):
        client.fetch_artifact(final, "zone.nii.gz", tmp_path)
    assert client.fetch_artifact(final, "sheet.png", tmp_path).stat().st_size
    client.fetch_artifact(final, "assessment.json", tmp_path)


def test_artifacts_that_cannot_be_made(
    client: ColdspotClient, pipeline: StubPipeline, tmp_path: Path
) -> None:
    pipeline.artifact_gate = lambda: 1 / 0
    final = client.assess(send(client, make_case(seed=1)))
    with pytest.raises(ColdspotError, match="could not be made"):
        client.fetch_artifact(final, "sheet.png", tmp_path)
    client.fetch_artifact(final, "assessment.json", tmp_path)


def test_a_fetch_waits_for_slow_artifacts(
    client: ColdspotClient, pipeline: StubPipeline, tmp_path: Path
) -> None:
    pipeline.artifact_gate = lambda: time.sleep(0.2)
    final = client.assess(send(client, make_case(seed=1)))
    assert client.fetch_artifact(final, "sheet.png", tmp_path).exists()


def test_an_unforeseen_failure_leaks_nothing(
    client: ColdspotClient, capfd: pytest.CaptureFixture[str]
) -> None:
    case = send(client, with_first_voxel(make_case(seed=4), BROKEN_HU))
    with pytest.raises(ServiceError, match=r"internal error [0-9a-f]{12}") as caught:
        client.assess(case)
    assert PATIENT not in str(caught.value)
    assert client.is_serving(), "the worker must survive it"
    assert client.assess(send(client, make_case(seed=5)))
    assert PATIENT not in capfd.readouterr().err


def test_several_verification_series_are_judged_one_by_one(client: ColdspotClient) -> None:
    first, second = make_case(seed=6), make_case(seed=7)
    case = client.open_case()
    planning = client.upload_ct(case, first.planning, "planning")
    client.upload_mask(case, first.tumor, "tumor", planning)
    before = client.upload_ct(case, first.verification, "verification")
    client.upload_mask(case, first.zone, "zone", before)
    after = client.upload_ct(case, second.verification, "verification")
    zone_after = client.upload_mask(case, second.zone, "zone", after)
    assert client.assess(case, verification=before).summary == first.summary
    expected = replace(first, verification=second.verification, zone=second.zone).summary
    assert client.assess(case, verification=after).summary == expected
    assert client.assess(case).summary == expected, "the newest unless named"
    request = service_pb2.AssessRequest(
        case_id=case, verification_series_id=before.series_id, zone_series_id=zone_after.series_id
    )
    with pytest.raises(InvalidRequestError, match="another CT"):
        consume(client, request)


def consume(client: ColdspotClient, request: service_pb2.AssessRequest) -> None:
    for _ in client._connection.patiently(lambda: client._connection.service.Assess(request, timeout=30)):
        pass


def test_a_new_planning_ct_asks_for_a_new_prepare(client: ColdspotClient) -> None:
    sent, newer = make_case(seed=8), make_case(seed=9)
    case = send(client, sent)
    client.prepare(case)
    planning = client.upload_ct(case, newer.planning, "planning")
    with pytest.raises(PreconditionError, match="Prepare again"):
        client.assess(case)
    assert not client.case(case).prepared
    client.upload_mask(case, newer.tumor, "tumor", planning)
    client.prepare(case)
    expected = replace(sent, planning=newer.planning, tumor=newer.tumor).summary
    assert client.assess(case).summary == expected


def test_a_mask_that_names_no_ct_is_not_passed_over(client: ColdspotClient) -> None:
    sent = make_case(seed=10)
    case = client.open_case()
    client.upload_ct(case, sent.planning, "planning")
    loose = client.upload_mask(case, sent.tumor, "tumor", SentSeries(""))
    with pytest.raises(PreconditionError, match="on which CT"):
        client.prepare(case)
    request = service_pb2.PrepareRequest(case_id=case, tumor_series_id=loose.series_id)
    for _ in client._connection.service.Prepare(request, timeout=30):
        pass
    client.upload_ct(case, sent.verification, "verification")
    assert client.assess(case).summary.split()[1] == sent.summary.split()[1]


def test_series_are_missing(client: ColdspotClient) -> None:
    case = client.open_case()
    with pytest.raises(PreconditionError, match="planning ct"):
        client.prepare(case)
    with pytest.raises(PreconditionError, match="verification ct"):
        client.assess(case)
    with pytest.raises(NotFoundError):
        client.assess(case, verification=SentSeries("none"))
    sent = make_case(seed=1)
    verification = client.upload_ct(case, sent.verification, "verification")
    with pytest.raises(PreconditionError, match="planning ct"):
        client.assess(case)
    with pytest.raises(InvalidRequestError, match="not a planning ct"):
        client.upload_mask(case, sent.tumor, "tumor", verification)


@pytest.mark.parametrize("marked", [(0, 0, 0), (3, 5, 7), (1, 2, 3)])
def test_a_small_mask_comes_back_in_its_place(client: ColdspotClient, marked: tuple[int, int, int]) -> None:
    voxels = np.zeros((4, 6, 8), dtype=np.bool_)
    voxels[marked] = True
    sent = replace(make_case(seed=1), zone=LabelMask(voxels, make_case(seed=1).zone.geometry))
    case = send(client, sent)
    assert client.assess(case).summary == sent.summary
    assert client.case(case).series[-1].stored_bytes == 1


def test_an_empty_mask_is_refused(client: ColdspotClient) -> None:
    sent = make_case(seed=1)
    empty = LabelMask(np.zeros((4, 6, 8), dtype=np.bool_), sent.tumor.geometry)
    case = client.open_case()
    planning = client.upload_ct(case, sent.planning, "planning")
    with pytest.raises(EmptyMaskError):
        client.upload_mask(case, empty, "tumor", planning)


def test_a_mask_on_another_grid_is_refused_at_once(client: ColdspotClient) -> None:
    sent = make_case(seed=1)
    case = client.open_case()
    planning = client.upload_ct(case, sent.planning, "planning")
    shifted = replace(sent.tumor.geometry, origin_lps_mm=(5.0, 0.0, 0.0))
    with pytest.raises(GridMismatchError):
        client.upload_mask(case, LabelMask(sent.tumor.voxels, shifted), "tumor", planning)
    assert len(client.case(case).series) == 1


def test_opening_is_safe_to_repeat(client: ColdspotClient) -> None:
    case = client.open_case(sex="m", request_id="once")
    assert client.open_case(sex="m", request_id="once") == case
    with pytest.raises(ConflictError):
        client.open_case(sex="f", request_id="once")


@pytest.mark.parametrize(
    "inputs",
    [
        {"fibrinogen_g_per_l": 310.0},
        {"fibrinogen_g_per_l": math.nan},
        {"fibrinogen_g_per_l": 0.0},
        {"target_lps_mm": (math.inf, 0.0, 0.0)},
        {"sex": "x"},
    ],
)
def test_impossible_clinical_inputs(client: ColdspotClient, inputs: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.open_case(**inputs)  # type: ignore[arg-type]  # parametrized
    assert caught.value.field in inputs


def test_files_are_sent_as_they_are(client: ColdspotClient, tmp_path: Path) -> None:
    sent = make_case(seed=11)
    write_volume(tmp_path / "planning.nii.gz", sent.planning.voxels_hu, sent.planning.geometry)
    write_mask(tmp_path / "tumor.nii.gz", sent.tumor)
    case = client.open_case()
    planning = client.upload_ct(case, tmp_path / "planning.nii.gz", "planning")
    client.upload_mask(case, tmp_path / "tumor.nii.gz", "tumor", planning)
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    assert client.assess(case).summary == sent.summary


def test_a_folder_of_instances_is_sent_in_order(client: ColdspotClient, tmp_path: Path) -> None:
    folder = tmp_path / "series"
    expected = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 0]]], dtype=np.int16)
    grid = VolumeGeometry((2, 2, 2), (1.0, 1.0, 1.0), frame_of_reference_uid="1.2.3")
    first, _ = write_ct_series(folder / "below", CtVolume(expected, grid))
    first.rename(folder / "a.dcm")
    write_segmentation(tmp_path / "seg", CtVolume(expected, grid), {"tumor": expected > 4})
    (folder / "notes.txt").write_bytes(b"not an image")
    (folder / ".hidden.dcm").write_bytes(b"not an image")
    (folder / "DICOMDIR").write_bytes(b"")
    case = client.open_case()
    planning = client.upload_ct(case, folder, "planning")
    client.upload_mask(case, tmp_path / "seg", "tumor", planning)
    assert "1 DICOMDIR, 1 txt" in planning.warnings[1]
    client.upload_ct(case, CtVolume(expected, grid), "verification")
    planning_sum, tumor_sum, verification_sum = client.assess(case).summary.split()[:3]
    assert planning_sum == verification_sum
    assert tumor_sum != "none"


def test_a_series_that_cannot_be_read_is_refused_at_upload(client: ColdspotClient, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"XX")
    case = client.open_case()
    with pytest.raises(UnreadableFileError):
        client.upload_ct(case, tmp_path, "planning")
    assert not client.case(case).series
    (tmp_path / "broken.dcm").unlink()
    (tmp_path / "empty.dcm").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match=r"empty\.dcm is empty"):
        client.upload_ct(case, tmp_path, "planning")
    with pytest.raises(UnreadableFileError, match="does not exist"):
        client.upload_ct(case, tmp_path / "nowhere", "planning")


def test_eight_clients_at_once_get_their_own_answers(server: ColdspotServer, pipeline: StubPipeline) -> None:
    pipeline.stage_s = 0.01

    def run(seed: int) -> tuple[str, str]:
        with ColdspotClient(f"127.0.0.1:{server.port}", patience_s=60.0) as client:
            sent = make_case(seed)
            return client.assess(send(client, sent)).summary, sent.summary

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(run, range(100, 116)))
    assert len({expected for _, expected in answers}) == 16
    assert all(found == expected for found, expected in answers)


def test_everything_acknowledged_survives_a_restart(tmp_path: Path) -> None:
    sent, settings = make_case(seed=12), settings_for(tmp_path)
    with (
        running_server(settings, StubPipeline()) as first,
        ColdspotClient(f"127.0.0.1:{first.port}") as client,
    ):
        case = send(client, sent)
        client.prepare(case)
        before = client.assess(case)
        client.fetch_artifact(before, "sheet.png", tmp_path / "before")
    pipeline = StubPipeline()
    with running_server(settings, pipeline) as second, ColdspotClient(f"127.0.0.1:{second.port}") as client:
        assert client.case(case).prepared
        assert client.assessment(case, before.provenance.assessment_id) == before
        client.fetch_artifact(before, "sheet.png", tmp_path / "after")
        after = client.assess(case)
    assert pipeline.prepared_count == 1, "the prepared planning side is rebuilt from disk"
    assert after.summary == before.summary
    assert not after.HasField("latency_s"), "when the verification CT came is not known any more"
    assert (tmp_path / "before" / "sheet.png").read_bytes() == (tmp_path / "after" / "sheet.png").read_bytes()
