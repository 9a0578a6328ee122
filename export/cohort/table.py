"""The cohort manifest: a CSV with one line per ablated lesion, checked as a whole before anything is computed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import InvalidRequestError
from engine.geometry import Vector3
from engine.manifest import SIMULATED_COHORT
from engine.risk.clinical_inputs import FIBRINOGEN_RANGE_G_PER_L
from export.csv_table import header_faults, read_rows

_PATH_COLUMNS: Final = ("planning", "verification", "tumor", "zone", "core", "tumor_model", "zone_model")
_LISTED_FAULTS: Final = 20
_LIKE_A_COLUMN: Final = 0.8
"""A column whose name is this similar to a known one is taken for a slip of the pen."""

_Coordinate = Annotated[float, Field(ge=-5000, le=5000)]
Sex = Literal["f", "m"]
_FIBRINOGEN_LOW, _FIBRINOGEN_HIGH = FIBRINOGEN_RANGE_G_PER_L


class CaseImages(BaseModel):
    """What the assessment of one case reads.

    Parameters
    ----------
    planning, verification : Path
        As for :func:`engine.files.reading.read_ct`: folder of DICOM, or image file.
    tumor, zone, core : Path, optional
        Masks, as for :func:`engine.files.reading.read_mask`, each with the label to read where it holds several.
    tumor_model, zone_model : Path, optional
        Bundles of segmentation models that draw what is not contoured.
    target_x_mm, target_y_mm, target_z_mm : float, optional
        A place in the tumor, planning CT, LPS.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    planning: Path
    verification: Path
    tumor: Path | None = None
    tumor_label: str | None = None
    tumor_model: Path | None = None
    zone: Path | None = None
    zone_label: str | None = None
    zone_model: Path | None = None
    core: Path | None = None
    core_label: str | None = None
    target_x_mm: _Coordinate | None = None
    target_y_mm: _Coordinate | None = None
    target_z_mm: _Coordinate | None = None

    @property
    def target_lps_mm(self) -> Vector3 | None:
        """The place in the tumor, if the table gives one."""
        x, y, z = self.target_x_mm, self.target_y_mm, self.target_z_mm
        return None if x is None or y is None or z is None else (x, y, z)

    @property
    def paths(self) -> dict[str, Path]:
        """Files and folders that are read, by column."""
        return {name: getattr(self, name) for name in _PATH_COLUMNS if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.tumor is None and self.tumor_model is None:
            raise ValueError("neither tumor nor tumor_model is given")
        if self.zone is None and self.zone_model is None:
            raise ValueError("neither zone nor zone_model is given")
        absent = [self.target_x_mm, self.target_y_mm, self.target_z_mm].count(None)
        if absent not in {0, 3}:
            raise ValueError("target_x_mm, target_y_mm and target_z_mm belong together")
        return self


class _CohortRow(CaseImages):
    """One line of the table; an empty field is one that was left out."""

    case_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sex: Sex | None = None
    fibrinogen_g_per_l: Annotated[float, Field(ge=_FIBRINOGEN_LOW, le=_FIBRINOGEN_HIGH)] | None = None
    months: Annotated[float, Field(ge=0, le=1200)]
    event: Annotated[int, Field(ge=0, le=2)]
    split: Literal["train", "test"] = "train"
    center: Annotated[str, Field(max_length=64)] = ""
    source: Annotated[str, Field(max_length=64)] = ""


_KNOWN_COLUMNS: Final = tuple(_CohortRow.model_fields)
REQUIRED_COLUMNS: Final = (
    "case_id",
    "planning",
    "verification",
    "sex",
    "fibrinogen_g_per_l",
    "months",
    "event",
)

_HINTS: Final = {
    "case_id": "letters, digits, '.', '_' and '-', no patient's name",
    "sex": "f or m",
    "fibrinogen_g_per_l": f"in g/L, {_FIBRINOGEN_LOW:g} to {_FIBRINOGEN_HIGH:g}; mg/dL divided by 100",
    "months": "from ablation to event or end of follow-up, decimals after a point",
    "event": "0 none, 1 local tumor progression, 2 death without it",
    "split": "train or test",
}


@dataclass(frozen=True)
class CohortCase:
    """One ablated lesion: images, clinical values, follow-up.

    Parameters
    ----------
    line : int
        Of the file; the header is line 1.
    case_id : str
    images : CaseImages
        Paths are absolute.
    sex, fibrinogen_g_per_l
        None where the table has none; such a case is assessed but no model is fitted to it.
    months : float
        To the event or the end of follow-up.
    event : int
        0 none, 1 local tumor progression, 2 death without it.
    split : {'train', 'test'}
    center : str
    described : Mapping of str to str
        Further columns: shown in the report's comparison of groups, never used by the model.
    """

    line: int
    case_id: str
    images: CaseImages
    sex: Sex | None
    fibrinogen_g_per_l: float | None
    months: float
    event: int
    split: Literal["train", "test"] = "train"
    center: str = ""
    described: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortTable:
    """A checked cohort manifest, in the order of its lines; ``simulated`` cases are all or none."""

    name: str
    cases: tuple[CohortCase, ...]
    simulated: bool

    def of_split(self, split: Literal["train", "test"]) -> tuple[CohortCase, ...]:
        """The cases of one split."""
        return tuple(case for case in self.cases if case.split == split)


def read_cohort_table(path: Path) -> CohortTable:
    """Read and check a cohort manifest.

    Parameters
    ----------
    path : Path
        UTF-8 CSV, comma-separated, with the columns of :class:`_CohortRow`. Paths in it are relative to its
        folder. Of the optional columns, ``source`` of a simulated cohort says so in every line; any further
        column describes the cases.

    Returns
    -------
    CohortTable

    Raises
    ------
    InvalidRequestError
        With every fault of the file at once, by line.
    """
    header, lines = read_rows(path, "cohort")
    _require_columns(path, header)
    faults: list[str] = []
    cases: list[CohortCase] = []
    sources: list[str] = []
    for line, fields in lines:
        if len(fields) != len(header):
            faults.append(f"line {line}: {len(fields)} fields for {len(header)} columns")
            continue
        row = {name: text.strip() for name, text in zip(header, fields, strict=True) if text.strip()}
        case, source, of_line = _case(path.parent, line, row)
        faults += of_line
        if case is not None:
            cases.append(case)
            sources.append(source)
    faults += _repeated(cases)
    if any(source == SIMULATED_COHORT for source in sources) and len(set(sources)) > 1:
        faults.append(f"some lines have the source {SIMULATED_COHORT!r} and some do not: never mix the two")
    if faults:
        raise InvalidRequestError(f"{path}: {_listed(faults)}", "cohort")
    return CohortTable(path.name, tuple(cases), simulated=SIMULATED_COHORT in sources)


def _require_columns(path: Path, header: Sequence[str]) -> None:
    """Refuse a header that lacks a column, repeats one, or has one that looks like a misspelled known one."""
    if len(header) == 1 and ";" in header[0]:
        raise InvalidRequestError(f"{path} is separated by semicolons: save it with commas", "cohort")
    faults = list(header_faults(header, REQUIRED_COLUMNS))
    for name in header:
        alike = difflib.get_close_matches(name.lower(), _KNOWN_COLUMNS, n=1, cutoff=_LIKE_A_COLUMN)
        if alike and name not in _KNOWN_COLUMNS:
            faults.append(f"column {name} is not known: {alike[0]}? Rename it")
    if faults:
        raise InvalidRequestError(f"{path}: {_listed(faults)}", "cohort")


def _case(folder: Path, line: int, row: Mapping[str, str]) -> tuple[CohortCase | None, str, list[str]]:
    """The case of a line and its source; or what is wrong with the line."""
    where = f"line {line} ({row['case_id']})" if "case_id" in row else f"line {line}"
    known = {name: text for name, text in row.items() if name in _KNOWN_COLUMNS}
    try:
        checked = _CohortRow.model_validate(known)
    except ValidationError as error:
        return None, "", [f"{where}: {_in_words(item, known)}" for item in error.errors()]
    absolute = {name: (folder / path).resolve() for name, path in checked.paths.items()}
    absent = [
        f"{where}: {name}: {path} does not exist" for name, path in absolute.items() if not path.exists()
    ]
    if absent:
        return None, "", absent
    images = {name: getattr(checked, name) for name in CaseImages.model_fields} | absolute
    case = CohortCase(
        line=line,
        case_id=checked.case_id,
        images=CaseImages(**images),
        sex=checked.sex,
        fibrinogen_g_per_l=checked.fibrinogen_g_per_l,
        months=checked.months,
        event=checked.event,
        split=checked.split,
        center=checked.center,
        described={name: text for name, text in row.items() if name not in _KNOWN_COLUMNS},
    )
    return case, checked.source, []


def _in_words(fault: Mapping[str, object], row: Mapping[str, str]) -> str:
    """One fault of a line: the value, and what was expected."""
    location = fault["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    if not name:
        return str(fault["msg"]).removeprefix("Value error, ")
    if name not in row:
        return f"{name} is missing"
    return f"{name}: {row[name]!r} cannot be used ({_HINTS.get(name, fault['msg'])})"


def _repeated(cases: Sequence[CohortCase]) -> list[str]:
    """Case ids that stand in several lines, upper and lower case alike: each names a file."""
    lines: dict[str, list[str]] = {}
    for case in cases:
        lines.setdefault(case.case_id.lower(), []).append(str(case.line))
    return [
        f"lines {', '.join(numbers)}: case_id {name} occurs {len(numbers)} times"
        for name, numbers in lines.items()
        if len(numbers) > 1
    ]


def _listed(faults: Sequence[str]) -> str:
    """All faults in one message, one a line."""
    if len(faults) == 1:
        return faults[0]
    more = [f"and {len(faults) - _LISTED_FAULTS} more"] if len(faults) > _LISTED_FAULTS else []
    return "\n  ".join([f"{len(faults)} faults:", *faults[:_LISTED_FAULTS], *more])
