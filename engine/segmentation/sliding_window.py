"""The network over a volume, patch by patch, blended by a Gaussian.

Patches come in order of their first axis, so the slices that no later patch touches are finished and
handed on: only one patch's depth of outputs is held, never the volume's. Source: nnU-Net v2,
``sliding_window_prediction.py`` and ``predict_from_raw_data.py``; v1, ``neural_network.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import Float32Array
from engine.errors import ModelError
from engine.geometry import Index3
from engine.manifest import IMAGE, LOGITS, SegmentationSection
from engine.progress import ItemProgress
from engine.runtime.session import InferenceSession

_SIGMA_SHARE: Final = 1 / 8
PEAK_V2, PEAK_V1 = 10.0, 1.0


@dataclass(frozen=True, eq=False)
class Slab:
    """Finished outputs: slices from ``start`` on, (output, z, y, x)."""

    start: int
    outputs: Float32Array


def patch_starts(size: int, patch: int, step_share: float) -> list[int]:
    """First voxels of the patches along one axis: evenly spaced, at most ``step_share`` apart."""
    count = math.ceil((size - patch) / (patch * step_share)) + 1
    step = (size - patch) / (count - 1) if count > 1 else 0.0
    return [round(step * i) for i in range(count)]


@lru_cache(maxsize=4)
def patch_weights(patch: Index3, framework: str) -> Float32Array:
    """How much each voxel of a patch counts: a Gaussian about its center, nowhere zero.

    Version 2 keeps it in half precision with a peak of 10, version 1 in single with a peak of 1.
    """
    impulse = np.zeros(patch)
    impulse[tuple(n // 2 for n in patch)] = 1
    weights = ndimage.gaussian_filter(impulse, [n * _SIGMA_SHARE for n in patch], mode="constant")
    is_v2 = framework == "nnunet_v2"
    weights /= weights.max() / (PEAK_V2 if is_v2 else PEAK_V1)
    rounded = weights.astype(np.float16 if is_v2 else np.float32).astype(np.float32)
    rounded[rounded == 0] = rounded[rounded > 0].min()
    rounded.flags.writeable = False
    return rounded


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All sets of the axes, the empty one first."""
    return [combination for n in range(len(axes) + 1) for combination in itertools.combinations(axes, n)]


