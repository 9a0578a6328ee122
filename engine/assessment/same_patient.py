"""Whether two CTs belong together: of one patient, and in one position, as far as their headers say."""

from __future__ import annotations

from engine.errors import PatientMismatchError
from engine.volume import CtVolume


def check_same_patient(planning: CtVolume, verification: CtVolume) -> tuple[str, ...]:
    """Refuse two CTs of different patients; return a warning for whatever else differs.

    Parameters
    ----------
    planning, verification : CtVolume

    Returns
    -------
    tuple of str
        Warnings: another study or session, another patient position, the same series twice.

    Raises
    ------
    PatientMismatchError
        If both headers name a patient, and not the same. An absent identifier proves nothing.
    """
    before, after = planning.acquisition, verification.acquisition
    if before.patient_id and after.patient_id and before.patient_id != after.patient_id:
        raise PatientMismatchError(
            "planning and verification CT carry different patient identifiers; "
            "check that both are of this patient"
        )
    warnings = []
    if not (before.patient_id and after.patient_id):
        warnings.append("planning or verification CT names no patient: that both are of one was not checked")
    if _both_and_different(before.study_instance_uid, after.study_instance_uid):
        warnings.append("planning and verification CT are of different studies (sessions)")
    if _both_and_different(before.patient_position, after.patient_position):
        warnings.append(
            f"the patient lay {before.patient_position} in the planning CT and {after.patient_position} "
            "in the verification CT: lung and lesion shift with the position"
        )
    if before.series_instance_uid and before.series_instance_uid == after.series_instance_uid:
        warnings.append("planning and verification CT are one and the same series")
    return tuple(warnings)


def _both_and_different(first: str, second: str) -> bool:
    return bool(first and second and first != second)
