"""``coldspot segment``: labels on the CT's grid, one JSON object, and errors by class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
from engine import DISCLAIMER
from engine.files.image_file import read_mask_image, write_volume
from engine.files.reading import read_mask
from engine.geometry import VolumeGeometry
from engine.manifest import Channel, SegmentationSection, read_sealed_manifest
from engine.volume import CtVolume
from tests.support.segmentation_models import threshold_network, write_bundle_folder

GRID = VolumeGeometry((20, 30, 26), (2.0, 1.0, 1.0), origin_lps_mm=(-10.0, 20.0, -300.0))
SECTION = SegmentationSection(
    framework="nnunet_v2",
    purpose="tumor",
    labels={"background": 0, "tumor": 1},
    spacing_mm=(2.0, 1.0, 1.0),
    patch_shape=(8, 12, 12),
    channels=(Channel(name="CT", scheme="none"),),
)


@pytest.fixture
def ct(tmp_path: Path) -> CtVolume:
    """Two dense cubes in lung."""
    hu = np.full(GRID.shape_zyx, -850, dtype=np.int16)
    hu[3:6, 5:9, 5:9] = hu[12:15, 20:24, 15:19] = 40
    write_volume(tmp_path / "ct.nii.gz", hu, GRID)
    return CtVolume(hu, GRID)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    network = threshold_network(SECTION, -300.0)
    section = SECTION.model_dump(mode="json")
    return write_bundle_folder(tmp_path / "bundle", {"model.onnx": network}, segmentation=section)


@pytest.fixture
def arguments(tmp_path: Path, bundle: Path, ct: CtVolume) -> list[str]:
    given = {"model": bundle, "image": tmp_path / "ct.nii.gz", "out": tmp_path / "new" / "labels.nii.gz"}
    return ["segment", *(part for name, path in given.items() for part in (f"--{name}", str(path)))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, list(arguments), env={"COLUMNS": "200"})


def succeeded(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return dict(json.loads(result.stdout))


def test_labels_are_written_on_the_grid_of_the_ct(arguments: list[str], ct: CtVolume) -> None:
    report = succeeded(run(*arguments, "--backend", "onnxruntime", "--json"))
    digest = read_sealed_manifest(Path(arguments[arguments.index("--model") + 1])).sha256
    assert report["model"] == {
        "id": "tumor-demo",
        "version": "1.0.0",
        "demo": True,
        "manifest_sha256": digest,
    }
    assert report["backend"].startswith("onnxruntime")
    assert report["labels"] == {"tumor": {"voxels": 96, "volume_ml": pytest.approx(0.192)}}
    assert (report["region"], report["patches"], report["precision"]) == (None, 4 * 4 * 4, "fp32")
    assert report["duration_s"] > 0
    assert report["disclaimer"] == DISCLAIMER
    assert "DEMO MODEL" in report["warnings"][0]
    assert report["tried"] == []
    mask = read_mask(Path(report["out"]), ct, "tumor")
    np.testing.assert_array_equal(mask.voxels, ct.voxels_hu > 0)


@pytest.mark.parametrize("region", ["-3,27,-292,8", "-11,19,-300,5,35,-284"], ids=["half width", "corners"])
def test_nothing_outside_a_region_is_labeled(arguments: list[str], ct: CtVolume, region: str) -> None:
    report = succeeded(run(*arguments, "--backend", "onnxruntime", "--json", "--region", region))
    expected = ct.voxels_hu > 0
    expected[10:] = False
    assert report["labels"]["tumor"]["voxels"] == 48
    assert set(report["region"]) == {"low_lps_mm", "high_lps_mm"}
    found = read_mask_image(Path(report["out"]))
    assert found.geometry.same_grid(GRID)
    np.testing.assert_array_equal(found.voxels, expected)


def test_auto_says_what_it_tried(arguments: list[str]) -> None:
    report = succeeded(run(*arguments, "--json"))
    assert "onnxruntime" in {tried["backend"] for tried in report["tried"]}
    assert any(tried["median_s"] for tried in report["tried"])


def test_a_person_reads_volumes_and_that_the_model_is_a_demo(arguments: list[str]) -> None:
    result = run(*arguments, "--backend", "onnxruntime", "--region", "-3,27,-292,8")
    assert result.exit_code == 0, result.output
    for words in ("DEMO MODEL", "0.10 mL", "nowhere else", DISCLAIMER, "onnxruntime"):
        assert words in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("changes", "code", "exit_code"),
    [
        ({"--region": "1,2,3"}, "invalid_request", 2),
        ({"--region": "a,b,c,d"}, "invalid_request", 2),
        ({"--region": "1,2,3,-4"}, "invalid_request", 2),
        ({"--region": "nan,2,3,4"}, "invalid_request", 2),
        ({"--region": "900,2,3,4"}, "invalid_request", 2),
        ({"--backend": "cpu"}, "invalid_request", 2),
        ({"--precision": "fp8"}, "invalid_request", 2),
        ({"--precision": "int8"}, "invalid_manifest", 4),
        ({"--image": "{folder}/none.nii.gz"}, "unreadable_file", 2),
        ({"--model": "{folder}"}, "invalid_manifest", 4),
        ({"--out": "{folder}/labels.png"}, "invalid_request", 2),
        ({"--out": "{folder}/ct.nii.gz"}, "invalid_request", 2),
        ({"--out": "{folder}/ct.nii.gz/labels.nii.gz"}, "invalid_request", 2),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_errors_have_a_code_and_leave_no_labels(
    arguments: list[str], tmp_path: Path, changes: dict[str, str], code: str, exit_code: int
) -> None:
    given = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    given |= {"--backend": "onnxruntime"}
    given |= {name: value.format(folder=tmp_path) for name, value in changes.items()}
    out = Path(given["--out"])
    if out.parent == tmp_path / "new":
        out.parent.mkdir()
        out.write_bytes(b"labels of an earlier call")
    result = run("segment", *(part for pair in given.items() for part in pair), "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout)["error"]["code"] == code
    if out.parent == tmp_path / "new":
        assert not out.exists()
    assert (tmp_path / "ct.nii.gz").stat().st_size > 0
