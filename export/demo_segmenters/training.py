"""Trains the demo segmenters, deterministically; a run that was stopped goes on.

Every step draws from its own seed, so weights after n steps do not depend on where a run was stopped. Scenes are
drawn as training goes on, a new one every few steps: it starts at once, and sees ever more of them.
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

from engine.errors import InvalidRequestError, PreconditionError
from engine.progress import CountProgress, ignore_progress
from export.checkpoints.checkpoint import read_torch_checkpoint
from export.demo_segmenters.augmentation import augmented
from export.demo_segmenters.bundle import Recipe, write_demo_bundle
from export.demo_segmenters.operating_point import OperatingPoint, choose_operating_point
from export.demo_segmenters.patches import SceneSource
from export.demo_segmenters.tasks import PATCH, TASKS, DemoTask, TaskName
from export.nnunet.unet import UNet

_SMOOTH_VOXELS: Final = 50.0
"""Added to both sides of the Dice loss: an empty patch costs nothing."""

_MAX_GRADIENT: Final = 12.0
_WEIGHT_DECAY: Final = 1e-4
_SMALL_PATCH_SHARE: Final = 0.8
"""Of the steps; the last ones see patches as large as those in use, whose statistics normalization goes by."""

MIN_PATCH: Final = 24
"""Smaller patches have two voxels along an axis at the lowest level: in bfloat16 their gradients differ from run to run
and are often not finite (torch 2.13, CPU). From 24 voxels on two runs were equal to the bit, and all was finite."""

KEEP_EVERY: Final = 50


@dataclass(frozen=True)
class TrainingPlan:
    """How long and on how much.

    Parameters
    ----------
    seed, steps, batch, patch, last_patch : int
        ``patch`` is the edge of training patches, in voxels; the last steps have ``last_patch``, as in use.
    first_scenes, steps_per_scene : int
        Scenes drawn before the first step, and steps between one more and the next.
    held_out_scenes : int
        To choose the operating point on.
    learning_rate : float

    Raises
    ------
    InvalidRequestError
        If patches are smaller than :data:`MIN_PATCH`.
    """

    seed: int = 17
    steps: int = 3600
    batch: int = 2
    patch: int = 48
    first_scenes: int = 60
    steps_per_scene: int = 6
    held_out_scenes: int = 40
    last_patch: int = PATCH
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if min(self.patch, self.last_patch) < MIN_PATCH:
            raise InvalidRequestError(
                f"patches of {self.patch} and {self.last_patch} voxels were asked for; at least {MIN_PATCH} are needed"
            )

    def scenes(self, step: int) -> int:
        """How many scenes there are to train on at a step."""
        return self.first_scenes + step // self.steps_per_scene

    def patch_edge(self, step: int) -> int:
        """Edge of a step's patches, in voxels."""
        return self.patch if step < _SMALL_PATCH_SHARE * self.steps else self.last_patch


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
        Folder of bundles; each is written to ``<id>/<version>`` below it.
    work : Path
        Where scenes and checkpoints are kept; a run that was stopped goes on from there.
    which : sequence of str
    real_ct : Path, optional
        Folder with the CTs of :data:`export.demo_segmenters.scenes.backgrounds.REAL_CHESTS`, to paint into in
        addition to procedural chests, and with the cases to evaluate on. Without it the chests are procedural
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
        network, point = _network_of(TASKS[name], plan, work, real_ct, notify)
        recipe = _recipe(plan, point)
        progress = partial(notify, f"evaluating {name}")
        bundles.append(write_demo_bundle(TASKS[name], network, out, recipe, real_ct, progress))
    return bundles


def _network_of(
    task: DemoTask, plan: TrainingPlan, work: Path, real_ct: Path | None, notify: CountProgress
) -> tuple[UNet, OperatingPoint]:
    """Train one network, or go on with it, and set its operating point.

    Parameters and what is raised are those of :func:`train_demo`.
    """
    scenes = SceneSource.of(task, plan.seed, real_ct, work)
    checkpoint = work / f"{task.name}-{_key(plan, scenes)}.pt"
    network = _trained(task, scenes, plan, checkpoint, notify)
    held_out = SceneSource.of(task, plan.seed, real_ct, work, held_out=True)
    patches = (held_out.scene(number) for number in range(plan.held_out_scenes))
    point = choose_operating_point(network, task, patches)
    network.scale_logits(point.sharpness)
    network.raise_background(point.lead)
    # Exported as any other network: in the order of axes that the graph is written for.
    _lay_out(network, torch.contiguous_format)
    return network, point


def _trained(
    task: DemoTask, scenes: SceneSource, plan: TrainingPlan, checkpoint: Path, notify: CountProgress
) -> UNet:
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = task.network().to(device)
    _lay_out(network, torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, total_steps=plan.steps)
    first = _resume(checkpoint, network, optimizer, schedule)
    network.train()
    for step in range(first, plan.steps):
        images, labels = (tensor.to(device) for tensor in _batch(scenes, step, plan))
        _set_gradients(network, images, labels)
        optimizer.step()
        schedule.step()
        done = step + 1
        if done % KEEP_EVERY == 0 or done == plan.steps:
            _keep(checkpoint, done, network, optimizer, schedule)
        notify(f"training {task.name}", done, plan.steps)
    network.eval()
    return network.to("cpu")


def _set_gradients(network: UNet, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Set the gradients of the loss on a batch, clipped.

    In bfloat16, which takes half the time on a CPU that has it; normalization of a part without contrast can
    overflow there, and then everything is computed again in single precision.
    """
    for is_short in (True, False):
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=is_short):
            logits = network(images)
        network.zero_grad()
        dice_and_cross_entropy(logits.float(), labels).backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)):
            return
    raise PreconditionError("the gradient of a batch is not finite in single precision either")


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


def _batch(scenes: SceneSource, step: int, plan: TrainingPlan) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng([plan.seed, step])
    numbers = rng.integers(plan.scenes(step), size=plan.batch)
    samples = [augmented(scenes.scene(int(n)), scenes.task, rng, plan.patch_edge(step)) for n in numbers]
    images = torch.from_numpy(np.stack([image for image, _ in samples]))
    labels = torch.from_numpy(np.stack([patch_labels for _, patch_labels in samples]))
    return images.contiguous(memory_format=torch.channels_last_3d), labels


def _recipe(plan: TrainingPlan, point: OperatingPoint) -> Recipe:
    """The training as the model card describes it."""
    words = f"{plan.steps} steps, torch {torch.__version__}"
    return Recipe(plan.scenes(plan.steps - 1), plan.seed, words, point)


def _key(plan: TrainingPlan, scenes: SceneSource) -> str:
    """Key of a plan and its scenes, so that a checkpoint of another plan is not resumed."""
    described = json.dumps([asdict(plan), scenes.path(0).name], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


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
