"""``coldspot-export``: what it passes on, what it prints, and how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from engine.errors import EngineBuildError
from export.bundle.writing import write_bundle_folder
from export.commands.cli import app
from export.parity import sample_lesions
from tests.support.feature_models import feature_manifest, lesion, mean_network

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "deepsurv-demo" / "1.0.0"
NO_TORCH = "torch is not installed: make setup-export"
NO_OPENVINO = "openvino is not installed: make setup-export"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def printed(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature bundle, and one lesion to measure it on."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    lesions = [lesion(0), lesion(1)]
    monkeypatch.setattr(sample_lesions, "simulated_lesions", lambda: lesions)
    return write_bundle_folder(feature_manifest(), mean_network(), tmp_path / "features").folder


@pytest.mark.parametrize("command", ["nnunet", "fm-lct", "deepsurv", "engine", "parity", "inspect", "triton"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes" in result.stdout


def test_looking_and_measuring_need_no_torch() -> None:
    pytest.importorskip("openvino", reason=NO_OPENVINO)
    program = f"""
import importlib.abc, sys
class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from export.commands.cli import app
for command in (["inspect", "{DEMO}"], ["parity", "{DEMO}", "--backend", "openvino"]):
    app(command, standalone_mode=False)
try:
    app(["deepsurv", "--out", "nowhere"])
except SystemExit as left:
    print("exit", left.code)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "passed: openvino" in result.stdout
    assert result.stdout.endswith("exit 5\n")
    assert result.stderr == (
        "backend_unavailable: torch is not installed; install coldspot[export] to make bundles\n"
    )


def test_inspect_describes_every_file_and_what_was_checked() -> None:
    described = printed("inspect", DEMO)
    assert described["manifest"]["id"] == "deepsurv-demo"
    assert described["files"]["model.onnx"]["bytes"] == (DEMO / "model.onnx").stat().st_size
    assert described["tensors"]["model.onnx"]["inputs"] == ["covariates float32 (batch, 3)"]
    assert any("reference outputs are reproduced" in check for check in described["checked"])


def test_inspect_of_a_feature_bundle_prints_card_parity_and_sizes(features: Path) -> None:
    result = run("inspect", features)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# mean-features 1.0.0")
    assert "passed: onnxruntime 1.30.0 (CPU), fp32" in result.stdout
    assert "bytes  model.onnx" in result.stdout
    assert "Checked: every file" in result.stdout


def test_inspect_refuses_a_variant_with_other_tensors(tmp_path: Path) -> None:
    manifest = feature_manifest(
        files={"model.onnx": "0" * 64, "half.onnx": "0" * 64},
        variants={"fp32": ("model.onnx",), "fp16_mixed": ("half.onnx",)},
    )
    networks = {"model.onnx": mean_network(), "half.onnx": mean_network(size=5)}
    folder = write_bundle_folder(manifest, networks, tmp_path / "bundle").folder
    result = run("inspect", folder)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "half.onnx (fp16_mixed) takes and gives other tensors" in result.stderr


