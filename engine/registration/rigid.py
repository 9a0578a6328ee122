"""Rigid alignment of the lesion region, by SimpleITK."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from engine.geometry import FloatArray, VolumeGeometry
from engine.registration.region import ComparisonRegion

LEVELS: Final = ((2, 1.0, 1.0), (1, 0.0, 0.3))
"""Shrink factor, smoothing (voxels) and share of the voxels sampled, from coarse to fine."""

SAMPLING_SEED: Final = 20260101
"""The same scans give the same alignment."""

MOST_ITERATIONS: Final = 60


def align_rigidly(
    planning: ComparisonRegion,
    verification: ComparisonRegion,
    evidence: npt.NDArray[np.bool_],
    start: FloatArray,
    center_lps_mm: FloatArray,
) -> FloatArray:
    """Refine a rigid alignment by normalised correlation over the voxels with evidence.

    Parameters
    ----------
    planning, verification : ComparisonRegion
    evidence : ndarray of bool, (z, y, x)
        Voxels of the verification region that count.
    start : ndarray, (4, 4)
        Rigid planning-from-verification transform to start from.
    center_lps_mm : ndarray, (3,)
        Center of rotation in the verification frame.

    Returns
    -------
    ndarray, (4, 4)
        Rigid planning-from-verification transform, LPS mm.
    """
    fixed, moving = _image(verification.hu, verification.geometry), _image(planning.hu, planning.geometry)
    transform = sitk.Euler3DTransform()
    transform.SetCenter([float(v) for v in center_lps_mm])
    transform.SetMatrix([float(v) for v in start[:3, :3].ravel()], 1e-6)
    # ITK rotates about the center first: T(p) = R (p - c) + c + t.
    translation = start[:3, :3] @ center_lps_mm + start[:3, 3] - center_lps_mm
    transform.SetTranslation([float(v) for v in translation])

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(_image(evidence.astype(np.uint8), verification.geometry))
    method.SetMetricMovingMask(_image(planning.inside.astype(np.uint8), planning.geometry))
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([share for _, _, share in LEVELS], SAMPLING_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=0.005, numberOfIterations=MOST_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma, _ in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)

    aligned = np.eye(4)
    aligned[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    offset = np.array(transform.GetTranslation()) + center_lps_mm
    aligned[:3, 3] = offset - aligned[:3, :3] @ center_lps_mm
    return aligned


def _image(voxels: npt.NDArray[np.generic], geometry: VolumeGeometry) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([float(v) for v in reversed(geometry.spacing_zyx_mm)])
    image.SetOrigin([float(v) for v in geometry.origin_lps_mm])
    axes = np.array(geometry.directions_zyx_lps)[::-1].T
    image.SetDirection([float(v) for v in axes.ravel()])
    return image
