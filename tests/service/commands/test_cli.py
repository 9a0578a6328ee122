from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
from coldspot.v1 import service_pb2
from typer.testing import CliRunner, Result

import service.commands.cli
import service.commands.demo
from engine import __version__
from engine.errors import BackendError, ColdspotError, ManifestError, SelfTestError
from engine.files.image_file import write_mask, write_volume
from engine.runtime.backends import EXECUTED_ON_A_DEVICE, NEEDS_A_DEVICE
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient
from service.logging import silence_logging
from service.server import ColdspotServer, running_server
from tests.support.stub_engine import REFUSED_HU, StubCase, StubPipeline, make_case, settings_for

DISCLAIMER = "Research software, not a medical device"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> StubPipeline:
    stub = StubPipeline()
    monkeypatch.setattr(service.commands.cli, "make_pipeline", lambda _settings: stub)
    monkeypatch.setenv("COLUMNS", "200")
    return stub


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ColdspotServer]:
    silence_logging()
    with running_server(settings_for(tmp_path), StubPipeline()) as running:
        yield running


def write(sent: StubCase, folder: Path) -> list[str]:
    write_volume(folder / "planning.nii.gz", sent.planning.voxels_hu, sent.planning.geometry)
    write_volume(folder / "verification.nii.gz", sent.verification.voxels_hu, sent.verification.geometry)
    write_mask(folder / "tumor.nii.gz", sent.tumor)
    write_mask(folder / "zone.nii.gz", sent.zone)
    names = ("planning", "verification", "tumor", "zone")
    return [part for name in names for part in (f"--{name}", str(folder / f"{name}.nii.gz"))]


def solid_case() -> StubCase:
    """Masks without holes, which clinical mode takes."""
    sent = make_case(seed=2)
    voxels = np.zeros(sent.tumor.voxels.shape, dtype=np.bool_)
    voxels[1:3, 1:4, 1:4] = True
    mask = LabelMask(voxels, sent.tumor.geometry)
    return replace(sent, tumor=mask, zone=mask, tcr=1.0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, list(arguments))


