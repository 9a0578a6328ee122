"""Risk of local tumor progression (LTP) after ablation, from a survival model bundle.

The risk is a mixture over complete and incomplete coverage, so that one voxel of the target
coverage ratio does not flip it. Source of the covariates and of the binary coverage:
Wang et al. 2026, sections 1.2.2, 1.4 and 2.3 (DOI 10.13929/j.issn.1003-3289.2026.03.004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError, ManifestError, ModelError, ModelInputError
from engine.manifest import Bernoulli, Bundle, Covariate, LogNormal, Normal, load_bundle
from engine.model_identity import ModelIdentity
from engine.risk.incidence import cumulative_incidence, mean_survival
from engine.runtime.onnx_session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from engine.runtime.session import InferenceSession

_QUADRATURE_NODES = 32
"""Equally likely values that stand for a missing continuous covariate; its mean risk is then
within 0.001 of a much finer rule."""

_BAND = (0.05, 0.95)
_MOST_ROWS = 1 << 16
_FROM_THE_REQUEST = ("sex", "fibrinogen_g_per_l")


@dataclass(frozen=True)
class SurvivalRisk:
    """Risk of LTP within each horizon, with a 90 % band and the words that belong to it.

    ``probability_if_complete`` is empty unless asked for: an association in the cohort, not the
    effect of ablating further.
    """

    months: tuple[int, ...]
    probability: tuple[float, ...]
    band_90: tuple[tuple[float, float], ...]
    model: str
    identity: ModelIdentity
    statements: tuple[str, ...]
    flags: tuple[str, ...]
    probability_if_complete: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class _CovariateExplanation:
    """What the network does with cases: log-risk (case,), attention and signals (case, covariate).

    Attention is 1 where every covariate is let in alike; the effective signal is attention times the
    standardized covariate.
    """

    log_risk: Float64Array
    attention: Float64Array
    effective_signal: Float64Array


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Values that stand for one covariate, with weights that add up to 1."""

    values: Float64Array
    weights: Float64Array


