"""A contour that a model drew, on the grid of its CT, with its origin and its uncertainty.

Tumor and ablation zone are segmented in a box around a place. What comes back is cut into its connected
parts; :mod:`engine.structures.tumor_search` and :mod:`engine.structures.zone_search` choose among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.findings import READER_CONTOUR_SD_MM, ContourOrigin
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.kernels.backend import KernelBackend
from engine.kernels.components import Components, find_components
from engine.kernels.distance import signed_distance_mm, surface_points_mm
from engine.manifest import SegmentationSection
from engine.model_identity import ModelIdentity
from engine.segmentation import Box, ChannelSource
from engine.volume import CtVolume, LabelMask

DEMO_SD_MM: Final = 1.5
"""A demo model is worse than a reader. The masks of three painted cases, their surfaces moved at random by 1.7 mm
over about 10 mm (Dice 0.83 to 0.93, what a demo model has to reach), ten times each with and without 1 mm to the wrong
side: the 90 % interval of the margin held the true one in 55 % with 0.9 mm, in 75 % with 1.2 mm and in 87 % with this;
no miss was called complete with any of them."""

MAX_LOCAL_SD_MM: Final = 5.0
"""Upper bound of the local standard deviation, where the probability hardly changes."""

DOUBTFUL_PROBABILITY: Final = 0.25
SURE_PROBABILITY: Final = 0.75
"""Probabilities at which a model's cautious contours run."""

_QUARTILE_SD: Final = 2 * 0.6745
"""Standard deviations between the quartiles of a normal distribution."""

_SURFACE_PADDING_MM: Final = 8.0
"""Padding around a part within which the surfaces of its probability are looked for."""


class _StructureSegmentation(Protocol):
    """Labels on the grid of a CT, or on a part of it: :class:`engine.segmentation.Segmentation`."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Label of every voxel, (z, y, x); 0 is background."""

    @property
    def geometry(self) -> VolumeGeometry:
        """Grid of the labels: the CT's own, or a crop of it."""

    @property
    def foreground_probability(self) -> npt.NDArray[Any]:
        """Probability of the labels that count, (z, y, x)."""


class StructureSegmenter(Protocol):
    """A model that draws a structure on a CT: :class:`engine.segmentation.Segmenter`."""

    @property
    def identity(self) -> ModelIdentity:
        """Id, version and digest of the model."""

    @property
    def section(self) -> SegmentationSection:
        """What the labels mean."""

    def segment(
        self, ct: CtVolume, *, around: Box | None = None, companions: ChannelSource | None = None
    ) -> _StructureSegmentation:
        """Label a CT, or the part of it in an LPS box."""