class SlidingWindow:
    """Networks of one ensemble, run over volumes.

    Parameters
    ----------
    section : SegmentationSection
    sessions : sequence of InferenceSession
        One for each fold; their outputs are averaged.
    batch : int
        Patches in one call where the network leaves it free.
    """

    def __init__(
        self, section: SegmentationSection, sessions: Sequence[InferenceSession], batch: int = 1
    ) -> None:
        self._section = section
        self._sessions = tuple(sessions)
        fixed = self._sessions[0].inputs[0].shape[0]
        self._batch = fixed if isinstance(fixed, int) else batch

    def positions(self, shape: Index3) -> list[list[int]]:
        """First voxels of the patches along each axis of a padded volume."""
        patch, share = self._section.patch_shape, self._section.step_share
        return [patch_starts(n, p, share) for n, p in zip(shape, patch, strict=True)]

    def slabs(
        self, image: Float32Array, *, mirror: bool, on_progress: ItemProgress | None = None
    ) -> Iterator[Slab]:
        """Outputs of the whole volume, in slabs of rising slices.

        Parameters
        ----------
        image : ndarray of float32, (channel, z, y, x)
            At least one patch large.
        mirror : bool
            Average over mirrored patches too.

        Raises
        ------
        ModelError
            If the network returns something else than finite numbers of its shape.

        Notes
        -----
        Holds (outputs + 1) x patch depth x volume width in float32; each patch is copied once for
        each mirroring (the network needs it contiguous).
        """
        section, patch = self._section, self._section.patch_shape
        starts_z, starts_y, starts_x = self.positions((image.shape[1], image.shape[2], image.shape[3]))
        across = list(itertools.product(starts_y, starts_x))
        flips = mirrorings(section.mirror_axes if mirror else ())
        total = len(starts_z) * len(across)
        blend = _Blend(section, (patch[0], image.shape[2], image.shape[3]), len(flips) * len(self._sessions))
        done = 0
        if on_progress is not None:
            on_progress(0, total)
        for start, following in itertools.pairwise([*starts_z, image.shape[1]]):
            for some in _batches(across, self._batch):
                corners = [(start, y, x) for y, x in some]
                for corner, outputs in zip(corners, self._run(image, corners, flips), strict=True):
                    blend.add(outputs, corner[1], corner[2])
                done += len(some)
                if on_progress is not None:
                    on_progress(done, total)
            yield Slab(start, blend.finished(following - start))

    def _run(self, image: Float32Array, corners: list[Index3], flips: list[tuple[int, ...]]) -> Float32Array:
        """Outputs (patch, output, z, y, x) summed over mirrorings and folds."""
        section = self._section
        buffer = np.zeros((self._fill(len(corners)), image.shape[0], *section.patch_shape), dtype=np.float32)
        summed: Float32Array | None = None
        for axes in flips:
            flip = tuple(slice(None, None, -1) if axis in axes else slice(None) for axis in range(3))
            for i, corner in enumerate(corners):
                cut = tuple(slice(a, a + n) for a, n in zip(corner, section.patch_shape, strict=True))
                buffer[i] = image[(slice(None), *cut)][(slice(None), *flip)]
            for session in self._sessions:
                outputs = self._outputs(session, buffer)[: len(corners), :, *flip]
                if summed is None:
                    summed = np.array(outputs, dtype=np.float32)
                else:
                    summed += outputs
        if summed is None:
            raise ModelError("the model has no network; export it again")
        return summed

    def _fill(self, patches: int) -> int:
        """Size of the batch to send: a network with a fixed batch takes no fewer."""
        fixed = self._sessions[0].inputs[0].shape[0]
        return fixed if isinstance(fixed, int) else patches

    def _outputs(self, session: InferenceSession, patches: Float32Array) -> Float32Array:
        """Outputs of one network; version 1 averages probabilities."""
        outputs = session.run({IMAGE: patches})[LOGITS]
        expected = (len(patches), self._section.output_count, *self._section.patch_shape)
        if outputs.shape != expected:
            raise ModelError(
                f"{session.backend} returned {outputs.shape}, not {expected}; export the model again"
            )
        return outputs if self._section.framework == "nnunet_v2" else probabilities(outputs, self._section)


def probabilities(logits: Float32Array, section: SegmentationSection) -> Float32Array:
    """Softmax over the outputs (axis 1), or the sigmoid of each region."""
    if not section.uses_softmax:
        return np.asarray(1 / (1 + np.exp(-logits.astype(np.float32))), dtype=np.float32)
    exponentials: Float32Array = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float32)
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


class _Blend:
    """Weighted sums of the slices that patches still reach."""

    def __init__(self, section: SegmentationSection, shape: Index3, summands: int) -> None:
        self._weights = patch_weights(section.patch_shape, section.framework)
        self._summed = np.zeros((section.output_count, *shape), dtype=np.float32)
        self._total = np.zeros(shape, dtype=np.float32)
        # Sums of several mirrorings and folds are divided once, here, not patch by patch.
        self._share = self._weights * np.float32(summands)
        self._product = np.empty(section.patch_shape, dtype=np.float32)

    def add(self, outputs: Float32Array, y: int, x: int) -> None:
        """Add a patch (output, z, y, x) whose first slice is the first one held."""
        _, height, width = self._weights.shape
        cut = (slice(None), slice(y, y + height), slice(x, x + width))
        for summed, output in zip(self._summed, outputs, strict=True):
            summed[cut] += np.multiply(output, self._weights, out=self._product)
        self._total[cut] += self._share

    def finished(self, slices: int) -> Float32Array:
        """Averages of the first slices, which are then forgotten."""
        outputs = self._summed[:, :slices] / self._total[:slices]
        if not np.isfinite(outputs).all():
            raise ModelError(
                "the network returned numbers that are not finite; use another precision or backend"
            )
        for held in (*self._summed, self._total):
            held[:-slices] = held[slices:]
            held[-slices:] = 0
        return outputs


def _batches(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
