"""What is announced of a series, and what of it cannot be."""

from __future__ import annotations

import pytest

from engine.errors import InvalidRequestError
from engine.geometry import VolumeGeometry, VoxelBox
from service.cases.requests import CaseRequest
from service.cases.series import CT_OF_MASK, STRUCTURE_NAMES, SeriesRole, VoxelContent
from service.wire.answers import _ROLES as MESSAGE_ROLES
from service.wire.requests import _ROLES as ROLES

GRID = VolumeGeometry((2, 3, 4), (1.0, 1.0, 1.0))


def test_without_a_box_the_bytes_fill_the_grid() -> None:
    assert VoxelContent(GRID).filled == VoxelBox((0, 0, 0), (2, 3, 4))


def test_a_box_in_the_grid_is_what_they_fill() -> None:
    box = VoxelBox((1, 0, 3), (2, 3, 4))
    assert VoxelContent(GRID, box=box).filled == box


@pytest.mark.parametrize(
    ("start", "stop"),
    [((0, 0, 0), (2, 3, 5)), ((0, 3, 0), (2, 3, 4)), ((-1, 0, 0), (2, 3, 4)), ((1, 1, 1), (0, 2, 2))],
)
def test_a_box_beyond_the_grid_is_refused(start: tuple[int, int, int], stop: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        _ = VoxelContent(GRID, box=VoxelBox(start, stop)).filled
    assert caught.value.field == "header.voxels.box"


def test_every_role_is_a_ct_or_a_mask_of_one() -> None:
    masks = {role for role in SeriesRole if not role.is_ct}
    assert masks == set(CT_OF_MASK) == set(STRUCTURE_NAMES)
    assert all(role.is_ct for role in CT_OF_MASK.values())
    assert SeriesRole.ABLATION_ZONE_MASK.in_words == "ablation zone mask"


def test_the_wire_knows_every_role_by_its_number() -> None:
    assert set(MESSAGE_ROLES) == set(SeriesRole)
    assert {int(message): role for role, message in MESSAGE_ROLES.items()} == ROLES
    assert all(int(message) == role.value for role, message in MESSAGE_ROLES.items())


@pytest.mark.parametrize("fibrinogen", [0.0, -1.0, 50.0, 310.0, float("nan")])
def test_fibrinogen_has_a_range(fibrinogen: float) -> None:
    with pytest.raises(InvalidRequestError, match="g/L"):
        CaseRequest("a", fibrinogen_g_per_l=fibrinogen).require_possible()


@pytest.mark.parametrize("target", [(float("inf"), 0.0, 0.0), (0.0, 1e4, 0.0), (0.0, 0.0, float("nan"))])
def test_a_target_is_a_position(target: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidRequestError, match="finite"):
        CaseRequest("a", target_lps_mm=target).require_possible()


def test_what_is_possible_is_let_through() -> None:
    CaseRequest("a", sex="f", fibrinogen_g_per_l=3.1, target_lps_mm=(0.0, -120.5, 9999.0)).require_possible()