class SurvivalModel:
    """A survival bundle ready for use.

    Parameters
    ----------
    bundle : Bundle
    session : InferenceSession
        The bundle's network; closed by its owner.

    Raises
    ------
    ManifestError
        If it is no survival model, or the network lacks the inputs and outputs of the manifest.
    ModelError
        If it does not reproduce the manifest's reference outputs on this machine.
    """

    def __init__(self, bundle: Bundle, session: InferenceSession) -> None:
        self.manifest = bundle.manifest
        self.model_sha256 = bundle.model_sha256
        self._session = session
        section, parity = bundle.manifest.survival, bundle.manifest.parity
        if section is None or parity is None:
            raise ManifestError(f"{self.name} is a {self.manifest.kind} model; give a survival model here")
        self._section, self._parity = section, parity
        if session.inputs != self.manifest.inputs or session.outputs != self.manifest.outputs:
            raise ManifestError(
                f"{self.name}: the network takes and gives other tensors than its manifest says; export again"
            )
        self._require_tensors()
        self._missing = {
            c.name: _distribution_nodes(c, c.distribution) for c in self._section.covariates if c.distribution
        }
        self._hazard = np.array(self._section.baseline.cumulative_hazard, dtype=np.float64)
        competing = self._section.competing
        self._competing = (
            None if competing is None else np.array(competing.cumulative_hazard, dtype=np.float64)
        )
        self._require_parity()

    @classmethod
    def load(cls, folder: Path, *, open_session: Callable[[bytes], InferenceSession] = OnnxSession) -> Self:
        """Check a bundle and open its network.

        Parameters
        ----------
        folder : Path
            ``models/<id>/<version>``.
        open_session : callable, optional
            The inference backend, chosen by the caller; ONNX Runtime on the CPU by default.

        Raises
        ------
        ManifestError, BundleIntegrityError, ModelError
        """
        bundle = load_bundle(folder)
        return cls(bundle, open_session(bundle.model_bytes))

    @property
    def name(self) -> str:
        """Model id and version."""
        return f"{self.manifest.id} {self.manifest.version}"

    @property
    def description(self) -> str:
        """Model, version and what it was fitted on; goes wherever a figure of it goes."""
        return f"{self.name} ({self._source})"

    @property
    def backend(self) -> str:
        """The inference backend in use."""
        return self._session.backend

    def usable(self, clinical: bool) -> bool:
        """Whether the model may be used; a demo model may not in clinical mode."""
        return not (clinical and self.manifest.demo)

    def risk(
        self,
        sex: Literal["f", "m"] | None,
        fibrinogen_g_per_l: float | None,
        probability_complete: float,
        *,
        radscore: float | None = None,
        further: Mapping[str, float] | None = None,
        include_if_complete: bool = False,
    ) -> SurvivalRisk:
        """Risk of LTP within each horizon of the model.

        ``P R(complete) + (1 - P) R(incomplete)`` with ``R(t) = 1 - exp(-H0(t) exp(log_risk))``, the
        mean over ensemble members and over the values a missing input may have. The band runs
        from the 5th to the 95th percentile of both together.

        Parameters
        ----------
        sex : {"f", "m"}, optional
        fibrinogen_g_per_l : float, optional
            Plasma fibrinogen before ablation, g/L.
        probability_complete : float
            P, the probability that the target is covered completely, 0 to 1.
        radscore : float, optional
            Radiomics score of the ablation zone, for a model that uses one.
        further : mapping of str to float, optional
            Other covariates by name, such as the signature's features where the model takes them itself.
        include_if_complete : bool, optional
            Also give R(complete).

        Raises
        ------
        InvalidRequestError
            If sex or fibrinogen is not a value a patient can have.
        ModelInputError
            If the model gives no risk of LTP, or ``probability_complete``, ``radscore`` or another covariate
            is not a number the model can take.
        ModelError
            If the network gives a risk that is not a number.
        """
        if self._section.purpose != "ltp":
            raise ModelInputError(
                f"{self.name} predicts {self._section.endpoint}, not local tumor progression; choose another model"
            )
        if not (math.isfinite(probability_complete) and 0 <= probability_complete <= 1):
            raise ModelInputError(f"probability of complete coverage {probability_complete} must be 0 to 1")
        flags: list[str] = []
        given: dict[str, float | None] = {
            **(further or {}),
            "sex": self._coded_sex(sex),
            "fibrinogen_g_per_l": fibrinogen_g_per_l,
            "radscore": radscore if self._section.uses_radscore else None,
        }
        if radscore is not None and not self._section.uses_radscore:
            flags.append("radscore was given but this model does not use it")
        covariates, weights = self._grid(given, flags)
        incomplete, complete = self._risks(covariates)
        mixture = probability_complete * complete + (1 - probability_complete) * incomplete
        estimate, band = _estimate(mixture, weights), _band(mixture, weights)
        if_complete = _estimate(complete, weights) if include_if_complete else np.empty(0)
        return SurvivalRisk(
            months=tuple(int(month) for month in self._section.horizons_months),
            probability=tuple(float(p) for p in estimate),
            band_90=tuple(
                (float(min(low, p)), float(max(high, p)))
                for p, low, high in zip(estimate, *band, strict=True)
            ),
            model=self.description,
            identity=self.manifest.identity,
            statements=self._statements(probability_complete, estimate, band, if_complete),
            flags=tuple(flags),
            probability_if_complete=tuple(float(p) for p in if_complete),
        )

    def survival(self, covariates: npt.ArrayLike, at_months: Sequence[float]) -> Float64Array:
        """Probability of no endpoint by given times, the mean over the members; for any purpose.

        Parameters
        ----------
        covariates : array_like of float, (case, covariate)
            In the manifest's order and units; clamped to the training range.
        at_months : sequence of float, (time,)
            In the manifest's unit of time; beyond the baseline table its last value holds.

        Returns
        -------
        ndarray of float, (case, time)

        Raises
        ------
        ModelInputError
            If a row is not one finite number per covariate.
        ModelError
            If the network gives a risk that is not a number.
        """
        outputs = self._run(self._clamped(np.asarray(covariates, dtype=np.float64)))
        survival = mean_survival(
            outputs["log_risk"],
            np.array(self._section.baseline.months, dtype=np.float64),
            self._hazard,
            np.asarray(at_months, dtype=np.float64),
            self._competing,
        )
        if not np.isfinite(survival).all():
            raise ModelError(f"{self.name} gave a risk that is not a number; do not use this bundle")
        return survival

    def explanation(self, covariates: npt.ArrayLike) -> _CovariateExplanation:
        """Log-risk, attention and effective signal of cases, the means over the members.

        Parameters
        ----------
        covariates : array_like of float, (case, covariate)
            As for :meth:`survival`.

        Raises
        ------
        ModelInputError
            If a row is not one finite number per covariate, or the network gives no effective signal.
        """
        outputs = self._run(self._clamped(np.asarray(covariates, dtype=np.float64)))
        if not {"attention", "effective_signal"} <= set(outputs):
            raise ModelInputError(f"{self.name} gives no attention and effective signal; export it again")
        return _CovariateExplanation(
            outputs["log_risk"].mean(axis=1),
            outputs["attention"].mean(axis=1),
            outputs["effective_signal"].mean(axis=1),
        )

    @property
    def _source(self) -> str:
        """The words that stand beside every percentage."""
        return (
            f"demo, {self.manifest.fitted_on}"
            if self.manifest.demo
            else f"fitted on {self.manifest.fitted_on}"
        )

    def _coded_sex(self, sex: str | None) -> float | None:
        """Sex as the number the model was fitted with."""
        coding = next((c.coding for c in self._section.covariates if c.name == "sex"), None)
        if sex not in {"f", "m", None}:
            raise InvalidRequestError(f"sex must be 'f' or 'm', or left out, not {sex!r}", field="sex")
        if sex is None or coding is None:
            return None
        return coding["female" if sex == "f" else "male"]

    def _grid(self, given: dict[str, float | None], flags: list[str]) -> tuple[Float64Array, Float64Array]:
        """Covariate rows (node, covariate) with their weights; coverage is filled in later."""
        nodes = [
            _Nodes(np.zeros(1), np.ones(1))
            if covariate.name == "complete_coverage"
            else self._nodes(covariate, given.get(covariate.name), flags)
            for covariate in self._section.covariates
        ]
        if math.prod(len(n.values) for n in nodes) > _MOST_ROWS:
            raise ModelInputError(
                f"too many covariates of {self.name} are missing at once; give more of them"
            )
        values = np.meshgrid(*[n.values for n in nodes], indexing="ij")
        weights = np.meshgrid(*[n.weights for n in nodes], indexing="ij")
        rows = np.stack([v.ravel() for v in values], axis=1)
        return rows, np.asarray(np.prod([w.ravel() for w in weights], axis=0), dtype=np.float64)

    def _nodes(self, covariate: Covariate, value: float | None, flags: list[str]) -> _Nodes:
        """Take the value of a covariate, or those it may have when it is missing."""
        if value is None:
            if covariate.name not in self._missing:
                raise ModelInputError(f"{covariate.name} is required by this model; give it")
            flags.append(
                f"{covariate.name} is missing: averaged over its distribution in the cohort, band included"
            )
            return self._missing[covariate.name]
        if not (math.isfinite(value) and covariate.accepted_low <= value <= covariate.accepted_high):
            message = (
                f"{covariate.name} {value} is outside {covariate.accepted_low:g} to "
                f"{covariate.accepted_high:g} {covariate.unit}; check the value and its unit, or leave it out"
            )
            if covariate.name in _FROM_THE_REQUEST:
                raise InvalidRequestError(message, field=covariate.name)
            raise ModelInputError(message)
        clamped = min(max(value, covariate.training_low), covariate.training_high)
        if clamped != value:
            flags.append(
                f"{covariate.name} {value:g} is outside the training range {covariate.training_low:g} to "
                f"{covariate.training_high:g} {covariate.unit}: computed with {clamped:g}"
            )
        return _Nodes(np.array([clamped]), np.ones(1))

    def _risks(self, rows: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Risk (node, member, horizon) under incomplete and under complete coverage."""
        column = [c.name for c in self._section.covariates].index("complete_coverage")
        both = np.concatenate([rows, rows])
        both[len(rows) :, column] = 1.0
        risks = self._incidence(self._run(both)["log_risk"], self._section.horizons_months)
        return risks[: len(rows)], risks[len(rows) :]

    def _incidence(self, log_risk: Float64Array, at_months: Sequence[float]) -> Float64Array:
        """Risk (row, member, time) of log-risks (row, member)."""
        risks = cumulative_incidence(
            np.exp(log_risk),
            np.array(self._section.baseline.months, dtype=np.float64),
            self._hazard,
            np.array(at_months, dtype=np.float64),
            self._competing,
        )
        if not np.isfinite(risks).all():
            raise ModelError(f"{self.name} gave a risk that is not a number; do not use this bundle")
        return risks

    def _run(self, covariates: Float64Array) -> dict[str, Float64Array]:
        """Outputs of the network for covariates (row, covariate) in a caller's units."""
        mean = np.array([c.mean for c in self._section.covariates])
        sd = np.array([c.sd for c in self._section.covariates])
        standardized = ((covariates - mean) / sd).astype(np.float32)
        outputs = self._session.run({self.manifest.inputs[0].name: standardized})
        return {name: np.asarray(value, dtype=np.float64) for name, value in outputs.items()}

    def _clamped(self, covariates: Float64Array) -> Float64Array:
        """Covariates (row, covariate) inside the training ranges; refuses what is no such table."""
        expected = len(self._section.covariates)
        if covariates.ndim != 2 or covariates.shape[1] != expected or not np.isfinite(covariates).all():
            raise ModelInputError(f"{self.name} takes rows of {expected} finite numbers, one per covariate")
        low = np.array([c.training_low for c in self._section.covariates])
        high = np.array([c.training_high for c in self._section.covariates])
        return np.clip(covariates, low, high)

    def _require_tensors(self) -> None:
        """Hold the manifest to one input and the log-risk of every member."""
        inputs, outputs = self.manifest.inputs, {spec.name: spec for spec in self.manifest.outputs}
        columns, members = len(self._section.covariates), self._section.members
        if len(inputs) != 1 or inputs[0].shape != ("batch", columns):
            raise ManifestError(f"{self.name}: a survival model takes one input of shape (batch, {columns})")
        if "log_risk" not in outputs or outputs["log_risk"].shape != ("batch", members):
            raise ManifestError(f"{self.name}: a survival model gives log_risk of shape (batch, {members})")

    def _require_parity(self) -> None:
        """Refuse a network that computes something else here than where it was exported."""
        parity = self._parity
        rows = np.array([case.covariates for case in parity.reference_outputs])
        expected = np.array([case.log_risk for case in parity.reference_outputs])
        worst = float(np.abs(self._run(rows)["log_risk"] - expected).max())
        if not worst <= parity.device_tolerance:
            raise ModelError(
                f"{self.name} on {self.backend} differs by {worst:g} from its source model, more than "
                f"{parity.device_tolerance:g}; do not use this backend"
            )

    def _statements(
        self,
        probability_complete: float,
        estimate: Float64Array,
        band: Float64Array,
        if_complete: Float64Array,
    ) -> tuple[str, ...]:
        """Put the figures into words; every percentage has its source in the same sentence."""
        months = self._section.horizons_months
        said = [
            f"Local tumor progression within {month} months ({self._source}): {_percent(p)}, "
            f"90 % band {_percent(low)} to {_percent(high)}."
            for month, p, low, high in zip(months, estimate, *band, strict=True)
        ]
        said.append(
            "The risk weighs complete against incomplete coverage by the probability of complete "
            f"coverage, {probability_complete:.2f}."
        )
        said += [
            f"Cases with complete coverage, otherwise like this one, progressed within {month} months in "
            f"{_percent(p)} ({self._source}): an association in that cohort, not the effect of ablating "
            "further."
            for month, p in zip(months, if_complete, strict=False)
        ]
        return tuple(said)


def _distribution_nodes(covariate: Covariate, distribution: Bernoulli | LogNormal | Normal) -> _Nodes:
    """Equally likely values of a missing covariate (midpoints of equal shares of probability)."""
    if isinstance(distribution, Bernoulli):
        one = distribution.probability_of_one
        return _Nodes(np.array([0.0, 1.0]), np.array([1 - one, one]))
    shares = (np.arange(_QUADRATURE_NODES) + 0.5) / _QUADRATURE_NODES
    z = np.array([NormalDist().inv_cdf(share) for share in shares])
    if isinstance(distribution, LogNormal):
        values = distribution.median * np.exp(distribution.log_sd * z)
    else:
        values = distribution.mean + distribution.sd * z
    values = np.clip(values, covariate.training_low, covariate.training_high)
    return _Nodes(values, np.full(_QUADRATURE_NODES, 1 / _QUADRATURE_NODES))


def _estimate(risks: Float64Array, weights: Float64Array) -> Float64Array:
    """Mean risk for each horizon of risks (node, member, horizon)."""
    return np.asarray(np.clip(np.einsum("j,jkt->t", weights, risks) / risks.shape[1], 0.0, 1.0))


def _band(risks: Float64Array, weights: Float64Array) -> Float64Array:
    """5th and 95th weighted percentile (2, horizon) over nodes and members together."""
    spread = risks.reshape(-1, risks.shape[2])
    share = np.repeat(weights / risks.shape[1], risks.shape[1])
    band = np.empty((2, spread.shape[1]))
    for horizon in range(spread.shape[1]):
        order = np.argsort(spread[:, horizon], kind="stable")
        middle = np.cumsum(share[order]) - share[order] / 2
        band[:, horizon] = np.interp(_BAND, middle, spread[order, horizon])
    return band


def _percent(probability: float) -> str:
    """Write a probability as whole percent; neither 0 nor 100 is ever said."""
    if probability < 0.005:
        return "under 1 %"
    if probability > 0.995:
        return "over 99 %"
    return f"{100 * probability:.0f} %"
