"""Training patches kept on disk, so that both a stopped run and a second one find them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from engine.phantoms.chest import Chest
from export.demo_segmenters.scenes import Patch, draw_scene
from export.demo_segmenters.tasks import DemoTask


def keep_patch(task: DemoTask, seed: int, number: int, real: list[Chest], folder: Path) -> Path:
    """Draw one scene and keep it, unless it exists already.

    Parameters
    ----------
    task : DemoTask
    seed, number : int
        The same numbers give the same voxels.
    real : list of Chest
        Real chests to paint into in addition to the procedural ones; other chests, other files.
    folder : Path
        Made if it does not exist.

    Returns
    -------
    Path
        An ``.npz`` with ``hu`` and ``labels``.
    """
    path = folder / f"{task.name}-{seed}-{len(real)}-{number:04d}.npz"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    patch = draw_scene(np.random.default_rng([seed, number, task.name == "zone"]), task, real)
    unfinished = path.with_suffix(f".part-{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, hu=patch.hu, labels=patch.labels)
    unfinished.replace(path)
    return path


def read_patch(path: Path) -> Patch:
    """Read what :func:`keep_patch` kept."""
    with np.load(path) as content:
        return Patch(content["hu"], content["labels"])
