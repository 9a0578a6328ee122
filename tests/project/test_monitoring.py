"""Dashboard and alerts with what a suite has: three cases an hour."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.metrics import Metrics

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (make setup-export)")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HOURS = 6
EVERY_MINUTES = 20
LABELS = {
    "coldspot_assessment_latency_seconds": "",
    "coldspot_stage_duration_seconds": 'stage="coverage"',
    "coldspot_assessment_duration_seconds": 'phase="final"',
    "coldspot_trigger_wait_seconds": "",
}


def expressions() -> list[tuple[str, str]]:
    board = json.loads((DEPLOY / "grafana" / "coldspot.json").read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


def stepped(first: int = 0) -> str:
    """A counter that grows by one with each case, sampled every minute."""
    values = [first + minute // EVERY_MINUTES for minute in range(HOURS * 60 + 1)]
    return " ".join(map(str, values))


def series() -> list[dict[str, str]]:
    constant = f"1x{HOURS * 60}"
    given = [
        {"series": name, "values": constant}
        for name in (
            "coldspot_queue_depth",
            "coldspot_backend_info",
            "coldspot_model_info",
            "coldspot_build_info",
            "coldspot_ready",
            "coldspot_free_disk_bytes",
            'up{job="coldspot"}',
            'process_resident_memory_bytes{job="coldspot"}',
            'process_open_fds{job="coldspot"}',
        )
    ]
    for name in (
        'coldspot_assessments_total{outcome="measured"}',
        'coldspot_refusals_total{code="no_zone"}',
        'coldspot_calls_total{method="Assess",status="INVALID_ARGUMENT"}',
        "coldspot_upload_bytes_total",
    ):
        given += [{"series": name, "values": stepped()}]
    for name, label in LABELS.items():
        for bound in ("1", "2", "+Inf"):
            labels = ",".join(part for part in (f'le="{bound}"', label) if part)
            given.append({"series": f"{name}_bucket{{{labels}}}", "values": stepped()})
    return given


def promtool(tests: dict[str, Any], folder: Path) -> str:
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("promtool is not installed (on Debian: apt-get install prometheus)")
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run([binary, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_panel_shows_something_at_three_cases_an_hour(tmp_path: Path) -> None:
    questions = [
        {
            "expr": f"count({expression}) > bool 0",
            "eval_time": f"{HOURS}h",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for _, expression in expressions()
    ]
    tests = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series(), "promql_expr_test": questions}],
    }
    assert promtool(tests, tmp_path) == ""


def test_every_metric_of_dashboard_and_alerts_is_one_of_the_service() -> None:
    offered = {metric.name for metric in Metrics().registry.collect()}
    alerts = (DEPLOY / "alerts.yml").read_text(encoding="utf-8")
    asked = re.findall(
        r"\b(coldspot_\w+|process_\w+)", " ".join([*(text for _, text in expressions()), alerts])
    )
    assert {re.sub(r"_(bucket|total)$", "", name) for name in asked} <= offered


@pytest.mark.parametrize(
    ("alert", "given", "minutes"),
    [
        ("ColdspotNotReady", {"series": "coldspot_ready", "values": "0x60"}, 30),
        ("ColdspotDiskLow", {"series": "coldspot_free_disk_bytes", "values": "4e9x60"}, 10),
        ("ColdspotDown", {"series": 'up{job="coldspot"}', "values": "0x60"}, 5),
        (
            "ColdspotAssessmentFailed",
            {"series": 'coldspot_assessments_total{outcome="failed"}', "values": "_x20 1x10"},
            25,
        ),
    ],
)
def test_an_alert_fires(alert: str, given: dict[str, str], minutes: int, tmp_path: Path) -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
    (rule,) = [rule for rule in rules["groups"][0]["rules"] if rule["alert"] == alert]
    labels = dict(re.findall(r'(\w+)="(\w+)"', given["series"]))
    expected = {"exp_labels": labels | rule["labels"], "exp_annotations": rule["annotations"]}
    tests = {
        "rule_files": [str(DEPLOY / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [given],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": [expected]},
                    {"eval_time": "0m", "alertname": alert, "exp_alerts": []},
                ],
            }
        ],
    }
    assert promtool(tests, tmp_path) == ""
