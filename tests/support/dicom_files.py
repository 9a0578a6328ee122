"""Synthetic DICOM for tests: CT series, structure sets and segmentations of any volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import contourpy
import highdicom
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from engine.geometry import VolumeGeometry
from engine.volume import CtVolume, LabelMask

STORED_INTERCEPT = -1024
"""Rescale intercept of written slices: stored = HU + 1024, signed 16 bit."""


def ct_instances(ct: CtVolume, **overrides: Any) -> list[Dataset]:
    """One CT Image Storage dataset per slice, in array order; ``overrides`` set attributes of all of them.

    Slices are stacked along the array's z axis. A reader orders them along their normal (row ×
    column direction), so a left-handed volume comes back with its z axis reversed.
    """
    series_uid, study_uid = generate_uid(), generate_uid()
    frame_uid = ct.geometry.frame_of_reference_uid or generate_uid()
    datasets = []
    for k in range(ct.geometry.shape_zyx[0]):
        dataset = _blank(CTImageStorage)
        dataset.PatientName, dataset.PatientID = "Phantom^", ct.acquisition.patient_id or "PHANTOM"
        dataset.PatientBirthDate, dataset.PatientSex = "", ""
        dataset.StudyInstanceUID = ct.acquisition.study_instance_uid or study_uid
        dataset.SeriesInstanceUID = ct.acquisition.series_instance_uid or series_uid
        dataset.FrameOfReferenceUID = frame_uid
        dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
        dataset.PositionReferenceIndicator = ""
        dataset.Modality, dataset.Manufacturer = "CT", "Synthetic"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SeriesNumber, dataset.InstanceNumber = 1, k + 1
        dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260102"
        dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "030405"
        dataset.PatientPosition = ct.acquisition.patient_position or "HFS"
        _set_plane(dataset, ct.geometry, k)
        _set_pixels(dataset, ct.voxels_hu[k])
        for keyword, value in overrides.items():
            setattr(dataset, keyword, value)
        datasets.append(dataset)
    return datasets


def write_datasets(folder: Path, datasets: Sequence[Dataset], *, suffix: str = ".dcm") -> list[Path]:
    """Write datasets as slice0000.dcm, …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"slice{k:04d}{suffix}" for k in range(len(datasets))]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return paths


def write_ct_series(folder: Path, ct: CtVolume, **overrides: Any) -> list[Path]:
    """Write a CT as a DICOM folder; ``overrides`` set attributes of every slice."""
    return write_datasets(folder, ct_instances(ct, **overrides))


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def structure_set(
    regions: Mapping[str, Sequence[npt.NDArray[np.float64]]], *, frame_of_reference_uid: str = ""
) -> Dataset:
    """An RT structure set.

    Parameters
    ----------
    regions : mapping of str to sequence of ndarray, (n, 3)
        Closed planar contours of each region (ROI), LPS mm.
    """
    dataset = _blank(RTStructureSetStorage)
    dataset.Modality, dataset.PatientID, dataset.PatientName = "RTSTRUCT", "PHANTOM", "Phantom^"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StructureSetLabel = "TEST"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = frame_of_reference_uid or generate_uid()
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_contour(points) for points in contours]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def write_structure_set(
    path: Path,
    regions: Mapping[str, Sequence[npt.NDArray[np.float64]]],
    *,
    frame_of_reference_uid: str = "",
) -> Path:
    """Write :func:`structure_set` to a file."""
    structure_set(regions, frame_of_reference_uid=frame_of_reference_uid).save_as(
        path, enforce_file_format=True
    )
    return path


def mask_contours(mask: LabelMask) -> list[npt.NDArray[np.float64]]:
    """Closed contours (n, 3) in LPS mm around the marked voxels of every slice, holes included."""
    contours = []
    for k in range(mask.geometry.shape_zyx[0]):
        padded = np.pad(mask.voxels[k].astype(float), 1)
        for line in contourpy.contour_generator(z=padded).lines(0.5):
            xy = np.asarray(line)[:-1] - 1
            index = np.column_stack([np.full(len(xy), float(k)), xy[:, 1], xy[:, 0]])
            contours.append(mask.geometry.to_lps(index))
    return contours


def segmentation(
    source: Sequence[Dataset],
    masks: Mapping[str, npt.NDArray[Any]],
    *,
    kind: str = "BINARY",
    **overrides: Any,
) -> Dataset:
    """A DICOM segmentation made by highdicom.

    Parameters
    ----------
    source : sequence of Dataset
        The CT slices, in the order of the masks' first axis.
    masks : mapping of str to ndarray, (z, y, x)
        Each segment by its label: bool, or 0 to 1 for ``FRACTIONAL``.
    kind : str
        ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
    """
    stacked = np.stack(list(masks.values()), axis=-1)
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(masks, start=1)
    ]
    dataset: Dataset = highdicom.seg.Segmentation(
        source_images=list(source),
        pixel_array=stacked.astype(np.float64) if kind == "FRACTIONAL" else stacked.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Synthetic",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
        **overrides,
    )
    return dataset


def write_segmentation(
    path: Path, ct: CtVolume, masks: Mapping[str, npt.NDArray[Any]], *, kind: str = "BINARY", **overrides: Any
) -> Path:
    """Write masks on the grid of a CT as a DICOM segmentation."""
    segmentation(ct_instances(ct), masks, kind=kind, **overrides).save_as(path, enforce_file_format=True)
    return path


def _blank(sop_class: UID) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _set_plane(dataset: Dataset, geometry: VolumeGeometry, k: int) -> None:
    _, along_column, along_row = geometry.directions_zyx_lps
    spacing_z, spacing_y, spacing_x = geometry.spacing_zyx_mm
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*along_row, *along_column)]
    dataset.ImagePositionPatient = [_decimal(v) for v in geometry.to_lps((k, 0, 0))]
    dataset.PixelSpacing = [_decimal(spacing_y), _decimal(spacing_x)]
    dataset.SliceThickness = _decimal(spacing_z)


def _set_pixels(dataset: Dataset, hu: npt.NDArray[np.int16]) -> None:
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, STORED_INTERCEPT, "HU"
    dataset.PixelData = (hu - np.int16(STORED_INTERCEPT)).astype("<i2").tobytes()


def _contour(points: npt.NDArray[np.float64]) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [_decimal(v) for v in np.ravel(points)]
    return contour


def _decimal(value: float) -> str:
    """A DICOM decimal string: 16 characters at most."""
    return f"{float(value):.9g}"[:16]
