"""The composition root: every part of the service is made here and handed to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.admission import Admission
from service.cases.store import CaseStore
from service.cases.volumes import VolumeShelf
from service.intake.reception import Reception
from service.jobs.procedures import Procedures
from service.jobs.worker import Worker
from service.metrics import Metrics
from service.record.artifacts import ArtifactShelf
from service.rpc.cases import Cases
from service.rpc.servicer import ColdspotServicer
from service.rpc.stall_watch import StallWatch

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


@dataclass(frozen=True)
class App:
    """The parts that have a life of their own."""

    settings: Settings
    pipeline: Pipeline
    store: CaseStore
    admission: Admission
    worker: Worker
    artifacts: ArtifactShelf
    metrics: Metrics
    stall_watch: StallWatch
    servicer: ColdspotServicer

    def close(self, grace_s: float) -> None:
        """Finish or stop running work, then close the files."""
        self.worker.stop(grace_s)
        self.stall_watch.stop()
        self.artifacts.close()
        self.store.close()


def build_app(settings: Settings, pipeline: Pipeline) -> App:
    """Put the service together around a pipeline.

    Raises
    ------
    ServiceUnavailableError
        If another service uses the state directory.
    """
    store = CaseStore(settings.state_dir)
    metrics, admission, worker = Metrics(), Admission(settings.max_admitted), Worker()
    metrics.describe(pipeline.describe())
    metrics.watch_queue(lambda: worker.depth)
    volumes = VolumeShelf(store, pipeline, settings.cache_bytes)
    artifacts = ArtifactShelf(store, pipeline.write_artifacts)
    procedures = Procedures(
        store=store,
        volumes=volumes,
        pipeline=pipeline,
        admission=admission,
        worker=worker,
        artifacts=artifacts,
        metrics=metrics,
    )
    stall_watch = StallWatch(settings.upload_idle_s, settings.upload_limit_s)
    servicer = ColdspotServicer(
        settings=settings,
        cases=Cases(store, volumes, procedures),
        reception=Reception(settings, store, volumes, admission, metrics),
        procedures=procedures,
        artifacts=artifacts,
        pipeline=pipeline,
        stall_watch=stall_watch,
    )
    return App(
        settings=settings,
        pipeline=pipeline,
        store=store,
        admission=admission,
        worker=worker,
        artifacts=artifacts,
        metrics=metrics,
        stall_watch=stall_watch,
        servicer=servicer,
    )
