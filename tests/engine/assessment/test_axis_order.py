"""What is measured does not depend on the order in which a file stores its voxels."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.assessment.axis_order import AxisOrder
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.geometry import VolumeGeometry
from engine.phantoms.procedure import PhantomProcedure, make_procedure
from engine.volume import CtVolume, LabelMask

AS_IT_IS = AxisOrder((0, 1, 2), (False, False, False))
EVERY_ORDER = [
    AxisOrder((a, b, c), (x, y, z))
    for a, b, c in permutations(range(3))
    for x, y, z in product((False, True), repeat=3)
]


def oblique(seed: int) -> VolumeGeometry:
    axes = Rotation.random(random_state=seed).as_matrix()
    directions = tuple(tuple(float(v) for v in axis) for axis in axes)
    return VolumeGeometry((3, 4, 5), (1.5, 0.7, 0.9), directions, (11.0, -7.0, 3.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("order", EVERY_ORDER)
def test_an_order_moves_voxels_and_not_their_places(order: AxisOrder) -> None:
    grid = oblique(3)
    voxels = np.arange(60, dtype=np.int16).reshape(grid.shape_zyx)
    moved, moved_grid = order.ordered(voxels), order.grid(grid)
    assert moved.shape == moved_grid.shape_zyx
    index = np.argwhere(moved >= 0)
    value = np.rint(grid.to_index(moved_grid.to_lps(index))).astype(int)
    assert np.array_equal(moved[tuple(index.T)], voxels[tuple(value.T)])
    assert np.array_equal(order.inverse.ordered(moved), voxels)
    assert order.inverse.grid(moved_grid).same_grid(grid)


@given(st.integers(0, 10_000), st.sampled_from(EVERY_ORDER))
def test_every_order_of_a_scan_becomes_the_same_upright_one(seed: int, order: AxisOrder) -> None:
    grid = oblique(seed)
    upright = AxisOrder.upright(grid).grid(grid)
    stored = order.grid(grid)
    again = AxisOrder.upright(stored).grid(stored)
    assert again.shape_zyx == upright.shape_zyx
    assert again.same_grid(upright)
    along = np.array(upright.directions_zyx_lps)
    assert along[0, 2] >= 0
    assert along[1, 1] >= 0
    assert along[2, 0] >= 0


def test_an_upright_scan_is_taken_as_it_is() -> None:
    ct = CtVolume(np.zeros((2, 3, 4), dtype=np.int16), VolumeGeometry((2, 3, 4), (1.0, 1.0, 1.0)))
    assert AxisOrder.upright(ct.geometry) == AS_IT_IS
    assert AS_IT_IS.unchanged
    assert AS_IT_IS.ct(ct) is ct


@cache
def procedure() -> PhantomProcedure:
    return make_procedure(4, kind="miss", size_mm=84.0, tumor_volume_ml=1.2)


def assessed(before: AxisOrder, after: AxisOrder) -> AblationAssessment:
    case = procedure()
    planned = prepare_planning(
        before.ct(case.planning), before.mask(case.tumor), target_lps_mm=case.target_lps_mm
    )
    return assess_ablation(planned, after.ct(case.verification), after.mask(case.zone))


@cache
def expected() -> AblationAssessment:
    found = assessed(AS_IT_IS, AS_IT_IS)
    assert found.refusal is None
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (AxisOrder((0, 1, 2), (True, False, False)), AS_IT_IS),
        (AxisOrder((0, 1, 2), (False, True, True)), AxisOrder((0, 1, 2), (True, True, True))),
        (AxisOrder((2, 0, 1), (True, False, True)), AxisOrder((1, 2, 0), (False, True, False))),
    ],
)
def test_flipped_and_permuted_scans_give_the_same_figures(before: AxisOrder, after: AxisOrder) -> None:
    found, usual = assessed(before, after), expected()
    assert found.coverage.tcr == pytest.approx(usual.coverage.tcr, abs=1e-4)
    assert found.coverage.lung_clipped_tcr == pytest.approx(usual.coverage.lung_clipped_tcr, abs=1e-4)
    assert found.coverage.probability_complete == pytest.approx(
        usual.coverage.probability_complete, abs=0.002
    )
    assert found.margin.minimal_mm == pytest.approx(usual.margin.minimal_mm, abs=1e-3)
    assert found.margin.minimal_interval_90_mm == pytest.approx(usual.margin.minimal_interval_90_mm, abs=1e-3)


def test_the_zone_of_an_answer_lies_on_the_grid_of_the_ct_that_was_given() -> None:
    after = AxisOrder((1, 2, 0), (False, True, True))
    zone = after.mask(procedure().zone)
    early: list[LabelMask] = []
    case = procedure()
    found = assess_ablation(
        prepare_planning(case.planning, case.tumor),
        after.ct(case.verification),
        zone,
        on_preliminary=lambda answer: early.append(answer.require_zone()),
    )
    for given_back in (found.require_zone(), *early):
        assert given_back.geometry == zone.geometry
        assert np.array_equal(given_back.voxels, zone.voxels)
    assert len(early) == 1
