"""Writes ``coldspot.json`` next to this file: ``python deploy/grafana/dashboard.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUANTILES = (0.5, 0.9)
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
DAY = "1d"


def target(expression: str, legend: str) -> dict[str, str]:
    """Return one query of a panel."""
    return {"expr": expression, "legendFormat": legend, "refId": legend or "A"}


def quantiles(metric: str, by: str = "") -> list[dict[str, str]]:
    """Return median and 90th percentile of a histogram over the past day, by a label if one is given.

    A suite has a few cases an hour: over the few minutes of ``$__rate_interval`` most points would be empty.
    """
    labels = f"le, {by}" if by else "le"
    return [
        target(
            f"histogram_quantile({q}, sum by ({labels}) (increase({metric}_bucket[{DAY}])))",
            f"{{{{{by}}}}} p{q * 100:.0f}" if by else f"p{q * 100:.0f}",
        )
        for q in QUANTILES
    ]


PANELS: tuple[tuple[str, str, list[dict[str, str]]], ...] = (
    (
        "Last input to the final answer, past day",
        "s",
        quantiles("coldspot_assessment_latency_seconds"),
    ),
    ("Stages, past day", "s", quantiles("coldspot_stage_duration_seconds", by="stage")),
    ("Answers, from the call, past day", "s", quantiles("coldspot_assessment_duration_seconds", by="phase")),
    (
        "Assessments by outcome, per hour",
        "short",
        [target("sum by (outcome) (increase(coldspot_assessments_total[1h]))", "{{outcome}}")],
    ),
    ("Wait for the device, past day", "s", quantiles("coldspot_trigger_wait_seconds")),
    ("Queue", "short", [target("coldspot_queue_depth", "waiting")]),
    ("Uploads, per hour", "bytes", [target("increase(coldspot_upload_bytes_total[1h])", "stored")]),
    (
        "Refusals by reason, past day",
        "short",
        [target(f"sum by (code) (increase(coldspot_refusals_total[{DAY}]))", "{{code}}")],
    ),
    (
        "Calls that failed, past day",
        "short",
        [
            target(
                f'sum by (method, status) (increase(coldspot_calls_total{{status!="OK"}}[{DAY}]))',
                "{{method}} {{status}}",
            )
        ],
    ),
    ("Ready", "short", [target("coldspot_ready", "ready"), target('up{job="coldspot"}', "reachable")]),
    ("Free disk", "bytes", [target("coldspot_free_disk_bytes", "state directory")]),
    (
        "Memory and files",
        "short",
        [
            target('process_resident_memory_bytes{job="coldspot"}', "resident bytes"),
            target('process_open_fds{job="coldspot"}', "open files"),
        ],
    ),
    (
        "What measures",
        "short",
        [
            target("coldspot_backend_info", "{{kernels}}, {{inference_backend}}"),
            target("coldspot_model_info", "{{model}} {{version}}"),
            target("coldspot_build_info", "coldspot {{version}}"),
        ],
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "title": "Coldspot",
        "uid": "coldspot",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [
            {
                "id": number + 1,
                "title": title,
                "type": "timeseries",
                "datasource": {"type": "prometheus", "uid": "${source}"},
                "gridPos": {
                    "x": number % COLUMNS * WIDTH,
                    "y": number // COLUMNS * HEIGHT,
                    "w": WIDTH,
                    "h": HEIGHT,
                },
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": targets,
            }
            for number, (title, unit, targets) in enumerate(PANELS)
        ],
    }


def rendered() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("coldspot.json").write_text(rendered(), encoding="utf-8")
