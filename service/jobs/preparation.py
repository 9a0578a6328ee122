"""Preparing a planning side, and finding the prepared one that an assessment needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import PreconditionError
from engine.stages import Stage, StageClock
from service.cases.requests import PrepareRequest, require_target
from service.cases.selection import PlanningSide, named, newest_planning_number, planning_side
from service.cases.series import SeriesRole
from service.cases.store import PreparedRecord
from service.cases.stored_form import decode_request

if TYPE_CHECKING:
    from engine.assessment.planning import PlanningOutcome
    from engine.geometry import Vector3
    from engine.stages import StageListener
    from service.cases.prepared import PreparedShelf
    from service.cases.store import CaseStore
    from service.cases.volumes import VolumeShelf
    from service.pipeline.protocol import Pipeline


@dataclass(frozen=True)
class Preparation:
    """The planning sides of all cases: which series they are, and what was prepared from them."""

    store: CaseStore
    volumes: VolumeShelf
    prepared: PreparedShelf
    pipeline: Pipeline

    def requested_side(self, request: PrepareRequest) -> PlanningSide:
        """Return the planning side that a request asks to prepare: its series and its target point.

        Raises
        ------
        NotFoundError, PreconditionError, InvalidRequestError
        """
        series = self.store.series(request.case_id)
        require_target(request.target_lps_mm)
        target = request.target_lps_mm or self._target_of(request.case_id)
        return planning_side(series, request.planning_series_id, request.tumor_series_id, target)

    def prepared_side(self, case_id: str) -> PlanningSide:
        """Return the planning side of a case's last Prepare; if there was none, the one that a Prepare now would use.

        Raises
        ------
        NotFoundError, PreconditionError, InvalidRequestError
            PreconditionError also if a newer planning series has arrived since that Prepare.
        """
        case = self.store.series(case_id)
        last = self.store.prepared(case_id)
        if last is None:
            return planning_side(case, target_lps_mm=self._target_of(case_id))
        if newest_planning_number(case) > last.newest_number:
            raise PreconditionError(
                "a planning CT or tumor mask was uploaded, or the target was changed, after the last Prepare; call "
                "Prepare again"
            )
        tumor = named(case, SeriesRole.TUMOR_MASK, last.tumor_series_id) if last.tumor_series_id else None
        planning = named(case, SeriesRole.PLANNING_CT, last.planning_series_id)
        return PlanningSide(planning, tumor, last.newest_number, _parsed(last.target))

    def prepare(
        self, case_id: str, side: PlanningSide, listener: StageListener, *, allow_demo_models: bool
    ) -> PlanningOutcome:
        """Prepare a planning side, keep the result in memory, and remember on disk what it was made from."""
        clock = StageClock(listener)
        with clock.stage(Stage.READ_PLANNING):
            planning, _ = self.volumes.ct(side.planning)
            tumor = None if side.tumor is None else self.volumes.mask(side.tumor, planning)
        prepared = self.pipeline.prepare(
            planning,
            tumor,
            target_lps_mm=side.target_lps_mm,
            allow_demo_models=allow_demo_models,
            listener=listener,
        )
        prepared.timings_s.update(clock.timings_s)
        self.prepared.put(side.key, prepared)
        planning_id, tumor_id, target = side.key
        self.store.record_prepared(
            case_id, PreparedRecord(planning_id, tumor_id, side.newest_number, _written(target))
        )
        return prepared

    def ensure_prepared(
        self, case_id: str, side: PlanningSide, listener: StageListener, *, allow_demo_models: bool
    ) -> tuple[PlanningOutcome, dict[str, float]]:
        """Return the prepared planning side, and the seconds of each stage that had to run for it.

        While it is still in memory nothing runs, and there are no seconds.
        """
        kept = self.prepared.get(side.key)
        if kept is not None:
            return kept, {}
        prepared = self.prepare(case_id, side, listener, allow_demo_models=allow_demo_models)
        return prepared, dict(prepared.timings_s)

    def _target_of(self, case_id: str) -> Vector3 | None:
        """Return the target point that a case was opened with, if any."""
        return decode_request(self.store.request_of(case_id)).target_lps_mm


def _written(target_lps_mm: Vector3 | None) -> str:
    return "" if target_lps_mm is None else " ".join(map(repr, target_lps_mm))


def _parsed(target: str) -> Vector3 | None:
    if not target:
        return None
    x, y, z = map(float, target.split())
    return x, y, z
