"""Two CTs of one patient, one before and one after: whose, when, which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acquisition_time import TimeSource
from engine.assessment.same_patient import check_same_patient
from engine.errors import AcquiredOutOfOrderError, PatientMismatchError, SameSeriesError
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.volume import Acquisition, CtVolume

GEOMETRY = VolumeGeometry((3, 4, 5), (1.0, 1.0, 1.0))
HU = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)


def planning(**values: Any) -> CtVolume:
    values.setdefault("acquired_at", "2026-01-02T08:00:00")
    return CtVolume(HU.copy(), GEOMETRY, Acquisition(**values))


def verification(**values: Any) -> CtVolume:
    values.setdefault("acquired_at", "2026-01-02T09:30:00")
    return CtVolume(HU + np.int16(1), GEOMETRY, Acquisition(**values))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"patient_id": "ALICE"}, {"patient_id": "BOB"}),
        ({"patient_id": "ALICE", "patient_birth_date": "19500101"}, {"patient_id": "BOB"}),
        ({"patient_id": "ALICE", "patient_birth_date": "19500101"}, {"patient_birth_date": "19510101"}),
        ({"patient_birth_date": "19500101"}, {"patient_birth_date": "19510101"}),
    ],
)
def test_different_patients_are_refused_without_naming_them(
    before: dict[str, str], after: dict[str, str]
) -> None:
    with pytest.raises(PatientMismatchError, match="check that both are of this patient") as caught:
        check_same_patient(planning(**before), verification(**after))
    assert "ALICE" not in str(caught.value)
    assert "1950" not in str(caught.value)


def test_one_patient_in_one_session_needs_no_warning() -> None:
    common = {"patient_id": "A", "study_instance_uid": "1", "patient_position": "HFS"}
    one, other = (
        planning(series_instance_uid="1.1", **common),
        verification(series_instance_uid="1.2", **common),
    )
    assert check_same_patient(one, other) == ()


@pytest.mark.parametrize(
    ("before", "after", "warned"),
    [
        ({"study_instance_uid": "1"}, {"study_instance_uid": "2"}, ["studies (sessions)"]),
        ({"study_instance_uid": "1"}, {}, []),
        (
            {"patient_position": "HFS"},
            {"patient_position": "FFS"},
            ["lay HFS in the planning CT and FFS in the"],
        ),
        ({}, {"patient_position": "FFS"}, []),
        ({"series_instance_uid": "7"}, {"series_instance_uid": "8"}, []),
        ({"series_instance_uid": "7"}, {}, []),
        ({"patient_birth_date": "19500101"}, {"patient_birth_date": "19510101"}, []),
        ({"acquired_at": ""}, {}, ["does not say when"]),
        ({}, {"acquired_at": ""}, ["does not say when"]),
        ({}, {"acquired_at": "2026-01-02T08:00:00"}, ["do not differ in time"]),
        ({}, {"acquired_at": "2026-01-02"}, ["do not differ in time"]),
        (
            {},
            {"time_source": TimeSource.CONTENT},
            ["of its acquisition, of the other of its content"],
        ),
        ({"time_source": TimeSource.STUDY}, {"time_source": TimeSource.STUDY}, []),
    ],
)
def test_within_one_patient_only_what_differs_is_warned_of(
    before: dict[str, Any], after: dict[str, Any], warned: list[str]
) -> None:
    warnings = check_same_patient(planning(patient_id="A", **before), verification(patient_id="A", **after))
    assert len(warnings) == len(warned)
    assert all(words in warning for words, warning in zip(warned, warnings, strict=True))


@pytest.mark.parametrize(("planning_id", "verification_id"), [("", ""), ("A", ""), ("", "A")])
def test_a_patient_that_one_header_does_not_name_proves_nothing(
    planning_id: str, verification_id: str
) -> None:
    (warning,) = check_same_patient(
        planning(patient_id=planning_id), verification(patient_id=verification_id)
    )
    assert "names no patient" in warning


def test_one_series_sent_twice_is_refused() -> None:
    with pytest.raises(SameSeriesError, match="one and the same series"):
        check_same_patient(planning(series_instance_uid="1.2"), verification(series_instance_uid="1.2"))


AXES: list[tuple[Vector3, Vector3, Vector3]] = [
    ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((0, -1, 0), (1, 0, 0), (0, 0, -1)),
]


def laid_out(directions: tuple[Vector3, Vector3, Vector3]) -> CtVolume:
    """The planning CT with its axes in another order and direction, as converters write it."""
    order = [int(np.flatnonzero(axis)[0]) for axis in directions]
    voxels = HU.transpose([2 - axis for axis in order])
    flips = tuple(slice(None, None, int(axis[k])) for axis, k in zip(directions, order, strict=True))
    voxels = np.ascontiguousarray(voxels[flips])
    return CtVolume(voxels, VolumeGeometry(voxels.shape, (1.0, 1.0, 1.0), directions))


@pytest.mark.parametrize("directions", AXES)
def test_one_scan_in_two_files_is_refused(directions: tuple[Vector3, Vector3, Vector3]) -> None:
    again = laid_out(directions)
    with pytest.raises(SameSeriesError, match="equal voxel by voxel"):
        check_same_patient(planning(), again)
    changed = again.voxels_hu.copy()
    changed[-1, -1, -1] += 1
    check_same_patient(planning(), CtVolume(changed, again.geometry))


def cropped(ct: CtVolume, *box: tuple[int, int]) -> CtVolume:
    start, stop = zip(*box, strict=True)
    part = ct.crop(VoxelBox.between(start, stop))
    return CtVolume(part.voxels_hu.copy(), part.geometry)


CROPS = [((0, 2), (0, 4), (0, 5)), ((1, 3), (1, 4), (2, 5)), ((2, 3), (0, 4), (0, 5))]


@pytest.mark.parametrize("box", CROPS)
def test_a_part_of_one_scan_is_refused(box: tuple[tuple[int, int], ...]) -> None:
    part = cropped(planning(), *box)
    for one, other in ((planning(), part), (part, planning()), (cropped(planning(), *CROPS[1]), planning())):
        with pytest.raises(SameSeriesError, match="equal voxel by voxel"):
            check_same_patient(one, other)
    changed = part.voxels_hu.copy()
    changed[0, 0, 0] += 1
    check_same_patient(planning(), CtVolume(changed, part.geometry))


def test_padding_that_two_scans_share_proves_nothing() -> None:
    padded = HU.copy()
    padded[2] = -1024
    geometry = replace(GEOMETRY, origin_lps_mm=(0.0, 0.0, 2.0))
    after = np.concatenate([np.full((1, 4, 5), -1024, np.int16), HU[:2] + np.int16(1)])
    check_same_patient(CtVolume(padded, GEOMETRY), CtVolume(after, geometry))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-01-02T08:00:00", "2026-01-02T07:59:59"),
        ("2026-01-02T08:00:00.5", "2026-01-02T08:00:00.4"),
        ("2026-01-02", "2026-01-01"),
        ("2026-01-02", "2026-01-01T23:59:59"),
        ("2026-01-02T10:00:00+02:00", "2026-01-02T09:00:00+02:00"),
        ("2026-01-02T10:00:00+02:00", "2026-01-02T08:30:00+01:00"),
        ("2026-01-10T10:00:00", "2026-01-02T10:00:00+01:00"),
    ],
)
@pytest.mark.parametrize("source", TimeSource)
def test_a_verification_that_is_older_is_refused(before: str, after: str, source: TimeSource) -> None:
    with pytest.raises(AcquiredOutOfOrderError, match="exchange the two"):
        check_same_patient(
            planning(acquired_at=before, time_source=source),
            verification(acquired_at=after, time_source=source),
        )
    check_same_patient(
        planning(acquired_at=after, time_source=source), verification(acquired_at=before, time_source=source)
    )


def test_messages_call_the_two_as_the_command_does() -> None:
    with pytest.raises(AcquiredOutOfOrderError, match="the fixed CT is earlier than the moving CT"):
        check_same_patient(planning(), verification(acquired_at="2025-01-01"), names=("moving", "fixed"))


@given(st.integers(0, 2**30), st.integers(0, 5))
def test_any_two_scans_that_differ_in_a_voxel_are_two(seed: int, slices: int) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1024, 3000, (slices + 1, 3, 2)).astype(np.int16)
    geometry = VolumeGeometry(hu.shape, (1.0, 1.0, 1.0))
    other = hu.copy()
    other[tuple(rng.integers(0, n) for n in hu.shape)] += 1
    check_same_patient(CtVolume(hu.copy(), geometry), CtVolume(other, geometry))
    with pytest.raises(SameSeriesError):
        check_same_patient(CtVolume(hu.copy(), geometry), CtVolume(hu.copy(), geometry))
