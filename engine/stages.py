"""The stages of the clinical workflow, timed, announced and interruptible.

The engine knows nothing of gRPC or Prometheus: whoever calls it passes a :class:`StageListener`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """A step of Prepare or Assess, in the order of the workflow."""

    READ_PLANNING = "read_planning"
    SEGMENT_TUMOR = "segment_tumor"
    LOCATE_LESION = "locate_lesion"
    SEGMENT_LUNG = "segment_lung"
    REGISTRATION_FEATURES = "registration_features"
    READ_VERIFICATION = "read_verification"
    LOCATE_ZONE = "locate_zone"
    SEGMENT_ZONE = "segment_zone"
    COARSE_ALIGNMENT = "coarse_alignment"
    PRELIMINARY = "preliminary"
    REGISTRATION = "registration"
    COVERAGE = "coverage"
    INTERVAL = "interval"
    RADIOMICS = "radiomics"
    RISK = "risk"
    RECORD = "record"


class StageListener(Protocol):
    """Is notified when a stage begins and ends, and may stop the work in between."""

    def stage_started(self, stage: Stage) -> None:
        """Called before a stage; raise an InterruptedAssessmentError here to stop the work."""

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        """Called after a stage that ended without an error."""

    def require_wanted(self) -> None:
        """Called between the parts of a long stage; raise an InterruptedAssessmentError here to stop the work."""


class SilentListener:
    """A listener that ignores every notification and never stops the work."""

    def stage_started(self, stage: Stage) -> None:
        """Do nothing."""

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        """Do nothing."""

    def require_wanted(self) -> None:
        """Do nothing."""


class StageClock:
    """Times stages and notifies a listener.

    Parameters
    ----------
    listener : StageListener, optional

    Attributes
    ----------
    timings_s : dict of str to float
        Wall-clock seconds of every stage that has ended, summed where a stage ran twice.
    """

    def __init__(self, listener: StageListener | None = None) -> None:
        self.listener = listener or SilentListener()
        self.timings_s: dict[str, float] = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Run the body as ``stage``; an exception in the body ends it untimed."""
        self.listener.stage_started(stage)
        started = time.perf_counter()
        yield
        duration_s = time.perf_counter() - started
        self.timings_s[stage.value] = self.timings_s.get(stage.value, 0.0) + duration_s
        self.listener.stage_finished(stage, duration_s)
