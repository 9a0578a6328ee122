from __future__ import annotations

import json
from typing import Any

from coldspot.v1 import assessment_pb2
from google.protobuf.message import Message

from service.convert import assessment_message
from service.report import assessment_json
from tests.stub_engine import StubPipeline, _assessment

PROMISED = """
phase summary timings_s latency_s warnings refusal uncovered
coverage.tcr coverage.tcr_interval_90 coverage.complete coverage.probability_complete
coverage.lung_clipped.tcr coverage.lung_clipped.not_assessable_share coverage.core.tcr
margin.minimal_mm margin.minimal_interval_90_mm margin.shares margin.lung_clipped.minimal_mm
alignment.method alignment.residual_mm alignment.planning_from_verification
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
    message = assessment_message(_assessment("all well", 0.75, None, {"coverage": 0.1}))
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
        refusal=assessment_pb2.Refusal(code="no_zone", reason="send it"), coverage=assessment_pb2.Coverage()
    )
    report = assessment_json(message)
    assert report["refusal"] == {"code": "no_zone", "reason": "send it"}
    assert report["coverage"]["tcr"] is None
    assert report["margin"]["shares"] is None


def test_zero_and_false_are_not_null() -> None:
    message = assessment_pb2.Assessment(coverage=assessment_pb2.Coverage(tcr=0.0, complete=False))
    report = assessment_json(message)
    assert report["coverage"]["tcr"] == 0.0
    assert report["coverage"]["complete"] is False


def test_the_stub_is_a_pipeline() -> None:
    from service.pipeline import Pipeline

    pipeline: Pipeline = StubPipeline()
    assert pipeline.describe().kernels == "stub"