def test_errors_are_one_line_and_a_code_by_class(tmp_path: Path, features: Path) -> None:
    shutil.copytree(features, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.onnx").write_bytes(b"other")
    result = run("inspect", tmp_path / "damaged")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("bundle_integrity: ")
    error = printed("inspect", tmp_path / "nothing", code=4)["error"]
    assert error["code"] == "invalid_manifest"
    assert printed("parity", features, "--backend", "cuda", code=2)["error"]["code"] == "invalid_request"
    assert printed("parity", features, "--backend", "onnxruntime-cuda", code=5)["error"]["code"] == (
        "backend_unavailable"
    )
    assert printed("parity", features, "--precision", "int8", code=2)["error"]["code"] == "invalid_request"


def test_parity_measures_again_on_every_backend_that_is_here(features: Path) -> None:
    pytest.importorskip("openvino", reason=NO_OPENVINO)
    measured = printed("parity", features)
    assert measured["passed"]
    (report,) = measured["reports"]
    assert report["candidate"].startswith("openvino")
    assert report["reference"].startswith("onnxruntime")
    assert report["cosine_distance"] <= 1e-5
    assert report["measured_on"] == "lesions of simulated chests, not of real CT"
    assert {"onnxruntime-cuda", "tensorrt"} <= set(measured["not_run"])


def with_variant(tmp_path: Path, network: bytes) -> Path:
    """A bundle whose FP16 variant is another network; the manifest says it was measured."""
    report = feature_manifest().parity_reports[0]
    half = report.model_copy(update={"candidate": "onnxruntime, fp16_mixed emulated", "tolerance": 1e-3})
    manifest = feature_manifest(
        files={"model.onnx": "0" * 64, "half.onnx": "0" * 64},
        variants={"fp32": ("model.onnx",), "fp16_mixed": ("half.onnx",)},
        parity_reports=(report, half),
    )
    networks = {"model.onnx": mean_network(), "half.onnx": network}
    return write_bundle_folder(manifest, networks, tmp_path / "variant").folder


@pytest.mark.usefixtures("features")
def test_parity_fails_with_a_variant_that_answers_otherwise(tmp_path: Path) -> None:
    folder = with_variant(tmp_path, mean_network(scale=1.5))
    result = run("parity", folder, "--precision", "fp16_mixed", "--backend", "onnxruntime")
    assert result.exit_code == 4
    assert result.stdout.startswith("FAILED: onnxruntime")
    assert "(tolerance 1.0e-03)" in result.stdout
    same = with_variant(tmp_path / "same", mean_network(scale=1.001))
    assert printed("parity", same, "--precision", "fp16_mixed", "--backend", "onnxruntime")["passed"]


@pytest.mark.usefixtures("features")
def test_an_all_black_variant_has_its_own_error(tmp_path: Path) -> None:
    scaled = onnx.load_model_from_string(mean_network())
    weight = scaled.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(weight), weight.name))
    folder = with_variant(tmp_path, scaled.SerializeToString())
    error = printed("parity", folder, "--precision", "fp16_mixed", "--backend", "onnxruntime", code=4)[
        "error"
    ]
    assert error["code"] == "blank_output"
    broken = with_variant(tmp_path / "broken", mean_network(scale=np.inf))
    error = printed("parity", broken, "--precision", "fp16_mixed", "--backend", "onnxruntime", code=4)[
        "error"
    ]
    assert error["code"] == "non_finite_output"


