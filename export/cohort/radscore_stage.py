"""The first stage of the fit: radiomics of the training cases to a Radscore, or to the features themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from engine.manifest.signature import RadiomicsSettings, SignatureFeature, SignatureSection
from engine.progress import ItemProgress
from engine.radiomics import EXTRACTOR, radscore
from export.cohort.usable import LeftOut, UsableCases, complete_features
from export.survival.signature import REPEATS, SignatureFit, fit_signature
from export.survival.table import SurvivalTable

SignatureUse = Literal["radscore", "features"]
RADSCORE: Final = "radscore"


@dataclass(frozen=True, eq=False)
class RadscoreStage:
    """A fitted signature, and what the second stage takes from it.

    Parameters
    ----------
    fit : SignatureFit
    offered : int
        Features that every training case had.
    section : SignatureSection, optional
        As the engine uses it; None where the signature is empty.
    use : {'radscore', 'features'}
    """

    fit: SignatureFit
    offered: int
    section: SignatureSection | None
    use: SignatureUse

    def training_table(self, train: UsableCases) -> SurvivalTable:
        """Covariates of the training cases; each Radscore by a signature that was chosen without the case."""
        if self.section is None:
            return train.table()
        if self.use == "features":
            return train.table(self.fit.names, train.features(self.fit.names))
        return train.table([RADSCORE], self.fit.out_of_fold_radscore[:, None])

    def table(self, cases: UsableCases) -> SurvivalTable:
        """Covariates of other cases, as the engine computes them."""
        if self.section is None:
            return cases.table()
        if self.use == "features":
            return cases.table(self.fit.names, cases.features(self.fit.names))
        section = self.section
        scores = [radscore(_present(result.features), section).value for result in cases.results]
        return cases.table([RADSCORE], np.array(scores, dtype=np.float64).reshape(-1, 1))

    def with_signature(self, cases: UsableCases) -> tuple[UsableCases, tuple[LeftOut, ...]]:
        """Split cases into those that have every feature of the signature, and those that lack one."""
        complete, lacking = [], []
        for case, result in zip(cases.cases, cases.results, strict=True):
            absent = [name for name in self.fit.names if result.features.get(name) is None]
            if absent:
                reason = f"without a feature of the signature: {', '.join(absent)}"
                lacking.append(LeftOut(case.case_id, case.split, reason))
            else:
                complete.append((case, result))
        usable = UsableCases(tuple(case for case, _ in complete), tuple(result for _, result in complete))
        return usable, tuple(lacking)

    def used_by(self, covariates: Sequence[str]) -> bool:
        """Whether a model of these covariates needs the signature when it is used."""
        if self.section is None:
            return False
        return RADSCORE in covariates or set(self.fit.names) <= set(covariates)

    def required(self, covariates: Sequence[str]) -> tuple[str, ...]:
        """Covariates of a model that are features of the signature."""
        return tuple(name for name in self.fit.names if name in covariates)


def fit_radscore_stage(
    train: UsableCases,
    radiomics: RadiomicsSettings,
    *,
    use: SignatureUse = RADSCORE,
    seed: int,
    repeats: int = REPEATS,
    on_progress: ItemProgress | None = None,
) -> RadscoreStage:
    """Choose and fit a signature on the training cases alone.

    Parameters
    ----------
    train : UsableCases
    radiomics : RadiomicsSettings
        With which their features were extracted.
    use : {'radscore', 'features'}
    seed, repeats : int
        See :func:`export.survival.signature.fit_signature`.
    on_progress : callable, optional
        Called with the number of fits done, and their total.
    """
    names = complete_features(train)
    fit = fit_signature(
        train.features(names),
        names,
        train.months,
        train.progressed,
        seed=seed,
        repeats=repeats,
        on_progress=on_progress,
    )
    return RadscoreStage(fit, len(names), _section(fit, radiomics) if fit.names else None, use)


def _section(fit: SignatureFit, radiomics: RadiomicsSettings) -> SignatureSection:
    columns = (fit.coefficients, fit.means, fit.sds, fit.reference_low, fit.reference_high)
    return SignatureSection(
        settings=radiomics,
        extractor=EXTRACTOR,
        features=tuple(
            SignatureFeature(
                name=name,
                coefficient=float(coefficient),
                mean=float(mean),
                sd=float(sd),
                reference_low=float(low),
                reference_high=float(high),
            )
            for name, coefficient, mean, sd, low, high in zip(fit.names, *columns, strict=True)
        ),
        intercept=fit.intercept,
    )


def _present(features: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in features.items() if value is not None}
