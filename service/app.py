"""The composition root of the service's core: every part is made here and handed to the others.

No transport is among them: a transport (today :mod:`service.rpc`) takes an :class:`App` and calls its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from shutil import disk_usage
from typing import TYPE_CHECKING

from service.admission import Admission
from service.cases.cases import Cases
from service.cases.prepared import PreparedShelf
from service.cases.retention import Retention
from service.cases.store import CaseStore
from service.cases.volumes import VolumeShelf
from service.intake.reception import Reception
from service.jobs.assessment import AssessmentWork
from service.jobs.preparation import Preparation
from service.jobs.procedures import Procedures
from service.jobs.worker import Worker
from service.metrics import Metrics
from service.record.artifacts import ArtifactShelf

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline, PipelineDescription
    from service.settings import Settings


@dataclass(frozen=True)
class App:
    """The parts of one running service that a transport and the life cycle need."""

    settings: Settings
    pipeline: Pipeline
    store: CaseStore
    cases: Cases
    reception: Reception
    procedures: Procedures
    artifacts: ArtifactShelf
    admission: Admission
    retention: Retention
    worker: Worker
    metrics: Metrics

    def open(self) -> None:
        """Warm up and test the pipeline, then begin to admit work.

        Raises
        ------
        SelfTestError
            If the pipeline measured its phantom wrongly; nothing is admitted then.
        """
        if self.settings.self_test:
            self.pipeline.warm_up()
            self.pipeline.self_test()
        self.admission.open()
        self.retention.start()

    def close(self, grace_s: float) -> None:
        """Finish or stop running work, then close the files."""
        self.retention.stop()
        self.worker.stop(grace_s)
        self.artifacts.close()
        self.store.close()


def build_app(settings: Settings, pipeline: Pipeline) -> App:
    """Put the core together around a pipeline.

    Raises
    ------
    ServiceUnavailableError
        If another service uses the state directory.
    """
    store = CaseStore(settings.state_dir)
    metrics, admission, worker = Metrics(), Admission(settings.max_admitted), Worker()
    _describe(pipeline.describe(), metrics)
    metrics.set_clinical_mode(clinical_mode=settings.clinical_mode)
    metrics.watch_queue(lambda: worker.depth)
    metrics.watch_disk(lambda: disk_usage(settings.state_dir).free)
    volumes = VolumeShelf(store, pipeline, settings.cache_bytes, clinical_mode=settings.clinical_mode)
    prepared = PreparedShelf()
    cases = Cases(store, volumes, prepared)
    artifacts = ArtifactShelf(store, pipeline.write_artifacts)
    preparation = Preparation(store, volumes, prepared, pipeline)
    return App(
        settings=settings,
        pipeline=pipeline,
        store=store,
        cases=cases,
        reception=Reception(settings, store, volumes, admission, metrics),
        procedures=Procedures(
            store=store,
            preparation=preparation,
            assessment_work=AssessmentWork(
                store, volumes, preparation, pipeline, artifacts, metrics, settings.clinical_mode
            ),
            admission=admission,
            worker=worker,
            metrics=metrics,
        ),
        artifacts=artifacts,
        admission=admission,
        retention=Retention(settings, cases, admission, metrics),
        worker=worker,
        metrics=metrics,
    )


def _describe(description: PipelineDescription, metrics: Metrics) -> None:
    metrics.describe(description.kernels, description.inference_backend)
    for model in description.models:
        metrics.add_model(model.identity)
