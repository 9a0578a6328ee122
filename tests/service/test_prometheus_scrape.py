"""A real Prometheus scrapes a real run; dashboard and alerts ask only for what is there."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from service.client.client import ColdspotClient
from service.logging import silence_logging
from service.metrics import Metrics
from service.server import running_server
from tests.support.stub_engine import StubPipeline, make_case, settings_for

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PATIENCE_S = 60.0
SCRAPED = (
    'coldspot_stage_duration_seconds_count{stage="registration"}',
    'coldspot_stage_duration_seconds_sum{stage="coverage"}',
    'coldspot_stage_duration_seconds_bucket{stage="risk",le="+Inf"}',
    'coldspot_assessment_duration_seconds_count{phase="preliminary"}',
    'coldspot_assessment_duration_seconds_count{phase="final"}',
    "coldspot_assessment_latency_seconds_count",
    "coldspot_trigger_wait_seconds_count",
    'coldspot_assessments_total{outcome="measured"}',
    "coldspot_queue_depth",
    "coldspot_upload_bytes_total",
    "coldspot_backend_info",
    "coldspot_model_info",
)
CONFIGURATION = """
global: {{scrape_interval: 200ms, evaluation_interval: 1s}}
scrape_configs:
  - job_name: coldspot
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ask: Callable[[], Any]) -> Any:
    """Ask again until there is an answer."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        try:
            if answer := ask():
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.05)
    pytest.fail(f"no {what} within {PATIENCE_S:g} s")


@contextmanager
def prometheus_of(port: int, folder: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Run Prometheus on a loopback port; yield a function that puts a query to its HTTP API."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (on Debian: apt-get install prometheus)")
    configuration, own_port = folder / "prometheus.yml", free_port()
    configuration.write_text(CONFIGURATION.format(port=port), encoding="utf-8")
    command = [
        binary,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{own_port}",
        "--log.level=warn",
    ]

    def query(expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://127.0.0.1:{own_port}/api/v1/query?{asked}", timeout=10) as told:
            content = json.load(told)
        assert content["status"] == "success"
        found: list[dict[str, Any]] = content["data"]["result"]
        return found

    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield query
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def assess_once(port: int) -> str:
    with ColdspotClient(f"127.0.0.1:{port}") as client:
        sent, case = make_case(seed=3), client.open_case()
        planning = client.upload_ct(case, sent.planning, "planning")
        client.upload_mask(case, sent.tumor, "tumor", planning)
        verification = client.upload_ct(case, sent.verification, "verification")
        client.upload_mask(case, sent.zone, "zone", verification)
        client.assess(case)
        return case


def test_prometheus_scrapes_a_real_run(tmp_path: Path) -> None:
    silence_logging()
    settings = settings_for(tmp_path, metrics_port=0)
    with running_server(settings, StubPipeline(stage_s=0.3)) as server:
        assert server.metrics_port is not None
        with prometheus_of(server.metrics_port, tmp_path) as query:
            wait_for("first scrape", lambda: query('up{job="coldspot"} == 1'))
            assert query("coldspot_stage_duration_seconds_count") == []
            case = assess_once(server.port)
            values = {
                name: wait_for(name, lambda name=name: query(name))[0]["value"][1]  # type: ignore[misc]
                for name in SCRAPED
            }
            assert values['coldspot_assessments_total{outcome="measured"}'] == "1"
            assert values['coldspot_stage_duration_seconds_count{stage="registration"}'] == "1"
            assert float(values['coldspot_stage_duration_seconds_sum{stage="coverage"}']) >= 0.3
            assert float(values["coldspot_upload_bytes_total"]) > 0
            everything = json.dumps(query('{job="coldspot"}'))
            assert case not in everything
            assert "PATIENT" not in everything


def exposed_names() -> set[str]:
    """Every series name the service can expose."""
    metrics = Metrics()
    told = re.findall(r"^# TYPE (\w+) (\w+)$", generate_latest(metrics.registry).decode(), re.MULTILINE)
    names = {name for name, _ in told}
    for name, kind in told:
        if kind == "histogram":
            names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")}
    return names


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bcoldspot_\w+", text))


def test_the_dashboard_is_what_its_script_writes() -> None:
    rendered: Callable[[], str] = runpy.run_path(str(DEPLOY / "grafana" / "dashboard.py"))["rendered"]
    assert (DEPLOY / "grafana" / "coldspot.json").read_text(encoding="utf-8") == rendered()


def test_dashboard_and_alerts_ask_for_what_is_there() -> None:
    exposed = exposed_names()
    board = json.loads((DEPLOY / "grafana" / "coldspot.json").read_text(encoding="utf-8"))
    asked = names_in(" ".join(query["expr"] for panel in board["panels"] for query in panel["targets"]))
    alerts = names_in((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
    assert len(asked) >= 8
    assert len(alerts) >= 3
    assert asked | alerts <= exposed


def test_alerts_and_configuration_are_valid() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (on Debian: apt-get install prometheus)")
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        found = subprocess.run(
            [promtool, *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False, timeout=60
        )
        assert found.returncode == 0, found.stderr
