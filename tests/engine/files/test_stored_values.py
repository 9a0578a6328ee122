"""From stored values to HU: types, scales, padding, and volumes that are no CT in HU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import NotCtError
from engine.files.image_file import read_ct_image, read_mask_image
from engine.hounsfield import padding_to_air
from engine.input_warning import InputWarningCode
from engine.unit_doubt import looks_like_stored_values, unit_warnings
from tests.support.image_files.writing import (
    CODES,
    MET_TYPES,
    NRRD_TYPES,
    ct_voxels,
    metaimage,
    nifti,
    nrrd,
    written,
)

VOXELS = ct_voxels()
WRITERS: dict[str, Callable[..., bytes]] = {".nii.gz": nifti, ".mha": metaimage, ".nrrd": nrrd}


def read(tmp_path: Path, suffix: str, voxels: Any, **fields: Any) -> Any:
    return read_ct_image(written(tmp_path / f"ct{suffix}", WRITERS[suffix](voxels, **fields)))


@pytest.mark.parametrize("kind", sorted({*CODES} & {*MET_TYPES} & {*NRRD_TYPES}))
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_type_of_number_is_read(suffix: str, kind: str, tmp_path: Path) -> None:
    low, high = (
        (-100, 100)
        if kind == "i1"
        else (0, 250)
        if kind == "u1"
        else (0, 3000)
        if kind == "u2"
        else (-1024, 3000)
    )
    values = np.random.default_rng(3).integers(low, high, VOXELS.shape).astype("<" + kind)
    if kind == "u1":
        with pytest.raises(NotCtError, match="mask or gray"):
            read(tmp_path, suffix, values)
        assert read_mask_image(written(tmp_path / f"m{suffix}", WRITERS[suffix](values // 200))).volume_ml > 0
        return
    assert np.array_equal(read(tmp_path, suffix, values).voxels_hu, values.astype(int))


@pytest.mark.parametrize(
    ("slope", "inter"), [(1.0, -1024.0), (2.0, 0.0), (0.5, -7.25), (-1.0, 10.0), (0.1, 3.0)]
)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "f4"])
def test_the_scale_of_nifti_is_applied(
    slope: float, inter: float, order: str, kind: str, tmp_path: Path
) -> None:
    stored = np.random.default_rng(5).integers(0, 3000, VOXELS.shape).astype("<" + kind)
    ct = read(tmp_path, ".nii.gz", stored, order=order, scl_slope=slope, scl_inter=inter)
    expected = np.maximum(np.rint(stored.astype(float) * float(np.float32(slope)) + inter), -1024)
    assert np.array_equal(ct.voxels_hu, expected)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("padding", [-1025, -2000, -2048, -3024, -32768])
@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
def test_padding_is_air_in_every_format(suffix: str, padding: int, kind: str, tmp_path: Path) -> None:
    values = VOXELS.astype("<" + kind)
    values[:, 0] = padding
    ct = read(tmp_path, suffix, values)
    assert (ct.voxels_hu[:, 0] == -1024).all()
    assert np.array_equal(ct.voxels_hu[:, 1:], VOXELS[:, 1:])
    assert ct.warnings == ()


def test_masks_keep_what_they_say_below_air(tmp_path: Path) -> None:
    labels = np.where(VOXELS > 0, -3000, 0).astype("<i2")
    mask = read_mask_image(written(tmp_path / "m.nii", nifti(labels)), label=-3000)
    assert np.array_equal(mask.voxels, VOXELS > 0)


def test_without_padding_nothing_is_copied() -> None:
    assert padding_to_air(VOXELS) is VOXELS
    assert padding_to_air(np.zeros(0, np.int16)).size == 0


def chest_like() -> Any:
    """Voxels as a chest has them: air, lung, fat, soft tissue, bone; without their places."""
    rng = np.random.default_rng(8)
    means = rng.choice([-1000, -850, -100, 40, 500], (10, 20, 20), p=[0.1, 0.4, 0.1, 0.37, 0.03])
    return np.rint(means + rng.normal(0, 20, means.shape)).astype(int)


def with_stray(hu: Any, value: int) -> Any:
    hu = hu.copy()
    hu[3, 4, 5] = value
    return hu


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu + 1024, r"no voxel below -200 HU, padding aside: it looks like HU \+ 1024"),
        (lambda hu: np.where(hu < -950, -2000, hu + 1024), r"no voxel .* HU \+ 1024"),
        (lambda hu: np.clip(hu + 1024, 0, 4095).astype("<u2"), r"no voxel .* HU \+ 1024"),
        (lambda hu: with_stray(hu + 1024, -150), r"no voxel .* HU \+ 1024"),
        (lambda hu: with_stray(hu + 1024, -700), r"hardly a voxel .* HU \+ 1024"),
        (lambda hu: np.where(hu < -200, 40, hu), "no voxel .* no lung or air"),
        (lambda hu: np.where(hu < -200, -3024, hu), "no voxel .* no lung or air"),
    ],
)
def test_a_ct_in_a_wrong_unit_is_named_as_that(
    suffix: str, change: Callable[[Any], Any], words: str, tmp_path: Path
) -> None:
    assert read(tmp_path, suffix, chest_like().astype("<i2")).warnings == ()
    values = change(chest_like())
    ct = read(tmp_path, suffix, values.astype("<u2" if values.dtype.kind == "u" else "<i2"))
    (warning,) = ct.warnings
    assert warning.code is InputWarningCode.NO_AIR
    assert re.search(words, warning.message), warning.message


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_refused(suffix: str, bad: float, tmp_path: Path) -> None:
    values = VOXELS.astype("<f4")
    values[1, 2, 3] = bad
    with pytest.raises(NotCtError, match="finite"):
        read(tmp_path, suffix, values)


def test_what_int16_cannot_hold_is_clipped_and_said(tmp_path: Path) -> None:
    values = VOXELS.astype("<i4")
    values[0, 0, :2] = 100_000
    ct = read(tmp_path, ".mha", values)
    assert ct.voxels_hu[0, 0, 0] == 32767
    assert [(w.code, w.message[:8]) for w in ct.warnings] == [(InputWarningCode.HU_CLIPPED, "2 voxels")]


def test_a_large_ct_is_judged_as_a_small_one_is() -> None:
    """Shares are taken from every fourth voxel; that there is no air at all, from every voxel."""
    large = np.tile(chest_like(), (3, 10, 10)).astype(np.int16)
    assert large.size > 1 << 20
    assert unit_warnings(large, "ct") == []
    assert looks_like_stored_values((large + 1024).astype(np.int16))
    organs = np.where(large < -200, 40, large).astype(np.int16)
    assert len(unit_warnings(organs, "ct")) == 1
    organs[1, 1, 1] = -800
    assert unit_warnings(organs, "ct") == []
