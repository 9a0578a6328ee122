"""The images features are measured in, filtered by PyRadiomics: those that were asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from engine.errors import RadiomicsError
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics.extractor import load_library
from engine.radiomics.feature_names import ORIGINAL, WAVELET_BANDS, log_image

_POINTWISE: Final = {
    "square": "getSquareImage",
    "squareroot": "getSquareRootImage",
    "logarithm": "getLogarithmImage",
    "exponential": "getExponentialImage",
    "gradient": "getGradientImage",
}


def filtered_images(
    image: Any,
    settings: RadiomicsSettings,
    wanted: Collection[str],
) -> Iterator[tuple[str, Any]]:
    """Name and SimpleITK image of every wanted image, one at a time.

    Parameters
    ----------
    image : SimpleITK.Image
        The zone with its padding.
    settings : RadiomicsSettings
    wanted : collection of str
        PyRadiomics' names of images, such as ``original`` or ``wavelet-LLH``.

    Yields
    ------
    tuple of str and SimpleITK.Image

    Raises
    ------
    RadiomicsError
        If the zone with its padding is too small for a filter.
    """
    computed = set()
    for name, filtered in _candidates(image, settings, wanted):
        if name in wanted:
            computed.add(name)
            yield name, filtered
    missing = sorted(set(wanted) - computed)
    if missing:
        raise RadiomicsError(
            f"the zone with its surroundings, {' × '.join(str(n) for n in image.GetSize())} voxels, is too small for "
            f"{', '.join(missing)}; scan more around it"
        )


def _candidates(
    image: Any,
    settings: RadiomicsSettings,
    wanted: Collection[str],
) -> Iterator[tuple[str, Any]]:
    """What PyRadiomics' filters give; a filter of which nothing is wanted does not run."""
    filters = load_library("radiomics.imageoperations")
    if ORIGINAL in wanted:
        yield ORIGINAL, image
    if any(band in wanted for band in WAVELET_BANDS):
        for filtered, name, _ in filters.getWaveletImage(image, None):
            yield name, filtered
    sigmas = [sigma for sigma in settings.log_sigma_mm if log_image(sigma) in wanted]
    if sigmas:
        for filtered, name, _ in filters.getLoGImage(image, None, sigma=sigmas):
            yield name, filtered
    for name, function in _POINTWISE.items():
        if name in wanted:
            yield name, next(getattr(filters, function)(image, None))[0]
