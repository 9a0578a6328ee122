"""Everything of one procedure that the scanner and the truth look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.arrays import Float64Array
from engine.phantoms.chest import Chest
from engine.phantoms.conditions.description import ProcedureDescription
from engine.phantoms.conditions.motion import TissueMotion
from engine.phantoms.conditions.painting import Findings
from engine.phantoms.conditions.zone import Places, Zone
from engine.phantoms.tumor import TumorShape


@dataclass(frozen=True, eq=False)
class Scene:
    """A chest with a tumor (planning frame), and what happened to it until the verification CT."""

    description: ProcedureDescription
    chest: Chest
    tumor: TumorShape
    motion: TissueMotion
    zone: Zone
    findings: Findings

    def lung_depth_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Positive at verification positions (N, 3) that are lung: inside the wall, and not air or fluid beside it."""
        wall = self.chest.lung_depth_mm(self.motion.wall_to_planning(points_lps_mm))
        return np.minimum(wall, self.chest.lung_depth_mm(self.motion.own_to_planning(points_lps_mm)))

    def zone_depth_mm(
        self,
        points_lps_mm: Float64Array,
        tumor_distance_mm: Float64Array,
        to_planning: Callable[[], Float64Array] | None = None,
    ) -> Float64Array:
        """Depth of verification positions (N, 3) in the zone as it would be if lung were everywhere."""
        offset = points_lps_mm - self.motion.tumor.verification_center
        return self.zone.depth_mm(
            Places(
                tumor_distance_mm,
                offset,
                to_planning or (lambda: self.motion.lung_to_planning(points_lps_mm)),
            )
        )
