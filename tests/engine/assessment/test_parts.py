"""Further parts of tumor and zone are named with what they do to the margin."""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.assessment.parts import part_warnings
from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.ratio import measure_coverage
from engine.geometry import RigidTransform, Vector3
from engine.structures.surface import StructureSurface
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.0, 1.0, 1.0), 30.0)
TUMOR, ZONE = ball(GRID, (0.0, 0.0, 0.0), 6.0, "tumor"), ball(GRID, (0.0, 0.0, 0.0), 13.0, "ablation zone")


def voxel(x: float, y: float, z: float) -> LabelMask:
    marked = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    marked[tuple(np.rint(GRID.to_index(np.array([x, y, z]))).astype(int))] = True
    return LabelMask(marked, GRID)


def united(*masks: LabelMask) -> LabelMask:
    return LabelMask(np.logical_or.reduce([mask.voxels for mask in masks]), GRID, masks[0].name)


def measured(tumor: LabelMask, zone: LabelMask) -> tuple[MeasurementField, float]:
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    return field, whole.minimal_mm


def said(tumor: LabelMask, zone: LabelMask) -> tuple[str, ...]:
    return part_warnings(*measured(tumor, zone), 5.0)


def test_one_part_each_is_taken_in_silence() -> None:
    assert said(TUMOR, ZONE) == ()


@pytest.mark.parametrize("place", [(18.0, 0.0, 0.0), (0.0, -16.0, 3.0), (0.0, 0.0, 21.0)])
def test_a_voxel_far_off_is_named_with_the_margin_without_it(place: Vector3) -> None:
    tumor = united(TUMOR, voxel(*place))
    (warning,) = said(tumor, ZONE)
    total, alone, own = (float(v) for v in re.findall(r"margin (?:of )?(-?\d+\.\d) mm", warning))
    assert total == pytest.approx(13.0 - np.linalg.norm(place), abs=1.2)
    assert alone == pytest.approx(7.0, abs=0.5)
    assert own == pytest.approx(total, abs=1.0)
    assert "less than 0.01 mL" in warning
    center = [float(v) for v in re.search(r"LPS \((.*?)\)", warning)[1].split(",")]  # type: ignore[index]
    assert center == pytest.approx(place, abs=0.6)


def test_a_second_lesion_of_a_quarter_milliliter_is_named() -> None:
    (warning,) = said(united(TUMOR, ball(GRID, (14.0, 0.0, 0.0), 4.0, "tumor")), ZONE)
    assert "2 separate parts" in warning
    assert re.search(r"Further: 0\.2\d mL at LPS \(1[34]\.\d, ", warning)


def test_a_second_part_of_the_zone_is_named_with_the_margin_of_the_largest() -> None:
    zone = united(
        ball(GRID, (-3.0, 0.0, 0.0), 8.0, "ablation zone"), ball(GRID, (10.5, 0.0, 0.0), 3.0, "ablation zone")
    )
    (warning,) = said(TUMOR, zone)
    assert "the ablation zone has 2 separate parts" in warning
    alone = float(re.search(r"alone gives a margin of (-?\d+\.\d) mm", warning)[1])  # type: ignore[index]
    _, expected = measured(TUMOR, ball(GRID, (-3.0, 0.0, 0.0), 8.0, "ablation zone"))
    assert alone == pytest.approx(expected, abs=0.11)


def test_many_specks_are_counted() -> None:
    specks = [voxel(18.0, y, 0.0) for y in (-8.0, -4.0, 0.0, 4.0, 8.0)]
    (warning,) = said(united(TUMOR, *specks), ZONE)
    assert "6 separate parts" in warning
    assert warning.count("LPS") == 3
    assert "and 2 more" in warning
