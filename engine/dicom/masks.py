"""A DICOM mask of either kind, segmentation or structure set, of the same patient as its CT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.dicom.attributes import items, text
from engine.dicom.instances import DicomInstance, one_instance
from engine.dicom.segmentation import read_segmentation
from engine.dicom.series_choice import choose_mask_file
from engine.dicom.structure_set import read_structure_set
from engine.errors import InvalidRequestError, PatientMismatchError
from engine.input_warning import InputWarning, InputWarningCode
from engine.patient import Patient
from engine.volume import CtVolume, LabelMask


def read_dicom_mask(source: Path | bytes, ct: CtVolume, name: str, *, label: str | None = None) -> LabelMask:
    """Read one structure of a SEG or RTSTRUCT.

    Parameters
    ----------
    source : Path or bytes
        A file, a folder that holds one such file and no other DICOM, or the content of a file.
    ct : CtVolume
        The CT it was drawn on.
    name : str
        What it marks, for messages.
    label : str, optional
        Number or label of the segment, or name of the region (ROI).

    Returns
    -------
    LabelMask
        On the grid of ``ct``.

    Raises
    ------
    PatientMismatchError
        If it is of another patient than the CT.
    InvalidRequestError
        If there is no such object, or several; or no such structure.
    UnreadableFileError, GridMismatchError
        As for the two readers.
    """
    instance = one_instance(
        choose_mask_file(source, name) if isinstance(source, Path) else source, f"the {name}"
    )
    noticed = (*_require_patient_of(instance, ct, name), *_other_series(instance, ct, name))
    modality = text(instance.dataset, "Modality", instance.name)
    if modality == "RTSTRUCT":
        mask = read_structure_set(instance, ct, roi=label)
    elif modality == "SEG":
        mask = read_segmentation(instance, ct, segment=label)
    else:
        raise InvalidRequestError(
            f"{instance.name} is DICOM of modality {modality or 'none'}, not SEG or RTSTRUCT; "
            f"choose the file of the {name}"
        )
    return replace(mask, name=name, warnings=(*noticed, *mask.warnings))


def _require_patient_of(instance: DicomInstance, ct: CtVolume, name: str) -> tuple[InputWarning, ...]:
    """Refuse a mask of another patient; a warning where neither patient nor frame of reference tells."""
    dataset, where = instance.dataset, instance.name
    drawn_for = Patient(text(dataset, "PatientID", where), text(dataset, "PatientBirthDate", where))
    is_same = drawn_for.is_same_as(ct.acquisition.patient)
    if is_same is False:
        # A patient's identifier is not written into messages, which end in logs.
        raise PatientMismatchError(
            f"the {name} and its CT name different patients (PatientID, or PatientBirthDate where an ID is missing); "
            f"send the {name} that was drawn on this CT"
        )
    own_frame = ct.geometry.frame_of_reference_uid
    if is_same or (own_frame and own_frame in _frames_of_reference(instance)):
        return ()
    message = f"the {name} or its CT names no patient: that both are of one was not checked"
    return (InputWarning(InputWarningCode.PATIENT_NOT_CHECKED, message),)


def _frames_of_reference(instance: DicomInstance) -> set[str]:
    dataset, where = instance.dataset, instance.name
    regions = items(dataset, "StructureSetROISequence", where)
    named = {text(region, "ReferencedFrameOfReferenceUID", where) for region in regions}
    return named | {text(dataset, "FrameOfReferenceUID", where)}


def _other_series(instance: DicomInstance, ct: CtVolume, name: str) -> tuple[InputWarning, ...]:
    """A warning where the mask names the series it was drawn on, and the CT is another one."""
    own = ct.acquisition.series_instance_uid
    drawn_on = _series_named(instance)
    if not own or not drawn_on or own in drawn_on:
        return ()
    message = f"the {name} was drawn on another series ({', '.join(sorted(drawn_on))}) than its CT ({own})"
    return (InputWarning(InputWarningCode.MASK_OF_OTHER_SERIES, message),)


def _series_named(instance: DicomInstance) -> set[str]:
    """Series that a SEG (PS3.3 C.12.1.1) or an RTSTRUCT (C.8.8.5) refers to."""
    where = instance.name
    holders = [instance.dataset]
    for keyword in ("ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence"):
        holders += [item for holder in holders for item in items(holder, keyword, where)]
    series = [
        item
        for holder in holders
        for keyword in ("ReferencedSeriesSequence", "RTReferencedSeriesSequence")
        for item in items(holder, keyword, where)
    ]
    return {text(item, "SeriesInstanceUID", where) for item in series} - {""}
