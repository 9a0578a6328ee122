"""Agreement with nnU-Net's predictor for its standard network: 31 million weights, patches of 128 voxels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from engine.arrays import Float32Array
from engine.runtime.backends import open_session
from engine.runtime.network_session import NetworkSession
from engine.segmentation import Segmenter
from tests.support.segmentation_models import manifest_of, needs_real_ct, real_ct, require_same_labels

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")

from export.nnunet.bundle import network_graph, read_model_folder  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import write_v2_folder  # noqa: E402 - likewise
from tests.support.nnunet.predictor import (  # noqa: E402 - likewise
    Reference,
    accumulate_in_single_precision,
    open_predictor,
    reference,
)

if TYPE_CHECKING:
    from engine.runtime.session import InferenceSession

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800), needs_real_ct]

FEATURES: Final = (32, 64, 128, 256, 320, 320)
"""Of the six stages of nnU-Net's standard 3d_fullres network."""

WEIGHTS: Final = (30.5e6, 31.5e6)

CROPS: Final = {
    "1 mm slices": (("ct-lidc0314/ct_right_lung.nii.gz", (0, 0, 0), (130, 256, 169)), 2),
    "5 mm slices": (("ct-pyradiomics-lung1/image.nii.gz", (0, 128, 128), (20, 384, 384)), 1),
}
"""Parts of real CTs, and the patches that cover each: a patch takes a core ten seconds or more."""


class RememberingSession(NetworkSession):
    """A session that runs each patch once: logits and labels are of one pass, and a pass takes minutes."""

    def __init__(self, session: InferenceSession) -> None:
        super().__init__(session.inputs, session.outputs)
        self._session = session
        self._seen: dict[bytes, dict[str, Float32Array]] = {}

    @property
    def backend(self) -> str:
        return self._session.backend

    def run(self, inputs: dict[str, Float32Array]) -> dict[str, Float32Array]:
        key = inputs["image"].tobytes()
        if key not in self._seen:
            self._seen[key] = self._session.run(inputs)
        return self._seen[key]

    @property
    def patches(self) -> int:
        return len(self._seen)

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("standard")
    return write_v2_folder(root, features=FEATURES, patch=(128, 128, 128), spacing=(1.5, 1.5, 1.5))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return read_model_folder(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path, model: Any) -> Iterator[dict[str, Reference]]:
    """What the predictor says, its sums in single precision as in ``test_segmentation_nnunet``."""
    patch, threads = pytest.MonkeyPatch(), torch.get_num_threads()
    accumulate_in_single_precision(patch)
    try:
        predictor = open_predictor(folder)
        yield {
            name: reference(predictor, model.section, real_ct(*crop), mirror=False)
            for name, (crop, _) in CROPS.items()
        }
    finally:
        patch.undo()
        torch.set_num_threads(threads)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_standard_network(model: Any, theirs: dict[str, Reference], backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: make setup-export")
    low, high = WEIGHTS
    assert low < sum(weight.numel() for weight in model.networks[0].parameters()) < high
    with RememberingSession(open_session(network_graph(model, 0), backend)) as session:
        segmenter = Segmenter(manifest_of(model.section), [session])
        for name, (crop, patches) in CROPS.items():
            ct, expected = real_ct(*crop), theirs[name]
            logits = segmenter.logits(ct)
            found = segmenter.segment(ct, probability=False)
            assert found.patches == patches
            assert logits.shape == expected.logits.shape
            assert np.abs(logits - expected.logits).max() < 1e-3
            require_same_labels(found.labels, expected.labels, expected.gap)
        assert session.patches == sum(patches for _, patches in CROPS.values())
