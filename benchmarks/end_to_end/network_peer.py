"""The network's part of the chain of existing tools: nnunetv2 prepares, OpenVINO computes, nnunetv2 labels."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.threads import THREADS
from engine.geometry import VoxelBox
from engine.volume import CtVolume


class Steps:
    """Wall time of named steps, in order."""

    def __init__(self) -> None:
        self.durations_s: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what happens inside to the time of a step."""
        started = time.perf_counter()
        yield
        self.durations_s[name] = self.durations_s.get(name, 0.0) + time.perf_counter() - started


class NetworkPeer:
    """nnunetv2 around OpenVINO in single precision, for a region of one patch.

    Parameters
    ----------
    folder : Path
        nnU-Net's own model folder, with its plans.
    onnx : Path
        The same network, exported.
    """

    def __init__(self, folder: Path, onnx: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            plans = importlib.import_module("nnunetv2.utilities.plans_handling.plans_handler")
            preprocessing = importlib.import_module(
                "nnunetv2.preprocessing.preprocessors.default_preprocessor"
            )
            self._export = importlib.import_module("nnunetv2.inference.export_prediction")
            self._padding = importlib.import_module("acvl_utils.cropping_and_padding.padding")
        self._torch = importlib.import_module("torch")
        self._torch.set_num_threads(THREADS)
        self._dataset = json.loads((folder / "dataset.json").read_text())
        self._plans = plans.PlansManager(str(folder / "plans.json"))
        self._configuration = self._plans.get_configuration("3d_fullres")
        self._labels = self._plans.get_label_manager(self._dataset)
        self._preprocessor = preprocessing.DefaultPreprocessor(verbose=False)
        core = importlib.import_module("openvino").Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": THREADS,
        }
        self._request = core.compile_model(str(onnx), "CPU", options).create_infer_request()

    def segment(self, ct: CtVolume, context: VoxelBox, steps: Steps) -> npt.NDArray[np.uint8]:
        """Labels of a crop of the CT, as nnU-Net's predictor returns them."""
        patch = tuple(self._configuration.patch_size)
        with steps.timed("network: prepare"):
            image, _, properties = self._preprocessor.run_case_npy(
                ct.voxels_hu[context.slices][None],
                None,
                {"spacing": list(ct.geometry.spacing_zyx_mm)},
                self._plans,
                self._configuration,
                self._dataset,
            )
            if any(n > p for n, p in zip(image.shape[1:], patch, strict=True)):
                raise ValueError(f"a region of {image.shape[1:]} is more than one patch of {patch}")
            padded, inside = self._padding.pad_nd_image(
                image, patch, "constant", {"constant_values": 0}, True
            )
        with steps.timed("network: compute"):
            outputs = self._request.infer({0: np.ascontiguousarray(padded[None], dtype=np.float32)})
            logits = next(iter(outputs.values()))[0]
        with steps.timed("network: logits back"):
            unpadded = logits[(slice(None), *inside[1:])]
            labels = self._export.convert_predicted_logits_to_segmentation_with_correct_shape(
                self._torch.from_numpy(np.ascontiguousarray(unpadded)),
                self._plans,
                self._configuration,
                self._labels,
                properties,
                num_threads_torch=THREADS,
            )
        return np.asarray(labels, dtype=np.uint8)
