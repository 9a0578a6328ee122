"""How a Radscore is computed from the radiomics of an ablation zone: settings, features, coefficients."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.manifest.common import Count, Positive, Section, Text


class RadiomicsSettings(Section):
    """What PyRadiomics is told; part of the model, because other settings give other features.

    The defaults are those of LC-NICER (exSetting.yaml). A Z-score (``normalize_scale`` 1) with a bin width of 25
    puts the whole zone into one or two gray levels; such settings are refused where texture is computed.

    Parameters
    ----------
    image_types : {"wavelet_log", "wavelet_filters"}
        Besides the original and its eight wavelet bands: Laplacians of Gaussians, or square, square root,
        logarithm, exponential and gradient. Both give 1316 features.
    order : {"normalize_then_resample"}
        PyRadiomics' own: mean and standard deviation are those of the whole CT on its own grid.
    spacing_mm : float
        Of the isotropic grid on which the features are computed.
    normalize_scale : float
        A voxel becomes this times its distance to the mean in standard deviations.
    voxel_array_shift : float
        Added to voxels before energy, total energy and root mean square.
    bin_width : float
        Of a gray level, in normalized units (HU where ``normalize`` is false).
    pad_voxels : int
        Padding around the zone on the isotropic grid, for filters.
    """

    image_types: Literal["wavelet_log", "wavelet_filters"] = "wavelet_log"
    order: Literal["normalize_then_resample"] = "normalize_then_resample"
    spacing_mm: Positive = 1.0
    interpolator: Literal["sitkBSpline", "sitkLinear"] = "sitkBSpline"
    normalize: bool = True
    normalize_scale: Positive = 100.0
    voxel_array_shift: float = 300.0
    bin_width: Positive = 25.0
    pad_voxels: Count = 5
    log_sigma_mm: tuple[Positive, ...] = Field(default=(1.0, 2.0, 3.0, 4.0, 5.0), min_length=1)

    @model_validator(mode="after")
    def _lists_each_sigma_once(self) -> Self:
        if len(set(self.log_sigma_mm)) != len(self.log_sigma_mm):
            raise ValueError("a sigma of the Laplacian of Gaussian is listed twice")
        return self


class SignatureFeature(Section):
    """One feature, standardized on the training cases, with its coefficient.

    ``reference_low`` and ``reference_high`` are the range over the training cases.
    """

    name: Text
    coefficient: float
    mean: float
    sd: Positive
    reference_low: float
    reference_high: float

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.reference_high < self.reference_low:
            raise ValueError(f"{self.name}: the reference range ends below its start")
        return self


class SignatureSection(Section):
    """Radscore = ``intercept`` + sum of ``coefficient * (feature - mean) / sd``.

    Parameters
    ----------
    settings : RadiomicsSettings
    extractor : str
        Library and version that computed the features it was fitted on, such as ``pyradiomics-bhklab 3.1.4``.
    features : tuple of SignatureFeature
        May be empty: then the Radscore is the intercept.
    intercept : float
    """

    settings: RadiomicsSettings
    extractor: Text
    features: tuple[SignatureFeature, ...] = ()
    intercept: float = 0.0

    @model_validator(mode="after")
    def _lists_each_once(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("a feature of the signature is listed twice")
        return self
