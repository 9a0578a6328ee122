"""What ``coldspot segment`` does: read a CT, segment it or a region, write the labels on its grid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from rich.table import Table

from engine import DISCLAIMER
from engine.errors import InvalidRequestError
from engine.files.image_file import write_volume
from engine.files.reading import read_ct
from engine.manifest import Precision
from engine.progress import TextProgress
from engine.segmentation import Box, Segmentation, Segmenter, open_segmenter
from engine.volume import CtVolume
from service.commands.coordinates import parse_numbers
from service.figures_in_words import NOT_GIVEN, number

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
_SUFFIXES: Final = (".nii.gz", ".nii")
DEMO: Final = "DEMO MODEL, never for a patient"


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
    region : str, optional
        ``x,y,z,half_width`` or ``x,y,z,x,y,z`` (opposite corners), LPS mm.
    backend, precision : str
    mirror : bool
        Average over mirrored patches.
    """

    model: Path
    image: Path
    out: Path
    region: str | None = None
    backend: str = "auto"
    precision: str = "fp32"
    mirror: bool = False


def segment_file(request: SegmentationRequest, tell: TextProgress) -> dict[str, Any]:
    """Segment a CT from a file and write its labels.

    Parameters
    ----------
    request : SegmentationRequest
    tell : callable
        Gets a word on what is going on.

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
    precision = _precision_named(request.precision)
    box = None if request.region is None else _parse_region(request.region)
    tell("reading")
    ct = read_ct(request.image)
    tell("opening the model")
    with open_segmenter(request.model, request.backend, precision) as segmenter:
        started = time.perf_counter()
        found = segmenter.segment(
            ct,
            around=box,
            mirror=request.mirror,
            probability=False,
            on_progress=lambda done, total: tell(f"patch {done} of {total}"),
        )
        duration_s = time.perf_counter() - started
        tell("writing")
        _write(request.out, ct, found)
        return _report(request, segmenter, found, box, duration_s, ct.acquisition.warnings)


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


def _precision_named(text: str) -> Precision:
    """Return the precision of that name.

    Raises
    ------
    InvalidRequestError
    """
    for precision in PRECISIONS:
        if text == precision:
            return precision
    raise InvalidRequestError(f"{text!r} is no precision, only {', '.join(PRECISIONS)}", "precision")


def segmentation_table(report: dict[str, Any]) -> Table:
    """Return what a person reads of a segmentation."""
    model = report["model"]
    title = f"{model['id']} {model['version']}" + (f": {DEMO}" if model["demo"] else "")
    table = Table(title=title, caption=DISCLAIMER, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name, found in report["labels"].items():
        table.add_row(name, f"{number(found['volume_ml'], 2)} mL, {found['voxels']} voxels")
    region = report["region"]
    if region is not None:
        corners = (", ".join(f"{v:.1f}" for v in region[name]) for name in ("low_lps_mm", "high_lps_mm"))
        table.add_row("Looked at", "({}) to ({}), LPS mm; nowhere else".format(*corners))
    table.add_row("Computed by", f"{report['backend']}, {report['precision']}, {report['patches']} patches")
    table.add_row("Took", f"{number(report['duration_s'], 2)} s")
    for warning in report["warnings"]:
        table.add_row("Warning", warning)
    table.add_row("Written to", report["out"] or NOT_GIVEN)
    return table


def _clear(request: SegmentationRequest) -> None:
    """Make room for the result: an older one must not pass for this one's."""
    out = request.out
    if not out.name.lower().endswith(_SUFFIXES):
        raise InvalidRequestError(
            f"{out} must end in {' or '.join(_SUFFIXES)}: labels are written as NIfTI", "out"
        )
    try:
        if out.exists() and request.image.exists() and out.samefile(request.image):
            raise InvalidRequestError(f"{out} is the CT itself; name another file for the labels", "out")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch()  # so that an unwritable place is known before the work, not after it
        out.unlink()
    except OSError as error:
        raise InvalidRequestError(f"{out} cannot take the result: {error.strerror}", "out") from error


def _write(path: Path, ct: CtVolume, found: Segmentation) -> None:
    """Write labels on the grid of the whole CT."""
    labels = found.labels
    if found.geometry.shape_zyx != ct.geometry.shape_zyx:
        labels = np.zeros(ct.geometry.shape_zyx, dtype=np.uint8)
        labels[ct.geometry.box_of(found.geometry).slices] = found.labels
    write_volume(path, labels, ct.geometry)


def _report(
    request: SegmentationRequest,
    segmenter: Segmenter,
    found: Segmentation,
    box: Box | None,
    duration_s: float,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    manifest = segmenter.manifest
    masks = {name: found.mask(name) for name, value in found.section.labels.items() if value}
    return {
        "model": {"id": manifest.id, "version": manifest.version, "demo": manifest.demo},
        "backend": found.backend,
        "precision": request.precision,
        "labels": {
            name: {"voxels": int(np.count_nonzero(mask.voxels)), "volume_ml": mask.volume_ml}
            for name, mask in masks.items()
        },
        "duration_s": duration_s,
        "patches": found.patches,
        "region": None if box is None else {"low_lps_mm": list(box.low_mm), "high_lps_mm": list(box.high_mm)},
        "out": str(request.out),
        "tried": [
            {"backend": timing.backend, "median_s": timing.median_s, "refused": timing.refused}
            for timing in segmenter.timings
        ],
        "warnings": [*([f"{DEMO}: {manifest.fitted_on}"] if manifest.demo else []), *warnings],
        "disclaimer": DISCLAIMER,
    }
