"""nnU-Net folders as bundles: every precision with its parity, and segmented as nnU-Net does."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import (
    InvalidRequestError,
    ParityError,
    PrecisionOverflowError,
)
from engine.geometry import VolumeGeometry
from engine.manifest import load_bundle
from engine.segmentation import open_segmenter
from engine.volume import CtVolume

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.bundle import export_nnunet, read_model_folder  # noqa: E402 - it needs torch
from export.onnx_graph.network_graph import network_to_onnx  # noqa: E402 - it needs torch
from export.parity.sample_patches import sample_patches  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import (  # noqa: E402 - it needs torch
    edited_checkpoint,
    write_v1_folder,
    write_v2_folder,
)

needs_real_ct = pytest.mark.skipif(
    not os.environ.get("COLDSPOT_DATA"), reason="COLDSPOT_DATA is not set: no real CT to read"
)
PHASES = [
    "writing the network",
    "PyTorch, the reference",
    "ONNX Runtime, compared with it",
    "range of activations",
    "writing FP16",
    "preparing FP16 emulation",
    "FP16 emulated, compared with it",
]
TERMS: dict[str, Any] = {"licence": "none: random weights", "provenance": "a test"}


@pytest.mark.parametrize("write", [write_v2_folder, write_v1_folder])
def test_a_bundle_of_folds_has_each_precision_and_its_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    seen: list[str] = []
    folder = export_nnunet(
        write(tmp_path, folds=(0, 1)),
        tmp_path / "bundle",
        model_id="random",
        on_progress=lambda what, share: seen.append(f"{what} {share:.2f}"),
        **TERMS,
    )
    bundle = load_bundle(folder)
    assert bundle.manifest.variants == {
        "fp32": ("model.onnx", "model.fold_1.onnx"),
        "fp16_mixed": ("model.fp16_mixed.onnx", "model.fold_1.fp16_mixed.onnx"),
    }
    reports = bundle.manifest.parity_reports
    assert len(reports) == 4
    assert all("phantom" in report.measured_on for report in reports)
    assert {"emulated" in report.candidate for report in reports} == {True, False}
    assert all(r.max_abs <= 1e-4 for r in reports if "emulated" not in r.candidate)
    shares = [float(line.rpartition(" ")[2]) for line in seen]
    assert shares == sorted(shares)
    assert seen[-1] == "writing the bundle 1.00"
    assert max(b - a for a, b in pairwise(shares)) < 0.1
    for fold in (0, 1):
        phases = dict.fromkeys(line.rpartition(" ")[0] for line in seen if line.startswith(f"fold {fold}: "))
        assert [phase.removeprefix(f"fold {fold}: ") for phase in phases] == PHASES
    with pytest.raises(InvalidRequestError, match="already"):
        export_nnunet(tmp_path, folder, **TERMS)


def test_a_network_that_answers_otherwise_makes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the written graph is changed: the gate must see it."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    right = network_to_onnx

    def wrong(*arguments: Any, **options: Any) -> bytes:
        model = onnx.load_model_from_string(right(*arguments, **options))
        weight = next(t for t in model.graph.initializer if t.name.endswith("seg_layers.1.bias"))
        values = onnx.numpy_helper.to_array(weight) + np.float32(0.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr("export.nnunet.fold_export.network_to_onnx", wrong)
    with pytest.raises(ParityError, match="does not answer as"):
        export_nnunet(write_v2_folder(tmp_path), tmp_path / "bundle", **TERMS)
    assert not (tmp_path / "bundle").exists()


def test_a_network_that_overflows_in_fp16_makes_no_bundle_but_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale of a convolution vanishes in the normalization behind it, but not on its way there."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    root = write_v2_folder(tmp_path)

    def scale(checkpoint: Any) -> None:
        for key, weight in checkpoint["network_weights"].items():
            if key.endswith("encoder.stages.1.0.convs.0.conv.weight"):
                weight.mul_(3e4)

    edited_checkpoint(root / "fold_0" / "checkpoint_final.pth", scale)
    with pytest.raises(PrecisionOverflowError, match=r"encoder\.stages\.1\.0\.convs\.0\.conv"):
        export_nnunet(root, tmp_path / "bundle", **TERMS)
    assert not (tmp_path / "bundle").exists()
    folder = export_nnunet(root, tmp_path / "bundle", precisions=("fp32",), **TERMS)
    assert list(load_bundle(folder).manifest.variants) == ["fp32"]


@needs_real_ct
def test_patches_come_from_real_ct_where_there_is_one(tmp_path: Path) -> None:
    section = read_model_folder(write_v2_folder(tmp_path, spacing=(4.0, 4.0, 4.0))).section
    patches = sample_patches(section)
    assert "real CT: ct-lidc0314, ct-pyradiomics-lung1" in patches.measured_on
    assert len(patches.inputs) == 5
    assert all(p["image"].shape == (1, 1, 16, 16, 16) for p in patches.inputs)


@pytest.mark.parametrize("turned", [(0, 1, 2), (1, 2, 0)], ids=["as_stored", "transposed"])
def test_the_bundle_segments_as_nnunet_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: tuple[int, int, int]
) -> None:
    """From folder to labels, torch on one side and the bundle alone on the other."""
    predict = pytest.importorskip(
        "nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed: make setup-export"
    )
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    root = write_v2_folder(tmp_path, folds=(0, 1), transpose_forward=turned, mirror_axes=(0, 2))
    folder = export_nnunet(root, tmp_path / "bundle", precisions=("fp32",), **TERMS)
    predictor = predict.nnUNetPredictor(device=torch.device("cpu"), use_mirroring=True, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(root), (0, 1))
    hu = np.random.default_rng(2).normal(-300, 300, (14, 26, 30)).astype(np.int16)
    spacing = (3.0, 1.2, 1.2)
    expected = predictor.predict_single_npy_array(
        hu[None].astype(np.float32), {"spacing": spacing}, None, None
    )
    ct = CtVolume(hu, VolumeGeometry(hu.shape, spacing))
    with open_segmenter(folder, backend="onnxruntime") as segmenter:
        found = segmenter.segment(ct, mirror=True).labels
    # The predictor adds up in half precision: a random network has many near ties.
    assert np.mean(found != expected) < 0.005
