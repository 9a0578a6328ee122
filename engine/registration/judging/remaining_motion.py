"""The displacement that the images still ask for once they are registered, and the regions where it is large.

A region that was lost asks for a third to a half of what it is off: the rest lies beyond what its surroundings in the
images can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.geometry import Vector3, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.bending import solve_bending
from engine.registration.control_grid import coarser, thinned
from engine.registration.deformation import Deformation

DOUBTFUL_MM: Final = 2.0
"""On a breathing pair landmarks where less is asked for are at most 2.8 mm off; one that was 5.5 mm off asked for 2.1,
lung displaced by 6 and 10 mm for 2.5 and 4.5 mm."""

_WEAK_PRIOR: Final = 0.1
"""The displacement that the images still ask for is found with this share of the stiffness."""

_MIN_SHARE: Final = 0.1
_MIN_SHARE_ALONE: Final = 0.3
"""Of the usual evidence at a node: with less it does not count at all, or not by itself."""


@dataclass(frozen=True)
class DoubtfulRegion:
    """A connected region in which the images still disagree.

    Parameters
    ----------
    place_lps_mm : tuple of float
        Where they do most, fixed frame.
    largest_mm : float
        By how much there.
    volume_ml : float
    """

    place_lps_mm: Vector3
    largest_mm: float
    volume_ml: float


@dataclass(frozen=True, eq=False)
class RemainingMotion:
    """What the images still ask for, on every second node of a deformation.

    Parameters
    ----------
    size_mm : ndarray, (z, y, x)
    strength : ndarray, (z, y, x)
        Evidence as a share of the usual.
    lattice : VolumeGeometry
    """

    size_mm: Float64Array
    strength: Float64Array
    lattice: VolumeGeometry

    def rms_mm(self, near: BoolArray) -> float:
        """Root mean square over the nodes (of the deformation) that are ``near``; 0 where none counts."""
        counted = self._at_own_nodes(near) & (self.strength > _MIN_SHARE)
        return float(np.sqrt((self.size_mm[counted] ** 2).mean())) if counted.any() else 0.0

    def largest_mm(self, near: BoolArray) -> float:
        """Largest at a node with evidence of its own; 0 where there is none."""
        counted = self._at_own_nodes(near) & (self.strength > _MIN_SHARE_ALONE)
        return float(self.size_mm[counted].max()) if counted.any() else 0.0

    def doubtful_regions(self) -> tuple[DoubtfulRegion, ...]:
        """Connected regions beyond ``DOUBTFUL_MM``; the largest disagreement first."""
        doubtful = (self.size_mm > DOUBTFUL_MM) & (self.strength > _MIN_SHARE_ALONE)
        labels, count = ndimage.label(doubtful, structure=np.ones((3, 3, 3)))
        node_ml = float(np.prod(self.lattice.spacing_zyx_mm)) / 1000.0
        regions = []
        for label in range(1, count + 1):
            inside = labels == label
            worst = np.unravel_index(int(np.argmax(np.where(inside, self.size_mm, 0.0))), inside.shape)
            x, y, z = (float(v) for v in self.lattice.to_lps(np.array(worst, dtype=np.float64)))
            volume_ml = float(np.count_nonzero(inside)) * node_ml
            regions.append(DoubtfulRegion((x, y, z), float(self.size_mm[worst]), volume_ml))
        return tuple(sorted(regions, key=lambda region: -region.largest_mm))

    def _at_own_nodes(self, near: BoolArray) -> BoolArray:
        own = np.zeros(self.size_mm.shape, dtype=np.bool_)
        nz, ny, nx = near[::2, ::2, ::2].shape
        own[:nz, :ny, :nx] = near[::2, ::2, ::2]
        return own


def remaining_motion(
    deformation: Deformation, *, kernels: KernelBackend = KernelBackend.CPU
) -> RemainingMotion:
    """Solve for what the images still ask for, under a weak prior.

    Parameters
    ----------
    deformation : Deformation
    kernels : KernelBackend

    Returns
    -------
    RemainingMotion
    """
    tensor, lattice = thinned(deformation.tensor), coarser(deformation.lattice)
    stiffness = (
        _WEAK_PRIOR
        * deformation.stiffness
        * deformation.lattice.spacing_zyx_mm[0]
        / lattice.spacing_zyx_mm[0]
    )
    remaining = solve_bending(tensor, thinned(deformation.force), stiffness, tolerance=1e-2, kernels=kernels)
    strength = tensor[..., [0, 3, 5]].sum(axis=-1)
    usual = float(np.median(strength[strength > 0.0])) if (strength > 0.0).any() else 1.0
    return RemainingMotion(np.sqrt((remaining**2).sum(axis=-1)), strength / usual, lattice)
