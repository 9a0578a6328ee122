"""``coldspot features``: read a CT and a mask, and compute the features of the lesion by a feature bundle."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from engine import DISCLAIMER
from engine.errors import ClinicalModeError, InvalidRequestError
from engine.files.reading import read_ct, read_mask
from engine.input_warning import messages, require_clinical
from engine.progress import TextProgress
from engine.response.features import LungFeatureModel
from engine.runtime.backends import REFERENCE, open_session
from engine.structures.mask_warnings import inspected
from engine.volume import CtVolume, LabelMask
from service.commands.segmenting import precision_named
from service.commands.terminal import fact_table
from service.figures_in_words import NOT_GIVEN, number, position

_SUFFIXES: Final = (".csv", ".npy")
_DEMO: Final = "DEMO MODEL, never for a patient"
_LESION: Final = "lesion"
_SHOWN: Final = 8
"""Features in the table for a person; all of them are in the JSON and in the file."""


@dataclass(frozen=True)
class FeatureRequest:
    """A lesion in a CT, and where its features go.

    Parameters
    ----------
    model : Path
        A feature bundle, ``models/<id>/<version>``.
    image, mask : Path
        CT, and the lesion on its grid, in any format that ``assess`` takes.
    structure : str
        Which one, if the mask has several: label, segment number, ROI name.
    series : str
        Which one, if the folder of the CT has several: number, UID or description.
    out : Path, optional
        ``.csv`` (a header and one line) or ``.npy``.
    backend, precision : str
    """

    model: Path
    image: Path
    mask: Path
    structure: str = ""
    series: str = ""
    out: Path | None = None
    backend: str = REFERENCE
    precision: str = "fp32"


def extract_features(
    request: FeatureRequest, progress: TextProgress, *, clinical_mode: bool = False
) -> dict[str, Any]:
    """Compute the features of a lesion, and write them where a file is named.

    Parameters
    ----------
    request : FeatureRequest
    progress : callable
        Called with what is being done.
    clinical_mode : bool, optional
        Refuse demo models, and images that clinical mode does not accept.

    Returns
    -------
    dict
        What ``--json`` prints.

    Raises
    ------
    InputError, ModelError, BackendError
    ClinicalModeError
    """
    precision = precision_named(request.precision)
    if request.out is not None:
        _require_place(request.out, request)
    progress("opening the model")
    opened = partial(open_session, backend=request.backend, precision=precision)
    with LungFeatureModel.load(request.model, precision=precision, open_session=opened) as model:
        if clinical_mode and model.identity.demo:
            raise ClinicalModeError(f"{model.identity} is refused in clinical mode")
        progress("reading")
        ct = read_ct(request.image, request.series)
        lesion = inspected(read_mask(request.mask, ct, _LESION, label=request.structure or None))
        if clinical_mode:
            require_clinical((*ct.warnings, *lesion.warnings))
        progress("computing")
        started = time.perf_counter()
        features = model.features(ct, lesion)
        duration_s = time.perf_counter() - started
        if request.out is not None:
            _write(request.out, features)
        return _report(request, model, ct, lesion, features.tolist(), duration_s)


def feature_table(report: dict[str, Any]) -> Table:
    """Return the readable summary."""
    model = report["model"]
    title = f"{model['id']} {model['version']}" + (f": {_DEMO}" if model["demo"] else "")
    return fact_table(title, _facts(report))


def _facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    lesion, values = report["lesion"], report["features"]
    yield "Lesion", f"{number(lesion['volume_ml'], 2)} mL at LPS ({position(lesion['centroid_lps_mm'])}) mm"
    yield (
        "Box",
        f"{' × '.join(number(size, 1) for size in lesion['box_zyx_mm'])} mm (z, y, x), whatever its size is",
    )
    shown = ", ".join(f"{value:.4g}" for value in values[:_SHOWN])
    more = f" and {len(values) - _SHOWN} more (--json, --out)" if len(values) > _SHOWN else ""
    yield f"{report['feature_count']} features", f"{shown}{more}"
    yield (
        "Recipe",
        f"{report['recipe']}, tissue outside the mask {'blanked' if report['roi_only'] else 'kept'}",
    )
    yield "Position table", report["position_table"].replace("_", " ")
    yield "Computed by", f"{report['backend']}, {report['precision']}"
    yield "Took", f"{number(report['duration_s'], 2)} s"
    for warning in report["warnings"]:
        yield "Warning", warning
    yield "Written to", report["out"] or NOT_GIVEN


def _report(
    request: FeatureRequest,
    model: LungFeatureModel,
    ct: CtVolume,
    lesion: LabelMask,
    features: list[float],
    duration_s: float,
) -> dict[str, Any]:
    identity, section = model.identity, model.section
    demo = [f"{_DEMO}: {model.manifest.fitted_on}"] if identity.demo else []
    return {
        "model": {
            "id": identity.id,
            "version": identity.version,
            "demo": identity.demo,
            "sha256": identity.sha256,
            "manifest_sha256": identity.manifest_sha256,
        },
        "backend": model.backend,
        "precision": request.precision,
        "recipe": section.recipe,
        "roi_only": section.roi_only,
        "position_table": section.position_table,
        "feature_count": section.feature_count,
        "features": features,
        "lesion": _lesion(lesion),
        "duration_s": duration_s,
        "out": None if request.out is None else str(request.out),
        "warnings": [*demo, *_stored_otherwise(ct), *messages((*ct.warnings, *lesion.warnings))],
        "disclaimer": DISCLAIMER,
    }


def _stored_otherwise(ct: CtVolume) -> list[str]:
    """A warning where the axes are not those of an axial DICOM series: features depend on how voxels are stored."""
    if np.array_equal(np.rint(ct.geometry.directions_zyx_lps), np.eye(3)[::-1]):
        return []
    text = (
        "the voxels of this CT are stored along other axes or directions than those of an axial DICOM series, and the "
        "network takes them as they are stored: compare these features only with those of CTs stored alike"
    )
    return [text]


def _lesion(lesion: LabelMask) -> dict[str, Any]:
    """Size and place of what was cut out."""
    grid = lesion.geometry
    box = lesion.bounding_box()
    indices = np.argwhere(lesion.voxels[box.slices]) + np.array([part.start for part in box.slices])
    spans = [part.stop - part.start for part in box.slices]
    return {
        "voxels": len(indices),
        "volume_ml": lesion.volume_ml,
        "centroid_lps_mm": [float(value) for value in grid.to_lps(indices).mean(axis=0)],
        "box_zyx_mm": [
            float(span * spacing) for span, spacing in zip(spans, grid.spacing_zyx_mm, strict=True)
        ],
    }


def _require_place(out: Path, request: FeatureRequest) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises
    ------
    InvalidRequestError
    """
    if out.suffix.lower() not in _SUFFIXES:
        raise InvalidRequestError(f"{out} must end in {' or '.join(_SUFFIXES)}", "out")
    if any(
        out.exists() and given.exists() and out.samefile(given) for given in (request.image, request.mask)
    ):
        raise InvalidRequestError(f"{out} is an input; name another file for the features", "out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.unlink(missing_ok=True)  # an older result cannot be taken for this one's
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise InvalidRequestError(f"{out} cannot take the result: {error.strerror}", "out") from error


def _write(out: Path, features: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Write the file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}-", delete=False) as file:
        unfinished = Path(file.name)
    try:
        if out.suffix.lower() == ".npy":
            with unfinished.open("wb") as binary:
                np.save(binary, features)
        else:
            with unfinished.open("w", newline="", encoding="utf-8") as text:
                rows = csv.writer(text)
                rows.writerow(f"feature_{index}" for index in range(len(features)))
                rows.writerow(repr(float(value)) for value in features)
        unfinished.chmod(0o644)  # a temporary file is private
        unfinished.replace(out)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
