"""What a segmentation model found in a CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.arrays import Float16Array, UInt8Array
from engine.errors import InvalidRequestError, PreconditionError
from engine.geometry import VolumeGeometry
from engine.manifest import SegmentationSection
from engine.model_identity import ModelIdentity
from engine.volume import LabelMask


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model found.

    Parameters
    ----------
    labels : ndarray of uint8, (z, y, x)
        Numbers of the manifest's labels; read-only.
    geometry : VolumeGeometry
        The CT's own grid, or its crop to the region asked for.
    section : SegmentationSection
        Of the model: what the numbers mean.
    model : ModelIdentity
    backend : str
        What computed it.
    patches : int
        Patches of the network that were computed.
    probability : ndarray of float16, (z, y, x), optional
        See :attr:`foreground_probability`.
    """

    labels: UInt8Array
    geometry: VolumeGeometry
    section: SegmentationSection
    model: ModelIdentity
    backend: str
    patches: int
    probability: Float16Array | None = None

    @property
    def foreground_probability(self) -> Float16Array:
        """Probability of the labels that count (:attr:`SegmentationSection.counted_labels`), (z, y, x).

        Raises
        ------
        PreconditionError
            If the segmentation was made without it.
        """
        if self.probability is None:
            raise PreconditionError("made without probabilities; segment again with probability=True")
        return self.probability

    def mask(self, name: str) -> LabelMask:
        """One structure; of overlapping regions all labels that it unites.

        Raises
        ------
        InvalidRequestError
            If the model knows no such label.
        """
        value = self.section.labels.get(name, 0)
        if value == 0:
            known = ", ".join(label for label, number in self.section.labels.items() if number)
            raise InvalidRequestError(
                f"{self.model} has no label {name!r}, only {known}; choose one of these"
            )
        united = dict(zip(self.section.regions_class_order, self.section.regions, strict=True))
        if len(united.get(value, ())) > 1:
            return LabelMask(np.isin(self.labels, united[value]), self.geometry, name)
        return LabelMask(self.labels == value, self.geometry, name)
