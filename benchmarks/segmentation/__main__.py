"""Segmentation compared with nnU-Net's own predictor: wall time, peak memory, labels; each in its own process.

    COLDSPOT_DATA=... python -m benchmarks.segmentation [--standard] [--exact] [--repeats 3] [--out FILE]

Networks have random weights: they cost what trained ones cost. ``--standard`` is nnU-Net's default 3D U-Net of
31 million weights (patch 128, six stages), else a small one. Needs ``make setup-export``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.threads import THREADS

ROOT = Path(__file__).parents[2]
IMAGES: Final = {
    "1 mm slices": "ct-lidc0314/ct_right_lung.nii.gz",
    "5 mm slices": "ct-pyradiomics-lung1/image.nii.gz",
}
SMALL: Final[dict[str, Any]] = {
    "features": (8, 16, 32, 32),
    "patch": (48, 64, 64),
    "spacing": (2.0, 1.5, 1.5),
}
STANDARD: Final[dict[str, Any]] = {
    "features": (32, 64, 128, 256, 320, 320),
    "patch": (128, 128, 128),
    "spacing": (1.5, 1.5, 1.5),
}
PEER: Final = "nnUNetPredictor"
BACKENDS: Final = ("onnxruntime", "openvino")
REGION_SHARE: Final = 0.9
"""Half width of the region in half patches: within one patch, as around a lesion."""

WARM_UP: Final = 40
"""Voxels along each axis of what is segmented first, untimed."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Input of one process: a model, a CT, perhaps a region of it."""

    contender: str
    folder: Path
    bundle: Path
    image: Path
    crop: Path | None
    region: list[float] | None
    mirror: bool
    exact: bool
    labels: Path

    def arguments(self) -> list[str]:
        """The task as a command line of this script."""
        task = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        return [sys.executable, "-m", "benchmarks.segmentation", "--task", json.dumps(task)]


# In a process of its own


def run_task(text: str) -> None:
    """Run the task that is given as JSON; print one line of JSON."""
    task = json.loads(text)
    contend = predict_with_nnunet if task["contender"] == PEER else predict_with_coldspot
    with contextlib.redirect_stdout(sys.stderr):
        row = contend(task)
    print(json.dumps(row))


def timed(
    segment: Callable[[], Any], task: Row, *, exactly: Callable[[], Any] | None = None, **described: Any
) -> Row:
    """Time one run after the idle memory was read; labels may come from another, untimed run."""
    idle = status("VmRSS")
    started = time.perf_counter()
    labels = segment()
    duration_s = time.perf_counter() - started
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = status("VmHWM")
    np.save(task["labels"], labels if exactly is None else exactly())
    return {**described, "wall_s": duration_s, "idle_mib": idle, "peak_mib": peak}


