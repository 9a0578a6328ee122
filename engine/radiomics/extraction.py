"""Features of an ablation zone by PyRadiomics: all 1316, or only those that a signature needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import SimpleITK as sitk

from engine.errors import EstimationError, ManifestError
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics.library import DISTRIBUTION, radiomics_module
from engine.radiomics.names import FILTERS, TEXTURES, FeatureName, feature_names, image_types, log_name
from engine.radiomics.preprocessing import PAD_VOXELS, prepare_zone
from engine.volume import CtVolume, LabelMask

EXTRACTOR: Final = f"{DISTRIBUTION} 3.1.4"

LEAST_GRAY_LEVELS: Final = 4
"""Fewer in the unfiltered zone, and texture says nothing: a Z-score with a bin width of 25 leaves one or two."""

ImageKind = tuple[str, dict[str, Any]]


def extract_features(
    ct: CtVolume,
    zone: LabelMask,
    settings: RadiomicsSettings | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Compute radiomics of a zone.

    Parameters
    ----------
    ct : CtVolume
    zone : LabelMask
        On the grid of ``ct``.
    settings : RadiomicsSettings, optional
    names : sequence of str, optional
        Only these, computed from no more than the images and classes that they need; all if left out.

    Returns
    -------
    dict of str to float
        In the order of ``names``, or of :func:`engine.radiomics.names.feature_names`.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    EstimationError
        The zone is too small or too flat: one voxel thick, or its gray levels collapse.
    ManifestError
        A name is none of the settings' features.
    BackendError
        PyRadiomics is not installed.

    Notes
    -----
    The values are those of PyRadiomics' own extractor on the whole CT (normalize, then resample), to
    rounding; see :mod:`engine.radiomics.preprocessing` for why a crop is enough.
    """
    settings = settings or RadiomicsSettings()
    wanted = _wanted(settings, names)
    image, mask = prepare_zone(ct, zone, settings)
    box = _bounding_box(image, mask)
    found: dict[str, float] = {}
    if "shape" in wanted.get("original", {}):
        found |= _shape(image, mask, box, wanted["original"]["shape"])
    for filtered, name, options in _images(image, mask, settings, wanted):
        kinds = {kind: features for kind, features in wanted[name].items() if kind != "shape"}
        cropped, inside = radiomics_module("imageoperations").cropToTumorMask(filtered, mask, box)
        if name == "original" and any(kind in TEXTURES for of in wanted.values() for kind in of):
            _require_texture(cropped, inside, settings.bin_width)
        for kind, features in kinds.items():
            found |= _class(kind, cropped, inside, name, features, options)
    return {name: found[name] for name in (names if names is not None else feature_names(settings))}


def _wanted(settings: RadiomicsSettings, names: Sequence[str] | None) -> dict[str, dict[str, list[str]]]:
    """Features by class by image. The original image comes first, for its gray levels are judged."""
    known = image_types(settings)
    wanted: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    wanted["original"] = defaultdict(list)
    for name in names if names is not None else feature_names(settings):
        it = FeatureName.parsed(name)
        if it.image not in known or (it.kind == "shape" and it.image != "original"):
            raise ManifestError(
                f"{name} is none of the features of these settings; their images are {', '.join(known)}"
            )
        wanted[it.image][it.kind].append(it.feature)
    return wanted


def _images(
    image: sitk.Image,
    mask: sitk.Image,
    settings: RadiomicsSettings,
    wanted: dict[str, dict[str, list[str]]],
) -> Iterator[tuple[sitk.Image, str, dict[str, Any]]]:
    """The filtered images that are wanted, by the filters of PyRadiomics."""
    operations = radiomics_module("imageoperations")
    base = {
        "binWidth": settings.bin_width,
        "voxelArrayShift": settings.voxel_array_shift,
        "label": 1,
        "padDistance": PAD_VOXELS,
    }
    makers: list[ImageKind] = [("Original", {})]
    if any(name.startswith("wavelet-") for name in wanted):
        makers.append(("Wavelet", {}))
    if settings.image_types == "wavelet_log":
        sigmas = [sigma for sigma in settings.log_sigma_mm if log_name(sigma) in wanted]
        makers += [("LoG", {"sigma": sigmas})] if sigmas else []
    else:
        spelled = {"squareroot": "SquareRoot"}
        makers += [(spelled.get(name, name.capitalize()), {}) for name in FILTERS if name in wanted]
    for kind, options in makers:
        for filtered, name, said in getattr(operations, f"get{kind}Image")(image, mask, **base, **options):
            if name in wanted:
                yield filtered, name, said


def _bounding_box(image: sitk.Image, mask: sitk.Image) -> Any:
    try:
        box, _ = radiomics_module("imageoperations").checkMask(image, mask, label=1, minimumROIDimensions=2)
    except ValueError as refused:
        raise EstimationError(f"no radiomics of this zone: {refused}") from refused
    return box


def _shape(image: sitk.Image, mask: sitk.Image, box: Any, features: list[str]) -> dict[str, float]:
    cropped, inside = radiomics_module("imageoperations").cropToTumorMask(image, mask, box)
    return _class("shape", cropped, inside, "original", features, {"label": 1})


def _class(
    kind: str,
    image: sitk.Image,
    mask: sitk.Image,
    image_name: str,
    features: list[str],
    options: dict[str, Any],
) -> dict[str, float]:
    """Some features of one class on one image."""
    computed = radiomics_module().getFeatureClasses()[kind](image, mask, **options)
    for feature in features:
        if feature not in computed.featureNames:
            raise ManifestError(f"{image_name}_{kind}_{feature} is no feature of {EXTRACTOR}")
        computed.enableFeatureByName(feature)
    return {f"{image_name}_{kind}_{feature}": float(value) for feature, value in computed.execute().items()}


def _require_texture(image: sitk.Image, mask: sitk.Image, bin_width: float) -> None:
    inside = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) == 1]
    levels = len(np.unique(np.floor(inside / bin_width)))
    if levels < LEAST_GRAY_LEVELS:
        raise EstimationError(
            f"the zone has {levels} gray levels of width {bin_width:g}: its texture has collapsed (a Z-score with "
            "PyRadiomics' bin width of 25 does that); raise normalize_scale or lower bin_width and fit anew"
        )
