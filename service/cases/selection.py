"""Which stored series a request means.

A series can be named. Where it is not, the newest one of the case is meant, of masks the newest one
drawn on that CT. Nothing that was uploaded is passed over in silence: a mask that names no CT has to
be named by the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coldspot.v1 import service_pb2

from engine.errors import InvalidRequestError, NotFoundError, PreconditionError
from engine.geometry import Vector3
from service.cases.store import SeriesRecord

PLANNING_CT: Final = service_pb2.SERIES_ROLE_PLANNING_CT
_VERIFICATION_CT: Final = service_pb2.SERIES_ROLE_VERIFICATION_CT
TUMOR_MASK: Final = service_pb2.SERIES_ROLE_TUMOR_MASK
_ZONE_MASK: Final = service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK
_CORE_MASK: Final = service_pb2.SERIES_ROLE_ABLATION_CORE_MASK

CT_ROLES: Final = frozenset({PLANNING_CT, _VERIFICATION_CT})
MASK_NAMES: Final[dict[int, str]] = {
    TUMOR_MASK: "tumor",
    _ZONE_MASK: "ablation zone",
    _CORE_MASK: "ablation core",
}
CT_OF_MASK: Final[dict[int, service_pb2.SeriesRole]] = {
    TUMOR_MASK: PLANNING_CT,
    _ZONE_MASK: _VERIFICATION_CT,
    _CORE_MASK: _VERIFICATION_CT,
}


@dataclass(frozen=True)
class PlanningSide:
    """The series one preparation reads, and its target point (LPS mm of the planning CT).

    ``newest_number`` is the newest planning-side series then.
    """

    planning: SeriesRecord
    tumor: SeriesRecord | None
    newest_number: int
    target_lps_mm: Vector3 | None = None

    @property
    def key(self) -> tuple[str, str, Vector3 | None]:
        """Ids of both series, and the target point."""
        return self.planning.series_id, self.tumor.series_id if self.tumor else "", self.target_lps_mm


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
    """Return the planning CT and tumor mask a request means.

    Raises
    ------
    NotFoundError, PreconditionError, InvalidRequestError
    """
    planning = choose_ct(case, PLANNING_CT, planning_id)
    tumor = _choose_mask(case, TUMOR_MASK, tumor_id, planning)
    return PlanningSide(planning, tumor, newest_planning_number(case), target_lps_mm)


def verification_side(
    case: Sequence[SeriesRecord], verification_id: str, zone_id: str, core_id: str
) -> VerificationSide:
    """Return the verification CT and its masks a request means.

    Raises
    ------
    NotFoundError, PreconditionError, InvalidRequestError
    """
    verification = choose_ct(case, _VERIFICATION_CT, verification_id)
    return VerificationSide(
        verification,
        _choose_mask(case, _ZONE_MASK, zone_id, verification),
        _choose_mask(case, _CORE_MASK, core_id, verification),
    )


def newest_planning_number(case: Sequence[SeriesRecord]) -> int:
    """Return the number of the newest planning CT or tumor mask, 0 without one."""
    return max((record.number for record in case if record.role in {PLANNING_CT, TUMOR_MASK}), default=0)


def choose_ct(case: Sequence[SeriesRecord], role: int, series_id: str) -> SeriesRecord:
    """Return the named series, or the newest of its role."""
    if series_id:
        return named(case, role, series_id)
    of_role = [record for record in case if record.role == role]
    if not of_role:
        raise PreconditionError(f"the case has no {_word(role)} yet; upload it first")
    return of_role[-1]


def _choose_mask(
    case: Sequence[SeriesRecord], role: int, series_id: str, ct: SeriesRecord
) -> SeriesRecord | None:
    """Return the named mask, or the newest one drawn on ``ct``, or None."""
    if series_id:
        mask = named(case, role, series_id)
        if reference(mask) not in {"", ct.series_id}:
            raise InvalidRequestError(
                f"the {MASK_NAMES[mask.role]} mask {series_id} was drawn on another CT than {ct.series_id}"
            )
        return mask
    of_role = [record for record in case if record.role == role]
    if any(not reference(record) for record in of_role):
        raise PreconditionError(
            f"the case has a {_word(role)} that does not say on which CT it was drawn; name the mask in the "
            "request, or upload it with reference_series_id"
        )
    drawn_here = [record for record in of_role if reference(record) == ct.series_id]
    return drawn_here[-1] if drawn_here else None


def named(case: Sequence[SeriesRecord], role: int, series_id: str) -> SeriesRecord:
    """Return the series of this id and role."""
    for record in case:
        if record.series_id == series_id:
            if record.role != role:
                raise InvalidRequestError(
                    f"the series {series_id} is a {_word(record.role)}, not a {_word(role)}"
                )
            return record
    raise NotFoundError(f"the case has no {_word(role)} of the id given; see GetCase for what it has")


def reference(mask: SeriesRecord) -> str:
    """Return the id of the CT a mask was drawn on, empty where its upload did not say."""
    return service_pb2.UploadHeader.FromString(mask.header).reference_series_id


def _word(role: int) -> str:
    name = service_pb2.SeriesRole.Name(service_pb2.SeriesRole.ValueType(role))
    return name.removeprefix("SERIES_ROLE_").lower().replace("_", " ")
