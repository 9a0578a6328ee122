"""The ablation zone in a verification CT without a mask: segmented around the lesion's place, and only there.

The place comes from a first registration without a zone: a few millimeters off, which is near enough to say
which parts of a segmentation are meant. With them as the zone everything starts again, exactly as with a
supplied mask. What the model calls zone elsewhere in the lung is not a zone of this lesion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from engine.arrays import Float64Array
from engine.findings import NO_CONTOUR, THRESHOLDED, ContourOrigin
from engine.kernels.backend import KernelBackend
from engine.kernels.components import find_components
from engine.refusal import LesionCandidate, RefusalCode, RefusedError
from engine.registration.evidence import METAL_HALO_MM, METAL_HU
from engine.segmentation import Box
from engine.structures.core import MIN_CORE_ML, find_core
from engine.structures.model_contour import (
    SURE_PROBABILITY,
    Parts,
    StructureSegmenter,
    min_contour_sd_mm,
    segment_parts,
)
from engine.structures.warped_planning import WarpedPlanning
from engine.structures.zone import ZoneContour
from engine.structures.zone_parts import (
    MIN_CHANGED_SHARE,
    Change,
    find_change,
    nearest_label,
    united,
    with_zone_alone,
)
from engine.volume import CtVolume, LabelMask

_SEARCH_PADDINGS_MM: Final = (45.0, 80.0)
"""Padding of the box around the tumor that is segmented; the wider one where the narrower cuts the zone. Ablation
zones have radii up to 30 mm."""

ZONE_REACH_MM: Final = 10.0
"""A zone farther than this from the tumor, as the first registration places it, is of another lesion: 5 mm of target
margin, and twice the error that a translation alone has."""

_CONTACT_MM: Final = 5.0
"""A tumor point within this distance of a part counts as touched by it: the tumor's place is not known better."""

_TOUCH_MM: Final = 7.5
"""A further part this near to the tumor reaches the target: 5 mm of target margin, and what the registration is off."""

_MIN_ZONE_ML: Final = 0.3
"""Smaller parts are noise: a zone around any tumor with a margin of 2 mm is larger."""

_MIN_LISTED_ML: Final = 0.1


