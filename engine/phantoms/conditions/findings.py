"""Drawing what lies beside tumor and zone, in the verification frame."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.phantoms.chest import Chest
from engine.phantoms.conditions.description import ProcedureDescription
from engine.phantoms.conditions.motion import TissueMotion, TumorMotion
from engine.phantoms.conditions.painting import Findings, Sphere, Tract
from engine.phantoms.conditions.pleural_space import outward, place_on_pleura
from engine.phantoms.tumor import TumorShape

_BUBBLE_RADIUS_MM: Final = (0.5, 1.0)
_BOWEL_LOOPS: Final = 2
_BELOW_DIAPHRAGM_MM: Final = 5.0


def draw_findings(
    rng: np.random.Generator,
    description: ProcedureDescription,
    chest: Chest,
    tumor: TumorShape,
    motion: TissueMotion,
) -> Findings:
    """Draw every finding that a description asks for."""
    center = motion.tumor.verification_center
    wall = place_on_pleura(chest, tumor.center_lps_mm, outward(chest, tumor.center_lps_mm[None])[0])
    tracts = _tracts(rng, center, lateral=float(np.sign(tumor.center_lps_mm[0])))
    texture_seed = int(rng.integers(2**31))
    return Findings(
        tracts,
        description.needles,
        description.hemorrhage_mm,
        _gas(rng, description, center),
        _bowel(rng, description, chest, motion.tumor) if description.bowel_gas_ml else (),
        _to_verification(motion.tumor, wall),
        description.atelectasis_mm,
        description.skin_shift_mm,
        None if motion.space is None else motion.space.hu,
        texture_seed,
    )


def _to_verification(tumor: TumorMotion, planning_lps_mm: Float64Array) -> Float64Array:
    """Where the tumor's motion puts a place (3,) of the planning frame: right to a few millimeters away from it."""
    offset = (planning_lps_mm - tumor.planning_center) @ tumor.rotation / tumor.scale
    return np.asarray(offset + tumor.verification_center)


def _tracts(rng: np.random.Generator, center: Float64Array, *, lateral: float) -> tuple[Tract, ...]:
    """Three ways in from the side, nearly parallel, a few millimeters apart."""
    way = np.array([lateral, rng.uniform(-0.6, 0.6), rng.uniform(-0.25, 0.25)])
    tracts = []
    for _ in range(3):
        direction = way + rng.normal(0.0, 0.08, 3)
        direction /= np.linalg.norm(direction)
        tip = center + rng.normal(0.0, 3.0, 3) - 6.0 * direction
        tracts.append(Tract(tip, direction))
    return tuple(tracts)


def _gas(
    rng: np.random.Generator, description: ProcedureDescription, center: Float64Array
) -> tuple[Sphere, ...]:
    spheres = []
    if description.cavity_mm:
        spheres.append(Sphere(center + rng.normal(0.0, 1.0, 3), 0.5 * description.cavity_mm))
    reach = float(np.cbrt(3000.0 * description.tumor_volume_ml / (4.0 * np.pi)))
    for _ in range(description.bubbles):
        offset = rng.normal(0.0, 0.4 * reach, 3)
        spheres.append(Sphere(center + offset, float(rng.uniform(*_BUBBLE_RADIUS_MM))))
    return tuple(spheres)


def _bowel(
    rng: np.random.Generator, description: ProcedureDescription, chest: Chest, tumor: TumorMotion
) -> tuple[Sphere, ...]:
    """Loops next to each other below the diaphragm."""
    radius = float(np.cbrt(3000.0 * description.bowel_gas_ml / _BOWEL_LOOPS / (4.0 * np.pi)))
    down = np.array([0.0, 0.0, -1.0])
    pleura = place_on_pleura(chest, tumor.planning_center, down)
    first = _to_verification(tumor, pleura + (radius + _BELOW_DIAPHRAGM_MM) * down)
    side = np.array([rng.choice([-1.0, 1.0]), rng.normal(0.0, 0.2), -0.2])
    side /= np.linalg.norm(side)
    return tuple(Sphere(first + 2.0 * radius * k * side, radius) for k in range(_BOWEL_LOOPS))
