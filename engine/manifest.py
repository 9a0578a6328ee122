"""Model bundles: a manifest that is executed, and files that are what it says they are.

A bundle is a folder ``models/<id>/<version>/`` with ``manifest.json``, ``model.onnx`` and the
``MODEL_CARD.md`` rendered from the manifest. Nothing of it is used before every byte is checked.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.errors import BundleIntegrityError, ManifestError

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
MODEL_CARD_FILE = "MODEL_CARD.md"

SIMULATED_COHORT = "simulated cohort"
"""The words that stand beside every percentage of a model that never saw a patient."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    """Frozen, nothing coerced, no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TensorSpec(_Section):
    """Name, element type and shape of an input or output; a named axis has a free size."""

    name: Text
    dtype: Literal["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]
    shape: tuple[Annotated[int, Field(gt=0)] | Text, ...]


class Bernoulli(_Section):
    """Distribution of a covariate coded 0 or 1."""

    kind: Literal["bernoulli"] = "bernoulli"
    probability_of_one: Probability


class LogNormal(_Section):
    """Distribution of a positive covariate, cut off at its training range."""

    kind: Literal["lognormal"] = "lognormal"
    median: Positive
    log_sd: Positive


class Normal(_Section):
    """Distribution of a symmetric covariate, cut off at its training range."""

    kind: Literal["normal"] = "normal"
    mean: float
    sd: Positive


class Covariate(_Section):
    """One input of a survival model, in the units a caller gives it.

    The network sees ``(value - mean) / sd``. Values outside ``training_low``..``training_high``
    are clamped and flagged; outside ``accepted_low``..``accepted_high`` they are refused, because
    such a value is more likely another unit than a patient. A missing value is averaged over
    ``distribution``; without one the covariate is required.
    """

    name: Literal["sex", "fibrinogen_g_per_l", "complete_coverage", "radscore"]
    description: Text
    unit: Text
    coding: dict[str, float] = Field(default_factory=dict)
    mean: float
    sd: Positive
    training_low: float
    training_high: float
    accepted_low: float
    accepted_high: float
    distribution: Annotated[Bernoulli | LogNormal | Normal, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _ranges_nest(self) -> Self:
        if not self.accepted_low <= self.training_low < self.training_high <= self.accepted_high:
            raise ValueError(f"{self.name}: the training range must lie inside the accepted range")
        if self.name == "sex" and set(self.coding) != {"female", "male"}:
            raise ValueError("sex: the coding must give a number for female and one for male")
        return self


class BaselineHazard(_Section):
    """Breslow baseline of every ensemble member.

    ``cumulative_hazard[member][i]`` holds from ``months[i]`` until the next entry.
    """

    months: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    cumulative_hazard: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_cumulative_hazard(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.months)):
            raise ValueError("the baseline's months must increase")
        for member, hazard in enumerate(self.cumulative_hazard):
            if len(hazard) != len(self.months):
                raise ValueError(f"member {member}: {len(hazard)} hazards for {len(self.months)} months")
            if any(later < earlier for earlier, later in pairwise(hazard)):
                raise ValueError(f"member {member}: a cumulative hazard cannot fall")
        return self


class ReferenceOutput(_Section):
    """Covariates in a caller's units with the source model's log-risk for every member."""

    covariates: tuple[float, ...]
    log_risk: tuple[float, ...]


class Parity(_Section):
    """Agreement of the exported graph with the model it was exported from."""

    source: Text
    cases: Annotated[int, Field(gt=0)]
    max_abs_difference: Annotated[float, Field(ge=0)]
    tolerance: Positive
    device_tolerance: Positive
    reference_outputs: tuple[ReferenceOutput, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _within_tolerance(self) -> Self:
        if self.max_abs_difference > self.tolerance:
            raise ValueError(f"parity {self.max_abs_difference:g} is worse than its {self.tolerance:g}")
        return self


class SurvivalSection(_Section):
    """How a risk is computed from covariates: ``R(t) = 1 - exp(-H0(t) exp(log_risk))``."""

    endpoint: Text
    covariates: tuple[Covariate, ...] = Field(min_length=1)
    complete_coverage_rule: Literal["tcr_equals_1"]
    target_margin_mm: Positive
    target_clipped_to_lung: bool
    uses_radscore: bool
    horizons_months: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    baseline: BaselineHazard

    @property
    def members(self) -> int:
        """Number of ensemble members."""
        return len(self.baseline.cumulative_hazard)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [covariate.name for covariate in self.covariates]
        if len(set(names)) != len(names):
            raise ValueError("a covariate is listed twice")
        if "complete_coverage" not in names:
            raise ValueError("a survival model needs the covariate complete_coverage")
        if ("radscore" in names) != self.uses_radscore:
            raise ValueError("uses_radscore contradicts the list of covariates")
        if any(later <= earlier for earlier, later in pairwise(self.horizons_months)):
            raise ValueError("the horizons must increase")
        first, last = self.baseline.months[0], self.baseline.months[-1]
        if self.horizons_months[0] < first or self.horizons_months[-1] > last:
            raise ValueError(f"a horizon lies outside the baseline table, {first:g} to {last:g} months")
        return self


class PerformanceFigure(_Section):
    """One measured figure, with what it was measured on."""

    name: Text
    value: float
    measured_on: Text


class ModelManifest(_Section):
    """Everything that is needed to use a model rightly."""

    schema_version: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    kind: Literal["survival"]
    description: Text
    intended_use: Text
    demo: bool
    fitted_on: Text
    licence: Text
    provenance: Text
    assumptions: tuple[Text, ...] = ()
    performance: tuple[PerformanceFigure, ...] = ()
    files: dict[str, Sha256]
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    parity: Parity
    survival: SurvivalSection

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            # A normal form without "." and "//" leaves one name for one file.
            plain = str(path) == name and "\\" not in name and "\0" not in name
            if not plain or path.is_absolute() or ".." in path.parts or name in {"", "."}:
                raise ValueError(f"file name {name!r} leaves the bundle or is not in its plain form")
        if MODEL_FILE not in files or MANIFEST_FILE in files:
            raise ValueError(f"files must list {MODEL_FILE}, and cannot list {MANIFEST_FILE} itself")
        return files

    @model_validator(mode="after")
    def _fits_its_model(self) -> Self:
        simulated = "simulated" in self.fitted_on.lower()
        if self.demo and SIMULATED_COHORT not in self.fitted_on:
            raise ValueError(f"a demo model's fitted_on must contain {SIMULATED_COHORT!r}")
        if simulated and not self.demo:
            raise ValueError("a model fitted on simulated cases must be marked as a demo")
        for output in self.parity.reference_outputs:
            if len(output.covariates) != len(self.survival.covariates):
                raise ValueError("a reference output does not have a value for each covariate")
            if len(output.log_risk) != self.survival.members:
                raise ValueError("a reference output does not have a log-risk for each member")
            if not math.isfinite(sum(output.log_risk)):
                raise ValueError("a reference output is not finite")
        return self


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle; ``model_bytes`` are the bytes that were hashed, never read again."""

    manifest: ModelManifest
    folder: Path
    model_bytes: bytes

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the ONNX file, hexadecimal."""
        return self.manifest.files[MODEL_FILE]


def read_manifest(folder: Path) -> ModelManifest:
    """Read and validate ``manifest.json`` of a bundle folder.

    Raises
    ------
    ManifestError
        If the file is missing, not UTF-8 JSON, or not a valid manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); give a bundle folder") from error
    try:
        return ModelManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        message = f"{path}: {where}: {first['msg']} ({error.error_count()} in all); export the bundle again"
        raise ManifestError(message) from error


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle after checking every file of it against the manifest.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.

    Raises
    ------
    ManifestError
        If the manifest is missing or invalid.
    BundleIntegrityError
        If a listed file is missing, differs from its hash or lies outside the folder, or if the
        folder holds a file that the manifest does not list.
    """
    manifest = read_manifest(folder)
    contents = {name: _checked_bytes(folder, name, sha256) for name, sha256 in manifest.files.items()}
    _refuse_unlisted(folder, set(contents))
    return Bundle(manifest, folder, contents[MODEL_FILE])


def _checked_bytes(folder: Path, name: str, sha256: str) -> bytes:
    """Bytes of one listed file, read once and hashed."""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BundleIntegrityError(f"{folder / name} is a link out of its bundle; copy the file in instead")
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{folder / name} cannot be read ({error.strerror}); install the bundle again"
        raise BundleIntegrityError(message) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BundleIntegrityError(
            f"{folder / name} has SHA-256 {found}, its manifest says {sha256}; install the bundle again"
        )
    return content


def _refuse_unlisted(folder: Path, listed: set[str]) -> None:
    """Refuse a file that nobody hashed: it has no place beside a model."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in listed | {MANIFEST_FILE}:
            raise BundleIntegrityError(f"{path} is not listed in the manifest; remove it or export again")