def find_zone(
    verification: CtVolume,
    segmenter: StructureSegmenter,
    tumor_points_lps_mm: Float64Array,
    *,
    before: WarpedPlanning | None = None,
    lung: LabelMask | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ZoneContour:
    """Segment the ablation zone at a lesion.

    Parameters
    ----------
    verification : CtVolume
    segmenter : StructureSegmenter
        Of ablation zones; what its manifest declares as zone or core is the zone.
    tumor_points_lps_mm : ndarray, (N, 3)
        Points throughout the tumor, as a first registration places them in the verification CT.
    before : WarpedPlanning, optional
        What was there before; without it nothing is known to have changed, and one part alone is taken.
    lung : LabelMask, optional
        Of the planning CT; with ``before``, the zone ends where it does.
    kernels : KernelBackend

    Returns
    -------
    ZoneContour

    Raises
    ------
    RefusedError
        No zone lies at the lesion (``no_zone``).

    Notes
    -----
    The part with the most tissue at the lesion is taken, and with it every other that touches the target and
    changed against the planning CT: two burns of one session. Other parts at the lesion are listed in the warnings
    and do not count as ablated: leaving tissue out can call an ablation worse than it is, taking in what is none
    could hide a miss.
    """
    center = tumor_points_lps_mm.mean(axis=0)
    radius_mm = float(np.linalg.norm(tumor_points_lps_mm - center, axis=1).max())
    x, y, z = (float(v) for v in center)
    for padding_mm in _SEARCH_PADDINGS_MM:
        around = Box.around((x, y, z), radius_mm + padding_mm)
        parts = _bridge_needle(segment_parts(segmenter, verification, around, kernels, before), kernels)
        change = None
        if before is not None and lung is not None:
            change = find_change(parts, before, lung)
            parts = with_zone_alone(parts, change, kernels)
        at_lesion, distances_mm = _at_lesion(parts, tumor_points_lps_mm)
        if not at_lesion:
            _refuse(parts, distances_mm, padding_mm)
        if not parts.cut_by_box(at_lesion[0]):
            break
    else:
        raise RefusedError(
            RefusalCode.NO_ZONE,
            f"what the zone model found at the lesion goes on beyond {_SEARCH_PADDINGS_MM[-1]:g} mm around it: no "
            "ablation zone; send the contoured zone",
        )
    return _contour(parts, _judged(parts, at_lesion, distances_mm, change), segmenter, verification)


@dataclass(frozen=True)
class _Judged:
    """Which parts at the lesion count, the one with the most tissue there first, and what is said of the others."""

    counted: tuple[int, ...]
    changed_share: float | None
    warnings: tuple[str, ...]


def _judged(parts: Parts, at_lesion: list[int], distances_mm: list[float], change: Change | None) -> _Judged:
    """Tell apart the parts that changed from those that were there before.

    Raises
    ------
    RefusedError
        None of them changed.
    """
    if change is None:
        return _Judged((at_lesion[0],), None, tuple(_not_counted(parts, part) for part in at_lesion[1:]))
    voxel_ml = parts.geometry.voxel_volume_ml
    shares = {part: change.changed_share(parts.voxels(part), voxel_ml) for part in at_lesion}
    unchanged = [part for part, share in shares.items() if share is not None and share < MIN_CHANGED_SHARE]
    changed = [part for part in at_lesion if part not in unchanged]
    warnings = [_not_changed(parts, part, shares[part] or 0.0) for part in unchanged]
    if not changed or parts.components.volumes_ml[changed[0]] < _MIN_ZONE_ML:
        raise RefusedError(
            RefusalCode.NO_ZONE,
            "what the zone model found at the lesion was there before the ablation: "
            f"{'; '.join(warnings) or 'the rest is too small'}. Check that this is the verification CT of this lesion "
            "after its ablation, or send the contoured zone",
        )
    first, *others = changed
    counted = [first, *(part for part in others if _is_another_burn(parts, part, shares[part], distances_mm))]
    warnings += [_not_counted(parts, part) for part in others if part not in counted]
    if len(counted) > 1:
        warnings.append(_counted_together(parts, counted))
    together = np.isin(parts.components.labels, [part + 1 for part in counted])
    return _Judged(tuple(counted), change.changed_share(together, voxel_ml), tuple(warnings))


def _is_another_burn(parts: Parts, part: int, share: float | None, distances_mm: list[float]) -> bool:
    """Whether a further part is ablated tissue of this lesion: large enough, changed, and touching the target."""
    volume_ml = float(parts.components.volumes_ml[part])
    return share is not None and volume_ml >= _MIN_ZONE_ML and distances_mm[part] <= _TOUCH_MM


def _contour(
    parts: Parts, judged: _Judged, segmenter: StructureSegmenter, verification: CtVolume
) -> ZoneContour:
    parts, chosen = united(parts, judged.counted), judged.counted[0]
    zone = parts.on_ct(parts.voxels(chosen), "ablation zone")
    origin = ContourOrigin.segmented_by(segmenter.identity)
    core_labels = segmenter.section.labels_of("core")
    if core_labels:
        core, core_origin = _labeled_core(parts, chosen, core_labels), origin
    else:
        core, core_origin = find_core(verification, zone), THRESHOLDED
    return ZoneContour(
        zone,
        core,
        origin,
        NO_CONTOUR if core is None else core_origin,
        parts.contour_sd_mm(chosen, min_contour_sd_mm(segmenter.identity)),
        parts.on_ct(parts.shrunk_to(chosen, SURE_PROBABILITY), "ablation zone"),
        judged.warnings,
        judged.changed_share,
        len(judged.counted),
    )


def _labeled_core(parts: Parts, part: int, labels: tuple[int, ...]) -> LabelMask | None:
    """What the model labels as the dense core of a zone; None where there is hardly any."""
    core = parts.on_ct(parts.voxels(part) & np.isin(parts.labels, labels), "ablation core")
    return core if core.volume_ml >= MIN_CORE_ML else None


def _not_counted(parts: Parts, part: int) -> str:
    candidate = LesionCandidate(float(parts.components.volumes_ml[part]), parts.place_lps_mm(part))
    return (
        f"another part that the zone model found near the tumor was not counted as ablated: {candidate}; if it belongs "
        "to this ablation, send the contoured zone"
    )


def _not_changed(parts: Parts, part: int, share: float) -> str:
    candidate = LesionCandidate(float(parts.components.volumes_ml[part]), parts.place_lps_mm(part))
    return (
        f"a part that the zone model found near the tumor was not counted as ablated, as {share:.0%} of it alone "
        f"changed against the planning CT (at least {MIN_CHANGED_SHARE:.0%}): {candidate}; if it belongs to this "
        "ablation, send the contoured zone"
    )


def _counted_together(parts: Parts, counted: list[int]) -> str:
    listed = "; ".join(
        str(LesionCandidate(float(parts.components.volumes_ml[part]), parts.place_lps_mm(part)))
        for part in counted
    )
    return (
        f"{len(counted)} separate parts of the ablation zone count together: each changed against the planning CT "
        f"and reaches the target: {listed}; if one is no part of this ablation, send the contoured zone"
    )


def _at_lesion(parts: Parts, tumor_points_lps_mm: Float64Array) -> tuple[list[int], list[float]]:
    """Parts at the lesion, the one with the most tissue there first; distances of all that are large enough."""
    ranked, distances_mm = [], []
    for part, volume_ml in enumerate(parts.components.volumes_ml):
        if volume_ml < _MIN_LISTED_ML:
            break  # the largest come first
        tree = KDTree(parts.geometry.to_lps(parts.voxel_indices(part)))
        distance_mm = np.asarray(tree.query(tumor_points_lps_mm)[0])
        distances_mm.append(float(distance_mm.min()))
        if distances_mm[-1] <= ZONE_REACH_MM:
            touched = float(np.mean(distance_mm <= _CONTACT_MM))
            ranked.append((-touched * volume_ml, distances_mm[-1], part))
    order = [part for _, _, part in sorted(ranked)]
    if not order or parts.components.volumes_ml[order[0]] < _MIN_ZONE_ML:
        return [], distances_mm
    return order, distances_mm


def _refuse(parts: Parts, distances_mm: list[float], padding_mm: float) -> None:
    what_to_do = (
        "check that this is the verification CT of this lesion after its ablation, or send the contoured zone"
    )
    if not distances_mm:
        raise RefusedError(
            RefusalCode.NO_ZONE,
            f"the zone model found no ablation zone within {padding_mm:g} mm of the lesion; {what_to_do}",
        )
    nearest = int(np.argmin(distances_mm))
    part = LesionCandidate(float(parts.components.volumes_ml[nearest]), parts.place_lps_mm(nearest))
    raise RefusedError(
        RefusalCode.NO_ZONE,
        f"the zone model found no ablation zone of at least {_MIN_ZONE_ML:g} mL within {ZONE_REACH_MM:g} mm of the "
        f"lesion; the nearest part it found has {part}, {distances_mm[nearest]:.0f} mm away; {what_to_do}",
    )


def _bridge_needle(parts: Parts, kernels: KernelBackend) -> Parts:
    """Add the voxels hidden by a needle to the zone where there is zone on both sides of it."""
    metal = parts.ct.voxels_hu[parts.box.slices] >= METAL_HU
    if not metal.any() or len(parts.components) == 0:
        return parts
    spacing = parts.geometry.spacing_zyx_mm
    hidden = ndimage.distance_transform_edt(~metal, sampling=spacing) <= METAL_HALO_MM
    closed = _closed(parts.labels > 0, np.array(spacing), 2.0 * METAL_HALO_MM)
    added = closed & hidden & (parts.labels == 0)
    if not added.any():
        return parts
    labels = np.where(added, nearest_label(parts.labels, spacing), parts.labels)
    return replace(
        parts,
        labels=labels,
        probability=np.where(
            added, np.maximum(parts.probability, SURE_PROBABILITY), parts.probability
        ).astype(np.float32),
        components=find_components(labels > 0, spacing, kernels=kernels),
    )


def _closed(marked: npt.NDArray[np.bool_], spacing: Float64Array, radius_mm: float) -> npt.NDArray[np.bool_]:
    """Morphological closing with a ball; voxels beyond the grid count as unmarked."""
    grown = ndimage.distance_transform_edt(~marked, sampling=spacing) <= radius_mm
    depth_mm = ndimage.distance_transform_edt(grown, sampling=spacing)
    return np.asarray((depth_mm > radius_mm) | marked)
