"""Which stored series a request means.

A request can name a series. If it does not, the newest one of the case is used, and of the masks the newest one
drawn on that CT. Nothing that was uploaded is silently passed over: a mask that names no CT has to
be named in the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.errors import InvalidRequestError, NotFoundError, PreconditionError
from engine.geometry import Vector3
from service.cases.series import STRUCTURE_NAMES, SeriesRecord, SeriesRole
from service.cases.stored_form import decode_header


class PlanningKey(NamedTuple):
    """What a prepared planning side was made from; the tumor's id is empty if there is no mask."""

    planning_series_id: str
    tumor_series_id: str
    target_lps_mm: Vector3 | None


@dataclass(frozen=True)
class PlanningSide:
    """The series that one preparation reads.

    Parameters
    ----------
    planning : SeriesRecord
    tumor : SeriesRecord or None
    newest_number : int
        Number of the newest planning CT or tumor mask that the case had at that time.
    target_lps_mm : tuple of float, optional
        Point in the tumor, planning CT.
    """

    planning: SeriesRecord
    tumor: SeriesRecord | None
    newest_number: int
    target_lps_mm: Vector3 | None = None

    @property
    def key(self) -> PlanningKey:
        """Key under which this planning side is kept once it is prepared."""
        tumor_series_id = self.tumor.series_id if self.tumor else ""
        return PlanningKey(self.planning.series_id, tumor_series_id, self.target_lps_mm)


@dataclass(frozen=True)
class VerificationSide:
    """The series one assessment reads."""

    verification: SeriesRecord
    zone: SeriesRecord | None
    core: SeriesRecord | None


def planning_side(
    case: Sequence[SeriesRecord],
    planning_id: str = "",
    tumor_id: str = "",
    target_lps_mm: Vector3 | None = None,
) -> PlanningSide:
    """Return the planning side that a request means: its planning CT, and the tumor mask if there is one.

    Raises
    ------
    NotFoundError, PreconditionError, InvalidRequestError
    """
    planning = choose_ct(case, SeriesRole.PLANNING_CT, planning_id)
    tumor = _choose_mask(case, SeriesRole.TUMOR_MASK, tumor_id, planning)
    return PlanningSide(planning, tumor, newest_planning_number(case), target_lps_mm)


def verification_side(
    case: Sequence[SeriesRecord], verification_id: str, zone_id: str, core_id: str
) -> VerificationSide:
    """Return the verification side that a request means: its verification CT, and the masks that were sent.

    Raises
    ------
    NotFoundError, PreconditionError, InvalidRequestError
    """
    verification = choose_ct(case, SeriesRole.VERIFICATION_CT, verification_id)
    return VerificationSide(
        verification,
        _choose_mask(case, SeriesRole.ABLATION_ZONE_MASK, zone_id, verification),
        _choose_mask(case, SeriesRole.ABLATION_CORE_MASK, core_id, verification),
    )


def newest_planning_number(case: Sequence[SeriesRecord]) -> int:
    """Return the number of the newest planning CT or tumor mask, 0 if there is neither."""
    return max(
        (record.number for record in case if record.role in {SeriesRole.PLANNING_CT, SeriesRole.TUMOR_MASK}),
        default=0,
    )


def choose_ct(case: Sequence[SeriesRecord], role: SeriesRole, series_id: str) -> SeriesRecord:
    """Return the named series, or the newest of its role."""
    if series_id:
        return named(case, role, series_id)
    of_role = [record for record in case if record.role == role]
    if not of_role:
        raise PreconditionError(f"the case has no {role.in_words} yet; upload it first")
    return of_role[-1]


def _choose_mask(
    case: Sequence[SeriesRecord], role: SeriesRole, series_id: str, ct: SeriesRecord
) -> SeriesRecord | None:
    """Return the named mask, or the newest one drawn on ``ct``, or None."""
    if series_id:
        mask = named(case, role, series_id)
        if reference(mask) not in {"", ct.series_id}:
            raise InvalidRequestError(
                f"the {STRUCTURE_NAMES[mask.role]} mask {series_id} was drawn on another CT than {ct.series_id}"
            )
        return mask
    of_role = [record for record in case if record.role == role]
    if any(not reference(record) for record in of_role):
        raise PreconditionError(
            f"the case has a {role.in_words} that does not say on which CT it was drawn; name the mask in the "
            "request, or upload it with reference_series_id"
        )
    drawn_here = [record for record in of_role if reference(record) == ct.series_id]
    return drawn_here[-1] if drawn_here else None


def named(case: Sequence[SeriesRecord], role: SeriesRole, series_id: str) -> SeriesRecord:
    """Return the series of this id and role."""
    for record in case:
        if record.series_id == series_id:
            if record.role != role:
                raise InvalidRequestError(
                    f"the series {series_id} is a {record.role.in_words}, not a {role.in_words}"
                )
            return record
    raise NotFoundError(f"the case has no {role.in_words} of the id given; see GetCase for what it has")


def reference(mask: SeriesRecord) -> str:
    """Return the id of the CT a mask was drawn on, empty where its upload did not say."""
    return decode_header(mask.header).reference_series_id
