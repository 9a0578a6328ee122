"""A chest has air and soft tissue; a CT in a wrong unit lacks one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dicom.series import read_series
from engine.input_warning import InputWarningCode
from engine.unit_doubt import UNIT_CODES, unit_warnings
from engine.volume import CtVolume
from tests.support.dicom_series import contents, phantom_ct

CHEST = np.random.default_rng(3).choice(
    np.array([-1000, -850, -60, 40, 700], np.int16), size=(6, 7, 9), p=[0.3, 0.3, 0.1, 0.25, 0.05]
)


@pytest.mark.parametrize(
    ("hu", "code", "said"),
    [
        (CHEST, None, ""),
        (np.maximum(CHEST, -1024), None, ""),
        (CHEST + 1024, InputWarningCode.NO_AIR, "HU + 1024"),
        (np.where(CHEST < -900, -1024, CHEST + 1024), InputWarningCode.NO_AIR, "HU + 1024"),
        (np.where(CHEST < -900, -2000, CHEST + 1024), InputWarningCode.NO_AIR, "HU + 1024"),
        (np.maximum(CHEST, -100), InputWarningCode.NO_AIR, "no lung or air"),
        (np.full((2, 2, 2), -1024), InputWarningCode.NO_AIR, "no lung or air"),
        (np.maximum(CHEST - 1024, -1023), InputWarningCode.NO_TISSUE, "subtracted twice"),
    ],
)
def test_each_unit_is_named(hu: np.ndarray, code: InputWarningCode | None, said: str) -> None:
    found = unit_warnings(hu.astype(np.int16), "the CT")
    assert [warning.code for warning in found] == ([] if code is None else [code])
    assert all(
        said in warning.message and warning.message.startswith("the CT has no voxel") for warning in found
    )
    assert unit_warnings(hu.astype(np.float32), "the CT") == found


@given(st.integers(-3024, 3000), st.integers(-3024, 3000))
def test_two_values_are_a_chest_when_one_is_air_and_one_tissue(one: int, other: int) -> None:
    hu = np.array([[[one, other]]], np.int16)
    is_air = any(-1024 < value < -200 for value in (one, other))
    is_tissue = any(value > -150 for value in (one, other))
    assert (unit_warnings(hu, "x") == []) is (is_air and is_tissue)


@pytest.mark.parametrize("shift", [1024, 0, -1024])
def test_a_dicom_series_with_a_wrong_intercept_is_named(shift: int) -> None:
    geometry = phantom_ct().geometry
    read = read_series(contents(CtVolume(CHEST.copy(), geometry), RescaleIntercept=-1024 + shift))
    assert bool(UNIT_CODES & {w.code for w in read.warnings}) is (shift != 0)
