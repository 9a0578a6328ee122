"""``coldspot segment``: read a CT, segment it or a region of it, write the labels on its grid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from rich.table import Table

from engine import DISCLAIMER
from engine.errors import InvalidRequestError
from engine.files.image_file import write_volume
from engine.files.reading import read_ct
from engine.input_warning import messages
from engine.manifest import Precision
from engine.progress import TextProgress
from engine.segmentation import Box, Segmentation, Segmenter, open_segmenter
from engine.unit_doubt import require_offset
from engine.volume import CtVolume
from service.commands.options import parse_numbers
from service.commands.out_folder import require_out_folder
from service.commands.terminal import fact_table
from service.figures_in_words import NOT_GIVEN, number, position

_PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
_SUFFIXES: Final = (".nii.gz", ".nii")
_DEMO: Final = "DEMO MODEL, never for a patient"


@dataclass(frozen=True)
class SegmentationRequest:
    """A CT to segment, and where the labels go.

    Parameters
    ----------
    model : Path
        A bundle, ``models/<id>/<version>``.
    image : Path
        DICOM folder, NIfTI, NRRD or MetaImage.
    out : Path
        NIfTI file.
    series : str
        Which one, if a folder holds several: number, UID or description.
    region : str, optional
        ``x,y,z,half_width`` or ``x,y,z,x,y,z`` (opposite corners), LPS mm.
    backend, precision : str
    mirror : bool
        Average over mirrored patches.
    """

    model: Path
    image: Path
    out: Path
    series: str = ""
    region: str | None = None
    backend: str = "auto"
    precision: str = "fp32"
    mirror: bool = False


def segment_file(request: SegmentationRequest, progress: TextProgress) -> dict[str, Any]:
    """Segment a CT from a file and write its labels.

    Parameters
    ----------
    request : SegmentationRequest
    progress : callable
        Called with what is being done.

    Returns
    -------
    dict
        What ``--json`` prints. Labels are on the CT's own grid; outside a region they are 0 and
        nothing was looked for there.

    Raises
    ------
    InputError, ModelError, BackendError
    """
    _clear(request)
    precision = precision_named(request.precision)
    box = None if request.region is None else _parse_region(request.region)
    progress("reading")
    ct = read_ct(request.image, request.series)
    require_offset(ct, "CT to segment")
    progress("opening the model")
    with open_segmenter(request.model, request.backend, precision) as segmenter:
        started = time.perf_counter()
        segmentation = segmenter.segment(
            ct,
            around=box,
            mirror=request.mirror,
            probability=False,
            on_progress=lambda done, total: progress(f"patch {done} of {total}"),
        )
        duration_s = time.perf_counter() - started
        progress("writing")
        _write(request.out, ct, segmentation)
        return _report(request, segmenter, segmentation, box, duration_s, messages(ct.acquisition.warnings))


def _parse_region(text: str) -> Box:
    """Return the box that ``X,Y,Z,HALF_WIDTH`` or two corners describe.

    Raises
    ------
    InvalidRequestError
    """
    match parse_numbers(text):
        case [x, y, z, half_width_mm] if half_width_mm > 0:
            return Box.around((x, y, z), half_width_mm)
        case [x0, y0, z0, x1, y1, z1]:
            return Box((x0, y0, z0), (x1, y1, z1))
    raise InvalidRequestError(
        f"--region is X,Y,Z,HALF_WIDTH or X,Y,Z,X,Y,Z (two corners, low before high) in LPS mm, not {text!r}",
        "region",
    )


def precision_named(text: str) -> Precision:
    """Return the precision of that name.

    Raises
    ------
    InvalidRequestError
    """
    for precision in _PRECISIONS:
        if text == precision:
            return precision
    raise InvalidRequestError(
        f"{text!r} is not a precision; choose one of {', '.join(_PRECISIONS)}", "precision"
    )


def segmentation_table(report: dict[str, Any]) -> Table:
    """Return the readable summary of a segmentation."""
    model = report["model"]
    title = f"{model['id']} {model['version']}" + (f": {_DEMO}" if model["demo"] else "")
    return fact_table(title, _facts(report))


def _facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, label in report["labels"].items():
        yield name, f"{number(label['volume_ml'], 2)} mL, {label['voxels']} voxels"
    region = report["region"]
    if region is not None:
        low, high = position(region["low_lps_mm"]), position(region["high_lps_mm"])
        yield "Looked at", f"({low}) to ({high}), LPS mm; nowhere else"
    yield "Computed by", f"{report['backend']}, {report['precision']}, {report['patches']} patches"
    yield "Took", f"{number(report['duration_s'], 2)} s"
    for warning in report["warnings"]:
        yield "Warning", warning
    yield "Written to", report["out"] or NOT_GIVEN


def _clear(request: SegmentationRequest) -> None:
    """Remove an older result, so that it cannot be taken for this one's."""
    out = request.out
    if not out.name.lower().endswith(_SUFFIXES):
        raise InvalidRequestError(
            f"{out} must end in {' or '.join(_SUFFIXES)}: labels are written as NIfTI", "out"
        )
    try:
        if out.exists() and request.image.exists() and out.samefile(request.image):
            raise InvalidRequestError(f"{out} is the CT itself; name another file for the labels", "out")
        require_out_folder(out.parent)
        out.touch()  # so that an unwritable place is known before the work, not after it
        out.unlink()
    except OSError as error:
        raise InvalidRequestError(f"{out} cannot take the result: {error.strerror}", "out") from error


def _write(path: Path, ct: CtVolume, segmentation: Segmentation) -> None:
    """Write labels on the grid of the whole CT."""
    labels = segmentation.labels
    if segmentation.geometry.shape_zyx != ct.geometry.shape_zyx:
        labels = np.zeros(ct.geometry.shape_zyx, dtype=np.uint8)
        labels[ct.geometry.box_of(segmentation.geometry).slices] = segmentation.labels
    write_volume(path, labels, ct.geometry)


def _report(
    request: SegmentationRequest,
    segmenter: Segmenter,
    segmentation: Segmentation,
    box: Box | None,
    duration_s: float,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    manifest = segmenter.manifest
    masks = {name: segmentation.mask(name) for name, value in segmentation.section.labels.items() if value}
    return {
        "model": {
            "id": manifest.id,
            "version": manifest.version,
            "demo": manifest.demo,
            "manifest_sha256": segmenter.identity.manifest_sha256,
        },
        "backend": segmentation.backend,
        "precision": request.precision,
        "labels": {
            name: {"voxels": int(np.count_nonzero(mask.voxels)), "volume_ml": mask.volume_ml}
            for name, mask in masks.items()
        },
        "duration_s": duration_s,
        "patches": segmentation.patches,
        "region": None if box is None else {"low_lps_mm": list(box.low_mm), "high_lps_mm": list(box.high_mm)},
        "out": str(request.out),
        "tried": [
            {"backend": timing.backend, "median_s": timing.median_s, "refused": timing.refused}
            for timing in segmenter.timings
        ],
        "warnings": [*([f"{_DEMO}: {manifest.fitted_on}"] if manifest.demo else []), *warnings],
        "disclaimer": DISCLAIMER,
    }
