"""The rigid motion between two scans, from rough starts: a patient lies turned in the second scan.

A translation alone fits a turned patient well enough to look right and is centimeters off. The places around the
tumor at which the HU change most are moved rigidly until they agree with the verification CT, first by the
whole picture, which captures rotations of 30° and more, then by the vessels in lung, which the chest wall
cannot mislead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.registration.region import ComparisonRegion

_STEPS: Final = 25
_OUTLIER_HU: Final = 150.0
"""Differences this large count half: what only one scan shows."""

_MAX_GAIN: Final = 2.0
_MAX_STEP_MM: Final = 6.0
_MAX_STEP_RADIAN: Final = 0.15
_SETTLED_MM: Final = 0.05
_SETTLED_RADIAN: Final = 0.002
_DAMPING: Final = 1e-4
"""Share of the mean curvature that is added: a motion that no contrast holds stays where it is."""

_SURE: Final = 0.9
"""A place counts where the field of view and the evidence around it are complete to this share."""

_MIN_PLACES: Final = 300
_MARGIN_VOXELS: Final = 2


@dataclass(frozen=True, eq=False)
class RigidTemplate:
    """Places with contrast around the tumor in the planning CT.

    Parameters
    ----------
    offsets_mm : ndarray, (N, 3)
        From the tumor's center, LPS.
    hu : ndarray, (N,)
    slope : ndarray, (N, 6)
        Change of HU with a shift (per mm, LPS) and with a rotation (per radian) of the place about the center.
    blur_voxels : float
        Standard deviation of the blur of the region, voxels; the other scan is blurred alike.
    """

    offsets_mm: Float64Array
    hu: Float64Array
    slope: Float64Array
    blur_voxels: float

    def thinned(self, factor: int) -> RigidTemplate:
        """Every so many places of it."""
        every = slice(None, None, factor)
        return RigidTemplate(self.offsets_mm[every], self.hu[every], self.slope[every], self.blur_voxels)


@dataclass(frozen=True, eq=False)
class RigidFit:
    """A rigid motion of the tumor's surroundings and how well it fits.

    Parameters
    ----------
    rotation : ndarray, (3, 3)
        Of offsets from the tumor's center, planning to verification.
    center_lps_mm : ndarray, (3,)
        Where the tumor's center lies in the verification CT.
    correlation : float
        Over the places seen in both scans; -1 where there are too few.
    seen_share : float
        Share of the places that are seen in both scans.
    """

    rotation: Float64Array
    center_lps_mm: Float64Array
    correlation: float
    seen_share: float

    def planning_from_verification(self, tumor_center_lps_mm: Float64Array) -> RigidTransform:
        """The motion as a transform between the frames."""
        back = self.rotation.T
        return RigidTransform.from_rotation(back, tumor_center_lps_mm - back @ self.center_lps_mm)


def rigid_template(
    region: ComparisonRegion,
    where: BoolArray,
    center_lps_mm: Float64Array,
    reach_mm: float,
    *,
    places: int,
    blur_voxels: float,
) -> RigidTemplate:
    """The places with most contrast within reach of a point.

    Parameters
    ----------
    region : ComparisonRegion
    where : ndarray of bool, (z, y, x)
        Voxels that may be chosen.
    center_lps_mm : ndarray, (3,)
    reach_mm : float
        A ball: what it shows does not depend on how the patient lies.
    places : int
        At most.
    blur_voxels : float
        Standard deviation of the blur of the region, voxels.

    Returns
    -------
    RigidTemplate
    """
    geometry = region.geometry
    hu = ndimage.gaussian_filter(region.hu, blur_voxels)
    inner = np.zeros(hu.shape, dtype=np.bool_)
    inner[(slice(_MARGIN_VOXELS, -_MARGIN_VOXELS),) * 3] = True
    index = np.argwhere(where & inner)
    offsets = geometry.to_lps(index.astype(float)) - center_lps_mm
    near = np.linalg.norm(offsets, axis=1) <= reach_mm
    at, offsets = tuple(index[near].T), offsets[near]
    per_mm = 1.0 / geometry.spacing_zyx_mm[0]
    gradient = np.stack([np.gradient(hu, axis=axis)[at] for axis in (2, 1, 0)], axis=-1) * per_mm
    chosen = np.argsort(-np.linalg.norm(gradient, axis=1), kind="stable")[:places]
    offsets, gradient = offsets[chosen], gradient[chosen].astype(np.float64)
    return RigidTemplate(
        offsets,
        hu[at][chosen].astype(np.float64),
        np.concatenate([gradient, np.cross(offsets, gradient)], axis=1),
        blur_voxels,
    )


@dataclass(frozen=True, eq=False)
class RigidScene:
    """The verification CT, blurred as the template is, with the voxels that count as 1."""

    hu: Float32Array
    known: Float32Array
    geometry: VolumeGeometry

    @classmethod
    def of(cls, region: ComparisonRegion, known: BoolArray, blur_voxels: float) -> RigidScene:
        """Prepare a region."""
        blurred = ndimage.gaussian_filter(region.hu, blur_voxels)
        return cls(blurred, known.astype(np.float32), region.geometry)

    def at(self, points_lps_mm: Float64Array) -> tuple[Float64Array, BoolArray]:
        """HU at points, and whether they count."""
        index = self.geometry.to_index(points_lps_mm).T
        hu, known = (
            ndimage.map_coordinates(values, index, order=1, mode="constant", cval=0.0)
            for values in (self.hu, self.known)
        )
        return hu.astype(np.float64), known >= _SURE


def fit_rigidly(
    template: RigidTemplate, scene: RigidScene, start: RigidFit, *, steps: int = _STEPS
) -> RigidFit:
    """Move a template rigidly until it agrees with a scene.

    Parameters
    ----------
    template : RigidTemplate
    scene : RigidScene
    start : RigidFit
    steps : int

    Returns
    -------
    RigidFit
        With a correlation of -1 where too few places are seen in both.

    Notes
    -----
    Gauss-Newton on robustly weighted differences of HU, with the slopes of the template (inverse compositional):
    Baker and Matthews, Int J Comput Vis 56:221-255, 2004.
    """
    rotation, center = start.rotation, start.center_lps_mm
    strength = np.square(template.slope).sum(axis=0)
    damping = _DAMPING * np.repeat([strength[:3].mean(), strength[3:].mean()], 3)
    for _ in range(steps):
        difference, seen = _difference(template, scene, rotation, center)
        if difference.size < _MIN_PLACES:
            return RigidFit(rotation, center, -1.0, float(seen.mean()))
        slope = template.slope[seen]
        weighted = slope / (1.0 + np.square(difference / _OUTLIER_HU))[:, None]
        curvature = weighted.T @ slope + np.diag(damping)
        step = np.asarray(np.linalg.solve(curvature, weighted.T @ difference), dtype=np.float64)
        shift_mm, turn = _shortened(step[:3], _MAX_STEP_MM), _shortened(step[3:], _MAX_STEP_RADIAN)
        back = Rotation.from_rotvec(turn).as_matrix().T
        rotation, center = rotation @ back, center - rotation @ back @ shift_mm
        if np.linalg.norm(shift_mm) < _SETTLED_MM and np.linalg.norm(turn) < _SETTLED_RADIAN:
            break
    return RigidFit(rotation, center, *_agreement(template, scene, rotation, center))


def _difference(
    template: RigidTemplate, scene: RigidScene, rotation: Float64Array, center: Float64Array
) -> tuple[Float64Array, BoolArray]:
    """HU of the scene less the template's, about their means and at one contrast, where seen in both."""
    hu, seen = scene.at(template.offsets_mm @ rotation.T + center)
    if np.count_nonzero(seen) < _MIN_PLACES:
        return np.empty(0), seen
    ours, theirs = template.hu[seen], hu[seen]
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    gain = np.sqrt((theirs @ theirs) / max(float(ours @ ours), 1e-9))
    return theirs / np.clip(gain, 1.0 / _MAX_GAIN, _MAX_GAIN) - ours, seen


def _agreement(
    template: RigidTemplate, scene: RigidScene, rotation: Float64Array, center: Float64Array
) -> tuple[float, float]:
    hu, seen = scene.at(template.offsets_mm @ rotation.T + center)
    if np.count_nonzero(seen) < _MIN_PLACES:
        return -1.0, float(seen.mean()) if seen.size else 0.0
    ours, theirs = template.hu[seen], hu[seen]
    spread = float(ours.std() * theirs.std())
    if spread == 0.0:
        return 0.0, float(seen.mean())
    return float(((ours - ours.mean()) * (theirs - theirs.mean())).mean()) / spread, float(seen.mean())


def _shortened(vector: Float64Array, longest: float) -> Float64Array:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
