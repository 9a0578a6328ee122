"""Scenes kept on disk, so that both a stopped run and a second one find them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from export.demo_segmenters.scenes.backgrounds import Background, read_real_backgrounds
from export.demo_segmenters.scenes.scene import Patch, draw_scene
from export.demo_segmenters.tasks import DemoTask

_GENERATION: Final = 1
"""Counted up when scenes are drawn otherwise: kept ones of before are then not taken."""


@dataclass(frozen=True, eq=False)
class SceneSource:
    """Numbered scenes of a task; the same number gives the same voxels.

    Parameters
    ----------
    task : DemoTask
    seed : int
    real : list of Background
        Real chests to paint into in addition to procedural ones; other chests, other files.
    folder : Path
        Where they are kept; made if it does not exist.
    held_out : bool
        Scenes to choose the operating point on, not to train on.
    """

    task: DemoTask
    seed: int
    real: list[Background]
    folder: Path
    held_out: bool = False

    @classmethod
    def of(
        cls, task: DemoTask, seed: int, real_ct: Path | None, work: Path, *, held_out: bool = False
    ) -> SceneSource:
        """The scenes of a task in the CTs below a folder, kept in ``work``.

        Raises
        ------
        InvalidRequestError
            If a real CT is missing.
        """
        real = read_real_backgrounds(real_ct, task.name, held_out=held_out)
        return cls(task, seed, real, work / "scenes", held_out)

    def path(self, number: int) -> Path:
        """Where a scene is kept: an ``.npz`` with the arrays of :class:`Patch`."""
        kind = "held-out" if self.held_out else "training"
        name = f"{self.task.name}-{kind}-{_GENERATION}-{self.seed}-{len(self.real)}-{number:05d}.npz"
        return self.folder / name

    def scene(self, number: int) -> Patch:
        """One scene: as kept, or drawn and kept."""
        path = self.path(number)
        if path.is_file():
            with np.load(path) as content:
                return Patch(content["channels"], content["labels"], content["tumor_distance"])
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([self.seed, number, self.task.name == "zone", self.held_out])
        patch = draw_scene(rng, self.task, self.real)
        unfinished = path.with_suffix(f".part-{os.getpid()}")
        with unfinished.open("wb") as file:
            np.savez(file, channels=patch.channels, labels=patch.labels, tumor_distance=patch.tumor_distance)
        unfinished.replace(path)
        return patch
