"""``coldspot features``: from CT and mask files to the features that the engine computes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
from engine import DISCLAIMER
from engine.files.image_file import write_volume
from engine.geometry import VolumeGeometry
from engine.manifest import read_sealed_manifest
from engine.response.patch import lesion_patch
from engine.volume import CtVolume, LabelMask
from export.bundle.writing import write_bundle_folder
from tests.support.dicom_files import mask_contours, write_ct_series, write_segmentation, write_structure_set
from tests.support.feature_models import feature_manifest, lesion, mean_network, section

CT, LESION = lesion()
FRAME = "1.2.826.0.1.3680043.8.498.1"
DEMO = {"demo": True, "fitted_on": "nothing (demo model): random weights"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle_folder(feature_manifest(), mean_network(), tmp_path / "bundle").folder


@pytest.fixture
def arguments(tmp_path: Path, bundle: Path) -> dict[str, str]:
    write_volume(tmp_path / "ct.nii.gz", CT.voxels_hu, CT.geometry)
    write_volume(tmp_path / "mask.nii.gz", LESION.voxels.astype(np.uint8), LESION.geometry)
    return {
        "--model": str(bundle),
        "--image": str(tmp_path / "ct.nii.gz"),
        "--mask": str(tmp_path / "mask.nii.gz"),
    }


def run(arguments: dict[str, str], *more: str, **environment: str) -> Result:
    given = [part for pair in arguments.items() for part in pair]
    return CliRunner().invoke(
        service.commands.cli.app, ["features", *given, *more], env={"COLUMNS": "200", **environment}
    )


def succeeded(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return dict(json.loads(result.stdout))


def expected(ct: CtVolume, mask: LabelMask) -> np.ndarray[Any, Any]:
    """The network of the tests gives multiples of the patch's mean."""
    mean = float(lesion_patch(ct, mask, section("hu_-1024_3072", size=6)).mean())
    return mean * np.array([1, 2, -1, 1])


def test_the_answer_says_what_was_computed_from_what_and_by_what(
    arguments: dict[str, str], bundle: Path
) -> None:
    report = succeeded(run(arguments, "--json"))
    np.testing.assert_allclose(report["features"], expected(CT, LESION), rtol=1e-5)
    sealed = read_sealed_manifest(bundle)
    assert report["model"] == {
        "id": "mean-features",
        "version": "1.0.0",
        "demo": False,
        "sha256": sealed.manifest.files["model.onnx"],
        "manifest_sha256": sealed.sha256,
    }
    assert (report["feature_count"], report["recipe"], report["roi_only"]) == (4, "hu_-1024_3072", False)
    assert (report["position_table"], report["precision"], report["out"]) == ("sine_cosine", "fp32", None)
    assert report["backend"].startswith("onnxruntime")
    assert report["lesion"]["voxels"] == int(LESION.voxels.sum())
    assert report["lesion"]["volume_ml"] == pytest.approx(LESION.volume_ml)
    where = CT.geometry.to_lps(np.argwhere(LESION.voxels)).mean(axis=0)
    np.testing.assert_allclose(report["lesion"]["centroid_lps_mm"], where, atol=1e-3)
    spans = np.ptp(np.argwhere(LESION.voxels), axis=0) + 1
    np.testing.assert_allclose(report["lesion"]["box_zyx_mm"], spans * CT.geometry.spacing_zyx_mm, rtol=1e-6)
    assert report["disclaimer"] == DISCLAIMER
    assert report["duration_s"] > 0


@pytest.mark.parametrize("kind", ["segmentation", "structure_set", "mha", "nrrd"])
def test_the_same_lesion_in_any_format_has_the_same_features(
    arguments: dict[str, str], tmp_path: Path, kind: str
) -> None:
    blob = LabelMask(LESION.voxels & (np.arange(30) < 25)[:, None], CT.geometry, "nodule")
    if kind in {"mha", "nrrd"}:
        for name, voxels in (("ct", CT.voxels_hu), ("mask", blob.voxels.astype(np.uint8))):
            write_volume(tmp_path / f"{name}.{kind}", voxels, CT.geometry)
        given = {"--image": str(tmp_path / f"ct.{kind}"), "--mask": str(tmp_path / f"mask.{kind}")}
    else:
        ct = replace(CT, geometry=replace(CT.geometry, frame_of_reference_uid=FRAME))
        write_ct_series(tmp_path / "dicom", ct)
        if kind == "segmentation":
            write_segmentation(tmp_path / "mask.dcm", ct, {"other": LESION.voxels, "nodule": blob.voxels})
        else:
            regions = {"nodule": mask_contours(blob)}
            write_structure_set(tmp_path / "mask.dcm", regions, frame_of_reference_uid=FRAME)
        given = {"--image": str(tmp_path / "dicom"), "--mask": str(tmp_path / "mask.dcm")}
        given["--structure"] = "nodule"
    report = succeeded(run({**arguments, **given}, "--json"))
    np.testing.assert_allclose(report["features"], expected(CT, blob), rtol=1e-2)


def test_one_of_several_structures_is_chosen_and_none_is_guessed(
    arguments: dict[str, str], tmp_path: Path
) -> None:
    labels = LESION.voxels.astype(np.uint8)
    labels[18:] *= 2
    write_volume(tmp_path / "labels.nii.gz", labels, CT.geometry)
    given = {**arguments, "--mask": str(tmp_path / "labels.nii.gz")}
    assert run(given, "--json").exit_code == 2
    report = succeeded(run({**given, "--structure": "1"}, "--json"))
    main = LabelMask(labels == 1, CT.geometry, "lesion")
    np.testing.assert_allclose(report["features"], expected(CT, main), rtol=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".NPY"])