@dataclass(frozen=True, eq=False)
class ModelContour:
    """One structure as a model drew it.

    Parameters
    ----------
    mask : LabelMask
        On the grid of the CT.
    origin : ContourOrigin
    contour_sd_mm : float
        Standard deviation of the contour as a whole.
    cautious : LabelMask
        The contour on the side on which an error does no harm: a tumor wherever the model gives it a
        quarter, a zone only where it gives it three quarters. May be empty.
    warnings : tuple of str
        For the reader of the assessment.
    """

    mask: LabelMask
    origin: ContourOrigin
    contour_sd_mm: float
    cautious: LabelMask
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Parts:
    """The connected parts of a segmentation.

    Parameters
    ----------
    ct : CtVolume
    geometry : VolumeGeometry
        Of the labels.
    labels : ndarray of uint8, (z, y, x)
        0 too where the model's label is no part of the structure.
    probability : ndarray of float32, (z, y, x)
        Of the structure.
    components : Components
    """

    ct: CtVolume
    geometry: VolumeGeometry
    labels: npt.NDArray[np.uint8]
    probability: Float32Array
    components: Components

    @property
    def box(self) -> VoxelBox:
        """Where the labels lie in the CT."""
        return self.ct.geometry.box_of(self.geometry)

    def box_of(self, part: int, padding_mm: float = 0.0) -> VoxelBox:
        """Box of a part on the grid of the labels, padded by ``padding_mm`` as far as the grid goes."""
        tight = VoxelBox.between(self.components.starts_zyx[part], self.components.stops_zyx[part])
        padding = np.ceil(padding_mm / np.array(self.geometry.spacing_zyx_mm)).astype(int)
        return tight.padded(padding).clipped(self.geometry.shape_zyx)

    def voxels(self, part: int) -> npt.NDArray[np.bool_]:
        """Voxels of a part, counted from 0, on the grid of the labels."""
        return np.asarray(self.components.labels == part + 1)

    def voxel_indices(self, part: int) -> Float64Array:
        """Indices (z, y, x) of a part's voxels on the grid of the labels, (N, 3)."""
        box = self.box_of(part)
        marked = np.argwhere(self.components.labels[box.slices] == part + 1)
        return np.asarray(marked + np.array(box.start_zyx), dtype=np.float64)

    def place_lps_mm(self, part: int) -> Vector3:
        """LPS mm of the voxel of a part that is nearest to its centroid: a point inside, whatever its shape."""
        index = self.voxel_indices(part)
        offset_mm = (index - self.components.centroids_index_zyx[part]) * np.array(
            self.geometry.spacing_zyx_mm
        )
        x, y, z = self.geometry.to_lps(index[int(np.argmin((offset_mm**2).sum(axis=1)))])
        return float(x), float(y), float(z)

    def cut_by_box(self, part: int) -> bool:
        """Whether a part reaches a face of the box that is not a face of the CT: it may go on beyond."""
        start, stop = self.components.starts_zyx[part], self.components.stops_zyx[part]
        first, size = np.array(self.box.start_zyx), np.array(self.geometry.shape_zyx)
        last = np.array(self.box.stop_zyx) == np.array(self.ct.geometry.shape_zyx)
        return bool(((start == 0) & (first > 0)).any() or ((stop == size) & ~last).any())

    def on_ct(self, voxels: npt.NDArray[np.bool_], name: str) -> LabelMask:
        """Voxels of the labels' grid as a mask on the CT."""
        marked = np.zeros(self.ct.geometry.shape_zyx, dtype=np.bool_)
        marked[self.box.slices] = voxels
        return LabelMask(marked, self.ct.geometry, name)

    def grown_to(self, part: int, level: float) -> npt.NDArray[np.bool_]:
        """A part and everything connected to it with at least this probability, within ``_SURFACE_PADDING_MM``."""
        box = self.box_of(part, _SURFACE_PADDING_MM).slices
        labels = self.components.labels[box]
        own = labels == part + 1
        likely = own | ((self.probability[box] >= level) & (labels == 0))
        connected, _ = ndimage.label(likely, np.ones((3, 3, 3)))
        grown = np.zeros(self.labels.shape, dtype=np.bool_)
        grown[box] = np.isin(connected, np.unique(connected[own])) & likely
        return grown

    def shrunk_to(self, part: int, level: float) -> npt.NDArray[np.bool_]:
        """The voxels of a part that have at least this probability."""
        return np.asarray(self.voxels(part) & (self.probability >= level))

    def contour_sd_mm(self, part: int, min_sd_mm: float) -> float:
        """Standard deviation of a part's contour: the model's own and ``min_sd_mm``, added in quadrature.

        Notes
        -----
        Where the model's probability passes from 0.25 to 0.75 over a distance w, the contour has the
        quartiles of a normal distribution of standard deviation w / 1.349. The root mean square over the
        part's surface counts as the error of the contour as a whole.
        """
        box = self.box_of(part, _SURFACE_PADDING_MM).slices
        labels = self.components.labels[box]
        other = (labels > 0) & (labels != part + 1)
        share = np.where(other, 0.0, self.probability[box]).astype(np.float32)
        return float(np.hypot(min_sd_mm, model_sd_mm(share, self.geometry.spacing_zyx_mm)))


def segment_parts(
    segmenter: StructureSegmenter,
    ct: CtVolume,
    around: Box | None,
    kernels: KernelBackend = KernelBackend.CPU,
    companions: ChannelSource | None = None,
) -> Parts:
    """Segment a CT, or a box of it, and label the connected parts of what the manifest says is the structure."""
    segmentation = segmenter.segment(ct, around=around, companions=companions)
    grid, counted = segmentation.geometry, np.isin(np.arange(256), list(segmenter.section.counted_labels))
    labels = np.where(counted[segmentation.labels], segmentation.labels, 0).astype(np.uint8)
    components = find_components(labels > 0, grid.spacing_zyx_mm, kernels=kernels)
    probability = np.asarray(segmentation.foreground_probability, dtype=np.float32)
    return Parts(ct, grid, labels, probability, components)


def min_contour_sd_mm(model: ModelIdentity) -> float:
    """Standard deviation that a contour of this model has, however sure it is: none is better than a reader's."""
    return DEMO_SD_MM if model.demo else READER_CONTOUR_SD_MM


def model_sd_mm(probability: Float32Array, spacing_zyx_mm: Sequence[float]) -> float:
    """How unsure a model is of where a surface lies, from how fast its probability falls there.

    Parameters
    ----------
    probability : ndarray of float32, (z, y, x)
    spacing_zyx_mm : sequence of float

    Returns
    -------
    float
        mm; ``MAX_LOCAL_SD_MM`` where there is no surface.
    """
    points = surface_points_mm(probability, spacing_zyx_mm, 0.5)
    if len(points) == 0:
        return MAX_LOCAL_SD_MM
    index = (points / np.array(spacing_zyx_mm)).T
    width = np.zeros(len(points))
    for level in (DOUBTFUL_PROBABILITY, SURE_PROBABILITY):
        distance = signed_distance_mm(probability, spacing_zyx_mm, level=level)
        finite = np.nan_to_num(
            distance,
            posinf=2.0 * _QUARTILE_SD * MAX_LOCAL_SD_MM,
            neginf=-2.0 * _QUARTILE_SD * MAX_LOCAL_SD_MM,
        )
        width += np.abs(ndimage.map_coordinates(finite, index, order=1, mode="nearest"))
    local = np.minimum(width / _QUARTILE_SD, MAX_LOCAL_SD_MM)
    return float(np.sqrt(np.mean(local**2)))
