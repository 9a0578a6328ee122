from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.assessment.same_patient import check_same_patient
from engine.errors import PatientMismatchError
from engine.geometry import VolumeGeometry
from engine.volume import Acquisition, CtVolume

GEOMETRY = VolumeGeometry((2, 2, 2), (1.0, 1.0, 1.0))
HU = np.zeros((2, 2, 2), dtype=np.int16)


def of(**values: Any) -> CtVolume:
    return CtVolume(HU.copy(), GEOMETRY, Acquisition(**values))


def test_different_patients_are_refused_without_naming_them() -> None:
    with pytest.raises(PatientMismatchError, match="check that both are of this patient") as caught:
        check_same_patient(of(patient_id="ALICE"), of(patient_id="BOB"))
    assert "ALICE" not in str(caught.value)


def test_one_patient_in_one_session_needs_no_warning() -> None:
    one = of(patient_id="A", study_instance_uid="1", patient_position="HFS", series_instance_uid="1.1")
    other = of(patient_id="A", study_instance_uid="1", patient_position="HFS", series_instance_uid="1.2")
    assert check_same_patient(one, other) == ()


@pytest.mark.parametrize(
    ("planning", "verification", "warned"),
    [
        ({"patient_id": "A"}, {}, "names no patient"),
        ({"study_instance_uid": "1"}, {"study_instance_uid": "2"}, "different studies"),
        ({"patient_position": "HFS"}, {"patient_position": "HFP"}, "HFS in the planning CT and HFP"),
        ({"series_instance_uid": "1"}, {"series_instance_uid": "1"}, "one and the same series"),
    ],
)
def test_what_differs_is_warned_of(
    planning: dict[str, str], verification: dict[str, str], warned: str
) -> None:
    assert any(warned in warning for warning in check_same_patient(of(**planning), of(**verification)))


@pytest.mark.parametrize(
    ("planning", "verification", "warned"),
    [
        ({"study_instance_uid": "1"}, {"study_instance_uid": "2"}, ["studies (sessions)"]),
        ({"study_instance_uid": "1"}, {}, []),
        ({"patient_position": "HFS"}, {"patient_position": "FFS"}, ["FFS in the verification CT"]),
        ({}, {"patient_position": "FFS"}, []),
        ({"series_instance_uid": "7"}, {"series_instance_uid": "7"}, ["same series"]),
        ({"series_instance_uid": "7"}, {"series_instance_uid": "8"}, []),
        ({"series_instance_uid": "7"}, {}, []),
    ],
)
def test_within_one_patient_only_what_differs_is_warned_of(
    planning: dict[str, str], verification: dict[str, str], warned: list[str]
) -> None:
    warnings = check_same_patient(of(patient_id="A", **planning), of(patient_id="A", **verification))
    assert len(warnings) == len(warned)
    assert all(words in warning for words, warning in zip(warned, warnings, strict=True))


@pytest.mark.parametrize(("planning_id", "verification_id"), [("", ""), ("A", ""), ("", "A")])
def test_a_patient_that_one_header_does_not_name_proves_nothing(
    planning_id: str, verification_id: str
) -> None:
    (warning,) = check_same_patient(of(patient_id=planning_id), of(patient_id=verification_id))
    assert "names no patient" in warning