def test_parity_says_if_there_is_nothing_to_compare_with(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.bundle_parity import measurement as bundle_parity

    monkeypatch.setattr(bundle_parity, "BACKENDS", ("onnxruntime", "onnxruntime-cuda"))
    error = printed("parity", features, code=5)["error"]
    assert "nothing here to compare" in error["message"]


def test_parity_with_a_source_that_is_not_kept_or_not_its_own(tmp_path: Path, features: Path) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    assert "source is not kept" in printed("parity", DEMO, "--source", tmp_path, code=2)["error"]["message"]
    error = printed("parity", features, "--source", tmp_path / "absent.pth.tar", code=2)["error"]
    assert error["code"] == "unreadable_file"


def test_nnunet_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    from export.nnunet import bundle as nnunet

    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def exported(*arguments: Any, **options: Any) -> Path:
        calls.append((arguments, options))
        return tmp_path / "out"

    monkeypatch.setattr(nnunet, "export_nnunet", exported)
    written = printed(
        *("nnunet", tmp_path / "model", "--out", tmp_path / "out", "--licence", "Apache-2.0"),
        *("--provenance", "trained here", "--purpose", "ablation_zone", "--label", "1=zone"),
        *(
            "--label",
            "2=core",
            "--folds",
            "0,1",
            "--fold",
            "all",
            "--orientation",
            "ras",
            "--precision",
            "fp32",
            "--id",
            "zone",
        ),
        *("--image", tmp_path / "ct.nii.gz", "--configuration", "3d_fullres", "--model-version", "2.0.0"),
    )
    assert written == {"written": [str(tmp_path / "out")]}
    ((arguments, options),) = calls
    assert arguments == (tmp_path / "model", tmp_path / "out")
    del options["on_progress"]
    assert options == {
        "licence": "Apache-2.0",
        "provenance": "trained here",
        "configuration": "3d_fullres",
        "folds": ["0", "1", "all"],
        "checkpoint": None,
        "purpose": "ablation_zone",
        "label_names": {1: "zone", 2: "core"},
        "channel_names": {},
        "orientation": "ras",
        "precisions": ["fp32"],
        "images": [tmp_path / "ct.nii.gz"],
        "model_id": "zone",
        "version": "2.0.0",
    }
    wrong = (
        "nnunet",
        tmp_path,
        "--out",
        tmp_path / "b",
        "--licence",
        "-",
        "--provenance",
        "-",
        "--label",
        "zone",
    )
    assert printed(*wrong, code=2)["error"]["message"] == (
        "--label is LABEL=NAME, by its number or name, not 'zone'"
    )


def test_a_trained_folder_becomes_a_bundle_that_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    pytest.importorskip(
        "dynamic_network_architectures", reason="nnunetv2 is not installed: make setup-export"
    )
    from tests.support.nnunet.folders import write_v2_folder

    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    folder, other = write_v2_folder(tmp_path / "a"), write_v2_folder(tmp_path / "b", seed=9)
    bundle = tmp_path / "random" / "1.0.0"
    made = ("--out", bundle, "--licence", "Apache-2.0", "--provenance", "random weights")
    named = ("--purpose", "ablation_zone", "--label", "1=zone", "--label", "2=core")
    assert printed("nnunet", folder, *made, *named)["written"] == [str(bundle)]
    described = printed("inspect", bundle)
    assert set(described["tensors"]) == {"model.onnx", "model.fp16_mixed.onnx"}
    with_source = ("--source", folder, "--backend", "onnxruntime")
    measured = printed("parity", bundle, *with_source)
    assert [report["reference"][:5] for report in measured["reports"]] == ["torch", "torch"]
    assert all(report["passed"] for report in measured["reports"])
    measured = printed("parity", bundle, "--source", other, "--backend", "onnxruntime", code=4)
    assert not measured["passed"]
    coarser = write_v2_folder(tmp_path / "c", spacing=(3.0, 3.0, 3.0))
    refused = printed("parity", bundle, "--source", coarser, code=2)["error"]["message"]
    assert "is not what this bundle was exported from" in refused


def test_a_bundle_is_compared_with_the_folds_and_the_checkpoint_that_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    pytest.importorskip(
        "dynamic_network_architectures", reason="nnunetv2 is not installed: make setup-export"
    )
    from tests.support.nnunet.folders import write_v2_folder

    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    root = write_v2_folder(tmp_path, dataset="Dataset913_lung_nodules", folds=(0, 1, 2))
    for fold in ("fold_0", "fold_2"):
        (root / fold / "checkpoint_final.pth").rename(root / fold / "checkpoint_best.pth")
    made = ("nnunet", root, "--out", tmp_path / "bundle", "--precision", "fp32")
    asked = ("--folds", "0,2", "--checkpoint", "checkpoint_best.pth")
    assert "--orientation" in printed(*made, *asked, code=4)["error"]["message"]
    assert "checkpoint_best.pth" in printed(*made, "--orientation", "ras", code=4)["error"]["message"]
    printed(*made, *asked, "--orientation", "ras")
    measured = printed("parity", tmp_path / "bundle", "--source", root, "--backend", "onnxruntime")
    assert [report["passed"] for report in measured["reports"]] == [True, True]


def test_fm_lct_refuses_what_is_no_checkpoint_and_unpaired_masks(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    common = ("fm-lct", tmp_path / "a.pth.tar", "--out", tmp_path / "out", "--recipe", "zscore_patch")
    assert printed(*common, code=2)["error"]["code"] == "unreadable_file"
    error = printed(*common, "--image", "ct.nii.gz", code=2)["error"]
    assert "every CT needs its own mask" in error["message"]
    (tmp_path / "a.pth.tar").write_bytes(b"no checkpoint")
    assert run(*common).exit_code in {2, 4}
    unknown = run("fm-lct", tmp_path, "--out", tmp_path / "out", "--recipe", "zscore")
    assert unknown.exit_code == 2


def test_engine_passes_target_precision_and_library_on(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.bundle import tensorrt_plan

    calls: list[Any] = []

    def built(*arguments: Any, **options: Any) -> tuple[Path, ...]:
        options["on_progress"]("building", 1, 2)
        calls.append((*arguments, options["flavor"]))
        if arguments[1] == "sm_87":
            raise EngineBuildError("TensorRT-RTX has no sm_87")
        return (tmp_path / "one", tmp_path / "two")

    monkeypatch.setattr(tensorrt_plan, "build_engines", built)
    made = printed("engine", features, "--target", "sm_89", "--precision", "fp16_mixed", "--out", tmp_path)
    assert made["written"] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert run("engine", features, "--backend", "tensorrt-rtx").exit_code == 0
    assert printed("engine", features, "--target", "sm_87", code=4)["error"]["code"] == "engine_build"
    assert calls == [
        (features, "sm_89", "fp16_mixed", tmp_path, None),
        (features, "current", "fp32", None, "tensorrt-rtx"),
        (features, "sm_87", "fp32", None, None),
    ]


def test_triton_writes_a_repository(features: Path, tmp_path: Path) -> None:
    written = printed("triton", features, "--out", tmp_path / "repository")["written"]
    assert all(Path(path).exists() for path in written)
    assert list((tmp_path / "repository").rglob("config.pbtxt"))


def test_an_unforeseen_error_shows_no_traceback(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.bundle import inspection

    def fails(_: Path) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(inspection, "describe_bundle", fails)
    error = printed("inspect", features, code=1)["error"]
    assert error == {"code": "internal_error", "message": "ZeroDivisionError: by nothing"}
