"""No fold is left out without a word, and what a folder lacks is named with what would work."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SourceModelError

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.bundle import read_model_folder  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import edited_checkpoint, write_v1_folder, write_v2_folder, zipped  # noqa: E402 - likewise

FINAL = "checkpoint_final.pth"


def renamed(root: Path, fold: str, name: str = "checkpoint_best.pth") -> None:
    (root / fold / FINAL).rename(root / fold / name)


def test_folds_are_an_ensemble_or_chosen(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 2))
    assert read_model_folder(root).folds == ("0", "2")
    assert read_model_folder(root, folds=[2]).folds == ("2",)
    with pytest.raises(SourceModelError, match=r"for the folds 1 .*--folds 0,2 "):
        read_model_folder(root, folds=[1, 2])
    assert read_model_folder(write_v1_folder(tmp_path / "1", folds=(0, 3))).folds == ("0", "3")
    with pytest.raises(SourceModelError, match="for the folds 5 "):
        read_model_folder(tmp_path / "1", folds=[5])


@pytest.mark.parametrize("write", [write_v2_folder, write_v1_folder])
def test_a_fold_of_all_cases_beside_others_is_asked_about(tmp_path: Path, write: Callable[..., Path]) -> None:
    root = write(tmp_path, folds=(0, 1, "all"))
    with pytest.raises(SourceModelError, match=r"--folds 0,1 or --folds all"):
        read_model_folder(root)
    assert read_model_folder(root, folds=["all"]).folds == ("all",)
    assert read_model_folder(root, folds=["0", "1"]).folds == ("0", "1")
    assert read_model_folder(write(tmp_path / "alone", folds=("all",))).folds == ("all",)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("left", ["checkpoint_best.pth", "training_log.txt", None])
def test_a_fold_that_is_not_finished_is_not_skipped(tmp_path: Path, packed: bool, left: str | None) -> None:
    root = write_v2_folder(tmp_path / "u", folds=(0, 1, 2))
    if left is None:
        (root / "fold_1" / FINAL).unlink()
    else:
        renamed(root, "fold_1", left)
    path = root
    if packed:
        extra = {f"{root.relative_to(tmp_path / 'u')}/fold_1/": b""}
        path = zipped(tmp_path / "u", tmp_path / "model.zip", extra)
    found = left if left == "checkpoint_best.pth" else "none"
    with pytest.raises(
        SourceModelError, match=rf"no {FINAL} for the folds 1 \(fold 1 has {found}\).*--folds 0,2"
    ):
        read_model_folder(path)
    assert read_model_folder(path, folds=[0, 2]).folds == ("0", "2")


def test_a_training_that_was_stopped_names_the_checkpoint_that_works(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 1))
    for fold in ("fold_0", "fold_1"):
        (root / fold / "checkpoint_latest.pth").write_bytes((root / fold / FINAL).read_bytes())
        renamed(root, fold)
    with pytest.raises(SourceModelError, match=r"give --checkpoint checkpoint_best\.pth$"):
        read_model_folder(root)
    model = read_model_folder(root, checkpoint="checkpoint_best.pth")
    assert any("checkpoint_best.pth, as was asked for" in text for text in model.assumptions)
    assert not any(
        "as was asked for" in text for text in read_model_folder(write_v2_folder(tmp_path / "b")).assumptions
    )


def test_version_1_names_its_best_checkpoint(tmp_path: Path) -> None:
    root = write_v1_folder(tmp_path)
    for name in ("model_final_checkpoint.model", "model_final_checkpoint.model.pkl"):
        (root / "fold_0" / name).rename(root / "fold_0" / name.replace("final_checkpoint", "best"))
    with pytest.raises(SourceModelError, match=r"--checkpoint model_best\.model$"):
        read_model_folder(root)
    assert read_model_folder(root, checkpoint="model_best.model").folds == ("0",)


def test_a_checkpoint_that_one_fold_has_is_not_offered_for_all(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 1))
    renamed(root, "fold_0")
    with pytest.raises(SourceModelError) as refused:
        read_model_folder(root)
    assert "--checkpoint" not in str(refused.value)
    assert "--folds 1" in str(refused.value)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_v1_folder, "postprocessing.json"),
        (write_v2_folder, "postprocessing.pkl"),
        (write_v2_folder, "crossval_results_folds_0_1_2_3_4/postprocessing.pkl"),
        (write_v2_folder, "crossval_results_folds_0/postprocessing.json"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_postprocessing_is_said(
    tmp_path: Path, write: Callable[..., Path], name: str, packed: bool
) -> None:
    root = write(tmp_path / "u")
    assert not any("postprocessing" in text for text in read_model_folder(root).assumptions)
    (root / name).parent.mkdir(exist_ok=True)
    # A pickle of functions: it must be seen, never loaded.
    (root / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    path = zipped(tmp_path / "u", tmp_path / "model.zip") if packed else root
    model = read_model_folder(path, orientation="as_stored")
    (said,) = [text for text in model.assumptions if "postprocessing" in text]
    assert said.startswith(f"{Path(name).name} of the folder is not applied")


def with_export_params(root: Path, **params: Any) -> Path:
    plans = pickle.loads((root / "plans.pkl").read_bytes())  # noqa: S301 - written just now
    plans["segmentation_export_params"] = params
    (root / "plans.pkl").write_bytes(pickle.dumps(plans))
    return root


@pytest.mark.parametrize(("order", "order_z"), [(1, 0), (0, 0), (1, 1), (0, 1)])
def test_the_output_of_version_1_is_resampled_as_its_plans_say(
    tmp_path: Path, order: int, order_z: int
) -> None:
    wanted = {"force_separate_z": None, "interpolation_order": order, "interpolation_order_z": order_z}
    resampling = read_model_folder(with_export_params(write_v1_folder(tmp_path), **wanted)).section.resampling
    assert (resampling.logits_order, resampling.logits_order_z) == (order, order_z)
    assert (resampling.data_order, resampling.data_order_z, resampling.separate_z) == (3, 0, None)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (
            {"force_separate_z": True, "interpolation_order": 1, "interpolation_order_z": 0},
            "force_separate_z is True",
        ),
        ({"force_separate_z": False, "interpolation_order": 1, "interpolation_order_z": 0}, "is False"),
        (
            {"force_separate_z": None, "interpolation_order": 3, "interpolation_order_z": 0},
            "interpolation_order 3",
        ),
        ({"force_separate_z": None, "interpolation_order": 1, "interpolation_order_z": 3}, "order_z 3"),
        ({"force_separate_z": None, "interpolation_order": 1}, "no entry 'interpolation_order_z'"),
    ],
)
def test_what_version_1_asks_for_that_is_not_done_here_is_refused(
    tmp_path: Path, wanted: dict[str, Any], named: str
) -> None:
    root = with_export_params(write_v1_folder(tmp_path), **wanted)
    with pytest.raises(SourceModelError, match=f"segmentation_export_params.*{named}"):
        read_model_folder(root)


def test_one_network_is_in_memory_at_a_time(tmp_path: Path) -> None:
    model = read_model_folder(write_v2_folder(tmp_path, folds=(0, 1, 2)))
    alive = [weakref.ref(network) for network in model.networks]
    gc.collect()
    assert [network() for network in alive] == [None, None, None]
    assert len(model.networks) == 3
    first, again = (next(model.networks[1].parameters()) for _ in range(2))
    assert torch.equal(first, again)
    (last,) = model.networks[2:]
    assert not torch.equal(next(last.parameters()), first)


def test_an_archive_is_unpacked_for_as_long_as_its_model_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write_v2_folder(tmp_path / "u", folds=(0, 1))
    model = read_model_folder(zipped(tmp_path / "u", tmp_path / "model.zip"))
    (unpacked,) = tmp_path.glob("coldspot-export-*")
    assert len(list(model.networks)) == 2
    del model
    gc.collect()
    assert not unpacked.exists()
    with pytest.raises(SourceModelError):
        read_model_folder(tmp_path / "model.zip", folds=[7])
    gc.collect()
    assert not list(tmp_path.glob("coldspot-export-*"))


def test_a_later_fold_that_does_not_fit_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 1))
    edited_checkpoint(
        root / "fold_1" / FINAL,
        lambda checkpoint: checkpoint["network_weights"].pop("decoder.seg_layers.0.bias"),
    )
    with pytest.raises(SourceModelError, match=r"fold_1 does not fit .* decoder\.seg_layers\.0\.bias"):
        read_model_folder(root)
