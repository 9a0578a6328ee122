"""MetaImage and NRRD headers at random."""

from __future__ import annotations

import numpy as np

from tests.support.image_files.truth import (
    RandomHeader,
    Statement,
    Truth,
    in_words,
    other_size,
    perturbed,
    read_back,
    scaled,
)
from tests.support.image_files.writing import ct_voxels, metaimage, nrrd

_NO_NUMBERS = ("nan", "inf", "none", "")
_META_FAULTS = ("matrix", "size", "number", "spacing", "units", "no spacing", "sizes")
_NRRD_FAULTS = ("axes", "spacings", "number", "units", "space", "none", "sizes")
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "scanner-xyz": (1, 1, 1),
}


def random_metaimage(rng: np.random.Generator, truth: Truth) -> RandomHeader:
    fault = "" if rng.random() < 0.5 else str(rng.choice(_META_FAULTS))
    digits = int(rng.choice([7, 12, 17]))
    steps = perturbed(rng, truth.steps) if fault == "matrix" else truth.steps
    spacing, origin = in_words(truth.spacing, digits), in_words(truth.origin, digits)
    matrix = in_words((steps / truth.spacing).T, digits)
    sizes = [read_back(spacing)]
    fields: dict[str, str | None] = {"ElementSpacing": " ".join(spacing)}
    if fault == "size":
        words = in_words(scaled(rng, truth.spacing), digits)
        fields["ElementSize"] = " ".join(words)
        sizes.append(read_back(words))
    has_matrix, has_origin = (bool(there) for there in rng.random(2) < 0.9)
    shown = list(matrix)
    if fault == "number":
        shown[int(rng.integers(9))] = str(rng.choice(_NO_NUMBERS))
    fields["TransformMatrix"] = " ".join(shown) if has_matrix else None
    fields["Offset"] = " ".join(origin) if has_origin else None
    if fault == "spacing":
        spacing[int(rng.integers(3))] = str(rng.choice([*_NO_NUMBERS, "0", "-1"]))
    fields["ElementSpacing"] = None if fault == "no spacing" else " ".join(spacing)
    if fault == "units":
        fields["DistanceUnits"] = "um"
    elif fault == "sizes":
        fields["DimSize"] = " ".join(map(str, other_size(rng, truth.shape_xyz)))
    voxels = ct_voxels(truth.shape_zyx, int(rng.integers(1000)))
    read = read_back(matrix).reshape(3, 3).T if has_matrix else np.eye(3)
    place = read_back(origin) if has_origin else np.zeros(3)
    return RandomHeader(
        suffix=".mha",
        content=metaimage(voxels, compressed=bool(rng.random() < 0.5), **fields),
        values=voxels.astype(float),
        statements=[Statement(truth.corners(read * sizes[0], place))],
        spacings=sizes,
        is_faultless=not fault,
        is_placed=has_matrix and has_origin,
        must_fail=fault in {"units", "sizes", "no spacing", "spacing"} or (fault == "number" and has_matrix),
        note=f"MetaImage {fault}",
    )


def random_nrrd(rng: np.random.Generator, truth: Truth) -> RandomHeader:
    fault = "" if rng.random() < 0.5 else str(rng.choice(_NRRD_FAULTS))
    digits = int(rng.choice([7, 12, 17]))
    space = str(rng.choice(list(_SPACES)))
    flip = np.diag(np.array(_SPACES[space], dtype=float))
    steps = perturbed(rng, truth.steps) if fault == "axes" else truth.steps
    vectors = [in_words(flip @ step, digits) for step in steps.T]
    origin = in_words(flip @ truth.origin, digits)
    has_origin = bool(rng.random() < 0.9)
    fields: dict[str, str | None] = {"space": space}
    spacings = []
    if fault == "spacings":
        words = in_words(scaled(rng, truth.spacing), digits)
        fields["spacings"] = " ".join(words)
        spacings.append(read_back(words))
    elif fault == "units":
        fields["space units"] = '"um" "um" "um"'
    elif fault == "space":
        fields["space"] = str(rng.choice(["3D-left-handed", "left-posterior-superior-time", "elsewhere"]))
    elif fault == "sizes":
        fields["sizes"] = " ".join(map(str, other_size(rng, truth.shape_xyz)))
    shown = [list(vector) for vector in vectors]
    if fault == "number":
        shown[int(rng.integers(3))][int(rng.integers(3))] = str(rng.choice(_NO_NUMBERS))
    directions = [f"({','.join(vector)})" for vector in shown]
    if fault == "none":
        directions[int(rng.integers(3))] = str(rng.choice(["none", "(0,0,0)", "(nan,nan,nan)"]))
    fields["space directions"] = " ".join(directions)
    fields["space origin"] = f"({','.join(origin)})" if has_origin else None
    voxels = ct_voxels(truth.shape_zyx, int(rng.integers(1000)))
    encoding = str(rng.choice(["raw", "gzip", "bzip2"]))
    read = np.array([read_back(vector) for vector in vectors]).T
    place = read_back(origin) if has_origin else np.zeros(3)
    return RandomHeader(
        suffix=".nrrd",
        content=nrrd(voxels, encoding=encoding, **fields),
        values=voxels.astype(float),
        statements=[Statement(truth.corners(flip @ read, flip @ place))],
        spacings=spacings,
        is_faultless=not fault,
        is_placed=has_origin and space != "scanner-xyz",
        must_fail=fault in {"number", "units", "space", "none", "sizes"},
        note=f"NRRD {fault}",
        is_read_by_itk=encoding != "bzip2",
    )
