"""Trains the demo segmenters on a CPU in minutes, deterministically; a run that was stopped goes on.

Every step draws from its own seed, so weights after n steps do not depend on where a run was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.progress import CountProgress, ignore_progress
from export.checkpoints.checkpoint import read_torch_checkpoint
from export.demo_segmenters.augmentation import TRAINING_PATCH, augmented
from export.demo_segmenters.bundle import Recipe, write_demo_bundle
from export.demo_segmenters.chests import read_real_chests
from export.demo_segmenters.patches import keep_patch, read_patch
from export.demo_segmenters.scenes import Patch
from export.demo_segmenters.tasks import TASKS, DemoTask, TaskName
from export.nnunet.unet import UNet

_SMOOTH_VOXELS: Final = 50.0
"""Added to both sides of the Dice loss: an empty patch costs nothing."""

_MAX_GRADIENT: Final = 12.0
_WEIGHT_DECAY: Final = 1e-4
KEEP_EVERY: Final = 100


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on how much."""

    seed: int = 7
    scenes: int = 320
    steps: int = 1600
    batch: int = 2
    patch: int = TRAINING_PATCH
    learning_rate: float = 3e-3


def train_demo(
    out: Path,
    *,
    work: Path,
    which: Sequence[TaskName] = ("zone", "tumor"),
    real_ct: Path | None = None,
    plan: TrainingPlan | None = None,
    on_progress: CountProgress | None = None,
) -> list[Path]:
    """Train demo segmenters and write their bundles.

    Parameters
    ----------
    out : Path
        Folder of bundles; each is written to ``<id>/1.0.0`` below it.
    work : Path
        Where patches and checkpoints are kept; a run that was stopped goes on from there.
    which : sequence of str
    real_ct : Path, optional
        Folder with the CTs of :data:`export.demo_segmenters.chests.REAL_CHESTS`, to paint into in addition to
        procedural chests, and with the ablation cases to evaluate on. Without it the chests are procedural
        alone and nothing is evaluated.
    plan : TrainingPlan, optional
    on_progress : callable, optional
        Called with a phase, the number of steps done, and their total.

    Returns
    -------
    list of Path
        The bundles' folders.

    Raises
    ------
    InvalidRequestError
        If a real CT is missing.
    ParityError, PrecisionOverflowError
        If the exported network does not agree with the trained one.
    """
    plan = plan or TrainingPlan()
    notify = on_progress or ignore_progress
    bundles = []
    for name in which:
        task, real = TASKS[name], read_real_chests(real_ct, name)
        paths = []
        for number in range(plan.scenes):
            paths.append(keep_patch(task, plan.seed, number, real, work / "patches"))
            notify(f"scenes {name}", number + 1, plan.scenes)
        checkpoint = work / f"{name}-{_key(plan, [path.name for path in paths])}.pt"
        network = _trained(task, [read_patch(path) for path in paths], plan, checkpoint, notify)
        network.raise_background(task.min_lead)
        # Exported as any other network: in the order of axes that the graph is written for.
        _lay_out(network, torch.contiguous_format)
        bundles.append(
            write_demo_bundle(
                task, network, out, _recipe(plan), real_ct, partial(notify, f"evaluating {name}")
            )
        )
    return bundles


def _trained(
    task: DemoTask, patches: list[Patch], plan: TrainingPlan, checkpoint: Path, notify: CountProgress
) -> UNet:
    torch.manual_seed(plan.seed)
    network = task.network()
    _lay_out(network, torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, total_steps=plan.steps)
    first = _resume(checkpoint, network, optimizer, schedule)
    network.train()
    for step in range(first, plan.steps):
        rng = np.random.default_rng([plan.seed, step])
        images, labels = _batch(patches, rng, plan)
        loss = dice_and_cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        done = step + 1
        if done % KEEP_EVERY == 0 or done == plan.steps:
            _keep(checkpoint, done, network, optimizer, schedule)
        notify(f"training {task.name}", done, plan.steps)
    network.eval()
    return network


def _lay_out(network: torch.nn.Module, memory_format: torch.memory_format) -> None:
    """Order the weights in memory; torch's own types leave this form of ``to`` out."""
    to: Callable[..., object] = network.to
    to(memory_format=memory_format)


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy plus one minus the mean soft Dice of the nested structures.

    Parameters
    ----------
    logits : Tensor, (N, K, z, y, x)
    labels : Tensor of int64, (N, z, y, x)
        Nested: what has label k lies within the structure that all labels from 1 to k make up.

    Returns
    -------
    Tensor
        A number; differentiable.

    Notes
    -----
    Dice is taken of the zone and of its core, not of the rim between them: Dice of a thin shell is best
    where the shell is too thick.
    """
    probability = logits.softmax(dim=1)
    one_hot = torch.nn.functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    # From the last label back: the sum over k and all labels above is the structure that k begins.
    probability, one_hot = (tensor[:, 1:].flip(1).cumsum(1) for tensor in (probability, one_hot))
    axes = (0, 2, 3, 4)
    overlap, sum_of_sizes = (probability * one_hot).sum(axes), (probability + one_hot).sum(axes)
    dice = ((2.0 * overlap + _SMOOTH_VOXELS) / (sum_of_sizes + _SMOOTH_VOXELS)).mean()
    return torch.nn.functional.cross_entropy(logits, labels) + 1.0 - dice


def _batch(
    patches: list[Patch], rng: np.random.Generator, plan: TrainingPlan
) -> tuple[torch.Tensor, torch.Tensor]:
    samples = [
        augmented(patches[int(rng.integers(len(patches)))], rng, plan.patch) for _ in range(plan.batch)
    ]
    images = torch.from_numpy(np.stack([image for image, _ in samples]))[:, None]
    labels = torch.from_numpy(np.stack([patch_labels for _, patch_labels in samples]))
    return images.contiguous(memory_format=torch.channels_last_3d), labels


def _recipe(plan: TrainingPlan) -> Recipe:
    """The training as the model card describes it."""
    return Recipe(plan.scenes, plan.seed, f"{plan.steps} steps, torch {torch.__version__}")


def _key(plan: TrainingPlan, patches: list[str]) -> str:
    """Key of a plan and its patches, so that a checkpoint of another plan is not resumed."""
    return hashlib.sha256(json.dumps([asdict(plan), patches], sort_keys=True).encode()).hexdigest()[:12]


def _keep(path: Path, done: int, network: torch.nn.Module, optimizer: Any, schedule: Any) -> None:
    unfinished = path.with_suffix(".part")
    state = {
        "done": done,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": {k: v for k, v in schedule.state_dict().items() if not callable(v)},
    }
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(path: Path, network: torch.nn.Module, optimizer: Any, schedule: Any) -> int:
    """Load a checkpoint into the three; returns the number of steps done, 0 without a checkpoint."""
    if not path.is_file():
        return 0
    state = read_torch_checkpoint(path)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["done"])
