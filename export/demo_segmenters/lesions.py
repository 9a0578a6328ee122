"""What grows in the lungs of training scenes: solid and part-solid tumors, and consolidation that is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.arrays import Float64Array
from engine.phantoms.tumor import LobulatedTumor, random_tumor

_LARGE_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class PaintedTumor:
    """A tumor with its looks.

    Parameters
    ----------
    shape : LobulatedTumor
    hu : float
        Of its solid part.
    halo_mm, halo_hu : float
        The outer part that is ground glass only; 0 for a solid tumor.
    edge_mm : float
        Half the width of its partial-volume edge.
    """

    shape: LobulatedTumor
    hu: float
    halo_mm: float
    halo_hu: float
    edge_mm: float

    def paint(self, tissue_hu: Float64Array, distance_mm: Float64Array) -> Float64Array:
        """HU where the distance to its surface is known, negative inside."""
        solid = np.clip(0.5 - (distance_mm + self.halo_mm) / (2.0 * self.edge_mm), 0.0, 1.0)
        inside = np.clip(0.5 - distance_mm / (2.0 * self.edge_mm), 0.0, 1.0)
        tissue = self.halo_hu + solid * (self.hu - self.halo_hu) if self.halo_mm > 0.0 else self.hu
        # Ground glass lets vessels be seen.
        return tissue_hu + inside * np.maximum(tissue - tissue_hu, np.minimum(self.hu - tissue_hu, 0.0))


def draw_tumor(rng: np.random.Generator, center_lps_mm: Float64Array, *, part_solid: bool) -> PaintedTumor:
    """Draw a tumor at a point, shaped like real nodules; some are larger than most nodules are."""
    shape = random_tumor(
        rng, center_lps_mm, volume_ml=float(rng.uniform(4.0, 22.0)) if rng.random() < _LARGE_SHARE else None
    )
    halo = float(rng.uniform(0.25, 0.9)) * float(shape.radii_mm.min()) if part_solid else 0.0
    return PaintedTumor(
        shape,
        float(rng.uniform(-70.0, 70.0)),
        halo,
        float(rng.uniform(-680.0, -400.0)),
        float(rng.uniform(0.5, 1.1)),
    )


def add_consolidation(
    rng: np.random.Generator, hu: Float64Array, points: Float64Array, lung_depth_mm: Float64Array
) -> None:
    """Turn a wedge of lung at the pleura into consolidated or ground-glass tissue, in place.

    ``hu`` and ``lung_depth_mm`` are (N,), ``points`` (N, 3).
    """
    seeds = np.flatnonzero((lung_depth_mm > 0.0) & (lung_depth_mm < 6.0))
    if not seeds.size:
        return
    center = points[int(rng.choice(seeds))]
    axes = rng.uniform(6.0, 22.0, 3)
    depth = 1.0 - np.linalg.norm((points - center) / axes, axis=-1)
    share = np.clip(depth * rng.uniform(2.0, 8.0), 0.0, 1.0) * (lung_depth_mm > 0.0) * rng.uniform(0.3, 1.0)
    hu += share * np.maximum(rng.uniform(-500.0, 30.0) - hu, 0.0)
