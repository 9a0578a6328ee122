"""What a transport asks of the service: open a case, prepare its planning side, assess a verification CT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from engine.errors import InvalidRequestError
from engine.geometry import Vector3
from engine.risk.clinical_inputs import require_possible_fibrinogen
from service.cases.series import SeriesRecord

_CORRECTABLE: Final = frozenset({"sex", "fibrinogen_g_per_l", "target_lps_mm"})
"""Inputs of a case that can be replaced."""

_MAX_COORDINATE_MM: Final = 1e4


@dataclass(frozen=True)
class CaseRequest:
    """A case to open, with the optional clinical inputs of the risk model.

    Parameters
    ----------
    request_id : str
        Chosen by the caller; repeating a call with the same id finds the case that the first one opened.
    sex : {"f", "m"}, optional
    fibrinogen_g_per_l : float, optional
        Before the ablation.
    target_lps_mm : tuple of float, optional
        The navigation system's point in the tumor, in the planning CT.
    """

    request_id: str
    sex: Literal["f", "m"] | None = None
    fibrinogen_g_per_l: float | None = None
    target_lps_mm: Vector3 | None = None

    def require_possible(self) -> None:
        """Refuse clinical inputs that cannot be true.

        Raises
        ------
        InvalidRequestError
        """
        require_possible_fibrinogen(self.fibrinogen_g_per_l)
        require_target(self.target_lps_mm)


@dataclass(frozen=True)
class CaseUpdate:
    """Inputs of a case to correct.

    Parameters
    ----------
    case_id : str
    fields : frozenset of str
        Which of sex, fibrinogen_g_per_l and target_lps_mm to replace.
    inputs : CaseRequest
        Their new values; None clears one.
    """

    case_id: str
    fields: frozenset[str]
    inputs: CaseRequest

    def applied_to(self, before: CaseRequest) -> CaseRequest:
        """Return the inputs of a case with the corrections.

        Raises
        ------
        InvalidRequestError
            If there are none, or one is of something else.
        """
        if not self.fields or not self.fields <= _CORRECTABLE:
            raise InvalidRequestError(
                f"name what to correct, some of {', '.join(sorted(_CORRECTABLE))}, not "
                f"{', '.join(sorted(self.fields - _CORRECTABLE)) or 'nothing'}",
                "update_mask",
            )
        return replace(before, **{field: getattr(self.inputs, field) for field in self.fields})


@dataclass(frozen=True)
class PrepareRequest:
    """The planning side to prepare; the newest series are meant where none is named.

    Parameters
    ----------
    case_id, planning_series_id, tumor_series_id : str
    target_lps_mm : tuple of float, optional
        Point in the tumor, in the planning CT; if it is absent, the target point of the case is used.
    allow_demo_models : bool
        Let a demo model draw the tumor where no mask was sent.
    """

    case_id: str
    planning_series_id: str = ""
    tumor_series_id: str = ""
    target_lps_mm: Vector3 | None = None
    allow_demo_models: bool = False


@dataclass(frozen=True)
class AssessRequest:
    """The verification side to assess; the newest series are meant where none is named.

    Parameters
    ----------
    case_id, verification_series_id, zone_series_id, core_series_id : str
    include_risk_if_complete : bool
        Also return the risk associated with complete coverage.
    allow_demo_models : bool
        Let demo models draw the contours that were not sent.
    """

    case_id: str
    verification_series_id: str = ""
    zone_series_id: str = ""
    core_series_id: str = ""
    include_risk_if_complete: bool = False
    allow_demo_models: bool = False


@dataclass(frozen=True)
class CaseSummary:
    """What is stored for a case.

    Parameters
    ----------
    case_id : str
    opened_at : datetime
        UTC.
    inputs : CaseRequest
        As they are now.
    series : tuple of SeriesRecord
        Oldest first.
    assessment_ids : tuple of str
        Oldest first.
    prepared : bool
        Whether Prepare has been done for the newest planning CT and tumor mask.
    """

    case_id: str
    opened_at: datetime
    inputs: CaseRequest
    series: tuple[SeriesRecord, ...]
    assessment_ids: tuple[str, ...]
    prepared: bool


@dataclass(frozen=True)
class CaseOverview:
    """One case in a list.

    Parameters
    ----------
    case_id : str
    opened_at : datetime
        UTC.
    series_count, assessment_count : int
    stored_bytes : int
        Of its series and artifacts; what it shares with other cases is counted in each.
    """

    case_id: str
    opened_at: datetime
    series_count: int
    assessment_count: int
    stored_bytes: int


@dataclass(frozen=True)
class CasePage:
    """Some cases of a list, the newest first, and the token of the page after them; empty on the last page."""

    cases: tuple[CaseOverview, ...]
    next_token: str


def require_target(target_lps_mm: Vector3 | None) -> None:
    """Refuse a target point that is not a position.

    Raises
    ------
    InvalidRequestError
    """
    if target_lps_mm is not None and not all(abs(value) < _MAX_COORDINATE_MM for value in target_lps_mm):
        raise InvalidRequestError("the target must be a finite LPS position in mm", "target_lps_mm")