def test_the_features_are_written_too(arguments: dict[str, str], tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "new" / f"features{suffix}"
    report = succeeded(run({**arguments, "--out": str(out)}, "--json"))
    if suffix == ".csv":
        header, row = csv.reader(out.read_text().splitlines())
        assert header == ["feature_0", "feature_1", "feature_2", "feature_3"]
        found = [float(value) for value in row]
    else:
        found = np.load(out).tolist()
    assert found == report["features"]
    assert report["out"] == str(out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_demo_model_says_so_wherever_its_features_appear(arguments: dict[str, str], tmp_path: Path) -> None:
    folder = write_bundle_folder(feature_manifest(**DEMO), mean_network(), tmp_path / "demo").folder
    given = {**arguments, "--model": str(folder)}
    report = succeeded(run(given, "--json"))
    assert report["model"]["demo"]
    assert "DEMO MODEL" in report["warnings"][0]
    assert "random weights" in report["warnings"][0]
    shown = run(given)
    assert shown.exit_code == 0
    assert "DEMO MODEL" in shown.stdout
    refused = run(given, "--json", COLDSPOT_CLINICAL_MODE="true")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"]["code"] == "refused_in_clinical_mode"


def test_a_person_reads_the_first_features_and_how_they_came_about(arguments: dict[str, str]) -> None:
    result = run(arguments)
    assert result.exit_code == 0, result.output
    for words in ("4 features", "hu_-1024_3072", "kept", "sine cosine", "mL", DISCLAIMER):
        assert words in result.stdout
    assert "DEMO" not in result.stdout


@pytest.mark.parametrize(
    "directions",
    [
        ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)),
        ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ],
    ids=["from the head down", "as converters turn it", "coronal"],
)
def test_voxels_that_are_stored_otherwise_are_named(
    arguments: dict[str, str], tmp_path: Path, directions: Any
) -> None:
    before = succeeded(run(arguments, "--json"))["warnings"]
    assert not any("stored along" in warning for warning in before)
    grid = VolumeGeometry(CT.geometry.shape_zyx, CT.geometry.spacing_zyx_mm, directions)
    write_volume(tmp_path / "ct.nii.gz", CT.voxels_hu, grid)
    write_volume(tmp_path / "mask.nii.gz", LESION.voxels.astype(np.uint8), grid)
    warning, *_ = succeeded(run(arguments, "--json"))["warnings"]
    assert "stored along other axes" in warning


@pytest.mark.parametrize("fault", ["a voxel far off", "an empty slice", "a hole"])
def test_what_no_lesion_has_is_named(arguments: dict[str, str], tmp_path: Path, fault: str) -> None:
    """The box is that of all that is marked: a voxel far off changes every feature."""
    marked = LESION.voxels.copy()
    marked[16:] = False
    if fault == "a voxel far off":
        marked[18, 2, 2] = True
    elif fault == "an empty slice":
        marked[9] = False
    else:
        marked[9, 14, 12] = False
    write_volume(tmp_path / "mask.nii.gz", marked.astype(np.uint8), CT.geometry)
    report = succeeded(run(arguments, "--json"))
    assert any("the lesion mask" in warning for warning in report["warnings"])
    whole = LESION.voxels.copy()
    whole[16:] = False
    write_volume(tmp_path / "mask.nii.gz", whole.astype(np.uint8), CT.geometry)
    assert not succeeded(run(arguments, "--json"))["warnings"]


@pytest.mark.parametrize(
    ("changes", "code", "exit_code"),
    [
        ({"--precision": "fp8"}, "invalid_request", 2),
        ({"--precision": "int8"}, "invalid_manifest", 4),
        ({"--backend": "cpu"}, "invalid_request", 2),
        ({"--image": "{folder}/none.nii.gz"}, "unreadable_file", 2),
        ({"--mask": "{folder}/none.nii.gz"}, "unreadable_file", 2),
        ({"--model": "{folder}"}, "invalid_manifest", 4),
        ({"--model": "models/deepsurv-demo/1.0.0"}, "invalid_manifest", 4),
        ({"--series": "2"}, "invalid_request", 2),
        ({"--structure": "nodule"}, "invalid_request", 2),
        ({"--out": "{folder}/features.txt"}, "invalid_request", 2),
        ({"--out": "{folder}/ct.nii.gz/features.csv"}, "invalid_request", 2),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_errors_have_a_code_and_leave_no_features(
    arguments: dict[str, str], tmp_path: Path, changes: dict[str, str], code: str, exit_code: int
) -> None:
    out = tmp_path / "features.csv"
    out.write_text("features of an earlier call")
    root = Path(__file__).parents[3]
    given = {**arguments, "--out": str(out)}
    for name, value in changes.items():
        given[name] = str(root / value) if value.startswith("models/") else value.format(folder=tmp_path)
    result = run(given, "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (exit_code, code)
    if not {"--out", "--precision"} & changes.keys():
        assert not out.exists()


def test_a_changed_manifest_is_refused(arguments: dict[str, str], bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"hu_-1024_3072"', '"zscore_patch"'))
    result = run(arguments, "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "bundle_integrity"