def status(name: str) -> float:
    """A field of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def predict_with_nnunet(task: Row) -> Row:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(THREADS)
    predictor = nnUNetPredictor(use_mirroring=task["mirror"], device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(task["folder"], (0,), "checkpoint_final.pth")
    with np.load(task["crop"] or task["image"]) as ct:
        voxels, spacing = ct["hu"][None].astype(np.float32), ct["spacing"].tolist()
    versions = f"nnunetv2 {importlib.metadata.version('nnunetv2')}, torch {torch.__version__}"

    # What is loaded and tuned by a first call is not timed, here as there.
    predictor.predict_single_npy_array(voxels[:, :WARM_UP, :WARM_UP, :WARM_UP], {"spacing": spacing})

    def segment() -> Any:
        return predictor.predict_single_npy_array(voxels, {"spacing": spacing})

    def in_single_precision() -> Any:
        torch.half = torch.float32  # its sums: rounding in half precision flips labels of its own
        return segment()

    exactly = in_single_precision if task["exact"] else None
    return timed(segment, task, exactly=exactly, backend=versions)


def predict_with_coldspot(task: Row) -> Row:
    from engine.geometry import VolumeGeometry, VoxelBox
    from engine.segmentation import Box, open_segmenter
    from engine.volume import CtVolume

    with np.load(task["image"]) as saved:
        z, y, x = saved["spacing"].tolist()
        hu = saved["hu"]
        ct = CtVolume(hu, VolumeGeometry(hu.shape, (z, y, x)))
    region = task["region"]
    box = None if region is None else Box(tuple(region[:3]), tuple(region[3:]))
    with open_segmenter(Path(task["bundle"]), task["contender"]) as model:
        # Kernels are compiled (or loaded) once for a machine, long before a patient lies on the table.
        corner = VoxelBox.between((0, 0, 0), np.minimum(hu.shape, WARM_UP))
        model.segment(CtVolume(hu[corner.slices].copy(), ct.geometry.crop(corner)), probability=False)
        return timed(
            lambda: model.segment(ct, around=box, mirror=task["mirror"], probability=False).labels,
            task,
            backend=model.backend,
        )


# The parent


def write_model(folder: Path, settings: dict[str, Any], images: list[Path]) -> tuple[Path, Path]:
    """A model folder with random weights, and its bundle."""
    from export.nnunet.bundle import export_nnunet
    from tests.support.nnunet.folders import write_v2_folder

    source = write_v2_folder(folder / "model", **settings)
    bundle = export_nnunet(
        source,
        folder / "bundle",
        licence="Apache-2.0",
        provenance="random weights",
        precisions=("fp32",),
        images=images,
        model_id="random",
    )
    return source, bundle


def rows(folder: Path, source: Path, bundle: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Every contender on every CT, whole and in a region."""
    for name, path in chosen_images().items():
        image, crop, region, shapes = write_inputs(folder, bundle, path)
        for scope in options.scopes:
            inside = scope == "region"
            tasks = {
                contender: Task(
                    contender=contender,
                    folder=source,
                    bundle=bundle,
                    image=image,
                    crop=crop if inside else None,
                    region=region if inside else None,
                    mirror=options.mirror,
                    exact=options.exact,
                    labels=folder / f"{contender}.npy",
                )
                for contender in (PEER, *BACKENDS)
            }
            reference = None
            for contender, results in alternating(tasks, options.repeats).items():
                row = {"image": name, "scope": scope, **shapes[scope], "contender": contender, **results}
                if "wall_s" in results:
                    reference = compare(row, reference, np.load(tasks[contender].labels))
                yield row


def alternating(tasks: dict[str, Task], rounds: int) -> dict[str, Row]:
    """Run all in turn, each time in a new process, so that other load on the machine meets all of them."""
    results: dict[str, list[Row]] = {contender: [] for contender in tasks}
    for number in range(rounds):
        # The last round's labels are compared; the slower exact ones are made once.
        is_last = number == rounds - 1
        for contender in list(tasks)[:: -1 if number % 2 else 1]:
            task = replace(tasks[contender], exact=tasks[contender].exact and is_last)
            results[contender].append(run_alone(task))
            print(f"round {number + 1} of {rounds}, {contender}: {results[contender][-1]}", file=sys.stderr)
    return {contender: together(results) for contender, results in results.items()}


def together(results: list[Row]) -> Row:
    """One row of several runs: medians, and the highest peak."""
    failed = next((row for row in results if "error" in row), None)
    if failed is not None:
        return failed
    durations = [row["wall_s"] for row in results]
    return {
        "backend": results[0]["backend"],
        "wall_s": statistics.median(durations),
        "walls_s": durations,
        "idle_mib": statistics.median(row["idle_mib"] for row in results),
        "peak_mib": max(row["peak_mib"] for row in results),
    }


def write_inputs(folder: Path, bundle: Path, path: Path) -> tuple[Path, Path, list[float], Row]:
    """The CT and its crop as arrays, so that no reader is timed, and the region in LPS mm."""
    from engine.files.reading import read_ct
    from engine.geometry import VolumeGeometry
    from engine.manifest import read_manifest
    from engine.segmentation.region import Box, crop_to, with_context

    section = read_manifest(bundle).segmentation
    if section is None:
        raise SystemExit(f"{bundle} is no segmentation model")
    ct = read_ct(path)
    geometry = VolumeGeometry(ct.geometry.shape_zyx, ct.geometry.spacing_zyx_mm)
    center = geometry.to_lps(np.array(geometry.shape_zyx) / 2)
    extent = np.multiply(section.patch_shape, section.spacing_mm)[::-1] / 2 * REGION_SHARE
    low, high = (center - extent).tolist(), (center + extent).tolist()
    region = crop_to(geometry, Box(tuple(low), tuple(high)))
    context = with_context(region, geometry, section)
    spacing = np.array(geometry.spacing_zyx_mm)
    np.savez(folder / "ct.npz", hu=ct.voxels_hu, spacing=spacing)
    np.savez(folder / "crop.npz", hu=ct.voxels_hu[context.slices], spacing=spacing)
    shapes = {
        "whole": {"shape_zyx": geometry.shape_zyx, "starts": (0, 0, 0)},
        "region": {"shape_zyx": context.shape_zyx, "starts": region.within(context).start_zyx},
    }
    return folder / "ct.npz", folder / "crop.npz", [*low, *high], shapes


