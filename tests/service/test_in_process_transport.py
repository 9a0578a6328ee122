"""The service's core behind a second transport: everything works without gRPC and without its messages."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import GridMismatchError, InvalidRequestError, NotFoundError, PreconditionError
from engine.stages import Stage
from engine.volume import CtVolume, LabelMask
from service.app import App, build_app
from service.artifact_names import ARTIFACT_NAMES, ASSESSMENT_JSON
from service.cases.requests import CaseRequest
from service.cases.series import SeriesRole
from tests.support.in_process_transport import InProcessTransport, give_case
from tests.support.stub_engine import REFUSED_HU, StubPipeline, make_case, settings_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    built = build_app(settings_for(tmp_path), StubPipeline())
    built.open()
    yield built
    built.close(grace_s=5.0)


@pytest.fixture
def transport(app: App) -> InProcessTransport:
    return InProcessTransport(app)


def test_a_procedure_from_planning_to_artifacts(transport: InProcessTransport) -> None:
    sent = make_case(seed=1)
    case = give_case(transport, sent)
    assert not transport.app.cases.summary(case).prepared
    prepared = transport.prepare(case)
    assert prepared.warnings == ("prepared by a stub",)
    assert transport.app.cases.summary(case).prepared

    assessed = transport.assess(case)
    final = assessed.final
    assert final is not None
    assert Stage.COVERAGE in assessed.stages
    assert final.content["summary"] == sent.summary
    assert final.content["coverage"]["tcr"] == pytest.approx(sent.tcr)
    (preliminary,) = assessed.preliminary
    assert preliminary.content["coverage"]["tcr_interval_90"] is not None
    assert preliminary.content["coverage"]["tcr"] is None, "a preliminary answer gives ranges only"

    provenance = final.content["provenance"]
    (assessment_id,) = transport.app.cases.summary(case).assessment_ids
    assert provenance["assessment_id"] == assessment_id
    for name in ARTIFACT_NAMES:
        assert transport.artifact(case, assessment_id, name)
    assert json.loads(transport.artifact(case, assessment_id, ASSESSMENT_JSON)) == final.content
    assert transport.app.artifacts.report(case, assessment_id) == final

    transport.app.cases.delete(case)
    with pytest.raises(NotFoundError):
        transport.assess(case)


def test_a_refusal_carries_no_number(transport: InProcessTransport) -> None:
    sent = make_case(seed=3)
    voxels = sent.verification.voxels_hu.copy()
    voxels[0, 0, 0] = REFUSED_HU
    case = give_case(transport, replace(sent, verification=CtVolume(voxels, sent.verification.geometry)))
    final = transport.assess(case).final
    assert final is not None
    assert final.refusal_code == "no_zone"
    assert final.content["coverage"]["tcr"] is final.content["margin"]["minimal_mm"] is None
    (assessment_id,) = transport.app.cases.summary(case).assessment_ids
    with pytest.raises(NotFoundError, match="refused"):
        transport.artifact(case, assessment_id, "zone.nii.gz")
    assert transport.artifact(case, assessment_id, ASSESSMENT_JSON)


def test_what_does_not_fit_is_refused_with_the_same_errors(transport: InProcessTransport) -> None:
    sent, unknown = make_case(seed=4), str(uuid.uuid4())
    with pytest.raises(NotFoundError):
        transport.give_ct(unknown, sent.planning, SeriesRole.PLANNING_CT)
    with pytest.raises(NotFoundError):
        transport.assess(unknown)
    with pytest.raises(InvalidRequestError):
        transport.open_case(CaseRequest("once", fibrinogen_g_per_l=310.0))
    case = transport.open_case(CaseRequest("once"))
    with pytest.raises(PreconditionError, match="planning ct"):
        transport.prepare(case)
    planning = transport.give_ct(case, sent.planning, SeriesRole.PLANNING_CT)
    shifted = LabelMask(sent.tumor.voxels, replace(sent.tumor.geometry, origin_lps_mm=(5.0, 0.0, 0.0)))
    with pytest.raises(GridMismatchError):
        transport.give_mask(case, shifted, SeriesRole.TUMOR_MASK, planning)


def test_nothing_of_grpc_is_loaded(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import service.pipeline.engine
from service.app import build_app
from service.cases.requests import CaseRequest
from tests.support.in_process_transport import InProcessTransport, give_case
from tests.support.stub_engine import StubPipeline, make_case, settings_for

app = build_app(settings_for(Path({str(tmp_path)!r})), StubPipeline())
app.open()
transport = InProcessTransport(app)
assert transport.assess(give_case(transport, make_case(seed=1))).final is not None
app.close(5.0)
loaded = {{name.partition(".")[0] for name in sys.modules}} & {{"grpc", "grpc_status", "coldspot", "google"}}
raise SystemExit(f"loaded: {{sorted(loaded)}}" if loaded else 0)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr
