"""The fastest backend is measured once, written down, and measured again when anything has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import service.pipeline.backend_choice
import service.pipeline.segmenters
from engine.errors import BackendError
from engine.model_identity import ModelIdentity
from engine.runtime.backends import BackendTiming, InferenceBackend, available_backends
from service.pipeline.backend_choice import ChoiceShelf
from service.pipeline.bundles import installed_bundles
from service.pipeline.protocol import ModelPurpose, ServedModel
from service.pipeline.segmenters import InstalledSegmenter
from service.record.provenance import backend_in_words
from tests.support.installed_models import install

SECONDS = (
    BackendTiming(InferenceBackend.ONNXRUNTIME, "onnxruntime 1 (CPU)", 0.25, 0.0, ""),
    BackendTiming(InferenceBackend.OPENVINO, "openvino 2 (CPU)", 0.125, 1e-5, ""),
    BackendTiming(InferenceBackend.TENSORRT, "tensorrt", None, None, "not here"),
)


class Opening:
    """Stands for ``open_segmenter`` and remembers with which backend it was called."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, _folder: Path, backend: str, plan_folder: Path | None) -> Any:
        assert plan_folder is not None
        self.asked.append(backend)
        opened = type("Opened", (), {})()
        opened.backend, opened.timings = "openvino 2 (CPU)", SECONDS if backend == "auto" else ()
        return opened


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    stand_in = Opening()
    monkeypatch.setattr(service.pipeline.segmenters, "open_segmenter", stand_in)
    return stand_in


@pytest.fixture
def segmenter(tmp_path: Path) -> Any:
    """Makes the same installed model anew, as a restart does."""
    install(tmp_path / "models", "zone", "ablation_zone")
    (bundle,) = installed_bundles(tmp_path / "models")
    return lambda backend="auto": InstalledSegmenter(bundle, backend, tmp_path / "engines")


def records(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "engines" / "choices").glob("*.json"))


def test_it_is_measured_at_the_first_start_and_used_at_the_second(
    tmp_path: Path, opening: Opening, segmenter: Any
) -> None:
    for _ in range(2):
        one = segmenter()
        one.open()
        told = backend_in_words(one.describe())
        assert "openvino 0.125 s, onnxruntime 0.250 s" in told
        assert "tensorrt" not in told
    assert opening.asked == ["auto", "openvino"]
    assert len(records(tmp_path)) == 1


def test_a_backend_that_is_named_is_opened_without_a_measurement(
    tmp_path: Path, opening: Opening, segmenter: Any
) -> None:
    one = segmenter("onnxruntime")
    one.open()
    assert opening.asked == ["onnxruntime"]
    assert not (tmp_path / "engines").exists()
    assert one.describe().backend_chosen_by == ""


def test_only_what_nothing_is_known_of_is_to_be_measured(segmenter: Any, opening: Opening) -> None:
    assert segmenter().is_to_be_measured()
    assert not segmenter("openvino").is_to_be_measured()
    first = segmenter()
    first.open()
    assert not first.is_to_be_measured()
    assert first.choice.backend == "openvino"
    assert not segmenter().is_to_be_measured()
    assert opening.asked == ["auto"]


@pytest.mark.parametrize("changed", ["version", "availability", "processor", "cpus", "runtime"])
def test_what_has_changed_is_measured_again(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Opening, segmenter: Any
) -> None:
    segmenter().open()
    first, *others = available_backends()
    module = service.pipeline.backend_choice
    if changed == "processor":
        monkeypatch.setattr(module, "_processor", lambda: "another")
    elif changed == "cpus":
        monkeypatch.setattr(module, "usable_cpus", lambda: 77)
    elif changed == "runtime":  # the code that rewrites and runs networks, in an update without a new version
        (tmp_path / "session.py").write_text("changed", encoding="utf-8")
        monkeypatch.setattr(module, "runtime", SimpleNamespace(__path__=[str(tmp_path)]))
    else:
        other = replace(first, version="0.1") if changed == "version" else replace(first, available=False)
        monkeypatch.setattr(module, "available_backends", lambda: (other, *others))
    segmenter().open()
    assert opening.asked == ["auto", "auto"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"condition": {}}', "refused", "unknown"])
def test_a_record_that_cannot_be_used_is_made_again(
    damage: str, tmp_path: Path, opening: Opening, segmenter: Any
) -> None:
    segmenter().open()
    (path,) = records(tmp_path)
    if damage in {"refused", "unknown"}:
        record = json.loads(path.read_text(encoding="utf-8"))
        damage = json.dumps({**record, "backend": "tensorrt" if damage == "refused" else "abacus"})
    path.write_text(damage, encoding="utf-8")
    segmenter().open()
    assert opening.asked == ["auto", "auto"]
    segmenter().open()
    assert opening.asked[-1] == "openvino"


def test_a_recorded_backend_that_fails_is_an_error_and_nothing_else_is_taken(
    monkeypatch: pytest.MonkeyPatch, opening: Opening, segmenter: Any
) -> None:
    segmenter().open()

    def fail(*_given: Any, **_named: Any) -> Any:
        raise BackendError("openvino does not load here")

    monkeypatch.setattr(service.pipeline.segmenters, "open_segmenter", fail)
    with pytest.raises(BackendError, match="openvino"):
        segmenter().open()


def test_a_folder_that_cannot_be_written_costs_a_measurement_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    shelf = ChoiceShelf(tmp_path / "file" / "choices")
    opened: Any = type("Opened", (), {"backend": "openvino 2 (CPU)", "timings": SECONDS})()
    assert shelf.keep("0" * 64, opened).backend == "openvino"


def test_a_model_that_was_not_measured_says_only_what_runs_it() -> None:
    assert (
        backend_in_words(
            ServedModel(
                ModelIdentity("zone", "1", "0", demo=False, manifest_sha256="1"),
                ModelPurpose.ABLATION_ZONE,
                "onnxruntime 1 (CPU)",
            )
        )
        == "zone: onnxruntime 1 (CPU)"
    )


def test_a_model_that_does_not_segment_is_no_segmenter() -> None:
    bundles = installed_bundles(Path(__file__).parents[3] / "models")
    risk = next(bundle for bundle in bundles if bundle.manifest.segmentation is None)
    with pytest.raises(ValueError, match="is not a segmentation model"):
        InstalledSegmenter(risk, "auto")
