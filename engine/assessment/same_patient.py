"""Whether two CTs belong together: of one patient, two scans and not one, in the right order, as far as they say."""

from __future__ import annotations

import numpy as np

from engine.acquisition_time import Order, order_of
from engine.arrays import Int16Array
from engine.errors import AcquiredOutOfOrderError, PatientMismatchError, SameSeriesError
from engine.volume import Acquisition, CtVolume

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
    """Whether two CTs hold the same voxels, in whatever order of axes; two scans differ in the first plane."""
    one, other = _in_patient_order(first), _in_patient_order(second)
    return one.shape == other.shape and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _in_patient_order(ct: CtVolume) -> Int16Array:
    """A view of the voxels with axes that run most nearly to superior, posterior and left."""
    components = np.array(ct.geometry.directions_zyx_lps)[:, ::-1]
    axes = np.abs(components).argmax(axis=0)
    if len(set(axes.tolist())) != 3:
        return ct.voxels_hu
    steps = tuple(
        slice(None, None, 1 if components[axis, place] > 0 else -1) for place, axis in enumerate(axes)
    )
    return ct.voxels_hu.transpose(axes)[steps]


def _both_and_different(first: str, second: str) -> bool:
    return bool(first and second and first != second)
