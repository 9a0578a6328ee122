"""Demo segmenters: a run that was stopped ends with the same weights, and what comes out is a labelled demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop is not installed: make setup-export")

from engine.errors import InvalidRequestError  # noqa: E402
from engine.manifest import DEMO_MODEL, load_bundle  # noqa: E402
from export.demo_segmenters import TASKS, train_demo  # noqa: E402
from export.demo_segmenters.augmentation import augmented  # noqa: E402
from export.demo_segmenters.chests import REAL_CHESTS, read_real_chests  # noqa: E402
from export.demo_segmenters.evaluation import CaseAgreement, failures, figures  # noqa: E402
from export.demo_segmenters.patches import keep_patch, read_patch  # noqa: E402
from export.demo_segmenters.scenes import EDGE, Patch, draw_scene  # noqa: E402
from export.demo_segmenters.tasks import TaskName  # noqa: E402
from export.demo_segmenters.training import TrainingPlan, dice_and_cross_entropy  # noqa: E402

TINY = TrainingPlan(scenes=1, steps=4, batch=1, patch=16)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    keep_patch(TASKS["zone"], TINY.seed, 0, [], folder / "patches")
    return folder


def weights_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("zone-*.pt")
    return dict(torch.load(path, weights_only=True)["network"])


def trained(work: Path, folder: Path, *, stop_after: int | None = None) -> None:
    folder.mkdir(exist_ok=True)
    if not (folder / "patches").exists():
        (folder / "patches").symlink_to(work / "patches")

    def stop(phase: str, done: int, _all: int) -> None:
        if stop_after is not None and phase == "training zone" and done == stop_after:
            raise KeyboardInterrupt

    train_demo(folder / "models", work=folder, which=("zone",), plan=TINY, on_progress=stop)


def test_a_stopped_run_ends_with_the_same_weights(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.demo_segmenters.training.KEEP_EVERY", 2)
    trained(work, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(work, tmp_path / "stopped", stop_after=3)
    trained(work, tmp_path / "stopped")
    whole, stopped = weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    names = ["whole", "stopped"]
    first, second = (load_bundle(tmp_path / n / "models" / "zone-demo" / "1.0.0") for n in names)
    assert first.model_sha256 == second.model_sha256
    assert first.manifest.demo
    assert DEMO_MODEL in first.manifest.fitted_on
    assert first.manifest.segmentation == TASKS["zone"].section


def test_a_kept_patch_is_what_was_drawn(work: Path) -> None:
    task = TASKS["zone"]
    kept = read_patch(keep_patch(task, TINY.seed, 0, [], work / "patches"))
    drawn = draw_scene(np.random.default_rng([TINY.seed, 0, True]), task, [])
    assert np.array_equal(kept.hu, drawn.hu)
    assert np.array_equal(kept.labels, drawn.labels)


@pytest.mark.parametrize("name", ["zone", "tumor"])
def test_scenes_hold_the_structure_and_what_is_around_it(name: TaskName) -> None:
    task = TASKS[name]
    scenes = [draw_scene(np.random.default_rng([1, number]), task, []) for number in (0, 2, 3)]
    assert all(it.hu.shape == it.labels.shape == (EDGE,) * 3 for it in scenes)
    assert all(it.hu.min() < -700 for it in scenes)
    assert all(set(np.unique(it.labels)) == set(range(len(task.labels) + 1)) for it in scenes)
    assert all(np.median(it.hu[it.labels == it.labels.max()]) > -400 for it in scenes)


def test_some_scenes_hold_nothing() -> None:
    assert not draw_scene(np.random.default_rng([1, 6]), TASKS["tumor"], []).labels.any()


def test_a_folder_without_the_real_chests_is_refused_by_name(tmp_path: Path) -> None:
    assert read_real_chests(None, "zone") == []
    with pytest.raises(InvalidRequestError, match="PartSolidLesionCropped"):
        read_real_chests(tmp_path, "zone")
    assert not any("0314" in name or "lung1" in name for name in REAL_CHESTS)


def test_a_failure_is_named_on_the_card() -> None:
    found = (
        CaseAgreement("good", 0.93, 1.02),
        CaseAgreement("bad", 0.61, 1.7),
        CaseAgreement("none", 0.0, 0.0, "no"),
    )
    assert [(f.name, f.value) for f in figures("zone", found)][:2] == [
        ("Dice, median", 0.61),
        ("Dice, good", 0.93),
    ]
    assert failures("zone", found) == (
        "failed on bad: Dice 0.61, volume 1.70 of the true one",
        "failed on none: no",
    )


def test_a_training_patch_is_the_same_for_the_same_draw() -> None:
    rng = np.random.default_rng(0)
    patch = Patch(rng.integers(-1000, 400, (24,) * 3).astype(np.int16), np.zeros((24,) * 3, np.uint8))
    one, other = (augmented(patch, np.random.default_rng(5), 16)[0] for _ in range(2))
    assert np.array_equal(one, other)
    assert one.dtype == np.float32
    assert one.min() >= -1.75
    assert one.max() <= 1.75
    assert not np.array_equal(one, augmented(patch, np.random.default_rng(6), 16)[0])


def test_the_loss_falls_to_zero_for_the_right_answer_and_not_for_another() -> None:
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (1, 8, 8, 8)))
    right = 40.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(dice_and_cross_entropy(right, labels)) < 1e-3
    assert float(dice_and_cross_entropy(right.roll(1, dims=1), labels)) > 1.0
