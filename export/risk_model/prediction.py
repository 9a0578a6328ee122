"""Predictions of a survival bundle for a table of patients, without torch."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine import DISCLAIMER
from engine.errors import InputError, InvalidRequestError, ModelInputError
from engine.manifest import Covariate
from engine.risk.known_covariates import CovariateRisk, require_horizons, risk_of_covariates
from engine.risk.model import SurvivalModel
from engine.risk.statements import percent
from export.csv_table import header_faults, read_rows

_ID_COLUMNS: Final = ("case_id", "patient_id", "id")
_MISSING: Final = frozenset({"", "na", "n/a", "nan", "null", "none"})
_SHORT: Final = {"f": "female", "m": "male"}
"""As the command line of the bedside has them."""

_LISTED_FAULTS: Final = 20


@dataclass(frozen=True)
class _Patient:
    """One line of the table."""

    name: str
    line: int
    risk: CovariateRisk


@dataclass(frozen=True, eq=False)
class _TablePrediction:
    """Risks of all patients of a table.

    Parameters
    ----------
    model : SurvivalModel
    horizons : tuple of float
        In the model's unit of time.
    patients : tuple
        With ``name``, ``line`` and ``risk``, in the order of the table.
    unused_columns : tuple of str
        Columns of the table that are no covariate of the model.
    """

    model: SurvivalModel
    horizons: tuple[float, ...]
    patients: tuple[_Patient, ...]
    unused_columns: tuple[str, ...]

    def described(self, out: Path | None = None) -> dict[str, Any]:
        """What ``--json`` prints."""
        model, identity = self.model, self.model.identity
        demo = [f"{model.description}: no figure of it holds for a patient"] if identity.demo else []
        return {
            "model": {
                "id": identity.id,
                "version": identity.version,
                "demo": identity.demo,
                "description": model.description,
                "sha256": identity.sha256,
                "manifest_sha256": identity.manifest_sha256,
            },
            "endpoint": model.section.endpoint,
            "time_unit": model.section.time_unit,
            "horizons": list(self.horizons),
            "cases": [
                {
                    "case": patient.name,
                    "line": patient.line,
                    "probability": list(patient.risk.probability),
                    "band_90": [list(band) for band in patient.risk.band_90],
                    "flags": list(patient.risk.flags),
                }
                for patient in self.patients
            ],
            "unused_columns": list(self.unused_columns),
            "out": None if out is None else str(out),
            "warnings": demo,
            "disclaimer": DISCLAIMER,
        }

    def in_words(self) -> list[str]:
        """A line for each patient and horizon; none without what the model was fitted on."""
        section = self.model.section
        lines = [f"{section.endpoint} by {self.model.description}. {DISCLAIMER}"]
        for patient in self.patients:
            for horizon, chance, (low, high) in zip(
                self.horizons, patient.risk.probability, patient.risk.band_90, strict=True
            ):
                lines.append(
                    f"{patient.name}: within {horizon:g} {section.time_unit} {percent(chance)}, "
                    f"90 % band {percent(low)} to {percent(high)} ({self.model.description})"
                )
            lines += [f"{patient.name}: {flag}" for flag in patient.risk.flags]
        if self.unused_columns:
            lines.append(f"Not used: {', '.join(self.unused_columns)}")
        return lines

    def write_csv(self, out: Path) -> None:
        """Write a line for each patient, the file whole or not at all."""
        unit = self.model.section.time_unit
        with tempfile.NamedTemporaryFile(
            "w", dir=out.parent, prefix=f".{out.name}-", delete=False, encoding="utf-8", newline=""
        ) as file:
            unfinished = Path(file.name)
            rows = csv.writer(file)
            by_horizon = (
                (f"risk_{h:g}_{unit}", f"risk_{h:g}_{unit}_low_90", f"risk_{h:g}_{unit}_high_90")
                for h in self.horizons
            )
            rows.writerow(["case", "model", *(name for names in by_horizon for name in names), "flags"])
            for patient in self.patients:
                figures = zip(patient.risk.probability, patient.risk.band_90, strict=True)
                values = (f"{value:.6f}" for chance, band in figures for value in (chance, *band))
                # A percentage of a demo model never stands without these words.
                rows.writerow([patient.name, self.model.description, *values, "; ".join(patient.risk.flags)])
        unfinished.chmod(0o644)  # a temporary file is private
        unfinished.replace(out)


def predict_table(
    bundle: Path, table: Path, *, horizons: Sequence[float] = (), id_column: str = ""
) -> _TablePrediction:
    """Predict the risk of every patient of a table.

    Parameters
    ----------
    bundle : Path
        Of a survival model, of local tumor progression or of anything else.
    table : Path
        UTF-8 CSV with a column for each covariate; a coded covariate is its number or its meaning (``male``). An
        empty field is a missing value.
    horizons : sequence of float, optional
        In the model's unit of time; the model's own by default.
    id_column : str, optional
        Which column names the patients; by default ``case_id``, ``patient_id`` or ``id``, else lines are numbered.

    Raises
    ------
    InvalidRequestError
        If a column is missing, a value is none that a patient can have, a required one is missing, or a horizon
        lies beyond what the model was fitted on: every fault of the table at once, with its line.
    ModelError
        If the bundle must not be used.
    """
    model = SurvivalModel.load(bundle)
    chosen = tuple(map(float, horizons or model.section.horizons_months))
    require_horizons(model, chosen)
    header, lines = read_rows(table, "table")
    covariates = {covariate.name: covariate for covariate in model.section.covariates}
    required = [covariate.name for covariate in covariates.values() if covariate.distribution is None]
    faults = list(header_faults(header, [*required, *([id_column] if id_column else [])]))
    if faults:
        raise InvalidRequestError(
            f"{table}: {'; '.join(faults)}; its columns are {', '.join(header)}", "table"
        )
    names = id_column or next((name for name in _ID_COLUMNS if name in header), "")
    patients: list[_Patient] = []
    for line, row in lines:
        try:
            fields = _fields(header, row)
            values = {name: _value(covariate, fields) for name, covariate in covariates.items()}
            patient = fields.get(names, "") or f"line {line}"
            patients.append(_Patient(patient, line, risk_of_covariates(model, values, chosen)))
        except (InputError, ModelInputError) as error:
            faults.append(f"line {line}: {error}")
    _require_no_fault(table, faults)
    unused = tuple(name for name in header if name not in covariates and name != names)
    return _TablePrediction(model, chosen, tuple(patients), unused)


def _fields(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise InvalidRequestError(f"{len(row)} fields, the header has {len(header)}")
    return dict(zip(header, (text.strip() for text in row), strict=True))


def _value(covariate: Covariate, fields: Mapping[str, str]) -> float | None:
    """The number that a field says; None where it is missing."""
    text = fields.get(covariate.name, "").lower()
    if text in _MISSING:
        return None
    meanings = {meaning.lower(): code for meaning, code in covariate.coding.items()}
    coded = meanings.get(_SHORT.get(text, text)) if meanings else None
    if coded is not None:
        return coded
    value = _number(text)
    if value is None or (meanings and value not in meanings.values()):
        known = " or ".join(f"{code:g} ({meaning})" for meaning, code in covariate.coding.items())
        raise InvalidRequestError(f"{covariate.name} is {text!r}; it must be {known or 'a number'}")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _require_no_fault(table: Path, faults: Sequence[str]) -> None:
    if not faults:
        return
    more = f"; and {len(faults) - _LISTED_FAULTS} more faults" if len(faults) > _LISTED_FAULTS else ""
    raise InvalidRequestError(f"{table}: {'; '.join(faults[:_LISTED_FAULTS])}{more}", "table")
