"""Model cards of every kind, and bundles that are written whole, alike each time, and never twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BundleIntegrityError, InvalidRequestError
from engine.manifest import (
    FeatureSection,
    ModelManifest,
    ParityReport,
    PerformanceFigure,
    TensorSpec,
    load_bundle,
)
from export.bundle.model_card import render_model_card
from export.bundle.writing import write_bundle, write_bundle_folder
from tests.support.segmentation_models import manifest as segmentation_manifest

ROOT = Path(__file__).parents[3]
NETWORK = b"not read by anything here"


def segmentation(**changes: Any) -> ModelManifest:
    return ModelManifest.model_validate_json(json.dumps(segmentation_manifest(**changes)))


def features() -> ModelManifest:
    report = ParityReport(
        reference="torch 2.13.0 (CPU, float32)",
        candidate="onnxruntime 1.30.0 (CPU), fp32",
        measured_on="lesions",
        cases=2,
        max_abs=1.5e-6,
        mean_abs=1e-7,
        p999_abs=1e-6,
        cosine_distance=2.5e-13,
        tolerance=1e-5,
        passed=True,
    )
    return ModelManifest(
        schema_version=1,
        id="fm-lct",
        version="1.2.3",
        kind="features",
        description="A vision transformer.",
        intended_use="Research.",
        demo=False,
        fitted_on="unknown",
        licence="CC BY 3.0",
        provenance="a checkpoint",
        assumptions=("The spacing does not matter.",),
        files={"model.onnx": "0" * 64, "half.onnx": "0" * 64},
        variants={"fp32": ("model.onnx",), "fp16_mixed": ("half.onnx",)},
        inputs=(TensorSpec(name="patch", dtype="float32", shape=("batch", 1, 48, 48, 48)),),
        outputs=(TensorSpec(name="features", dtype="float32", shape=("batch", 768)),),
        parity_reports=(report, report),
        features=FeatureSection(
            recipe="hu_-1024_3072", patch_shape=(48, 48, 48), roi_only=True, feature_count=768
        ),
    )


def table(card: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading."""
    lines = card.split(f"## {heading}\n", 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    stop = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[start:stop]]


def test_the_card_of_a_segmentation_says_what_is_executed() -> None:
    manifest = segmentation()
    section = manifest.segmentation
    assert section is not None
    card = render_model_card(manifest)
    for said in (
        f"# {manifest.id} {manifest.version}",
        manifest.description,
        "Research software, not a medical device.",
        manifest.licence,
        manifest.provenance,
        manifest.intended_use,
        manifest.fitted_on,
        "background = 0",
        "normalized, then resampled",
        f"order {section.resampling.data_order}",
        "| fp32 | model.onnx |",
    ):
        assert said in card
    assert ("**Demo model." in card) == manifest.demo
    channel = section.channels[0]
    (row,) = table(card, "Preparation of the image")[2:]
    assert row[0] == channel.name
    assert row[2] == f"{channel.low:g} to {channel.high:g}"


def test_the_parity_table_has_a_row_for_each_report() -> None:
    manifest = segmentation()
    (report,) = manifest.parity_reports
    rows = table(render_model_card(manifest), "Agreement with the source")
    assert len(rows[0]) == len(rows[2])
    (row,) = rows[2:]
    assert row[:3] == [report.candidate, report.reference, f"{report.measured_on}, {report.cases} cases"]
    assert row[3] == f"{report.max_abs:.1e}"
    assert row[6:8] == ["-", f"{report.label_flips} ({report.near_tie_flips}) of {report.voxels}"]
    feature_rows = table(render_model_card(features()), "Agreement with the source")
    assert len(feature_rows) == 4
    assert feature_rows[2][6:9] == ["2.5e-13", "-", "-"]


def test_a_demo_is_labelled_before_anything_else_and_only_a_demo() -> None:
    lines = render_model_card(segmentation(demo=True, fitted_on="demo model: painted ablations")).splitlines()
    assert lines[2] == "**Demo model. It shows what the software does; do not use it for a patient.**"
    assert "Demo model" not in render_model_card(features())


def test_the_card_of_a_feature_model_names_its_recipe() -> None:
    card = render_model_card(features())
    for said in (
        "hu_-1024_3072: -1024 to 3072 HU",
        "LC-NICER",
        "768",
        "blanked",
        "| fp16_mixed | half.onnx |",
    ):
        assert said in card
    assert "## Assumptions\n\n- The spacing does not matter." in card
    assert "## Measured" not in card


def test_figures_are_told_by_case_and_free_text_cannot_break_a_table() -> None:
    figure = PerformanceFigure(name="Dice | case a", value=0.91234, measured_on="one\nCT")
    card = render_model_card(features().model_copy(update={"performance": (figure,)}))
    assert "| Dice \\| case a | 0.912 | one CT |" in card


def test_regions_and_version_1_are_told() -> None:
    changes = {
        "segmentation__framework": "nnunet_v1",
        "segmentation__purpose": "ablation_zone",
        "segmentation__labels": {"background": 0, "zone": 1, "core": 2},
        "segmentation__regions": [[1, 2], [2]],
        "segmentation__regions_class_order": [1, 2],
    }
    card = render_model_card(segmentation(**changes))
    assert "1, 2 written as 1; 2 written as 2" in card
    assert "- Counted: zone as zone; core as core" in card
    assert "resampled, then normalized" in card


def test_the_card_of_a_risk_model_is_as_it_was() -> None:
    folder = ROOT / "models" / "deepsurv-demo" / "1.0.0"
    assert render_model_card(load_bundle(folder).manifest) == (folder / "MODEL_CARD.md").read_text()


def test_a_bundle_of_several_networks_is_written_alike_each_time(tmp_path: Path) -> None:
    networks = {"model.onnx": NETWORK, "half.onnx": NETWORK + b"!"}
    one = write_bundle(features(), networks, tmp_path / "one")
    files = {name: tmp_path / f"made.{name}" for name in networks}
    for name, path in files.items():
        path.write_bytes(networks[name])
    two = write_bundle_folder(features(), files, tmp_path / "two")
    assert not any(path.exists() for path in files.values())  # moved in
    assert one.folder == tmp_path / "one" / "fm-lct" / "1.2.3"
    assert one.variant("fp16_mixed") == (NETWORK + b"!",)
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == ["MODEL_CARD.md", "half.onnx", "manifest.json", "manifest.json.sha256", "model.onnx"]
    for name in names:
        assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()
    assert load_bundle(two.folder).manifest == one.manifest
    with pytest.raises(InvalidRequestError, match="exists already"):
        write_bundle_folder(features(), networks, tmp_path / "two")


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not among the files"):
        write_bundle_folder(features(), {"model.onnx": NETWORK}, tmp_path / "models" / "one")
    assert not list(tmp_path.rglob("*.onnx"))


def test_one_flipped_byte_of_any_file_is_found(tmp_path: Path) -> None:
    bundle = write_bundle_folder(features(), {"model.onnx": NETWORK, "half.onnx": b"half"}, tmp_path / "b")
    for name in bundle.manifest.files:
        path = bundle.folder / name
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(BundleIntegrityError, match=name):
            load_bundle(bundle.folder)
        path.write_bytes(content)
    load_bundle(bundle.folder)
