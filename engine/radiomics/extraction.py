"""The features of an ablation zone: all of a configuration, or those a signature names.

Either way a feature is computed on the same voxels by the same code of PyRadiomics, so that both agree to the
last bit: what is left out is what nobody asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import CollapsedTextureError, RadiomicsError
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics.feature_names import (
    SHAPE,
    FeatureName,
    library_class,
    wanted_features,
)
from engine.radiomics.filtered_images import filtered_images
from engine.radiomics.library_image import itk_image, voxels_of
from engine.radiomics.zone_image import ZoneImage, resample_zone
from engine.volume import CtVolume, LabelMask

_COLLAPSED_LEVELS: Final = 2
"""So many gray levels, or fewer, are not a texture but a threshold."""


@dataclass(frozen=True)
class ZoneRadiomics:
    """Features by name, and how many gray levels each image has in which gray levels were counted."""

    features: dict[str, float]
    gray_levels: dict[str, int]

    @property
    def collapsed_images(self) -> tuple[str, ...]:
        """Filtered images whose texture is a threshold; that of the original is refused."""
        return tuple(image for image, levels in self.gray_levels.items() if levels <= _COLLAPSED_LEVELS)


def extract_features(
    ct: CtVolume, zone: LabelMask, settings: RadiomicsSettings, names: Sequence[str] | None = None
) -> dict[str, float]:
    """Radiomics features of a zone.

    Parameters
    ----------
    ct : CtVolume
        The whole CT: it is normalized by the mean and standard deviation of all its voxels.
    zone : LabelMask
        On the grid of ``ct``.
    settings : RadiomicsSettings
    names : sequence of str, optional
        PyRadiomics' names; all of :func:`engine.radiomics.feature_names` where not given.

    Returns
    -------
    dict of str to float
        In the order of ``names``.

    Raises
    ------
    InvalidRequestError
        If there is no feature of a name.
    EmptyMaskError, GridMismatchError
        If the zone is empty or not on the grid of the CT.
    CollapsedTextureError
        If the zone has one or two gray levels before any filter, and a feature sees gray levels.
    RadiomicsError
        If the zone is too small, or a feature is not a number.
    BackendError
        If PyRadiomics is not installed.
    """
    return extract_radiomics(ct, zone, settings, names).features


def extract_radiomics(
    ct: CtVolume, zone: LabelMask, settings: RadiomicsSettings, names: Sequence[str] | None = None
) -> ZoneRadiomics:
    """As :func:`extract_features`, with the gray levels of the images."""
    wanted = wanted_features(settings, names)
    if not wanted:
        return ZoneRadiomics({}, {})
    return measure_zone(resample_zone(ct, zone, settings), settings, wanted)


def measure_zone(
    resampled: ZoneImage, settings: RadiomicsSettings, wanted: Sequence[FeatureName]
) -> ZoneRadiomics:
    """Features of a zone that lies on the grid they are computed on.

    Raises
    ------
    CollapsedTextureError, RadiomicsError, BackendError
        As :func:`extract_features`.
    """
    if any(name.sees_gray_levels for name in wanted):
        _require_texture(resampled, settings)
    features: dict[str, float] = {}
    gray_levels: dict[str, int] = {}
    mask = itk_image(resampled.inside[resampled.box].astype(np.uint8), resampled.spacing_zyx_mm)
    shape = [name for name in wanted if name.feature_class == SHAPE]
    if shape:
        features |= _measured(shape, _within(resampled, resampled.voxels), mask, settings)
    in_images: dict[str, list[FeatureName]] = {}
    for name in wanted:
        if name.feature_class != SHAPE:
            in_images.setdefault(name.image, []).append(name)
    whole = itk_image(resampled.voxels, resampled.spacing_zyx_mm)
    for image, filtered in filtered_images(whole, settings, in_images):
        voxels = voxels_of(filtered)
        if any(name.sees_gray_levels for name in in_images[image]):
            gray_levels[image] = _count_gray_levels(voxels[resampled.inside], settings)
        features |= _measured(in_images[image], _within(resampled, voxels), mask, settings)
    _require_numbers(features)
    return ZoneRadiomics({str(name): features[str(name)] for name in wanted}, gray_levels)


def _count_gray_levels(values: Float64Array, settings: RadiomicsSettings) -> int:
    """Number of bins of ``bin_width``, counted from zero, that hold a voxel."""
    return len(np.unique(np.floor(values / settings.bin_width)))


def _require_texture(zone: ZoneImage, settings: RadiomicsSettings) -> None:
    values = zone.voxels[zone.inside]
    levels = _count_gray_levels(values, settings)
    if levels <= _COLLAPSED_LEVELS:
        raise CollapsedTextureError(
            f"the zone spans {values.max() - values.min():.3g} normalized units, that is {levels} gray level"
            f"{'' if levels == 1 else 's'} of {settings.bin_width:g}: its texture is collapsed; with normalize_scale "
            f"{settings.normalize_scale:g} use a smaller bin_width (LC-NICER: scale 100, width 25), or check that the "
            "mask is not of plain air or water"
        )


def _within(zone: ZoneImage, voxels: Float64Array) -> Any:
    """The zone's bounding box of an image on its grid."""
    return itk_image(np.ascontiguousarray(voxels[zone.box]), zone.spacing_zyx_mm)


def _measured(
    names: Sequence[FeatureName],
    image: Any,
    mask: Any,
    settings: RadiomicsSettings,
) -> dict[str, float]:
    """Features of one image; each class builds its matrix once."""
    features: dict[str, float] = {}
    for feature_class in dict.fromkeys(name.feature_class for name in names):
        measure = library_class(feature_class)
        of_class = [name for name in names if name.feature_class == feature_class]
        try:
            computed = measure(
                image, mask, label=1, binWidth=settings.bin_width, voxelArrayShift=settings.voxel_array_shift
            )
            for name in of_class:
                computed.enableFeatureByName(name.feature)
            values = computed.execute()
        except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
            raise RadiomicsError(
                f"{feature_class} of {of_class[0].image} cannot be computed in this zone ({error}); check the mask"
            ) from error
        features |= {str(name): float(values[name.feature]) for name in of_class}
    return features


def _require_numbers(features: dict[str, float]) -> None:
    bad = [name for name, value in features.items() if not math.isfinite(value)]
    if bad:
        raise RadiomicsError(
            f"{len(bad)} of {len(features)} features are not a number in this zone ({', '.join(bad[:3])}): it may be "
            "too small or too uniform; check the mask"
        )
