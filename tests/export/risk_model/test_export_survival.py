"""The workshop: statistics, graph, bundle and command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.errors import InvalidRequestError
from engine.manifest import load_bundle
from engine.risk.model import SurvivalModel
from engine.runtime.onnx_session import OnnxSession
from export.bundle.writing import render_model_card, write_bundle
from export.deepsurv.onnx_graph import build_graph, weight_shapes
from export.risk_model.simulated_cohort import simulate_cohort
from export.survival.concordance import concordance_index

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "deepsurv-demo" / "1.0.0"


def random_weights(members: int = 3, covariates: int = 4, hidden: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = weight_shapes(members, covariates, hidden)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def test_the_graph_computes_the_network_as_numpy_does() -> None:
    weights = random_weights()
    x = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)

    def dense(layer: str, source: np.ndarray) -> np.ndarray:
        return np.asarray(source @ weights[f"{layer}.weight"] + weights[f"{layer}.bias"])

    def elu(value: np.ndarray) -> np.ndarray:
        return np.where(value > 0, value, np.expm1(np.minimum(value, 0)))

    score = np.exp(dense("attention_score", elu(dense("attention_hidden", x))))
    attention = 4 * score / score.sum(axis=-1, keepdims=True)
    hidden = dense("stem", attention * x)
    for block in (1, 2):
        hidden = hidden + dense(f"residual_{block}_outer", elu(dense(f"residual_{block}_inner", hidden)))
    with OnnxSession(build_graph(weights)) as session:
        outputs = session.run({"covariates": x})
    np.testing.assert_allclose(outputs["log_risk"], dense("log_risk_head", hidden)[..., 0].T, atol=1e-5)
    np.testing.assert_allclose(outputs["attention"], attention.transpose(1, 0, 2), atol=1e-5)
    np.testing.assert_allclose(outputs["attention"].mean(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(
        outputs["effective_signal"], outputs["attention"] * x[:, None, :], rtol=1e-5, atol=1e-6
    )


def test_the_shipped_graph_is_self_contained_and_of_a_fixed_opset() -> None:
    model = onnx.load_model_from_string((DEMO / "model.onnx").read_bytes())
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert not any(tensor.data_location for tensor in model.graph.initializer)
    assert build_graph(random_weights()) == build_graph(random_weights())


def test_the_shipped_network_orders_fresh_cases_almost_as_well_as_the_truth() -> None:
    loaded = load_bundle(DEMO)
    assert loaded.manifest.survival is not None
    covariates = loaded.manifest.survival.covariates
    cohort = simulate_cohort(3000, seed=99)
    x = (cohort.covariates - [c.mean for c in covariates]) / [c.sd for c in covariates]
    with OnnxSession(loaded.model_bytes) as session:
        log_risk = session.run({"covariates": x.astype(np.float32)})["log_risk"].mean(axis=1)
    reached = concordance_index(cohort.months, cohort.progressed, log_risk)
    ceiling = concordance_index(cohort.months, cohort.progressed, cohort.true_log_risk)
    assert ceiling - 0.015 < reached < ceiling + 0.015
    assert ceiling > 0.7


def test_the_shipped_baseline_gives_the_true_risks_of_the_simulated_cohort() -> None:
    """Calibration: mean predicted risk of the fresh cohort against its true mean risk."""
    from export.risk_model.simulated_cohort import baseline_hazard_per_month

    cohort = simulate_cohort(300, seed=5)
    model = SurvivalModel.load(DEMO)
    predicted = np.mean(
        [
            model.risk("m" if male else "f", float(fibrinogen), float(complete)).probability
            for male, fibrinogen, complete in cohort.covariates
        ],
        axis=0,
    )
    hazard = baseline_hazard_per_month() * np.exp(cohort.true_log_risk)[:, None]
    true = -np.expm1(-hazard * np.array([12, 24, 36])).mean(axis=0)
    np.testing.assert_allclose(predicted, true, atol=0.04)


def test_the_shipped_card_is_rendered_from_its_manifest() -> None:
    manifest = load_bundle(DEMO).manifest
    card = (DEMO / "MODEL_CARD.md").read_text()
    assert card == render_model_card(manifest)
    for words in (
        "simulated cohort",
        "never seen a patient",
        "which sex is coded 1",
        "male = 1",
        "C-index",
        "ceiling",
    ):
        assert words in card


def test_a_written_bundle_loads_and_is_never_overwritten(tmp_path: Path) -> None:
    shipped = load_bundle(DEMO)
    written = write_bundle(shipped.manifest, shipped.model_bytes, tmp_path)
    assert written.manifest == shipped.manifest
    assert (written.folder / "manifest.json").read_bytes() == (DEMO / "manifest.json").read_bytes()
    with pytest.raises(InvalidRequestError, match="exists already"):
        write_bundle(shipped.manifest, shipped.model_bytes, tmp_path)


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "export.commands.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_inspect_prints_the_card_and_the_checks() -> None:
    result = run_cli("inspect", str(DEMO))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("# deepsurv-demo 1.0.0")
    assert json.loads((DEMO / "manifest.json").read_text())["files"]["model.onnx"] in result.stdout


def test_inspect_of_a_damaged_bundle_fails_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "bundle")
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"other")
    result = run_cli("inspect", str(tmp_path / "bundle"))
    assert result.returncode == 4
    assert result.stderr.startswith("bundle_integrity: ")
    assert "Traceback" not in result.stderr


def test_the_demo_can_be_exported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the exporter needs torch: make setup-export")
    from export.deepsurv.settings import ltp_settings
    from export.deepsurv.training import NetworkSettings
    from export.risk_model import demo as demo_risk

    monkeypatch.setattr(demo_risk, "TRAINING_CASES", 300)
    short = NetworkSettings(hidden=4, l2=1e-2, max_steps=40)
    settings = replace(ltp_settings(), candidates=(short,), members=5, members_per_fold=1)
    bundle = demo_risk.export_demo_risk(tmp_path, settings)
    assert bundle.manifest.parity is not None
    assert bundle.manifest.parity.max_abs_difference <= 1e-5
    risk = SurvivalModel.load(bundle.folder).risk("m", 3.0, 0.5)
    assert 0 < risk.probability[0] < risk.probability[-1] < 1
