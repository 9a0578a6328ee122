"""What is read is what each statement of a header says, and what an independent reader reads; or it is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.files.image_file import read_ct_image
from engine.input_warning import InputWarningCode
from engine.volume import CtVolume
from tests.support.image_files.random_header import random_header
from tests.support.image_files.truth import RandomHeader
from tests.support.image_files.writing import written

ROUNDING_MM = 1e-4
"""Of float32 and of seven digits, over 60 mm at 300 mm from the origin."""


def outcome(header: RandomHeader, folder: Path) -> str:
    # A name for each suffix: beside a ct.nii, ITK reads the voxels of ct.nii.gz from the other file.
    path = written(folder / f"ct{len(header.suffix)}{header.suffix}", header.content)
    ct, refusal = None, None
    try:
        ct = read_ct_image(path)
    except InputError as error:
        refusal = error
    if ct is None:
        assert not header.is_faultless, (header.note, refusal)
        return "refused"
    assert not header.must_fail, header.note
    expect_statements(header, ct)
    if header.is_faultless and header.is_read_by_itk:
        expect_same_as_itk(path, ct)
    return "read"


def expect_statements(header: RandomHeader, ct: CtVolume) -> None:
    corners = np.array([ct.geometry.to_lps(i) for i in corner_indices(ct)])
    if header.is_placed:
        for statement in header.statements:
            apart = np.linalg.norm(corners - statement.corners, axis=1).max()
            assert apart <= 0.1 + ROUNDING_MM + statement.open_mm, (header.note, apart)
    last = np.array(ct.geometry.shape_zyx[::-1]) - 1
    for spacing in header.spacings:
        difference = np.abs(spacing - ct.geometry.spacing_zyx_mm[::-1])
        assert (difference <= 1.001e-3 * spacing).all(), header.note
        assert (difference * last).max() <= 0.1 + ROUNDING_MM, header.note
    codes = {warning.code for warning in ct.warnings}
    assert (InputWarningCode.ORIENTATION_NOT_STATED in codes) is not header.is_placed, header.note
    expected = np.clip(np.rint(header.values), -1024, 32767)
    assert np.array_equal(ct.voxels_hu, expected), header.note


def corner_indices(ct: CtVolume) -> npt.NDArray[np.int64]:
    """In the order of the statements: x, y and z of the file from slowest to fastest in the list."""
    last = np.array(ct.geometry.shape_zyx[::-1]) - 1
    return np.asarray((np.array(list(np.ndindex(2, 2, 2))) * last)[:, ::-1])


def expect_same_as_itk(path: Path, ct: CtVolume) -> None:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(str(path))
    assert image.GetSize()[::-1] == ct.geometry.shape_zyx
    for index in corner_indices(ct):
        there = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        assert np.abs(ct.geometry.to_lps(index) - there).max() <= 0.1
    values = sitk.GetArrayFromImage(image)
    assert np.abs(np.maximum(values, -1024) - ct.voxels_hu).max() <= 0.5


@given(seed=st.integers(0, 2**63))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_is_what_is_stated(seed: int, tmp_path: Path) -> None:
    outcome(random_header(seed), tmp_path)


@pytest.mark.acceptance
def test_ten_thousand_headers(tmp_path: Path) -> None:
    count: Counter[str] = Counter()
    for seed in range(10_000):
        count[outcome(random_header(seed), tmp_path)] += 1
    print(dict(count))  # noqa: T201 - the figure of the acceptance run
    assert min(count["read"], count["refused"]) > 3000


def test_nibabel_reads_the_same(tmp_path: Path) -> None:
    nibabel = pytest.importorskip(
        "nibabel", reason="nibabel is not installed: NIfTI is compared with ITK alone"
    )
    compared = 0
    for seed in range(600):
        header = random_header(seed)
        if not (header.is_faultless and header.is_placed and header.suffix.startswith(".nii")):
            continue
        path = written(tmp_path / f"ct{header.suffix}", header.content)
        theirs, ours = nibabel.load(path), read_ct_image(path)
        indices = corner_indices(ours)
        expected = nibabel.affines.apply_affine(theirs.affine, indices[:, ::-1]) * [-1, -1, 1]
        open_mm = max(statement.open_mm for statement in header.statements)
        assert np.abs(ours.geometry.to_lps(indices) - expected).max() <= ROUNDING_MM + open_mm, header.note
        values = np.maximum(np.asarray(theirs.dataobj).T, -1024)
        assert np.abs(values - ours.voxels_hu).max() <= 0.5
        compared += 1
    assert compared > 50
