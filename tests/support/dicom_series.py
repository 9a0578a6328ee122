"""Series of a phantom, written and spoiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from engine.geometry import Vector3, VolumeGeometry
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded

AXIAL: tuple[Vector3, Vector3, Vector3] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def phantom_ct(
    directions: tuple[Vector3, Vector3, Vector3] = AXIAL, slices: int = 6, seed: int = 1
) -> CtVolume:
    """Random HU on a small anisotropic grid."""
    geometry = VolumeGeometry(
        (slices, 7, 9), (2.5, 0.7, 0.8), directions, (-30.5, 12.25, -400.0), generate_uid()
    )
    hu = np.random.default_rng(seed).integers(-1024, 3000, geometry.shape_zyx).astype(np.int16)
    return CtVolume(hu, geometry)


def rotated(axis: tuple[float, float, float], angle_rad: float) -> tuple[Vector3, Vector3, Vector3]:
    """Right-handed (z, y, x) directions turned around an axis."""
    k = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    turn = np.eye(3) + math.sin(angle_rad) * cross + (1 - math.cos(angle_rad)) * cross @ cross
    z, y, x = (tuple(float(v) for v in turn @ np.array(d)) for d in AXIAL)
    return z, y, x  # type: ignore[return-value]  # three floats each, which mypy cannot count


def contents(ct: CtVolume, **overrides: Any) -> list[bytes]:
    return [encoded(dataset) for dataset in ct_instances(ct, **overrides)]


def without(datasets: list[Dataset], keyword: str) -> list[bytes]:
    for dataset in datasets:
        delattr(dataset, keyword)
    return [encoded(dataset) for dataset in datasets]


def multi_frame(ct: CtVolume) -> Dataset:
    """An enhanced CT with what the reader needs."""
    slices = ct_instances(ct)
    dataset = slices[0].copy()
    dataset.file_meta = slices[0].file_meta
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(slices)
    dataset.PixelData = b"".join(s.PixelData for s in reversed(slices))
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = slices[0].PixelSpacing, slices[0].SliceThickness
    orientation.ImageOrientationPatient = slices[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for source in reversed(slices):
        item, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = source.ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
        item.PlanePositionSequence, item.PixelValueTransformationSequence = [position], [values]
        dataset.PerFrameFunctionalGroupsSequence.append(item)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(dataset, keyword)
    return dataset
