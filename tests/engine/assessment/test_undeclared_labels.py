"""A model that also labels hemorrhage or vessels, through an assessment: only what its manifest declares counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.assessment.outcome import AblationAssessment
from engine.assessment.verification import assess_ablation
from engine.errors import ManifestError
from engine.manifest import SegmentationSection
from engine.segmentation import open_segmenter
from engine.structures.tumor_search import find_tumor
from engine.volume import CtVolume, LabelMask
from tests.support.chest_without_masks import GRID, TUMOR, planning, prepared, verification
from tests.support.segmentation_models import tensors, write_bundle_folder
from tests.support.spheres import ball, positions
from tests.support.stub_segmenter import StubSegmenter, section

SLOPES = np.array([0.0, 0.2, 0.4, 0.6], dtype=np.float32)
OFFSETS = np.array([0.0, -36.0, -81.0, -136.0], dtype=np.float32)
"""Of logits that make hemorrhage of 180 to 225 HU, zone of up to 275, and core of more."""

SECTION: dict[str, Any] = {
    "framework": "nnunet_v2",
    "purpose": "ablation_zone",
    "labels": {"background": 0, "hemorrhage": 1, "ablation": 2, "necrosis": 3},
    "spacing_mm": list(GRID.spacing_zyx_mm),
    "patch_shape": [32, 32, 32],
    "channels": [{"name": "CT", "scheme": "none"}],
}
DECLARED = {"zone": ["ablation"], "core": ["necrosis"]}


def network(it: SegmentationSection) -> bytes:
    """Logits that are linear in HU."""
    inputs, outputs = (
        [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.shape)) for s in specs]
        for specs in tensors(it)
    )
    weights = [
        numpy_helper.from_array(SLOPES.reshape(4, 1, 1, 1, 1), "slopes"),
        numpy_helper.from_array(OFFSETS, "offsets"),
    ]
    nodes = [helper.make_node("Conv", ["image", "slopes", "offsets"], ["logits"], kernel_shape=[1, 1, 1])]
    graph = helper.make_graph(nodes, "by HU", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def bundle(folder: Path, roles: dict[str, list[str]] | None) -> Path:
    described = SECTION if roles is None else SECTION | {"roles": roles}
    built = SegmentationSection.model_validate_json(
        SegmentationSection.model_validate(
            {
                **SECTION,
                "purpose": "other",
                "spacing_mm": GRID.spacing_zyx_mm,
                "patch_shape": (32, 32, 32),
                "channels": tuple(SECTION["channels"]),
            }
        ).model_dump_json()
    )
    tensor = {"dtype": "float32", "shape": ["batch", 1, 32, 32, 32], "name": "image"}
    return write_bundle_folder(
        folder,
        {"model.onnx": network(built)},
        id="zone-by-hu",
        segmentation=described,
        inputs=[tensor],
        outputs=[tensor | {"name": "logits", "shape": ["batch", 4, 32, 32, 32]}],
    )


def bleeding(ct: CtVolume) -> CtVolume:
    """One side of the zone is hemorrhage."""
    hu = ct.voxels_hu.copy()
    hu[(hu >= 250) & (positions(GRID)[..., 0] < TUMOR[0] - 3.0)] = 200
    return CtVolume(hu, GRID)


def assessed(ct: CtVolume, folder: Path | None) -> AblationAssessment:
    if folder is None:
        true = LabelMask(ct.voxels_hu >= 225, GRID, "ablation zone")
        return assess_ablation(prepared(), ct, true, core=None)
    with open_segmenter(folder, "onnxruntime") as segmenter:
        return assess_ablation(prepared(), ct, None, zone_segmenter=segmenter)


def test_hemorrhage_beside_the_zone_is_not_zone(tmp_path: Path) -> None:
    ct = bleeding(verification(0.0, 15.0))
    drawn = assessed(ct, bundle(tmp_path / "declared", DECLARED))
    supplied = assessed(ct, None)
    assert drawn.refusal is None
    assert drawn.coverage.tcr == pytest.approx(supplied.coverage.tcr, abs=0.01)
    assert drawn.coverage.tcr is not None
    assert drawn.coverage.tcr < 0.75
    assert drawn.coverage.complete is False
    assert drawn.coverage.zone_volume_ml == pytest.approx(supplied.coverage.zone_volume_ml, rel=0.01)
    assert drawn.coverage.zone_parts == 1


def test_all_of_it_counts_only_where_all_of_it_is_declared(tmp_path: Path) -> None:
    ct = bleeding(verification(0.0, 15.0))
    everything = DECLARED | {"zone": ["ablation", "hemorrhage"]}
    drawn = assessed(ct, bundle(tmp_path / "everything", everything))
    assert drawn.coverage.tcr is not None
    assert drawn.coverage.tcr > 0.98


def test_a_bundle_that_does_not_say_what_its_labels_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="--label hemorrhage=ignore"):
        open_segmenter(bundle(tmp_path / "undeclared", None), "onnxruntime")


def test_a_vessel_at_the_tumor_is_not_tumor() -> None:
    vessel = ball(GRID, (TUMOR[0] + 9.0, TUMOR[1], TUMOR[2]), 5.0, "").voxels

    def draw(ct: CtVolume) -> Any:
        return np.where(ct.voxels_hu == 300, 1, np.where(vessel, 2, 0))

    found = find_tumor(planning(), StubSegmenter(draw, section=section(tumor=1, vessel=2)), TUMOR)
    np.testing.assert_array_equal(found.mask.voxels, planning().voxels_hu == 300)
    assert not (found.cautious.voxels & vessel & (planning().voxels_hu != 300)).any()
