"""How a feature vector is computed from a CT and a mask.

Source: the programs published with FM-LCT (github.com/zhenweishi/FM-LCT, LC-NICER), which contradict each
other; a model must say which of them it was used with.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import model_validator

from engine.manifest.common import Count, Section

PATCH, FEATURES = "patch", "features"
"""Names of the network's input (N, 1, z, y, x) and output (N, F)."""

Recipe: TypeAlias = Literal["zscore_patch", "hu_-1024_3072", "window_-450_1500"]
PositionTable: TypeAlias = Literal["checkpoint", "sine_cosine"]


class FeatureSection(Section):
    """Crop, normalization and length of the vector.

    Parameters
    ----------
    recipe : str
        ``zscore_patch``: mean 0 and standard deviation 1 over the patch (FM-LCT, feature extraction).
        ``hu_-1024_3072``: that range of HU to 0..1, clipped (LC-NICER; said to be the pre-training's).
        ``window_-450_1500``: clipped to -1200..300 HU, then the patch's own range to 0..1; of the mask, the
        largest connected part (FM-LCT, fine-tuning).
    patch_shape : tuple of 3 ints
        The tight box around the mask is resized to it, whatever its spacing and proportions are.
    roi_only : bool
        Whether what lies outside the mask is blanked.
    feature_count : int
    position_table : str
        What tells the network where in the patch a token lies: ``checkpoint``, the table that was trained
        with; ``sine_cosine``, computed, because the checkpoint has none. Features by one have nothing to do
        with features by the other.
    """

    recipe: Recipe
    patch_shape: tuple[Count, Count, Count]
    roi_only: bool
    feature_count: Count
    position_table: PositionTable = "sine_cosine"

    @model_validator(mode="after")
    def _patch_can_vary(self) -> Self:
        if max(self.patch_shape) == 1:
            raise ValueError("a patch of one voxel has no standard deviation and no range")
        return self
