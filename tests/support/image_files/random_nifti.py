"""NIfTI headers at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from tests.support.image_files.truth import Array, RandomHeader, Statement, Truth, perturbed, scaled, turned
from tests.support.image_files.writing import ct_voxels, nifti, quaternion

LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass
class _Draft:
    """What will be written, in RAS as the header has it; codes are those of qform and sform."""

    truth: Truth
    codes: tuple[int, int]
    spacing: Array
    sform: Array
    qform: Array
    sform_origin: Array
    qform_origin: Array
    slope: float
    intercept: float
    others: dict[str, Any] = field(default_factory=dict)
    must_fail: bool = False


def random_nifti(rng: np.random.Generator, truth: Truth) -> RandomHeader:
    version, order = int(rng.choice([1, 2])), str(rng.choice(["<", ">"]))
    draft = _faultless(rng, truth)
    fault = "" if rng.random() < 0.5 else str(rng.choice(list(_FAULTS)))
    if fault:
        _FAULTS[fault](rng, draft)
    quatern, qfac = quaternion(draft.qform / np.linalg.norm(draft.qform, axis=0))
    fields = {
        "pixdim": [qfac, *draft.spacing, 0.0, 0.0, 0.0, 0.0],
        "srow": np.column_stack([draft.sform, draft.sform_origin]),
        "quatern": quatern,
        "qoffset": draft.qform_origin,
        "qform_code": draft.codes[0],
        "sform_code": draft.codes[1],
        "scl_slope": draft.slope,
        "scl_inter": draft.intercept,
        **draft.others,
    }
    voxels = ct_voxels(truth.shape_zyx, int(rng.integers(1000)))
    stored = _as_stored(fields, np.float32 if version == 1 else np.float64)
    return RandomHeader(
        suffix=".nii.gz" if rng.random() < 0.5 else ".nii",
        content=nifti(voxels, version=version, order=order, **fields),
        values=voxels.astype(float) * (draft.slope or 1.0) + draft.intercept,
        statements=[] if draft.must_fail else _statements(draft, stored, qfac),
        spacings=[stored["pixdim"][1:4]],
        is_faultless=not fault,
        is_placed=any(draft.codes),
        must_fail=draft.must_fail,
        note=f"NIfTI-{version} {fault} codes {draft.codes}",
        is_read_by_itk=version == 1,
    )


def _faultless(rng: np.random.Generator, truth: Truth) -> _Draft:
    qform_code, sform_code = (int(code) for code in rng.choice([0, 1, 2], 2))
    steps, origin = LPS_OF_RAS @ truth.steps, LPS_OF_RAS @ truth.origin
    scale = (0.0, 0.0)
    if rng.random() < 0.5:
        scale = float(rng.choice([1.0, 2.0, 0.5])), float(rng.choice([0.0, -1024.0, 0.25]))
    return _Draft(truth, (qform_code, sform_code), truth.spacing, steps, steps, origin, origin, *scale)


def _wrong_sform(rng: np.random.Generator, draft: _Draft) -> None:
    draft.sform = perturbed(rng, draft.sform)


def _wrong_qform(rng: np.random.Generator, draft: _Draft) -> None:
    draft.qform = turned(rng, draft.qform)


def _wrong_pixdim(rng: np.random.Generator, draft: _Draft) -> None:
    draft.spacing = scaled(rng, draft.spacing)


def _wrong_origin(rng: np.random.Generator, draft: _Draft) -> None:
    draft.qform_origin = draft.qform_origin + 10 ** rng.uniform(-4, 2) * rng.normal(size=3)


def _other_units(rng: np.random.Generator, draft: _Draft) -> None:
    draft.others["xyzt_units"], draft.must_fail = int(rng.choice([1, 3, 4, 9, 11])), True


def _wrong_dim(rng: np.random.Generator, draft: _Draft) -> None:
    right = [3, *draft.truth.shape_xyz, 1, 1, 1, 1]
    dim = list(right)
    place = int(rng.integers(8))
    dim[place] = int(rng.choice([-3, 0, 20, 30000]))
    draft.others["dim"] = dim
    # Sizes beyond the counted dimensions may be anything below two.
    draft.must_fail = place < 4 or dim[place] > 1


def _no_number(rng: np.random.Generator, draft: _Draft) -> None:
    place, axis, bad = (
        int(rng.integers(3)),
        int(rng.integers(3)),
        float(rng.choice([np.nan, np.inf, -np.inf])),
    )
    if place == 0:
        draft.spacing = draft.spacing.copy()
        draft.spacing[axis] = float(rng.choice([0.0, -1.0, bad]))
        draft.must_fail = True
    elif place == 1:
        draft.sform = draft.sform.copy()
        draft.sform[axis, int(rng.integers(3))] = bad
        draft.must_fail = draft.codes[1] > 0
    else:
        draft.qform_origin = draft.qform_origin.copy()
        draft.qform_origin[axis] = bad
        draft.must_fail = draft.codes[0] > 0


def _no_scale(rng: np.random.Generator, draft: _Draft) -> None:
    draft.slope, draft.intercept = ((np.nan, 0.0), (0.0, -1024.0), (1.0, np.inf))[int(rng.integers(3))]
    draft.must_fail = True


_FAULTS: dict[str, Callable[[np.random.Generator, _Draft], None]] = {
    "sform": _wrong_sform,
    "qform": _wrong_qform,
    "pixdim": _wrong_pixdim,
    "origin": _wrong_origin,
    "units": _other_units,
    "dim": _wrong_dim,
    "number": _no_number,
    "scale": _no_scale,
}


def _as_stored(fields: dict[str, Any], kind: type[np.floating[Any]]) -> dict[str, Array]:
    with np.errstate(invalid="ignore"):
        return {
            key: np.asarray(fields[key], dtype=kind).astype(float)
            for key in ("pixdim", "srow", "quatern", "qoffset")
        }


def _statements(draft: _Draft, stored: dict[str, Array], qfac: float) -> list[Statement]:
    found = []
    if draft.codes[1]:
        srow = stored["srow"]
        found.append(Statement(draft.truth.corners(LPS_OF_RAS @ srow[:, :3], LPS_OF_RAS @ srow[:, 3])))
    if draft.codes[0]:
        b, c, d = stored["quatern"]
        a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        rotation = Rotation.from_quat([b, c, d, a]).as_matrix() * np.array([1.0, 1.0, qfac])
        steps = LPS_OF_RAS @ (rotation * stored["pixdim"][1:4])
        # An error of 3e-7 in the square of a component moves it by 3e-7 / a, or by its root at a half turn.
        turn = 2 * min(3e-7 / max(a, 1e-12), np.sqrt(6e-7))
        extent = float(np.linalg.norm((np.array(draft.truth.shape_xyz) - 1) * draft.truth.spacing))
        corners = draft.truth.corners(steps, LPS_OF_RAS @ stored["qoffset"])
        found.append(Statement(corners, turn * extent))
    return found
