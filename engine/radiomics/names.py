"""What a PyRadiomics feature name says: image type, class, feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.errors import ManifestError
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics.library import radiomics_module

TEXTURES: Final = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
CLASSES: Final = ("firstorder", *TEXTURES)
WAVELETS: Final = ("LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH", "LLL")
FILTERS: Final = ("square", "squareroot", "logarithm", "exponential", "gradient")


@dataclass(frozen=True)
class FeatureName:
    """One feature, as ``<image>_<class>_<feature>``; shape belongs to the original image."""

    image: str
    kind: str
    feature: str

    @staticmethod
    def parsed(name: str) -> FeatureName:
        """Take a name apart.

        Raises
        ------
        ManifestError
        """
        parts = name.split("_")
        if len(parts) != 3 or not all(parts) or parts[1] not in (*CLASSES, "shape"):
            raise ManifestError(
                f"{name!r} is no feature of PyRadiomics; they read <image>_<class>_<feature>, as original_glcm_Contrast"
            )
        return FeatureName(*parts)

    def __str__(self) -> str:
        return f"{self.image}_{self.kind}_{self.feature}"


def image_types(settings: RadiomicsSettings) -> tuple[str, ...]:
    """Names of the images that features are computed on, the original first."""
    wavelets = tuple(f"wavelet-{band}" for band in WAVELETS)
    if settings.image_types == "wavelet_filters":
        return ("original", *wavelets, *FILTERS)
    return ("original", *wavelets, *(log_name(sigma) for sigma in settings.log_sigma_mm))


def log_name(sigma_mm: float) -> str:
    """PyRadiomics' name of a Laplacian of Gaussian, as ``log-sigma-1-0-mm-3D``."""
    return f"log-sigma-{str(float(sigma_mm)).replace('.', '-')}-mm-3D"


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """All features of the settings: 14 of shape and 93 of each of 14 images, 1316 by default.

    Raises
    ------
    BackendError
        PyRadiomics is not installed.
    """
    names = [f"original_shape_{feature}" for feature in class_features("shape")]
    for image in image_types(settings):
        names += [f"{image}_{kind}_{feature}" for kind in CLASSES for feature in class_features(kind)]
    return tuple(names)


def class_features(kind: str) -> tuple[str, ...]:
    """Features of a class, without those that PyRadiomics calls deprecated."""
    known = radiomics_module().getFeatureClasses()[kind].getFeatureNames()
    return tuple(sorted(name for name, deprecated in known.items() if not deprecated))
