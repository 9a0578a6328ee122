"""Whether a candidate lies at the lung: the share of lung in the shell around it, counted voxel by voxel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.geometry import Vector3, VolumeGeometry
from engine.refusal import RefusedError
from engine.structures.model_contour import ModelContour
from engine.structures.tumor_search import find_tumor
from engine.volume import CtVolume
from tests.support.stub_segmenter import StubSegmenter

SHAPE = (24, 40, 40)
START, STOP = np.array([9, 15, 15]), np.array([13, 24, 24])
"""A block of 0.6 mL and more in soft tissue."""
SHELL_MM, MIN_LUNG_SHARE = 5.0, 0.15
Voxels = npt.NDArray[np.bool_]


def block() -> Voxels:
    marked = np.zeros(SHAPE, dtype=np.bool_)
    marked[tuple(slice(a, b) for a, b in zip(START, STOP, strict=True))] = True
    return marked


def shell(spacing: Vector3) -> Voxels:
    """Voxels within 5 mm of the block's, by the distance to a box."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    outside = np.maximum(np.maximum(START - index, index - (STOP - 1)), 0) * np.array(spacing)
    return np.asarray((np.linalg.norm(outside, axis=-1) <= SHELL_MM) & ~block())


def search(lung: Voxels, spacing: Vector3, lung_hu: int = -800, drawn: Voxels | None = None) -> ModelContour:
    hu = np.where(lung, lung_hu, 40).astype(np.int16)
    marked = block() if drawn is None else drawn
    return find_tumor(CtVolume(hu, VolumeGeometry(SHAPE, spacing)), StubSegmenter(lambda _: marked))


def beyond(x: int) -> Voxels:
    lung = np.zeros(SHAPE, dtype=np.bool_)
    lung[:, :, x:] = True
    return lung


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.0, 1.25), (5.0, 0.8, 0.8)])
@pytest.mark.parametrize("x", range(20, 31))
def test_a_candidate_needs_its_share_of_lung(spacing: Vector3, x: int) -> None:
    near = shell(spacing)
    share = np.count_nonzero(near & beyond(x)) / np.count_nonzero(near)
    if share >= MIN_LUNG_SHARE:
        assert np.array_equal(search(beyond(x), spacing).mask.voxels, block())
    else:
        with pytest.raises(RefusedError, match=r"\(1 of its candidates do not lie at the lung\)"):
            search(beyond(x), spacing)


@pytest.mark.parametrize(("hu", "aerated"), [(-969, True), (-972, False), (-501, True), (-498, False)])
def test_lung_is_neither_air_nor_tissue(hu: int, aerated: bool) -> None:
    everywhere = np.ones(SHAPE, dtype=np.bool_)
    if aerated:
        assert search(everywhere, (1.0, 1.0, 1.0), hu).mask.voxels.any()
    else:
        with pytest.raises(RefusedError, match="do not lie at the lung"):
            search(everywhere, (1.0, 1.0, 1.0), hu)


def test_every_candidate_is_judged_by_its_own_surroundings() -> None:
    """The larger block lies in tissue, the smaller one in lung."""
    lung = beyond(27)
    both = block()
    both[8:14, 8:14, 32:37] = True
    contour = search(lung, (1.0, 1.0, 1.0), drawn=both)
    assert np.array_equal(contour.mask.voxels, both & ~block())
    assert contour.mask.name == contour.cautious.name == "tumor"
