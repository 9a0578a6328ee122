"""Agreement with the real nnU-Net v2 on real CTs: logits, labels, every branch of its order of steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.manifest import Channel, Resampling, SegmentationSection
from engine.segmentation import Box, Segmenter
from engine.volume import CtVolume
from tests.support.segmentation_models import (
    TorchSession,
    manifest_of,
    needs_real_ct,
    require_same_labels,
    thick,
    thin,
)

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from tests.support.nnunet.folders import write_v2_folder  # noqa: E402 - it needs torch
from tests.support.nnunet.predictor import (  # noqa: E402 - it needs torch and nnunetv2
    Reference,
    accumulate_in_single_precision,
    arguments,
    open_predictor,
    reference,
)

pytestmark = needs_real_ct

SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale_0_1",
}


@dataclass(frozen=True)
class Both:
    """nnU-Net's predictor and our segmenter of one model folder."""

    predictor: Any
    segmenter: Segmenter

    def reference(self, ct: CtVolume, *, mirror: bool) -> Reference:
        return reference(self.predictor, self.segmenter.section, ct, mirror=mirror)


def section_of(folder: Path) -> SegmentationSection:
    """The plans of a folder, read here once more in the plainest way."""
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    found = plans["configurations"]["3d_fullres"]
    intensity = plans["foreground_intensity_properties_per_channel"]["0"]
    labels, order = dict(dataset["labels"]), tuple(dataset.get("regions_class_order", ()))
    regions: list[tuple[int, ...]] = []
    if order:
        named = [name for name in labels if name != "background"]
        regions = [tuple(np.atleast_1d(labels[name]).tolist()) for name in named]
        labels = {"background": 0, **dict(zip(named, order, strict=True))}
    channel = {
        "name": "CT",
        "scheme": SCHEMES[found["normalization_schemes"][0]],
        "mean": intensity["mean"],
        "sd": intensity["std"],
        "low": intensity["percentile_00_5"],
        "high": intensity["percentile_99_5"],
        "masked": found["use_mask_for_norm"][0],
    }
    return SegmentationSection(
        framework="nnunet_v2",
        purpose="other",
        labels=labels,
        regions=tuple(regions),
        regions_class_order=order,
        transpose_forward=tuple(plans["transpose_forward"]),
        transpose_backward=tuple(plans["transpose_backward"]),
        spacing_mm=tuple(found["spacing"]),
        patch_shape=tuple(found["patch_size"]),
        mirror_axes=(0, 1, 2),
        channels=(Channel.model_validate(channel),),
        resampling=Resampling(
            separate_z=found["resampling_fn_data_kwargs"]["force_separate_z"],
            method="torch" if "torch" in found["resampling_fn_data"] else "skimage",
        ),
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Both]]:
    """Open a random model both ways."""
    threads = torch.get_num_threads()

    def open_both(**settings: Any) -> Both:
        folder = write_v2_folder(tmp_path, **settings)
        predictor = open_predictor(folder, settings.get("folds", (0,)))
        section, networks = section_of(folder), []
        for parameters in predictor.list_of_parameters:
            predictor.network.load_state_dict(parameters)
            networks.append(deepcopy(predictor.network).eval())
        return Both(predictor, Segmenter(manifest_of(section), [TorchSession(n, section) for n in networks]))

    yield open_both
    torch.set_num_threads(threads)


