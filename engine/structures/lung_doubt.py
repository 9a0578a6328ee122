"""Whether what was taken for outside the lung can be: a check of the lung that does not ask how it was found."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from engine.hounsfield import LUNG_THRESHOLD_HU
from engine.kernels.distance import distance_mm
from engine.refusal import RefusalCode, RefusedError
from engine.volume import CtVolume, LabelMask

_MAX_SHARE: Final = 0.02
"""Of the target. Without a pneumothorax or a gas-filled bowel at the tumor it is 0: only air that was left out counts,
not what is tissue."""

_TOUCHES_MM: Final = 2.0


def require_plausible_lung(ct: CtVolume, tumor: LabelMask, lung: LabelMask, target_margin_mm: float) -> None:
    """Refuse a lung that leaves out air next to the tumor: coverage of that part of the target would not be looked at.

    Parameters
    ----------
    ct : CtVolume
        The planning CT.
    tumor : LabelMask
        On its grid.
    lung : LabelMask
        On a part of that grid that holds the target.
    target_margin_mm : float

    Raises
    ------
    RefusedError
        Too much of the target (``lung_doubtful``) is air that no wall parts from the tumor, and not lung.
    """
    box = ct.geometry.box_of(lung.geometry)
    spacing = ct.geometry.spacing_zyx_mm
    in_tumor = tumor.voxels[box.slices]
    to_tumor = distance_mm(in_tumor, spacing, bound_mm=target_margin_mm + max(spacing))
    target = to_tumor <= target_margin_mm
    air = target & ~in_tumor & (ct.voxels_hu[box.slices] < LUNG_THRESHOLD_HU)
    labels, _ = ndimage.label(air & ~lung.voxels)
    touching = labels[to_tumor <= max(_TOUCHES_MM, *spacing)]
    left_out = np.isin(labels, np.unique(touching[touching > 0]))
    share = float(np.count_nonzero(left_out)) / max(1, int(np.count_nonzero(target)))
    if share > _MAX_SHARE:
        raise RefusedError(
            RefusalCode.LUNG_DOUBTFUL,
            f"{share:.0%} of the target is air next to the tumor that does not look like lung (limit "
            f"{_MAX_SHARE:.0%}): a pneumothorax, gas in the bowel, or a lung that cannot be told from the air around "
            "the body. What of the target lies in lung is not known; send a planning CT with a larger field of view, "
            "or one after the lung is re-expanded",
        )