def test_assess_on_a_service_of_its_own(pipeline: StubPipeline, tmp_path: Path) -> None:
    sent = make_case(seed=1)
    arguments = write(sent, tmp_path)
    result = run(
        "assess", *arguments, "--json", "--sex", "f", "--fibrinogen", "3.1", "--out", str(tmp_path / "out")
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["coverage"]["tcr"] == pytest.approx(sent.tcr)
    assert report["summary"].endswith("f 3.1")
    assert result.stderr == ""
    assert json.loads((tmp_path / "out" / "assessment.json").read_text("utf-8")) == report
    assert (tmp_path / "out" / "sheet.png").stat().st_size


def test_assess_at_a_running_service(server: ColdspotServer, tmp_path: Path) -> None:
    arguments = write(make_case(seed=2), tmp_path)
    result = run("assess", *arguments, "--server", f"127.0.0.1:{server.port}", "--json", "--if-complete")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["risk"]["probability_if_complete"] == [0.01, 0.02]


def test_a_person_reads_a_summary(pipeline: StubPipeline, tmp_path: Path) -> None:
    result = run("assess", *write(make_case(seed=3), tmp_path))
    assert result.exit_code == 0, result.output
    for part in (DISCLAIMER, "Target coverage", "Uncovered region 1, for review", "simulated cohort", "LPS"):
        assert part in result.stdout
    assert "0.1" not in result.stdout.replace("0.100", "").split("Risk")[1].split("Warning")[0], (
        "no percentage of a demo model without its cohort"
    )


def test_a_refusal_has_its_own_exit_code(pipeline: StubPipeline, tmp_path: Path) -> None:
    sent = make_case(seed=4)
    voxels = sent.verification.voxels_hu.copy()
    voxels[0, 0, 0] = REFUSED_HU
    arguments = write(
        StubCase(sent.planning, sent.tumor, CtVolume(voxels, sent.verification.geometry), sent.zone, 0.0),
        tmp_path,
    )
    result = run("assess", *arguments, "--json", "--out", str(tmp_path / "out"))
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["refusal"]["code"] == "no_zone"
    assert report["coverage"]["tcr"] is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"assessment.json", "sheet.png"}
    readable = run("assess", *arguments)
    assert readable.exit_code == 3
    assert "REFUSED" in readable.stdout


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (["--planning", "/nowhere"], "unreadable_file"),
        (["--target", "1,2"], "invalid_request"),
        (["--target", "1,2,x"], "invalid_request"),
        (["--fibrinogen", "310"], "invalid_request"),
    ],
)
def test_bad_input(pipeline: StubPipeline, tmp_path: Path, extra: list[str], code: str) -> None:
    arguments = [*write(make_case(seed=5), tmp_path), *extra]
    result = run("assess", *arguments, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["error"]["code"] == code
    assert told["error"]["message"]
    readable = run("assess", *arguments)
    assert readable.exit_code == 2
    assert readable.stdout == ""
    assert "Traceback" not in readable.stderr
    assert readable.stderr.startswith("coldspot: ")


def test_nobody_answers(tmp_path: Path) -> None:
    arguments = write(make_case(seed=6), tmp_path)
    result = run("assess", *arguments, "--server", "127.0.0.1:1", "--json")
    assert result.exit_code == 6
    assert json.loads(result.stdout)["error"]["code"] == "unavailable"
    assert run("healthcheck", "--server", "127.0.0.1:1").exit_code == 6


def test_healthcheck_and_info(server: ColdspotServer, pipeline: StubPipeline) -> None:
    address = f"127.0.0.1:{server.port}"
    assert run("healthcheck", "--server", address).exit_code == 0
    answered = run("healthcheck", "--json", "--server", address)
    assert json.loads(answered.stdout) == {"serving": True, "server": address}
    told = json.loads(run("info", "--server", address, "--json").stdout)
    assert told["serving"] is True
    assert told["clinical_mode"] is False
    here = json.loads(run("info", "--json").stdout)
    assert here["kernels"] == "stub"
    assert DISCLAIMER in run("info").stdout


@pytest.mark.parametrize("clinical_mode", [False, True])
def test_clinical_mode_stands_in_info_answer_and_metrics(tmp_path: Path, *, clinical_mode: bool) -> None:
    silence_logging()
    settings = settings_for(tmp_path, clinical_mode=clinical_mode)
    with running_server(settings, StubPipeline()) as server:
        address = f"127.0.0.1:{server.port}"
        assert json.loads(run("info", "--server", address, "--json").stdout)["clinical_mode"] is clinical_mode
        answer = run("assess", *write(solid_case(), tmp_path), "--server", address, "--json")
        assert json.loads(answer.stdout)["clinical_mode"] is clinical_mode
        assert server.app.metrics.registry.get_sample_value("coldspot_clinical_mode") == clinical_mode
        with ColdspotClient(address) as client:
            (model,) = client.info().served_models
        assert (model.identity.id, model.identity.demo) == ("demo", True)
        assert model.purpose == service_pb2.MODEL_PURPOSE_RISK


def test_info_says_what_runs_models_and_what_never_ran_on_a_device(pipeline: StubPipeline) -> None:
    told = {status["name"]: status for status in json.loads(run("info", "--json").stdout)["backends"]}
    assert set(told) == {"onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt", "tensorrt-rtx"}
    assert told["onnxruntime"]["available"] is True
    never = set(NEEDS_A_DEVICE) - set(EXECUTED_ON_A_DEVICE)
    for name in never:
        assert told[name]["executed"] == "never executed on a device by this project"
        assert told[name]["available"] or told[name]["reason"]
    lines = run("info").stdout.splitlines()
    assert any(line.startswith("  onnxruntime 1.") and "available" in line for line in lines)
    assert sum("never executed on a device" in line for line in lines) == len(never)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(SelfTestError("0.9"), 7), (BackendError("no GPU"), 5), (ManifestError("bad"), 4)],
)
def test_exit_codes(pipeline: StubPipeline, error: ColdspotError, exit_code: int) -> None:
    assert run("selftest").exit_code == 0
    pipeline.fail_self_test = error
    result = run("selftest", "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stdout)["error"]["code"] == error.code


def test_an_unforeseen_error_shows_no_traceback(pipeline: StubPipeline) -> None:
    pipeline.fail_self_test = ZeroDivisionError("oops")
    result = run("selftest")
    assert result.exit_code == 1
    assert result.stderr == "coldspot: ZeroDivisionError: oops\n"


def test_settings_are_checked(pipeline: StubPipeline) -> None:
    result = run("serve", "--host", "0.0.0.0")  # noqa: S104 - it has to be refused
    assert result.exit_code == 2
    assert "allow_insecure" in result.stderr


def test_help_tells_exit_codes_and_loads_nothing_heavy() -> None:
    assert "Exit codes" in run("--help").stdout
    check = (
        "import sys, service.commands.cli; "
        "print(sorted({'numpy', 'grpc', 'scipy', 'numba', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_serve_until_sigterm(tmp_path: Path) -> None:
    stub = Path(__file__).parents[2] / "support" / "processes" / "stub_service.py"
    port_file = tmp_path / "port"
    running = subprocess.Popen([sys.executable, str(stub), str(tmp_path), str(port_file), "0"])
    give_up_at = time.monotonic() + 60
    while not port_file.exists():
        assert running.poll() is None
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0


def test_demo_prints_truth_beside_measured(
    pipeline: StubPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = make_case(seed=7)
    truth = {
        "tcr": np.float64(sent.tcr),
        "minimal_margin_mm": -1.0,
        "uncovered": ({"volume_ml": 0.5, "centroid_lps_mm": (1.0, 2.0, 3.0)},),
        "complete": False,
    }

    class Phantom:
        planning, verification, tumor, zone, core = (
            sent.planning,
            sent.verification,
            sent.tumor,
            sent.zone,
            None,
        )

        def __init__(self) -> None:
            self.truth = SimpleNamespace(to_json=lambda: truth)

    monkeypatch.setattr(service.commands.demo, "make_procedure", lambda _seed, **_chosen: Phantom())
    result = run("demo", "--json", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told) == {"truth", "measured"}
    assert told["truth"]["tcr"] == pytest.approx(told["measured"]["coverage"]["tcr"])
    assert (tmp_path / "out" / "sheet.png").exists()
    readable = run("demo", "--out", str(tmp_path / "out"))
    assert "measured" in readable.stdout
    assert f"{sent.tcr:.3f}" in readable.stdout


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_version_and_short_help() -> None:
    told = run("--version")
    assert (told.exit_code, told.stdout) == (0, f"coldspot {__version__}\n")
    for arguments in (("-h",), ("assess", "-h"), ("cases", "list", "-h")):
        assert "Usage:" in run(*arguments).stdout


def test_completion_is_offered() -> None:
    assert "--install-completion" in run("--help").stdout
