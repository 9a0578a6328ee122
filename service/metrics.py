"""Prometheus metrics: seconds and bytes, never anything of a patient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from engine import __version__

if TYPE_CHECKING:
    from engine.model_identity import ModelIdentity
    from engine.stages import Stage

_STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ASSESSMENT_BUCKETS_S = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 30, 60)


class Metrics:
    """The metrics of one service.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        A fresh one, so that several services can live in one process.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._stage = Histogram(
            "coldspot_stage_duration_seconds",
            "Wall-clock time of each stage of Prepare and Assess.",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._assessment = Histogram(
            "coldspot_assessment_duration_seconds",
            "From the Assess call to its preliminary and final answer.",
            ["phase"],
            buckets=_ASSESSMENT_BUCKETS_S,
            registry=self.registry,
        )
        self._latency = Histogram(
            "coldspot_assessment_latency_seconds",
            "From the last byte of the last input that the answer needs to the final answer.",
            buckets=_ASSESSMENT_BUCKETS_S,
            registry=self.registry,
        )
        self._wait = Histogram(
            "coldspot_trigger_wait_seconds",
            "From the Assess call until the device begins to work on it.",
            buckets=_ASSESSMENT_BUCKETS_S,
            registry=self.registry,
        )
        self._assessments = Counter(
            "coldspot_assessments", "Assess calls by how they ended.", ["outcome"], registry=self.registry
        )
        self._refusals = Counter(
            "coldspot_refusals",
            "Assessments without a number, by the reason.",
            ["code"],
            registry=self.registry,
        )
        self._calls = Counter(
            "coldspot_calls",
            "Calls by method and gRPC status.",
            ["method", "status"],
            registry=self.registry,
        )
        self._errors = Counter(
            "coldspot_errors",
            "Calls that ended with an error, by its code.",
            ["code"],
            registry=self.registry,
        )
        self._ready = Gauge(
            "coldspot_ready",
            "1 once the self-test has passed, 0 before and at shutdown.",
            registry=self.registry,
        )
        self._free_disk = Gauge(
            "coldspot_free_disk_bytes", "Free disk space of the state directory.", registry=self.registry
        )
        self._depth = Gauge("coldspot_queue_depth", "Jobs that wait for the device.", registry=self.registry)
        self._uploaded = Counter("coldspot_upload_bytes", "Bytes of stored uploads.", registry=self.registry)
        self._removed = Counter(
            "coldspot_removed_cases",
            "Cases removed by a rule of retention.",
            ["rule"],
            registry=self.registry,
        )
        self._clinical_mode = Gauge(
            "coldspot_clinical_mode", "1 in clinical mode, 0 otherwise.", registry=self.registry
        )
        self._backend = Gauge(
            "coldspot_backend_info",
            "What computes the answers; always 1.",
            ["kernels", "inference_backend"],
            registry=self.registry,
        )
        self._model = Gauge(
            "coldspot_model_info",
            "Loaded model bundles; always 1.",
            ["model", "version", "sha256"],
            registry=self.registry,
        )
        build = Gauge(
            "coldspot_build_info", "The running version; always 1.", ["version"], registry=self.registry
        )
        build.labels(__version__).set(1)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def set_clinical_mode(self, *, clinical_mode: bool) -> None:
        """Record whether the service runs in clinical mode."""
        self._clinical_mode.set(int(clinical_mode))

    def describe(self, kernels: str, inference_backend: str) -> None:
        """Record which kernels, backends and models compute the answers."""
        self._backend.labels(kernels, inference_backend).set(1)

    def add_model(self, identity: ModelIdentity) -> None:
        """Record that a model bundle is loaded."""
        self._model.labels(identity.id, identity.version, identity.sha256).set(1)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Read the queue's depth whenever the metrics are read."""
        self._depth.set_function(lambda: float(depth()))

    def watch_disk(self, free_bytes: Callable[[], int]) -> None:
        """Read the free disk space whenever the metrics are read."""
        self._free_disk.set_function(lambda: float(free_bytes()))

    def set_ready(self, *, ready: bool) -> None:
        """Record whether calls are answered with measurements."""
        self._ready.set(int(ready))

    def call_ended(self, method: str, status: str, error_code: str | None) -> None:
        """Count one call by its gRPC status, and its error by the error's code."""
        self._calls.labels(method, status).inc()
        if error_code is not None:
            self._errors.labels(error_code).inc()

    def refused(self, code: str) -> None:
        """Count one assessment that gave no number."""
        self._refusals.labels(code).inc()

    def stage_ended(self, stage: Stage, duration_s: float) -> None:
        """Count one run of a stage."""
        self._stage.labels(stage.value).observe(duration_s)

    def decoded_upload(self, duration_s: float) -> None:
        """Count the decoding of an upload as a stage."""
        self._stage.labels("decode_upload").observe(duration_s)

    def answered(self, phase: str, duration_s: float, latency_s: float | None = None) -> None:
        """Count one preliminary or final answer."""
        self._assessment.labels(phase).observe(duration_s)
        if latency_s is not None:
            self._latency.observe(latency_s)

    def began(self, waited_s: float) -> None:
        """Count how long an Assess call waited for the device."""
        self._wait.observe(waited_s)

    def assessment_ended(self, outcome: str) -> None:
        """Count the end of an Assess call."""
        self._assessments.labels(outcome).inc()

    def removed_case(self, rule: str) -> None:
        """Count a case that was removed by a rule of retention."""
        self._removed.labels(rule).inc()

    def stored_upload(self, size: int) -> None:
        """Count a stored upload's bytes."""
        self._uploaded.inc(size)

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serve the metrics over HTTP; return the port and how to stop."""
        server, thread = start_http_server(port, addr=host, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return int(server.server_port), stop
