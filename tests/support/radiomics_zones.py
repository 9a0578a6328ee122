"""Zones with texture to compute radiomics of, real ones and made ones."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.files.image_file import read_ct_image, read_mask_image
from engine.geometry import VolumeGeometry
from engine.manifest.signature import RadiomicsSettings
from engine.volume import CtVolume, LabelMask

DATA = os.environ.get("COLDSPOT_DATA")
needs_real_ct = pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")
NO_EXTRACTOR = "PyRadiomics is not installed: make setup-export"

SIGNATURE_FEATURES = (
    "original_firstorder_Skewness",
    "original_glcm_Correlation",
    "original_glszm_ZoneEntropy",
    "wavelet-LLH_glcm_ClusterShade",
    "wavelet-LHL_firstorder_Median",
    "wavelet-HLL_gldm_DependenceVariance",
    "wavelet-LLL_glcm_Imc1",
    "wavelet-HHL_glszm_SmallAreaEmphasis",
    "wavelet-LLL_ngtdm_Busyness",
    "wavelet-HLH_glrlm_RunEntropy",
    "wavelet-HHH_glszm_GrayLevelNonUniformity",
)
"""Eleven, as in Wang et al. 2026: 2 first-order and 9 texture, 3 original and 8 wavelet."""

REAL = {
    "lung1": ("ct-pyradiomics-lung1/image.nii.gz", "ct-pyradiomics-lung1/label.nii.gz"),
    "lidc": ("ct-lidc0314/ct_right_lung.nii.gz", "ct-lidc0314/nodule_consensus50.nii.gz"),
}


@cache
def real_paths(name: str) -> tuple[Path, Path]:
    assert DATA is not None
    image, mask = REAL[name]
    return Path(DATA) / image, Path(DATA) / mask


@cache
def real_zone(name: str) -> tuple[CtVolume, LabelMask]:
    image, mask = real_paths(name)
    return read_ct_image(image), read_mask_image(mask, "ablation zone")


def made_zone(
    shape_zyx: tuple[int, int, int] = (16, 30, 32),
    spacing_zyx_mm: tuple[float, float, float] = (1.5, 0.8, 0.8),
    *,
    radius_mm: float = 5.0,
    seed: int = 0,
    **geometry: Any,
) -> tuple[CtVolume, LabelMask]:
    """Noise with a brighter sphere off the middle."""
    rng = np.random.default_rng(seed)
    grid = VolumeGeometry(shape_zyx, spacing_zyx_mm, **geometry)
    center = (np.array(shape_zyx) - 1) * (0.5, 0.45, 0.55)
    offset = (np.moveaxis(np.indices(shape_zyx), 0, -1) - center) * spacing_zyx_mm
    inside = np.linalg.norm(offset, axis=-1) < radius_mm
    hu = rng.normal(-700, 150, shape_zyx) + 650 * inside
    return CtVolume(np.rint(hu).astype(np.int16), grid), LabelMask(inside, grid, "ablation zone")


def library_features(image: Any, mask: Any, settings: RadiomicsSettings) -> dict[str, float]:
    """All features by PyRadiomics itself, of the whole CT."""
    featureextractor = pytest.importorskip("radiomics.featureextractor", reason=NO_EXTRACTOR)
    extractor = featureextractor.RadiomicsFeatureExtractor(
        normalize=settings.normalize,
        normalizeScale=settings.normalize_scale,
        resampledPixelSpacing=[settings.spacing_mm] * 3,
        interpolator=settings.interpolator,
        padDistance=settings.pad_voxels,
        binWidth=settings.bin_width,
        voxelArrayShift=settings.voxel_array_shift,
        additionalInfo=False,
    )
    extractor.enableImageTypeByName("Wavelet")
    if settings.image_types == "wavelet_log":
        extractor.enableImageTypeByName("LoG", customArgs={"sigma": list(settings.log_sigma_mm)})
    else:
        for name in ("Square", "SquareRoot", "Logarithm", "Exponential", "Gradient"):
            extractor.enableImageTypeByName(name)
    return {name: float(value) for name, value in extractor.execute(image, mask).items()}


def relative_differences(found: dict[str, float], expected: dict[str, float]) -> dict[str, float]:
    """Of every feature, to the greater of the two, at least 1e-9."""
    assert set(found) == set(expected)
    return {
        name: abs(found[name] - value) / max(abs(value), abs(found[name]), 1e-9)
        for name, value in expected.items()
    }