@pytest.fixture
def in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the predictor accumulate in float32."""
    accumulate_in_single_precision(monkeypatch)


def require_agreement(both: Both, ct: CtVolume, *, mirror: bool = False) -> None:
    theirs = both.reference(ct, mirror=mirror)
    logits = both.segmenter.logits(ct, mirror=mirror)
    assert theirs.logits.dtype == np.float32
    assert logits.shape == theirs.logits.shape
    assert np.abs(logits - theirs.logits).max() < 1e-3
    found = both.segmenter.segment(ct, mirror=mirror)
    assert found.geometry == ct.geometry
    require_same_labels(found.labels, theirs.labels, theirs.gap)


CTS = pytest.mark.parametrize("ct", [thin, thick], ids=["1 mm slices", "5 mm slices"])
PLANS: dict[str, Any] = {"spacing": (2.0, 1.2, 1.2), "patch": (16, 24, 24)}


@CTS
@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirrored"])
def test_the_default_plans(opened: Callable[..., Both], ct: Callable[[], CtVolume], mirror: bool) -> None:
    require_agreement(opened(**PLANS), ct(), mirror=mirror)


@CTS
def test_the_predictor_as_it_is_differs_from_us_only_where_it_differs_from_itself(
    opened: Callable[..., Both], monkeypatch: pytest.MonkeyPatch, ct: Callable[[], CtVolume]
) -> None:
    """Its sums in half precision are off by up to 0.5 here, ours are not."""
    both = opened(**PLANS)
    both.predictor.use_mirroring = False
    as_it_is = both.predictor.predict_single_npy_array(*arguments(ct()))
    accumulate_in_single_precision(monkeypatch)
    theirs = both.reference(ct(), mirror=False)
    found = both.segmenter.segment(ct()).labels
    rounded_over = as_it_is != theirs.labels
    require_same_labels(found[~rounded_over], theirs.labels[~rounded_over], theirs.gap[~rounded_over])
    assert np.count_nonzero(rounded_over) < 0.005 * rounded_over.size


@CTS
@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize(
    "settings",
    [
        {**PLANS, "transpose_forward": (2, 0, 1), "spacing": (1.2, 2.0, 1.0), "patch": (24, 16, 28)},
        {**PLANS, "transpose_forward": (1, 2, 0), "spacing": (1.2, 1.0, 4.5), "patch": (24, 28, 8)},
        {**PLANS, "regions": True},
        {**PLANS, "folds": (0, 3)},
        {**PLANS, "channels": ("zscore",), "masked": True},
        {**PLANS, "channels": ("zscore",)},
        {**PLANS, "channels": ("rescale_to_0_1",)},
        {**PLANS, "torch_resampling": True},
        {**PLANS, "spacing": (5.0, 1.0, 1.0), "patch": (8, 32, 32)},
        {**PLANS, "patch": (40, 64, 20)},
    ],
    ids=[
        "turned axes",
        "turned axes, coarse last",
        "regions",
        "two folds",
        "masked z-score",
        "z-score",
        "range to 0 to 1",
        "resampled by torch",
        "network of 5 mm slices",
        "patch larger than the CT",
    ],
)
def test_other_plans(
    opened: Callable[..., Both], settings: dict[str, Any], ct: Callable[[], CtVolume]
) -> None:
    require_agreement(opened(**settings), within_zeros(ct()))


def within_zeros(ct: CtVolume) -> CtVolume:
    """The CT with zeros at its faces and a hole, as a scanner pads its field of view."""
    hu = np.zeros_like(ct.voxels_hu)
    hu[1:-1, 5:-3, 2:] = ct.voxels_hu[1:-1, 5:-3, 2:]
    hu[4:6, 20:30, 20:30] = 0
    return CtVolume(hu, ct.geometry, ct.acquisition)


@CTS
@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize("half_width_mm", [(6.0, 7.0, 8.0), (14.0, 14.0, 14.0)], ids=["in a patch", "larger"])
def test_a_region_is_nnunets_answer_for_that_crop(
    opened: Callable[..., Both], ct: Callable[[], CtVolume], half_width_mm: tuple[float, float, float]
) -> None:
    whole, both = ct(), opened(**PLANS)
    center = whole.geometry.to_lps(np.array(whole.geometry.shape_zyx) / 2)
    low, high = (tuple(map(float, center + sign * np.array(half_width_mm))) for sign in (-1, 1))
    box = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    region, context = both.segmenter.crops(whole.geometry, box)
    crop = whole.crop(context)
    theirs = both.reference(crop, mirror=False)
    found = both.segmenter.segment(whole, around=box)
    assert found.geometry == whole.geometry.crop(region)
    assert found.geometry.contains(center)
    inner = region.within(context).slices
    require_same_labels(found.labels, theirs.labels[inner], theirs.gap[inner])


@pytest.mark.usefixtures("in_single_precision")
def test_the_probability_of_foreground(opened: Callable[..., Both]) -> None:
    both = opened(**PLANS)
    both.predictor.use_mirroring = False
    _, probabilities = both.predictor.predict_single_npy_array(
        *arguments(thin()), save_or_return_probabilities=True
    )
    found = both.segmenter.segment(thin())
    np.testing.assert_allclose(found.foreground_probability, 1 - probabilities[0], atol=1e-3)