def run_alone(task: Task) -> Row:
    """Run a task in a process; a contender that fails says why."""
    run = subprocess.run(task.arguments(), cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        return {"error": run.stderr.strip().splitlines()[-1][:200]}
    return dict(json.loads(run.stdout.splitlines()[-1]))


def compare(row: Row, reference: tuple[Row, Any] | None, labels: Any) -> tuple[Row, Any]:
    """Add the ratio of the times and the share of labels that differ; returns the peer's row and labels."""
    if reference is None:
        return row, labels
    peer, expected = reference
    row["times_faster"] = peer["wall_s"] / row["wall_s"]
    row["share_of_its_memory"] = row["peak_mib"] / peer["peak_mib"]
    # A region comes back without the tissue around it that fills the patch.
    inner = tuple(slice(start, start + size) for start, size in zip(row["starts"], labels.shape, strict=True))
    row["flipped_share"] = float((labels != expected[inner]).mean())
    return reference


def chosen_images() -> dict[str, Path]:
    data = os.environ.get("COLDSPOT_DATA")
    if not data:
        raise SystemExit("COLDSPOT_DATA must name the folder of the real CTs")
    return {name: Path(data) / path for name, path in IMAGES.items()}


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| CT | scope | voxels | contender | wall s | times faster | peak MiB | of its memory | labels differ |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        place = f"| {row['image']} | {row['scope']} | {'×'.join(map(str, row['shape_zyx']))} | {row['contender']} "
        if "error" in row:
            lines.append(f"{place}| {row['error']} | | | | |")
            continue
        cells = (
            f"{row['wall_s']:.2f}",
            f"{row['times_faster']:.2f}" if "times_faster" in row else "",
            f"{row['peak_mib']:.0f} ({row['idle_mib']:.0f} idle)",
            f"{row['share_of_its_memory']:.2f}" if "share_of_its_memory" in row else "",
            f"{row['flipped_share']:.1e}" if "flipped_share" in row else "",
        )
        lines.append(f"{place}| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--standard", action="store_true", help="the default 3D U-Net, 31 million weights")
    parser.add_argument(
        "--mirror", action="store_true", help="average over mirrored patches, 8 times the work"
    )
    parser.add_argument("--scopes", nargs="+", default=["whole", "region"], choices=["whole", "region"])
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compare labels with the peer's sums in single precision (twice its time)",
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each, in turn; their median is printed"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file; default: benchmarks/results/segmentation-{small,standard}.json"
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        run_task(options.task)
        return
    network = "standard" if options.standard else "small"
    out = options.out or ROOT / "benchmarks" / "results" / f"segmentation-{network}.json"
    settings, images = (STANDARD if options.standard else SMALL), chosen_images()
    report: Row = {
        "command": f"python -m benchmarks.segmentation {' '.join(sys.argv[1:])}".strip(),
        **machine(),
        "network": settings,
        "mirror": options.mirror,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, bundle = write_model(folder, settings, list(images.values())[:1])
        report["rows"] = list(rows(folder, source, bundle, options))
    report["load_after"] = os.getloadavg()[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report["rows"]))
    print(f"written to {out}")


def machine() -> Row:
    """Where and with what it was measured."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = ("nnunetv2", "torch", "onnxruntime", "openvino", "numpy", "scipy", "numba")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {names[0] if names else 'unknown CPU'}",
        "threads": THREADS,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


if __name__ == "__main__":
    main()
