"""A stand-in for a segmentation model: draws by rule, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import SegmentationSection
from engine.model_identity import ModelIdentity
from engine.segmentation import Box, ChannelSource
from engine.segmentation.region import crop_to
from engine.volume import CtVolume

Labels = npt.NDArray[np.uint8]


def section(*channels: str, **labels: int) -> SegmentationSection:
    """Of an ablation zone where there is a label zone, of a tumor where there is one."""
    purpose = next(
        (p for name, p in (("zone", "ablation_zone"), ("tumor", "tumor")) if name in labels), "other"
    )
    roles = {role: (role,) for role in ("zone", "core", "tumor") if role in labels}
    return SegmentationSection.model_validate(
        {
            "framework": "nnunet_v2",
            "purpose": purpose,
            "roles": roles if purpose != "other" else {},
            "labels": {"background": 0, **labels},
            "spacing_mm": (1.0, 1.0, 1.0),
            "patch_shape": (32, 32, 32),
            "channels": tuple({"name": name, "scheme": "none"} for name in channels or ("CT",)),
        }
    )


def model(name: str, version: str = "1.0.0", *, demo: bool = True) -> ModelIdentity:
    return ModelIdentity(name, version, "0" * 64, demo, "1" * 64)


@dataclass(frozen=True, eq=False)
class Drawn:
    labels: Labels
    geometry: VolumeGeometry
    foreground_probability: npt.NDArray[np.float16]


@dataclass
class StubSegmenter:
    """Draws labels on the whole CT and cuts out the box.

    Parameters
    ----------
    draw : callable
        From a CT to its labels, (z, y, x).
    blur_mm : float
        Width of the passage of the probability from 0 to 1; 0 is a model that knows no doubt.
    doubt : callable, optional
        From a CT to a factor on the probability.
    """

    draw: Callable[[CtVolume], npt.ArrayLike]
    identity: ModelIdentity = field(default_factory=lambda: model("stub-demo"))
    section: SegmentationSection = field(default_factory=lambda: section(tumor=1))
    blur_mm: float = 0.0
    doubt: Callable[[CtVolume], npt.ArrayLike] | None = None
    backend: str = "stub"
    asked: list[Box | None] = field(default_factory=list)

    def segment(
        self, ct: CtVolume, *, around: Box | None = None, companions: ChannelSource | None = None
    ) -> Drawn:
        self.asked.append(around)
        labels = np.asarray(self.draw(ct), dtype=np.uint8)
        share = np.isin(labels, list(self.section.counted_labels)).astype(np.float32)
        if self.blur_mm:
            sigma = [self.blur_mm / s for s in ct.geometry.spacing_zyx_mm]
            share = ndimage.gaussian_filter(share, sigma)
        if self.doubt is not None:
            share *= np.asarray(self.doubt(ct), dtype=np.float32)
        crop = VoxelBox.whole(ct.geometry.shape_zyx) if around is None else crop_to(ct.geometry, around)
        return Drawn(
            labels[crop.slices].copy(),
            ct.geometry.crop(crop),
            share[crop.slices].astype(np.float16),
        )

    def close(self) -> None:
        pass
