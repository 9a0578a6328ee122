"""Demo segmenters: a run that was stopped ends with the same weights, and what comes out is a labelled demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop is not installed: make setup-export")

from engine.errors import InvalidRequestError  # noqa: E402
from engine.manifest import DEMO_MODEL, load_bundle  # noqa: E402
from engine.segmentation import Segmenter  # noqa: E402
from export.demo_segmenters import TASKS, TrainingPlan, train_demo  # noqa: E402
from export.demo_segmenters.augmentation import augmented, network_input  # noqa: E402
from export.demo_segmenters.bundle import Recipe, write_demo_bundle  # noqa: E402
from export.demo_segmenters.evaluation import CaseAgreement  # noqa: E402
from export.demo_segmenters.operating_point import OperatingPoint  # noqa: E402
from export.demo_segmenters.patches import SceneSource  # noqa: E402
from export.demo_segmenters.scenes.scene import EDGE, Patch  # noqa: E402
from export.demo_segmenters.tasks import PATCH, TaskName  # noqa: E402
from export.demo_segmenters.training import MIN_PATCH, dice_and_cross_entropy  # noqa: E402

STEPS = 20
TINY = TrainingPlan(
    steps=STEPS,
    batch=1,
    patch=MIN_PATCH,
    first_scenes=2,
    steps_per_scene=STEPS,
    held_out_scenes=1,
    last_patch=MIN_PATCH,
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the few scenes of all runs of :data:`TINY`."""
    folder = tmp_path_factory.mktemp("demo")
    for held_out in (False, True):
        SceneSource.of(TASKS["zone"], TINY.seed, None, folder, held_out=held_out).scene(0)
    return folder


def weights_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("zone-*.pt")
    return dict(torch.load(path, weights_only=True)["network"])


def trained(work: Path, folder: Path, *, stop_after: int | None = None) -> None:
    folder.mkdir(exist_ok=True)
    if not (folder / "scenes").exists():
        (folder / "scenes").symlink_to(work / "scenes")

    def stop(phase: str, done: int, _all: int) -> None:
        if stop_after is not None and phase == "training zone" and done == stop_after:
            raise KeyboardInterrupt

    train_demo(folder / "models", work=folder, which=("zone",), plan=TINY, on_progress=stop)


def test_a_stopped_run_ends_with_the_same_weights(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.demo_segmenters.training.KEEP_EVERY", 8)
    trained(work, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(work, tmp_path / "stopped", stop_after=11)
    trained(work, tmp_path / "stopped")
    whole, stopped = weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    (first,), (second,) = ((tmp_path / n / "models" / "zone-demo").iterdir() for n in ("whole", "stopped"))
    assert load_bundle(first).model_sha256 == load_bundle(second).model_sha256
    manifest = load_bundle(first).manifest
    assert manifest.demo
    assert DEMO_MODEL in manifest.fitted_on
    assert manifest.segmentation == TASKS["zone"].section
    assert any("chosen on the safe side" in assumption for assumption in manifest.assumptions)


def test_the_trained_network_is_evaluated_as_the_engine_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def evaluate(_task: str, segmenter: Segmenter, *_: object) -> tuple[CaseAgreement, ...]:
        seen.append(segmenter.identity)
        return (CaseAgreement("one", 0.9, 1.0, 1.0),)

    monkeypatch.setattr("export.demo_segmenters.bundle.evaluate", evaluate)
    monkeypatch.setattr("export.demo_segmenters.bundle.case_folders", lambda _: [])
    recipe = Recipe(1, 1, "none", OperatingPoint(0.1, 0.9, 3, 0.02, 0.8))
    bundle = load_bundle(
        write_demo_bundle(TASKS["tumor"], TASKS["tumor"].network().eval(), tmp_path, recipe, tmp_path)
    )
    assert [(it.id, it.demo) for it in seen] == [("tumor-demo", True)]
    assert bundle.manifest.performance[0].value == 0.9
    assert any("median volume 1.02 of the true one" in it for it in bundle.manifest.assumptions)


def test_patches_too_small_to_train_on_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="24 are needed"):
        TrainingPlan(patch=MIN_PATCH - 8)


def test_scenes_grow_in_number_and_patches_in_size() -> None:
    longer = TrainingPlan(steps=STEPS + 1)
    assert longer.scenes(0) == longer.first_scenes
    assert longer.scenes(longer.steps_per_scene) == longer.first_scenes + 1
    assert longer.patch_edge(0) < longer.patch_edge(STEPS) == PATCH


def test_a_kept_scene_is_what_was_drawn(work: Path, tmp_path: Path) -> None:
    task = TASKS["zone"]
    kept = SceneSource.of(task, TINY.seed, None, work).scene(0)
    drawn = SceneSource.of(task, TINY.seed, None, tmp_path).scene(0)
    held_out = SceneSource.of(task, TINY.seed, None, work, held_out=True).scene(0)
    assert np.array_equal(kept.channels, drawn.channels)
    assert np.array_equal(kept.labels, drawn.labels)
    assert np.array_equal(kept.tumor_distance, drawn.tumor_distance)
    assert not np.array_equal(kept.channels, held_out.channels)


@pytest.mark.parametrize(("name", "channels"), [("zone", 3), ("tumor", 1)])
def test_a_training_patch_is_the_same_for_the_same_draw(name: TaskName, channels: int) -> None:
    rng, task = np.random.default_rng(0), TASKS[name]
    shape = (24,) * 3
    noise = rng.integers(-1000, 400, (channels, *shape)).astype(np.int16)
    patch = Patch(noise, np.zeros(shape, np.uint8), np.zeros(shape, np.int16))
    one, other = (augmented(patch, task, np.random.default_rng(5), 16)[0] for _ in range(2))
    assert np.array_equal(one, other)
    assert one.shape == (channels, 16, 16, 16)
    assert one.dtype == np.float32
    assert not np.array_equal(one, augmented(patch, task, np.random.default_rng(6), 16)[0])


def test_channels_are_normalized_as_in_use() -> None:
    task, shape = TASKS["zone"], (4,) * 3
    channels = np.stack([np.full(shape, value, np.int16) for value in (-1024, 100, -1500)])
    patch = Patch(channels, np.zeros(shape, np.uint8), np.zeros(shape, np.int16))
    whole = (slice(None),) * 3
    seen = network_input(patch, task, whole)[:, 0, 0, 0]
    windows = [kind.channel for kind in task.channels]
    assert [window.name for window in windows] == [
        "verification_ct",
        "planning_ct_warped",
        "tumor_distance_mm",
    ]
    expected = [
        (np.clip(value, window.low, window.high) - window.mean) / window.sd
        for value, window in zip((-1024.0, 100.0, -15.0), windows, strict=True)
    ]
    assert seen == pytest.approx(expected)


def test_scenes_leave_room_for_a_patch_in_use() -> None:
    assert EDGE > PATCH


def test_the_loss_falls_to_zero_for_the_right_answer_and_not_for_another() -> None:
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (1, 8, 8, 8)))
    right = 40.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_and_cross_entropy(right, labels)) < 1e-3
    assert float(dice_and_cross_entropy(right.roll(1, dims=1), labels)) > 1.0
