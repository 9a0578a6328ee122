"""Power-on self-test of the segmentation models: a phantom through each, before the first patient.

A demo model knows phantoms and has to find what is there. Of a site's own model nothing is known but
that it has to give labels and finite probabilities.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import SelfTestError
from engine.geometry import Vector3, VoxelBox
from engine.manifest import SegmentationSection
from engine.phantoms import PhantomProcedure, make_procedure
from engine.segmentation import Box
from engine.structures.model_contour import StructureSegmenter
from engine.structures.warped_planning import WarpedPlanning
from engine.volume import CtVolume, LabelMask

MIN_DICE: Final = 0.5
"""A network that computes nonsense (a broken engine, half precision that overflows) finds nothing or everything."""

_MIN_HALF_WIDTH_MM: Final = 25.0
_MAX_HALF_WIDTH_MM: Final = 35.0
_PATCH_SHARE: Final = 0.45
"""Half of the box, as a share of the network's patch: one patch is computed, as every start waits for it."""

_SIZE_MM: Final = 90.0
_SEED: Final = 4


def require_segmenters(tumor: StructureSegmenter | None, zone: StructureSegmenter | None) -> dict[str, float]:
    """Segment a phantom with the models that are there.

    Returns
    -------
    dict of str to float
        Dice by model name.

    Raises
    ------
    SelfTestError
    """
    if tumor is None and zone is None:
        return {}
    phantom = _phantom()
    dice = {}
    if tumor is not None:
        dice[str(tumor.identity)] = _tested(tumor, phantom.planning, phantom.tumor, None)
    if zone is not None:
        before = WarpedPlanning(phantom.planning, phantom.tumor, phantom.truth.planning_from_verification)
        dice[str(zone.identity)] = _tested(zone, phantom.verification, phantom.zone, before)
    return dice


@cache
def _phantom() -> PhantomProcedure:
    return make_procedure(_SEED, kind="complete", size_mm=_SIZE_MM)


def _tested(
    segmenter: StructureSegmenter, ct: CtVolume, truth: LabelMask, before: WarpedPlanning | None
) -> float:
    center = ct.geometry.to_lps(np.argwhere(truth.voxels).mean(axis=0))
    x, y, z = (float(v) for v in center)
    place: Vector3 = (x, y, z)
    around = Box.around(place, half_width_mm(segmenter.section))
    segmentation = segmenter.segment(ct, around=around, companions=before)
    probability = np.asarray(segmentation.foreground_probability, dtype=np.float32)
    known = np.isin(segmentation.labels, list(segmenter.section.labels.values())).all()
    if (
        not known
        or not np.isfinite(probability).all()
        or probability.min() < 0.0
        or probability.max() > 1.001
    ):
        raise SelfTestError(
            f"{segmenter.identity} gives labels that its manifest does not name, or values that are not probabilities; "
            "export it again"
        )
    marked = np.isin(segmentation.labels, list(segmenter.section.counted_labels))
    dice = _dice(marked, segmentation.geometry.to_lps((0.0, 0.0, 0.0)), ct, truth)
    if segmenter.identity.demo and dice < MIN_DICE:
        raise SelfTestError(
            f"{segmenter.identity} finds its phantom's structure with a Dice coefficient of {dice:.2f} only (at least "
            f"{MIN_DICE:g}); install it again, or choose another segmentation_backend"
        )
    return dice


def half_width_mm(section: SegmentationSection) -> float:
    """Half of the width of the box that is segmented."""
    pairs = zip(section.patch_shape, section.spacing_mm, strict=True)
    return min(max(_PATCH_SHARE * min(n * mm for n, mm in pairs), _MIN_HALF_WIDTH_MM), _MAX_HALF_WIDTH_MM)


def prepare_phantom() -> None:
    """Make the phantom ahead of time, in another thread for example; it is kept."""
    _phantom()


def _dice(marked: npt.NDArray[np.bool_], first_lps_mm: Float64Array, ct: CtVolume, truth: LabelMask) -> float:
    """Dice coefficient; what of the truth lies outside the box is missed."""
    start = np.rint(ct.geometry.to_index(first_lps_mm)).astype(int)
    box = VoxelBox.placed(start, marked.shape)
    both = int(np.count_nonzero(marked & truth.voxels[box.slices]))
    return 2.0 * both / (int(np.count_nonzero(marked)) + int(np.count_nonzero(truth.voxels)))
