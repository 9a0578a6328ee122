"""Risk of local tumor progression (LTP) after ablation, from a survival model bundle.

The risk is a mixture over complete and incomplete coverage, so that one voxel of the target
coverage ratio does not flip it. Source of the covariates and of the binary coverage:
Wang et al. 2026, sections 1.2.2, 1.4 and 2.3 (DOI 10.13929/j.issn.1003-3289.2026.03.004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import ManifestError, ModelError, ModelInputError
from engine.manifest import Bundle, load_bundle
from engine.model_identity import ModelIdentity
from engine.risk.incidence import HazardTables, band_90, mean_risk
from engine.risk.missing import coded_sex, covariate_rows
from engine.risk.network import SurvivalNetwork
from engine.risk.statements import risk_statements, source_in_words
from engine.runtime.onnx_session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from engine.runtime.session import InferenceSession

_UNUSED_RADSCORE = "radscore was given but this model does not use it"


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
        If it is not a survival model, or the network lacks the inputs and outputs of the manifest.
    ModelError
        If it does not reproduce the manifest's reference outputs on this machine.
    """

    def __init__(self, bundle: Bundle, session: InferenceSession) -> None:
        self.manifest, self.identity = bundle.manifest, bundle.identity
        self.model_sha256 = bundle.model_sha256
        section, parity = bundle.manifest.survival, bundle.manifest.parity
        if section is None or parity is None:
            raise ManifestError(f"{self.name} is a {self.manifest.kind} model; give a survival model here")
        self.section = section
        self.network = SurvivalNetwork(self.name, section, session)
        self.network.require_tensors(self.manifest)
        self.hazards = HazardTables.of(section)
        self.network.require_parity(parity)

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
        return f"{self.name} ({source_in_words(self.manifest)})"

    @property
    def backend(self) -> str:
        """The inference backend in use."""
        return self.network.session.backend

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
        if self.section.purpose != "ltp":
            raise ModelInputError(
                f"{self.name} predicts {self.section.endpoint}, not local tumor progression; choose another model"
            )
        if not (math.isfinite(probability_complete) and 0 <= probability_complete <= 1):
            raise ModelInputError(f"probability of complete coverage {probability_complete} must be 0 to 1")
        values: dict[str, float | None] = {
            **(further or {}),
            "sex": coded_sex(self.section, sex),
            "fibrinogen_g_per_l": fibrinogen_g_per_l,
            "radscore": radscore if self.section.uses_radscore else None,
        }
        unused = radscore is not None and not self.section.uses_radscore
        rows = covariate_rows(self.section, values, self.name)
        outputs = self.network.run(rows.under_both_coverages())
        risks = self.hazards.incidence(outputs["log_risk"], self.section.horizons_months)
        self._require_finite(risks)
        incomplete, complete = np.split(risks, 2)
        mixture = probability_complete * complete + (1 - probability_complete) * incomplete
        estimate, band = mean_risk(mixture, rows.weights), band_90(mixture, rows.weights)
        if_complete = mean_risk(complete, rows.weights) if include_if_complete else np.empty(0)
        return SurvivalRisk(
            months=tuple(int(month) for month in self.section.horizons_months),
            probability=tuple(float(p) for p in estimate),
            band_90=tuple(
                (float(min(low, p)), float(max(high, p)))
                for p, low, high in zip(estimate, *band, strict=True)
            ),
            model=self.description,
            identity=self.identity,
            statements=risk_statements(
                source_in_words(self.manifest),
                probability_complete,
                self.section.horizons_months,
                estimate,
                band,
                if_complete,
            ),
            flags=(*(_UNUSED_RADSCORE,) * unused, *rows.flags),
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
        outputs = self.network.run(self.network.clamped(np.asarray(covariates, dtype=np.float64)))
        survival = self.hazards.survival(outputs["log_risk"], at_months)
        self._require_finite(survival)
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
        outputs = self.network.run(self.network.clamped(np.asarray(covariates, dtype=np.float64)))
        if not {"attention", "effective_signal"} <= set(outputs):
            raise ModelInputError(f"{self.name} gives no attention and effective signal; export it again")
        return _CovariateExplanation(
            outputs["log_risk"].mean(axis=1),
            outputs["attention"].mean(axis=1),
            outputs["effective_signal"].mean(axis=1),
        )

    def _require_finite(self, values: Float64Array) -> None:
        if not np.isfinite(values).all():
            raise ModelError(f"{self.name} gave a risk that is not a number; do not use this bundle")
