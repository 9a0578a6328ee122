"""What was measured when a model was compared with the one it was made from."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.manifest.common import Count, NotNegative, Positive, Probability, Section, Text


class ParityReport(Section):
    """Differences of a candidate from its reference on the same inputs.

    Parameters
    ----------
    reference, candidate : str
        Library, version, device and precision.
    measured_on : str
        Which images.
    cases : int
    max_abs, mean_abs, p999_abs : float
        Largest, mean and 99.9th percentile of the absolute differences of the outputs.
    cosine_distance : float, optional
        The largest of any case, for feature vectors.
    dice : float, optional
        The least over the labels and cases, for segmentations.
    label_flips, near_tie_flips, voxels : int, optional
        Voxels of another label; those of them where the reference's two best logits are less than
        0.01 apart; all voxels compared.
    tolerance : float
        Of ``cosine_distance`` where that is given, else of ``max_abs``.
    passed : bool
        What :func:`export.parity.comparison.compare_sessions` decided.
    """

    reference: Text
    candidate: Text
    measured_on: Text
    cases: Count
    max_abs: NotNegative
    mean_abs: NotNegative
    p999_abs: NotNegative
    cosine_distance: NotNegative | None = None
    dice: Probability | None = None
    label_flips: Annotated[int, Field(ge=0)] | None = None
    near_tie_flips: Annotated[int, Field(ge=0)] | None = None
    voxels: Count | None = None
    tolerance: Positive
    passed: bool

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.mean_abs <= self.max_abs >= self.p999_abs:
            raise ValueError("no difference can be larger than the largest")
        measured = self.max_abs if self.cosine_distance is None else self.cosine_distance
        if self.passed and measured > self.tolerance:
            raise ValueError(f"a difference of {measured:g} has not passed a tolerance of {self.tolerance:g}")
        flips, near, voxels = self.label_flips, self.near_tie_flips, self.voxels
        if (flips is None) != (voxels is None) or (near is not None and flips is None):
            raise ValueError("flipped labels are told with the number of voxels compared")
        if flips is not None and voxels is not None and not (near or 0) <= flips <= voxels:
            raise ValueError("more labels flipped than there are voxels, or more near ties than flips")
        return self
