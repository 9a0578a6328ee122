"""The network of a survival model: covariates in a caller's units in, log-risk of every member out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.arrays import Float64Array
from engine.errors import ManifestError, ModelError, ModelInputError

if TYPE_CHECKING:
    from engine.manifest import ModelManifest, SurvivalSection
    from engine.manifest.survival import Parity
    from engine.runtime.session import InferenceSession


@dataclass(frozen=True, eq=False)
class SurvivalNetwork:
    """A session that has been held to its manifest.

    Parameters
    ----------
    name : str
        Model id and version, for messages.
    section : SurvivalSection
    session : InferenceSession
    """

    name: str
    section: SurvivalSection
    session: InferenceSession

    def run(self, covariates: Float64Array) -> dict[str, Float64Array]:
        """Outputs by name for covariates (case, covariate), which are standardized first."""
        mean = np.array([c.mean for c in self.section.covariates])
        sd = np.array([c.sd for c in self.section.covariates])
        standardized = ((covariates - mean) / sd).astype(np.float32)
        outputs = self.session.run({self.session.inputs[0].name: standardized})
        return {name: np.asarray(value, dtype=np.float64) for name, value in outputs.items()}

    def clamped(self, covariates: Float64Array) -> Float64Array:
        """Covariates (case, covariate) inside the training ranges.

        Raises
        ------
        ModelInputError
            If a row is not one finite number per covariate.
        """
        expected = len(self.section.covariates)
        if covariates.ndim != 2 or covariates.shape[1] != expected or not np.isfinite(covariates).all():
            raise ModelInputError(f"{self.name} takes rows of {expected} finite numbers, one per covariate")
        low = np.array([c.training_low for c in self.section.covariates])
        high = np.array([c.training_high for c in self.section.covariates])
        return np.clip(covariates, low, high)

    def require_tensors(self, manifest: ModelManifest) -> None:
        """Require that the network fits the manifest, and that this has one input and the log-risk of every member.

        Raises
        ------
        ManifestError
        """
        if self.session.inputs != manifest.inputs or self.session.outputs != manifest.outputs:
            raise ManifestError(
                f"{self.name}: the network takes and gives other tensors than its manifest says; export again"
            )
        outputs = {spec.name: spec for spec in manifest.outputs}
        columns, members = len(self.section.covariates), self.section.members
        if len(manifest.inputs) != 1 or manifest.inputs[0].shape != ("batch", columns):
            raise ManifestError(f"{self.name}: a survival model takes one input of shape (batch, {columns})")
        if "log_risk" not in outputs or outputs["log_risk"].shape != ("batch", members):
            raise ManifestError(f"{self.name}: a survival model gives log_risk of shape (batch, {members})")

    def require_parity(self, parity: Parity) -> None:
        """Refuse a network that computes something else here than where it was exported.

        Raises
        ------
        ModelError
        """
        rows = np.array([case.covariates for case in parity.reference_outputs])
        expected = np.array([case.log_risk for case in parity.reference_outputs])
        worst = float(np.abs(self.run(rows)["log_risk"] - expected).max())
        if not worst <= parity.device_tolerance:
            raise ModelError(
                f"{self.name} on {self.session.backend} differs by {worst:g} from its source model, more than "
                f"{parity.device_tolerance:g}; do not use this backend"
            )
