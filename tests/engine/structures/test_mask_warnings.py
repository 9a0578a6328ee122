"""What an inspection found is said with its volume and place, and by its kind it is refused in clinical mode or not."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import ClinicalModeError
from engine.input_warning import REFUSED_CLINICALLY, InputWarning, InputWarningCode, require_clinical
from engine.structures.mask_warnings import inspected
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.0, 0.75, 0.75), 40.0)
ZONE = ball(GRID, (0.0, 0.0, 0.0), 18.0, "ablation zone").voxels
TOP, ROW, COLUMN = (int(size) // 2 for size in GRID.shape_zyx)


def said(voxels: np.ndarray) -> tuple[InputWarning, ...]:
    mask = LabelMask(voxels, GRID, "ablation zone")
    return inspected(mask).warnings


def without(*where: slice | int) -> np.ndarray:
    voxels = ZONE.copy()
    voxels[where] = False
    return voxels


def with_part(*where: slice | int) -> np.ndarray:
    voxels = ZONE.copy()
    voxels[where] = True
    return voxels


@pytest.mark.parametrize(
    ("voxels", "code", "parts"),
    [
        (
            without(TOP + 3),
            InputWarningCode.MASK_SLICE_LOST,
            ["lacks 1 slice", "slice 44 of 81 (empty, 0.97 mL missing at LPS (0.0, 0.0, 3.0) mm"],
        ),
        (
            without(slice(None), ROW),
            InputWarningCode.MASK_SLICE_LOST,
            ["plane 55 of 109 along anterior-posterior (empty, "],
        ),
        (
            without(slice(TOP + 1, TOP + 4)),
            InputWarningCode.MASK_SLICE_LOST,
            ["lacks 3 slices", "slices 42 to 44 of 81"],
        ),
        (
            without(TOP, ROW, COLUMN + 4),
            InputWarningCode.MASK_HOLE,
            ["1 hole that no anatomy has", "0.00056 mL (1 voxel) at LPS (3.0, 0.0, 0.0) mm"],
        ),
        (without(TOP + 2, ROW), InputWarningCode.MASK_HOLE, ["1 hole", "voxels) at LPS (0.0, 0.0, 2.0) mm"]),
        (
            without(slice(TOP, TOP + 5), slice(ROW, ROW + 5), slice(COLUMN, COLUMN + 5)),
            InputWarningCode.MASK_CAVITY,
            ["1 cavity enclosed in it: 0.07 mL (125 voxels) at LPS (1.5, 1.5, 2.0) mm"],
        ),
        (
            with_part(TOP, ROW, COLUMN + 40),
            InputWarningCode.MASK_STRAY_PART,
            [
                "1 stray part",
                "0.00056 mL (1 voxel) at LPS (30.0, 0.0, 0.0) mm, 12.0 mm from the largest part",
            ],
        ),
        (
            with_part(slice(TOP, TOP + 6), slice(ROW, ROW + 6), slice(COLUMN + 36, COLUMN + 42)),
            InputWarningCode.MASK_SEVERAL_PARTS,
            ["has 2 separate parts: 24.37 mL", "0.12 mL (216 voxels)"],
        ),
        (
            without(slice(0, TOP - 16), ROW, COLUMN),
            InputWarningCode.MASK_PIT,
            ["1 pit one voxel wide in its surface"],
        ),
        (
            without(TOP, slice(None), slice(0, COLUMN)),
            InputWarningCode.MASK_SLICE_NARROW,
            ["much narrower than both neighbors in 1 slice: slice 41 of 81 (partly empty, 0.49 mL"],
        ),
    ],
)
def test_each_kind_is_named_with_volume_and_place(
    voxels: np.ndarray, code: InputWarningCode, parts: list[str]
) -> None:
    named = {warning.code: warning.message for warning in said(voxels)}
    assert code in named, named
    assert named[code].startswith("the ablation zone mask ")
    for part in parts:
        assert part in named[code]
    if code in REFUSED_CLINICALLY:
        with pytest.raises(ClinicalModeError, match="ablation zone mask"):
            require_clinical(said(voxels))
    else:
        require_clinical(said(voxels))


def test_of_a_whole_mask_nothing_is_said() -> None:
    assert said(ZONE) == ()


def test_many_of_a_kind_are_counted() -> None:
    voxels = ZONE.copy()
    for step in range(5):
        voxels[TOP, ROW + 3 * step, COLUMN] = False
    (hole,) = said(voxels)
    assert "has 5 holes" in hole.message
    assert hole.message.count("LPS") == 3
    assert "and 2 more" in hole.message
