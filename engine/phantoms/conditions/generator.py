"""From a description to a procedure: planning CT, verification CT, masks and truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.geometry import VolumeGeometry
from engine.phantoms.chest import Chest, procedural_chest
from engine.phantoms.conditions.anatomy import place_in, with_fissure, with_lung_hu, with_vessel
from engine.phantoms.conditions.description import PROCEDURAL, ProcedureDescription
from engine.phantoms.conditions.fields import sample_fields
from engine.phantoms.conditions.findings import draw_findings
from engine.phantoms.conditions.motion import TissueMotion, draw_motion
from engine.phantoms.conditions.rendering import planning_renderer, verification_renderer
from engine.phantoms.conditions.scanner import Protocol, acquire
from engine.phantoms.conditions.scene import Scene
from engine.phantoms.conditions.truth import scene_truth
from engine.phantoms.conditions.zone import CooledZone, draw_zone
from engine.phantoms.procedure import PhantomProcedure, within
from engine.phantoms.scanning import grid_around
from engine.phantoms.truth import TrueCoverage
from engine.phantoms.tumor import evenly_spread, random_tumor
from engine.volume import LabelMask

_Part = Literal[
    "anatomy", "motion", "zone", "findings", "grids", "planning noise", "mottle", "verification noise"
]
_BEYOND_SCAN_MM: Final = 30.0
_DIRECTIONS: Final = 800
_CLEAR_MM: Final = 3.0


@dataclass(frozen=True, eq=False)
class ConditionedProcedure:
    """A simulated procedure and its truths.

    Parameters
    ----------
    description : ProcedureDescription
    procedure : PhantomProcedure
        Scans, masks, and the truth in the verification frame.
    planning_frame : TrueCoverage
        Of the tissue that was there before, in millimeters of the planning CT.
    """

    description: ProcedureDescription
    procedure: PhantomProcedure
    planning_frame: TrueCoverage


def make_conditioned(description: ProcedureDescription, chest: Chest | None = None) -> ConditionedProcedure:
    """Simulate a procedure; the same description gives the same voxels.

    Parameters
    ----------
    description : ProcedureDescription
    chest : Chest, optional
        The real CT that the description's background names.

    Raises
    ------
    InvalidRequestError
        The background is missing, or the description cannot be fulfilled in it.
    """
    scene = scene_of(description, chest)
    planning_grid, grid = _grids(_stream(description, "grids"), scene)
    planning, planning_masks = acquire(
        _stream(description, "planning noise"),
        planning_renderer(scene),
        planning_grid,
        Protocol(description.planning_kernel, description.planning_noise_hu),
    )
    fields = sample_fields(scene.chest, scene.motion, grid, 8.0)
    verification, masks = acquire(
        _stream(description, "verification noise"),
        verification_renderer(_stream(description, "mottle"), scene, fields),
        grid,
        Protocol(
            description.verification_kernel, description.verification_noise_hu, description.breathing_step_mm
        ),
    )
    truth = scene_truth(scene)
    x, y, z = (float(v) for v in scene.tumor.center_lps_mm)
    procedure = PhantomProcedure(
        planning,
        LabelMask(planning_masks["tumor"], planning_grid, "tumor"),
        verification,
        LabelMask(masks["zone"], grid, "ablation zone"),
        LabelMask(masks["core"], grid, "ablation core"),
        (x, y, z),
        truth.plain,
    )
    return ConditionedProcedure(description, procedure, truth.planning_frame)


def _stream(description: ProcedureDescription, part: _Part) -> np.random.Generator:
    """Random numbers of one part of a procedure: a switch leaves the other parts' alone."""
    return np.random.default_rng([description.seed, get_args(_Part).index(part)])


def scene_of(description: ProcedureDescription, chest: Chest | None = None) -> Scene:
    """Draw everything that scanner and truth look at; see :func:`make_conditioned`."""
    rng = _stream(description, "anatomy")
    tumor = random_tumor(rng, np.zeros(3), volume_ml=description.tumor_volume_ml)
    if (description.background == PROCEDURAL) != (chest is None):
        raise InvalidRequestError(
            f"{description.name} is simulated in {description.background!r}: pass that chest, and no other"
        )
    needed = tumor.max_radius_mm + max(description.margin_mm, 0.0) + _CLEAR_MM
    tumor = replace(tumor, center=place_in(rng, description.place, tumor.max_radius_mm, needed, chest))
    if chest is None:
        half = 0.5 * max(description.planning_field_mm, description.verification_field_mm) + _BEYOND_SCAN_MM
        chest = procedural_chest(rng, tumor.center, half)
    if description.lung_hu is not None:
        chest = with_lung_hu(chest, description.lung_hu)
    motion = draw_motion(_stream(description, "motion"), description, chest, tumor)
    if motion.fissure is not None:
        chest = with_fissure(chest, motion.fissure.point, motion.fissure.normal)
    reach_mm = tumor.max_radius_mm / motion.tumor.scale
    zone = draw_zone(_stream(description, "zone"), description, tumor.center, _radii(motion), reach_mm)
    if isinstance(zone, CooledZone):
        chest = with_vessel(chest, zone)
    findings = draw_findings(_stream(description, "findings"), description, chest, tumor, motion)
    return Scene(description, chest, tumor, motion, zone, findings)


def _radii(motion: TissueMotion) -> Float64Array:
    """The tumor's radius along evenly spread directions (N,), verification frame."""
    steps = np.arange(0.5, motion.shape.max_radius_mm / motion.tumor.scale + 1.0, 0.5)
    points = motion.tumor.verification_center + evenly_spread(_DIRECTIONS)[:, None] * steps[:, None]
    inside = motion.tumor_distance_mm(points) <= 0.0
    return np.asarray(steps[np.maximum(inside.sum(axis=1) - 1, 0)])


def _grids(rng: np.random.Generator, scene: Scene) -> tuple[VolumeGeometry, VolumeGeometry]:
    """Of both scans: neither is centered on the tumor, and the headers do not align them."""
    description = scene.description
    centers = scene.tumor.center_lps_mm, scene.motion.tumor.verification_center
    sizes = description.planning_field_mm, description.verification_field_mm
    slices = description.planning_slice_mm, description.verification_slice_mm
    grids = []
    for number in range(2):
        off_center = rng.normal(size=3)
        off_center *= description.field_shift_mm / np.linalg.norm(off_center)
        grid = grid_around(
            centers[number] + off_center,
            sizes[number],
            (slices[number], description.in_plane_mm, description.in_plane_mm),
            f"2.25.{description.seed}{number + 1}",
        )
        shift = centers[number] - centers[0]
        grids.append(within(grid, scene.chest.low_lps_mm + shift, scene.chest.high_lps_mm + shift))
    return grids[0], grids[1]
