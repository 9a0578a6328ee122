"""The tasks of the demo segmenters: labels, spacing and network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from engine.manifest import Channel, SegmentationSection
from engine.manifest.segmentation import Resampling
from export.nnunet.unet import UNet, UNetPlan

TaskName = Literal["tumor", "zone"]

LOW_HU: Final = -1000.0
HIGH_HU: Final = 400.0
MEAN_HU: Final = -300.0
SD_HU: Final = 400.0

FEATURES: Final = (12, 24, 48, 96)
PATCH: Final = 64
"""Voxels along each axis in use; training patches are smaller."""


@dataclass(frozen=True)
class DemoTask:
    """One segmenter.

    Parameters
    ----------
    name : str
    bundle_id : str
    labels : tuple of str
        Without background, in the order of their numbers.
    spacing_mm : float
    jitter_mm : float
        How far from the structure's center a training patch may lie.
    min_lead : float
        By how much a label's logit must exceed the background's. Readers differ in how far outside a nodule
        they draw: LIDC's are wider than the contours of radiotherapy. With 1 the tumor lies between them.
    """

    name: TaskName
    bundle_id: str
    labels: tuple[str, ...]
    spacing_mm: float
    jitter_mm: float
    min_lead: float = 0.0

    @property
    def section(self) -> SegmentationSection:
        """Preprocessing, labels and patch size with which the engine runs it."""
        return SegmentationSection(
            framework="nnunet_v2",
            purpose="ablation_zone" if self.name == "zone" else "tumor",
            labels={"background": 0} | {name: i + 1 for i, name in enumerate(self.labels)},
            spacing_mm=(self.spacing_mm,) * 3,
            patch_shape=(PATCH,) * 3,
            crop_to_nonzero=False,
            mirror_axes=(0, 1, 2),
            channels=(Channel(name="CT", scheme="ct", mean=MEAN_HU, sd=SD_HU, low=LOW_HU, high=HIGH_HU),),
            resampling=Resampling(data_order=1),
        )

    def network(self) -> UNet:
        """The untrained network."""
        depth = len(FEATURES)
        return UNet(
            UNetPlan(
                channels=1,
                outputs=len(self.labels) + 1,
                features=FEATURES,
                kernels=((3, 3, 3),) * depth,
                strides=((1, 1, 1),) + ((2, 2, 2),) * (depth - 1),
                encoder_depths=(1, 2, 2, 2),
                decoder_depths=(2, 2, 1),
            )
        )


TASKS: Final[dict[TaskName, DemoTask]] = {
    "zone": DemoTask("zone", "zone-demo", ("zone", "core"), 1.5, 35.0),
    "tumor": DemoTask("tumor", "tumor-demo", ("tumor",), 1.0, 30.0, min_lead=1.0),
}
