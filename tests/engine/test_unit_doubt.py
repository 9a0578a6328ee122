"""A chest has air and soft tissue; a CT in a wrong unit lacks one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dicom.series import read_series
from engine.errors import NotCtError
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarningCode
from engine.unit_doubt import UNIT_CODES, require_hounsfield, require_offset, unit_warnings
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


HU_OF_CHESTS = st.one_of(st.integers(-3024, -501), st.integers(-150, 3000))
"""Without the borders of air and tissue, which are a chest's least part."""


@given(HU_OF_CHESTS, HU_OF_CHESTS)
def test_two_values_are_a_chest_when_one_is_air_and_one_tissue(one: int, other: int) -> None:
    hu = np.array([[[one, other]]], np.int16)
    is_air = any(-1024 < value < -500 for value in (one, other))
    is_tissue = any(value > -150 for value in (one, other))
    assert (unit_warnings(hu, "x") == []) is (is_air and is_tissue)


@pytest.mark.parametrize("shift", [1024, 0, -1024])
def test_a_dicom_series_with_a_wrong_intercept_is_named(shift: int) -> None:
    geometry = phantom_ct().geometry
    read = read_series(contents(CtVolume(CHEST.copy(), geometry), RescaleIntercept=-1024 + shift))
    assert bool(UNIT_CODES & {w.code for w in read.warnings}) is (shift != 0)


def noisy_chest(noise_hu: float = 15.0) -> np.ndarray:
    """Air, lung, borders, fat, muscle and bone in the shares of a chest, with noise."""
    rng = np.random.default_rng(5)
    means = [-1000, -850, -300, -100, 45, 250, 450, 650, 850, 1050]
    shares = [0.1, 0.36, 0.03, 0.14, 0.3, 0.03, 0.018, 0.012, 0.007, 0.003]
    values = rng.choice(np.array(means), size=(12, 30, 31), p=shares)
    return np.asarray(values + rng.normal(0.0, noise_hu, values.shape))


def padded_to(hu: np.ndarray, value: int) -> np.ndarray:
    """A field of view that the reconstruction does not fill."""
    padded = hu.copy()
    padded[:, :4] = value
    return padded


def as_stored(hu: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(hu), -32768, 32767), dtype=np.int16)


@pytest.mark.parametrize("noise_hu", [5.0, 35.0, 150.0])
@pytest.mark.parametrize("offset", [-60, 0, 60])
@pytest.mark.parametrize("padding", [None, -1024, -2000, -3024])
def test_hounsfield_units_are_not_doubted(noise_hu: float, offset: int, padding: int | None) -> None:
    hu = noisy_chest(noise_hu)
    hu = (hu if padding is None else padded_to(hu, padding)) + offset
    for shown in (hu, np.clip(hu, -1000, 400), np.clip(hu, -1024, 600)):
        assert unit_warnings(as_stored(shown), "ct") == []


@pytest.mark.parametrize("noise_hu", [5.0, 35.0, 150.0])
@pytest.mark.parametrize("padding", [None, -1024, -2000, -3024])
@pytest.mark.parametrize("offset", [-1024, -1000, 1000, 1024, 2048])
def test_an_offset_is_named_whatever_the_noise_and_the_padding(
    noise_hu: float, padding: int | None, offset: int
) -> None:
    """Padding of -2000 becomes -976 with the offset, and must not pass for lung."""
    hu = noisy_chest(noise_hu)
    hu = (hu if padding is None else padded_to(hu, padding)) + offset
    for shown in (hu, np.maximum(hu, -1024)):
        (found,) = unit_warnings(as_stored(shown), "ct")
        assert found.code is (InputWarningCode.NO_AIR if offset > 0 else InputWarningCode.NO_TISSUE)


@pytest.mark.parametrize("scale", [0.1, 1.0 / 1400.0])
def test_scaled_values_are_no_hounsfield_units(scale: float) -> None:
    assert unit_warnings(noisy_chest() * scale, "ct")
    assert unit_warnings(as_stored(noisy_chest() * scale), "ct")


@pytest.mark.parametrize("offset", [1024, 1000, -1024])
def test_voxels_are_looked_at_whoever_read_them(offset: int) -> None:
    hu = noisy_chest()
    geometry = VolumeGeometry((12, 30, 31), (1.0, 1.0, 1.0))
    require_hounsfield(CtVolume(as_stored(hu), geometry), "planning")
    with pytest.raises(NotCtError, match="the planning CT is not a CT of the chest in Hounsfield units"):
        require_hounsfield(CtVolume(as_stored(hu + offset), geometry), "planning")


def test_a_ct_of_any_part_of_the_body_is_refused_for_its_offset_alone() -> None:
    geometry = VolumeGeometry((12, 30, 31), (1.0, 1.0, 1.0))
    abdomen = np.where(noisy_chest() < -200, 40, noisy_chest())
    require_offset(CtVolume(as_stored(abdomen), geometry), "CT")
    with pytest.raises(NotCtError, match=r"HU \+ 1024"):
        require_offset(CtVolume(as_stored(abdomen + 1024), geometry), "CT")
