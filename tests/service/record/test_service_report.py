from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from coldspot.v1 import assessment_pb2
from google.protobuf.message import Message
from rich.console import Console

from engine.findings import AlignmentFinding, AlignmentMethod, ContourKind, RegistrationQuality
from engine.geometry import RigidTransform
from engine.refusal import Refusal, RefusalCode
from service.commands.terminal import summary_table
from service.figures_in_words import alignment_line
from service.record.provenance import Provenance
from service.record.report import AssessmentReport, assessment_report
from service.wire.report import assessment_json, assessment_message
from tests.support.stub_engine import QUALITY, StubPipeline, _assessment

PROMISED = """
phase summary timings_s latency_s warnings refusal uncovered
coverage.tcr coverage.tcr_interval_90 coverage.complete coverage.probability_complete
coverage.lung_clipped.tcr coverage.lung_clipped.not_assessable_share coverage.core.tcr
margin.minimal_mm margin.minimal_interval_90_mm margin.shares margin.lung_clipped.minimal_mm
alignment.method alignment.residual_mm alignment.planning_from_verification
alignment.quality.similarity alignment.quality.inverse_consistency_mm alignment.quality.contraction
lesion.volume_ml lesion.centroid_lps_mm lesion.source
risk.months risk.probability risk.band_90 risk.model
provenance.software provenance.disclaimer provenance.seed
"""
PROMISED_OF_A_REGION = {
    "rank",
    "volume_ml",
    "centroid_lps_mm",
    "deepest_lps_mm",
    "direction",
    "distance_to_pleura_mm",
}


def look_up(report: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        report = report[key]
    return report


def full() -> assessment_pb2.Assessment:
    message = assessment_message(
        assessment_report(_assessment("all well", 0.75, None, {"coverage": 0.1})).content
    )
    message.latency_s = 1.5
    message.provenance.seed = 7
    return message


def test_keys_are_there_full_and_empty() -> None:
    for message in (full(), assessment_pb2.Assessment()):
        report = assessment_json(message)
        for key in PROMISED.split():
            look_up(report, key)


def test_keys_are_those_of_the_message() -> None:
    def same(report: dict[str, Any], message: Message) -> None:
        assert list(report) == [field.name for field in message.DESCRIPTOR.fields]
        for field in message.DESCRIPTOR.fields:
            if isinstance(report[field.name], dict) and field.name != "timings_s":
                same(report[field.name], getattr(message, field.name))

    same(assessment_json(full()), full())


def test_values() -> None:
    report = assessment_json(full())
    assert report["phase"] == "final"
    assert report["coverage"]["tcr"] == 0.75
    assert report["coverage"]["tcr_interval_90"] == [0.375, 1.0]
    assert report["coverage"]["complete"] is False
    assert report["margin"]["shares"] == {
        "below_0_mm": 0.1,
        "from_0_to_5_mm": 0.2,
        "from_5_to_10_mm": 0.3,
        "at_least_10_mm": 0.4,
    }
    (region,) = report["uncovered"]
    assert set(region) >= PROMISED_OF_A_REGION
    assert region["centroid_lps_mm"] == [1.0, 2.0, 3.0]
    assert region["distance_to_pleura_mm"] is None
    assert report["risk"]["band_90"] == [[0.05, 0.2], [0.1, 0.3]]
    assert report["refusal"] is None
    assert report["timings_s"] == {"coverage": 0.1}
    assert report["latency_s"] == 1.5
    assert report["provenance"]["seed"] == 7
    assert report["provenance"]["core_sha256"] is None
    json.dumps(report, allow_nan=False)


def test_an_empty_message_has_null_leaves() -> None:
    def leaves(content: Any) -> list[Any]:
        if isinstance(content, dict):
            return [leaf for value in content.values() for leaf in leaves(value)]
        return [] if content == [] else [content]

    report = assessment_json(assessment_pb2.Assessment())
    assert report.pop("phase") == "unspecified"
    assert set(leaves(report)) == {None}


def test_a_refusal_is_told_with_null_numbers() -> None:
    message = assessment_pb2.Assessment(
        refusal=assessment_pb2.Refusal(code=assessment_pb2.REFUSAL_CODE_NO_ZONE, reason="send it"),
        coverage=assessment_pb2.Coverage(),
    )
    report = assessment_json(message)
    assert report["refusal"] == {"code": "no_zone", "reason": "send it", "candidates": []}
    assert report["coverage"]["tcr"] is None
    assert report["margin"]["shares"] is None


def test_zero_and_false_are_not_null() -> None:
    message = assessment_pb2.Assessment(coverage=assessment_pb2.Coverage(tcr=0.0, complete=False))
    report = assessment_json(message)
    assert report["coverage"]["tcr"] == 0.0
    assert report["coverage"]["complete"] is False


def test_the_quality_has_the_names_of_the_finding() -> None:
    message = assessment_pb2.RegistrationQuality.DESCRIPTOR
    assert {field.name for field in message.fields} == {field.name for field in fields(RegistrationQuality)}
    assert assessment_json(full())["alignment"]["quality"] == asdict(QUALITY)


def test_a_quality_that_was_not_measured_is_null() -> None:
    found = _assessment("", 0.75, None, {})
    unsure = replace(found.alignment, quality=replace(QUALITY, similarity=math.nan, contraction=0.0))
    report = assessment_report(replace(found, alignment=unsure)).content
    told = assessment_json(assessment_message(report))["alignment"]["quality"]
    assert (told["similarity"], told["contraction"]) == (None, 0.0)
    rigid = replace(
        found,
        preliminary=True,
        alignment=AlignmentFinding(AlignmentMethod.RIGID, RigidTransform.identity(), 0.9),
    )
    message = assessment_message(assessment_report(rigid).content)
    assert not message.alignment.HasField("quality")
    assert set(assessment_json(message)["alignment"]["quality"].values()) == {None}


@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusal_tells_no_number_of_the_alignment(code: RefusalCode) -> None:
    message = assessment_message(assessment_report(_assessment("", 0.75, Refusal(code, "why"), {})).content)
    assert assessment_json(message)["refusal"]["code"] == code.value
    alignment = assessment_json(message)["alignment"]
    assert alignment.pop("method") == "deformable"
    assert set(alignment.pop("quality").values()) == {None}
    assert alignment.pop("planning_from_verification") == []
    assert {name for name, value in alignment.items() if value is not None} == {
        "planning_frame_of_reference_uid",
        "verification_frame_of_reference_uid",
    }


def words(prefix: str, names: list[str]) -> set[str]:
    return {name.removeprefix(prefix).lower() for name in names}


def test_every_refusal_code_stands_in_the_contract() -> None:
    contract = words("REFUSAL_CODE_", assessment_pb2.RefusalCode.keys())
    assert contract == {code.value for code in RefusalCode} | {"unspecified"}


def test_every_alignment_method_of_an_answer_stands_in_the_contract() -> None:
    contract = words("ALIGNMENT_METHOD_", assessment_pb2.AlignmentMethod.keys())
    assert contract - {"unspecified"} == set(AlignmentMethod) - {AlignmentMethod.TRANSLATION}


def test_every_kind_of_contour_stands_in_the_contract() -> None:
    contract = words("CONTOUR_KIND_", assessment_pb2.ContourKind.keys())
    assert contract - {"unspecified"} == set(ContourKind)


def test_a_code_of_a_later_version_is_unspecified() -> None:
    message = assessment_pb2.Assessment()
    message.refusal.ParseFromString(bytes([8, 99]))
    assert assessment_json(message)["refusal"]["code"] == "unspecified"


def test_the_time_of_an_assessment_is_a_timestamp() -> None:
    message = full()
    message.provenance.assessed_at.FromDatetime(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
    assert assessment_json(message)["provenance"]["assessed_at"] == "2026-05-04T03:02:01+00:00"


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        (("deformable", 0.12, 0.41, 0.021), "deformable, still 0.1 mm off; there and back 0.4 mm; "),
        (("deformable", 0.12, 0.41, 0.021), "tissue drawn in by 2 %"),
        (("deformable", 0.12, 0.41, -0.034), "tissue pushed away by 3 %"),
        (("deformable", 0.12, 0.41, -0.004), "tissue drawn in by 0 %"),
    ],
)
def test_the_alignment_in_a_line(figures: tuple[str, float, float, float], line: str) -> None:
    assert line in alignment_line(*figures)


