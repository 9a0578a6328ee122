"""The alignments of a planning CT with a verification CT, from the roughest to the finest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.arrays import Float64Array
from engine.findings import AlignmentMethod, RegistrationQuality
from engine.geometry import RigidTransform
from engine.registration.comparison import ScanComparison
from engine.registration.deformation import Deformation


@dataclass(frozen=True, eq=False)
class _TumorPose:
    """Where the tumor lies in the verification CT, and how sure that is.

    Parameters
    ----------
    planning_from_verification : RigidTransform
        Motion of the tumor (without a tumor: of the whole scan).
    similarity : float
        Correlation of the aligned scans.
    translation_covariance_mm2 : ndarray, (3, 3)
        Uncertainty of the tumor's center in the verification frame.
    rotation_sd_deg : float
    """

    planning_from_verification: RigidTransform
    similarity: float
    translation_covariance_mm2: Float64Array
    rotation_sd_deg: float

    @property
    def uncertainty_mm(self) -> float:
        """Expected error of the tumor's center, root mean square."""
        return float(np.sqrt(np.trace(self.translation_covariance_mm2)))


@dataclass(frozen=True, eq=False)
class Translation(_TumorPose):
    """The lesion's surroundings found as a whole, moved and turned; a start, not an answer."""

    method: ClassVar = AlignmentMethod.TRANSLATION


@dataclass(frozen=True, eq=False)
class RigidAlignment(_TumorPose):
    """The rigid part, at the tumor, of a coarse deformation.

    Parameters
    ----------
    comparison : ScanComparison
    coarse : Deformation
    """

    comparison: ScanComparison
    coarse: Deformation

    method: ClassVar = AlignmentMethod.RIGID


@dataclass(frozen=True, eq=False)
class DeformableRegistration(_TumorPose):
    """The tumor's motion as the deformation around it predicts it.

    Parameters
    ----------
    comparison : ScanComparison
    deformation : Deformation
    quality : RegistrationQuality
    coarse_only : bool
        A deadline left no time for the fine deformation.
    """

    comparison: ScanComparison
    deformation: Deformation
    quality: RegistrationQuality
    coarse_only: bool

    @property
    def method(self) -> AlignmentMethod:
        """Whether the fine deformation was done."""
        return AlignmentMethod.DEFORMABLE_COARSE if self.coarse_only else AlignmentMethod.DEFORMABLE


Alignment = Translation | RigidAlignment | DeformableRegistration
