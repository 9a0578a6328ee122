"""Whether two CTs belong together: of one patient, two scans and not one, in the right order, as far as they say."""

from __future__ import annotations

import numpy as np

from engine.acquisition_time import Order, order_of
from engine.arrays import Int16Array
from engine.errors import AcquiredOutOfOrderError, PatientMismatchError, SameSeriesError
from engine.geometry import Vector3, VolumeGeometry
from engine.volume import Acquisition, CtVolume

_SAME_GRID = 1e-3
"""How far the step of one grid may be from one voxel of another that is the same."""

_SAME_PLACE = 0.05
"""And how far, in voxels, its voxels may lie from those of the other."""

_PLANNING_AND_VERIFICATION = ("planning", "verification")


def check_same_patient(
    planning: CtVolume, verification: CtVolume, names: tuple[str, str] = _PLANNING_AND_VERIFICATION
) -> tuple[str, ...]:
    """Refuse two CTs that cannot be one before and one after the ablation; return a warning for whatever else differs.

    Parameters
    ----------
    planning, verification : CtVolume
    names : tuple of str
        How messages call the two.

    Returns
    -------
    tuple of str
        Warnings: patient or order that could not be checked, another study or session, another patient position.

    Raises
    ------
    PatientMismatchError
        If the headers name two patients. An absent identifier proves nothing.
    SameSeriesError
        If both are one and the same series, by its UID or voxel by voxel.
    AcquiredOutOfOrderError
        If the second was acquired before the first.
    """
    before, after = planning.acquisition, verification.acquisition
    both = f"{names[0]} and {names[1]} CT"
    is_same = before.patient.is_same_as(after.patient)
    if is_same is False:
        raise PatientMismatchError(
            f"{both} name different patients (PatientID, or PatientBirthDate where an ID is missing); "
            "check that both are of this patient"
        )
    _require_two_scans(planning, verification, both)
    warnings = []
    if is_same is None:
        warnings.append(f"{names[0]} or {names[1]} CT names no patient: that both are of one was not checked")
    if _both_and_different(before.study_instance_uid, after.study_instance_uid):
        warnings.append(f"{both} are of different studies (sessions)")
    if _both_and_different(before.patient_position, after.patient_position):
        warnings.append(
            f"the patient lay {before.patient_position} in the {names[0]} CT and {after.patient_position} "
            f"in the {names[1]} CT: lung and lesion shift with the position"
        )
    return (*warnings, *_check_order(before, after, names))


def _require_two_scans(planning: CtVolume, verification: CtVolume, both: str) -> None:
    uid = planning.acquisition.series_instance_uid
    if uid and uid == verification.acquisition.series_instance_uid:
        raise SameSeriesError(
            f"{both} are one and the same series ({uid}); send the CT after the ablation as the second"
        )
    if _same_voxels(planning, verification):
        raise SameSeriesError(
            f"{both} are equal voxel by voxel; send the CT after the ablation as the second"
        )


def _check_order(before: Acquisition, after: Acquisition, names: tuple[str, str]) -> tuple[str, ...]:
    """Refuse a second CT that is the earlier one; a warning where that cannot be told."""
    unchecked = f"that the {names[1]} CT is the later one was not checked"
    if not (before.acquired_at and after.acquired_at):
        return (f"{names[0]} or {names[1]} CT does not say when it was acquired: {unchecked}",)
    if before.time_source is not after.time_source:
        kinds = f"of the {names[0]} CT it is that of its {before.time_source}, of the other of its {after.time_source}"
        return (f"the times of {names[0]} and {names[1]} CT cannot be compared ({kinds}): {unchecked}",)
    times = f"{before.time_source} {before.acquired_at} and {after.acquired_at}"
    match order_of(before.acquired_at, after.acquired_at):
        case Order.REVERSED:
            raise AcquiredOutOfOrderError(
                f"the {names[1]} CT is earlier than the {names[0]} CT ({times}); exchange the two, or correct the "
                "dates if removing names from the headers has changed them"
            )
        case Order.NOT_KNOWN:
            return (f"{names[0]} and {names[1]} CT do not differ in time ({times}): {unchecked}",)
    return ()


def _same_voxels(first: CtVolume, second: CtVolume) -> bool:
    """Whether two CTs hold the same voxels, whole or cropped, in whatever order of axes.

    Two scans differ in the first plane that shows more than air.
    """
    one, other = _in_patient_order(first), _in_patient_order(second)
    if one.voxels_hu.shape == other.voxels_hu.shape and _equal_by_plane(one.voxels_hu, other.voxels_hu):
        return True
    common = _common_part(one, other)
    return common is not None and _equal_by_plane(*common) and bool(np.ptp(common[0]))


def _equal_by_plane(one: Int16Array, other: Int16Array) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _common_part(one: CtVolume, other: CtVolume) -> tuple[Int16Array, Int16Array] | None:
    """The voxels of both where their grids are one and overlap; None where they do not."""
    steps = one.geometry.index_from_lps @ other.geometry.affine_lps_mm
    offset = np.rint(steps[:3, 3]).astype(int)
    if not np.allclose(steps[:3, :3], np.eye(3), atol=_SAME_GRID) or not np.allclose(
        steps[:3, 3], offset, atol=_SAME_PLACE
    ):
        return None
    low = np.maximum(offset, 0)
    high = np.minimum(offset + other.voxels_hu.shape, one.voxels_hu.shape)
    if (low >= high).any():
        return None
    inside = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    moved = tuple(slice(start, stop) for start, stop in zip(low - offset, high - offset, strict=True))
    return one.voxels_hu[inside], other.voxels_hu[moved]


def _in_patient_order(ct: CtVolume) -> CtVolume:
    """The CT, its voxels a view, with axes that run most nearly to superior, posterior and left."""
    own = ct.geometry
    components = np.array(own.directions_zyx_lps)[:, ::-1]
    axes = [int(axis) for axis in np.abs(components).argmax(axis=0)]
    if len(set(axes)) != 3:
        return ct
    signs = [1 if components[axis, place] > 0 else -1 for place, axis in enumerate(axes)]
    first = np.zeros(3)
    for axis, sign in zip(axes, signs, strict=True):
        first[axis] = own.shape_zyx[axis] - 1 if sign < 0 else 0
    voxels = ct.voxels_hu.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    z, y, x = (_along(own.directions_zyx_lps[axis], sign) for axis, sign in zip(axes, signs, strict=True))
    spacing_z, spacing_y, spacing_x = (own.spacing_zyx_mm[axis] for axis in axes)
    left, posterior, superior = (float(v) for v in own.to_lps(first))
    geometry = VolumeGeometry(
        voxels.shape, (spacing_z, spacing_y, spacing_x), (z, y, x), (left, posterior, superior)
    )
    return CtVolume(voxels, geometry, ct.acquisition)


def _along(direction: Vector3, sign: int) -> Vector3:
    x, y, z = direction
    return sign * x, sign * y, sign * z


def _both_and_different(first: str, second: str) -> bool:
    return bool(first and second and first != second)