def test_what_was_not_measured_is_not_in_the_line() -> None:
    assert alignment_line("rigid", None, None, None) == "rigid"
    assert alignment_line(None, None, None, None) == "-"


def shown(message: assessment_pb2.Assessment) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(summary_table(assessment_json(message)))
    return capture.get()


def test_the_table_says_how_the_scans_were_aligned() -> None:
    line = "deformable, still 0.4 mm off; there and back 0.6 mm; tissue drawn in by 2 %"
    assert line in shown(full())
    assert "still" not in shown(assessment_pb2.Assessment())


def test_the_stub_is_a_pipeline() -> None:
    from service.pipeline.protocol import Pipeline

    pipeline: Pipeline = StubPipeline()
    assert pipeline.describe().kernels == "stub"


@pytest.mark.parametrize("preliminary", [False, True])
@pytest.mark.parametrize("refusal", [None, Refusal(RefusalCode.NO_ZONE, "why")])
def test_a_report_comes_back_from_its_message_and_from_the_disk(
    preliminary: bool, refusal: Refusal | None
) -> None:
    measured = replace(_assessment("s", 0.75, refusal, {"b": 0.1, "a": 1}), preliminary=preliminary)
    report = assessment_report(measured).with_latency(1.5)
    text = json.dumps(report.content)
    assert json.dumps(assessment_json(assessment_message(report.content))) == text
    assert json.dumps(AssessmentReport.from_bytes(report.to_bytes()).content) == text
    assert report.preliminary is preliminary
    assert report.refusal_code == (None if refusal is None else "no_zone")


def test_the_provenance_has_the_fields_of_the_message() -> None:
    message = assessment_pb2.Provenance.DESCRIPTOR
    assert [field.name for field in message.fields] == [field.name for field in fields(Provenance)]
