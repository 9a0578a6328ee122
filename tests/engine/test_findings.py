from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.assessment.wording import contour_source, contours_to_check, core_source
from engine.findings import (
    NO_CONTOUR,
    READER_CONTOUR_SD_MM,
    SUPPLIED,
    THRESHOLDED,
    ContourKind,
    ContourOrigin,
)
from engine.manifest import read_sealed_manifest
from engine.model_identity import ModelIdentity
from engine.structures.model_contour import DEMO_SD_MM, min_contour_sd_mm
from service.commands.terminal import summary_table
from service.record.report import assessment_report
from service.wire.report import assessment_json, assessment_message
from tests.support.stub_engine import _assessment

BUNDLE = Path(__file__).parents[2] / "models" / "zone-demo" / "1.0.0"
SITE = ModelIdentity("site-net", "2.1.0", "0" * 64, demo=False, manifest_sha256="1" * 64)
DEMO = ModelIdentity("zone-demo", "1.0.0", "0" * 64, demo=True, manifest_sha256="1" * 64)
CALLED_DEMO = ModelIdentity("demo-model", "1.0.0", "0" * 64, demo=False, manifest_sha256="1" * 64)


def test_an_identity_is_made_from_the_manifest() -> None:
    sealed = read_sealed_manifest(BUNDLE)
    identity = sealed.identity
    assert (identity.id, identity.version, identity.demo) == ("zone-demo", "1.0.0", True)
    assert identity.sha256 == sealed.manifest.files["model.onnx"]
    assert identity.manifest_sha256 == hashlib.sha256((BUNDLE / "manifest.json").read_bytes()).hexdigest()
    assert str(identity) == "zone-demo 1.0.0 (demo model)"


def test_a_segmented_contour_and_no_other_has_a_model() -> None:
    with pytest.raises(ValueError, match="has that model"):
        ContourOrigin(ContourKind.MODEL)
    with pytest.raises(ValueError, match="has that model"):
        ContourOrigin(ContourKind.DEMO_MODEL, SITE)
    with pytest.raises(ValueError, match="and no other"):
        ContourOrigin(ContourKind.SUPPLIED, SITE)


def test_origins_in_words() -> None:
    drawn = ContourOrigin.segmented_by(SITE)
    origins = (NO_CONTOUR, SUPPLIED, drawn)
    assert [contour_source(origin) for origin in origins] == ["", "supplied", "segmented by site-net 2.1.0"]
    assert [core_source(origin) for origin in (*origins, THRESHOLDED)] == [
        "none",
        "supplied",
        "segmented",
        "found",
    ]
    assert contours_to_check(SUPPLIED, SUPPLIED) == contours_to_check(SUPPLIED, NO_CONTOUR) == ""
    assert contours_to_check(SUPPLIED, drawn) == (
        "Contours to be checked by a reader: ablation zone segmented by site-net 2.1.0."
    )


@pytest.mark.parametrize(
    ("model", "mark"), [(SITE, "a model"), (DEMO, "a demo model"), (CALLED_DEMO, "a model")]
)
def test_the_flag_and_not_the_name_makes_a_demo_model(model: ModelIdentity, mark: str) -> None:
    found = _assessment("summary", 0.5, None, {})
    origin = ContourOrigin.segmented_by(model)
    drawn = replace(found, lesion=replace(found.lesion, origin=origin))
    report = assessment_json(assessment_message(assessment_report(drawn).content))
    assert report["lesion"]["origin"] == {
        "kind": "demo_model" if model.demo else "model",
        "model": asdict(model),
    }
    assert report["coverage"]["zone_origin"] == {"kind": "supplied", "model": None}
    shown = [str(cell) for column in summary_table(report).columns for cell in column.cells]
    assert any(cell.endswith(f", on contours of {mark}") for cell in shown)
    assert min_contour_sd_mm(model) == (DEMO_SD_MM if model.demo else READER_CONTOUR_SD_MM)
