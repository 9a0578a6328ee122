"""The names of the features, PyRadiomics' own: ``wavelet-LLH_glcm_Contrast``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from engine.errors import InvalidRequestError
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics.extractor import load_library

ORIGINAL: Final = "original"
SHAPE: Final = "shape"
_FIRST_ORDER: Final = "firstorder"
_TEXTURE_CLASSES: Final = ("glcm", "gldm", "glrlm", "glszm", "ngtdm")
WAVELET_BANDS: Final = tuple(
    f"wavelet-{band}" for band in ("LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH", "LLL")
)
_POINTWISE_FILTERS: Final = ("square", "squareroot", "logarithm", "exponential", "gradient")
_BINNED_FIRST_ORDER: Final = ("Entropy", "Uniformity")
"""First-order features that see gray levels, as texture does."""


@dataclass(frozen=True)
class FeatureName:
    """A feature's name, taken apart: the image it is measured in, its class, and what is measured."""

    image: str
    feature_class: str
    feature: str

    def __str__(self) -> str:
        """The name as PyRadiomics writes it."""
        return f"{self.image}_{self.feature_class}_{self.feature}"

    @property
    def sees_gray_levels(self) -> bool:
        """Whether the voxels are put into bins before it is computed."""
        return self.feature_class in _TEXTURE_CLASSES or (
            self.feature_class == _FIRST_ORDER and self.feature in _BINNED_FIRST_ORDER
        )


def log_image(sigma_mm: float) -> str:
    """The name of a Laplacian of Gaussian: ``log-sigma-1-0-mm-3D``."""
    return f"log-sigma-{str(float(sigma_mm)).replace('.', '-')}-mm-3D"


def _image_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The images features are measured in: the original, its wavelet bands, and those of the configuration."""
    if settings.image_types == "wavelet_log":
        filtered = tuple(log_image(sigma) for sigma in settings.log_sigma_mm)
    else:
        filtered = _POINTWISE_FILTERS
    return (ORIGINAL, *WAVELET_BANDS, *filtered)


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """Every feature of a configuration: 14 of shape and 93 for each of its images, 1316 by default.

    Raises
    ------
    BackendError
        If PyRadiomics is not installed.
    """
    return tuple(str(name) for name in _all_features(settings))


@cache
def _all_features(settings: RadiomicsSettings) -> tuple[FeatureName, ...]:
    """As :func:`feature_names`, taken apart."""
    shape = [FeatureName(ORIGINAL, SHAPE, feature) for feature in _features_of(SHAPE)]
    return (
        *shape,
        *(
            FeatureName(image, feature_class, feature)
            for image in _image_names(settings)
            for feature_class in (_FIRST_ORDER, *_TEXTURE_CLASSES)
            for feature in _features_of(feature_class)
        ),
    )


def wanted_features(settings: RadiomicsSettings, names: Sequence[str] | None) -> tuple[FeatureName, ...]:
    """The features with these names; all of them if ``names`` is None.

    Raises
    ------
    InvalidRequestError
        If the configuration has no feature of a name, or a name is given twice.
    """
    known = _by_name(settings)
    if names is None:
        return tuple(known.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidRequestError(
            f"there is no feature {', '.join(unknown[:5])} among the {len(known)} of {settings.image_types}; "
            "names are PyRadiomics', such as wavelet-LLH_glcm_Contrast"
        )
    if len(set(names)) != len(names):
        raise InvalidRequestError("a feature was asked for twice; name each once")
    return tuple(known[name] for name in names)


@cache
def _by_name(settings: RadiomicsSettings) -> dict[str, FeatureName]:
    return {str(name): name for name in _all_features(settings)}


def library_class(feature_class: str) -> Any:
    """PyRadiomics' class that computes the features of a kind."""
    return load_library("radiomics").getFeatureClasses()[feature_class]


@cache
def _features_of(feature_class: str) -> tuple[str, ...]:
    """What a class measures, without what PyRadiomics has deprecated."""
    features = library_class(feature_class).getFeatureNames()
    return tuple(sorted(feature for feature, deprecated in features.items() if not deprecated))
