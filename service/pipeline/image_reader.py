"""Reads images with the engine: the service's :class:`service.cases.volumes.ImageReader` protocol."""

from __future__ import annotations

from collections.abc import Sequence

from engine.dicom.masks import read_dicom_mask
from engine.dicom.series import read_series
from engine.files.reading import in_axis_order_of
from engine.volume import CtVolume, LabelMask


class EngineImageReader:
    """Reads DICOM, and brings masks onto the grid of their CT; needs no model and no device."""

    def read_ct(self, instances: Sequence[bytes], series: str) -> CtVolume:
        """Return the volume of a DICOM series in memory: of the only one, or of the one that is named."""
        return read_series(instances, series)

    def read_mask(self, instance: bytes, ct: CtVolume, name: str, structure: str) -> LabelMask:
        """Return one structure of a DICOM SEG or RTSTRUCT on its CT."""
        return read_dicom_mask(instance, ct, name, label=structure or None)

    def in_axis_order_of(self, ct: CtVolume, mask: LabelMask) -> LabelMask:
        """Return a mask with its axes in the order of its CT's axes, if both have the same voxels in another order."""
        return in_axis_order_of(ct.geometry, mask)
