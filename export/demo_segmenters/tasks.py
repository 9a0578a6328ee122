"""The tasks of the demo segmenters: channels, labels, spacing and network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from engine.manifest import (
    PLANNING_CT_WARPED,
    TUMOR_DISTANCE,
    VERIFICATION_CT,
    Channel,
    SegmentationSection,
)
from engine.manifest.segmentation import Resampling
from export.nnunet.unet import UNet, UNetPlan

TaskName = Literal["tumor", "zone"]

_LOW_HU: Final = -1000.0
_HIGH_HU: Final = 400.0
_MEAN_HU: Final = -300.0
_SD_HU: Final = 400.0
_FAR_MM: Final = 30.0
_SD_MM: Final = 10.0

STEPS_PER_MM: Final = 100
"""Distances are kept as whole hundredths of a millimeter."""

_FEATURES: Final = (12, 24, 48, 96)
PATCH: Final = 64
"""Voxels along each axis in use; training patches are smaller."""


@dataclass(frozen=True)
class SceneChannel:
    """One channel of the network, and what scenes keep of it.

    Parameters
    ----------
    channel : Channel
        Name and normalization in use.
    per_unit : int
        What scenes keep, in whole numbers, is so many times the channel's own unit.
    is_scanned : bool
        HU of a scanner, whose calibration and noise vary; not a distance.
    """

    channel: Channel
    per_unit: int
    is_scanned: bool


def _scanned(name: str) -> SceneChannel:
    window = Channel(name=name, scheme="ct", mean=_MEAN_HU, sd=_SD_HU, low=_LOW_HU, high=_HIGH_HU)
    return SceneChannel(window, per_unit=1, is_scanned=True)


_DISTANCE: Final = SceneChannel(
    Channel(name=TUMOR_DISTANCE, scheme="ct", mean=0.0, sd=_SD_MM, low=-_FAR_MM, high=_FAR_MM),
    per_unit=STEPS_PER_MM,
    is_scanned=False,
)

_CHANNELS: Final[dict[TaskName, tuple[SceneChannel, ...]]] = {
    "zone": (_scanned(VERIFICATION_CT), _scanned(PLANNING_CT_WARPED), _DISTANCE),
    "tumor": (_scanned("CT"),),
}


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
    """

    name: TaskName
    bundle_id: str
    labels: tuple[str, ...]
    spacing_mm: float

    @property
    def channels(self) -> tuple[SceneChannel, ...]:
        """What the network sees, and how it is normalized."""
        return _CHANNELS[self.name]

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
            channels=tuple(it.channel for it in self.channels),
            resampling=Resampling(data_order=1),
        )

    def network(self) -> UNet:
        """The untrained network."""
        depth = len(_FEATURES)
        return UNet(
            UNetPlan(
                channels=len(self.channels),
                outputs=len(self.labels) + 1,
                features=_FEATURES,
                kernels=((3, 3, 3),) * depth,
                strides=((1, 1, 1),) + ((2, 2, 2),) * (depth - 1),
                encoder_depths=(1, 2, 2, 2),
                decoder_depths=(2, 2, 1),
            )
        )


TASKS: Final[dict[TaskName, DemoTask]] = {
    "zone": DemoTask("zone", "zone-demo", ("zone", "core"), 1.5),
    "tumor": DemoTask("tumor", "tumor-demo", ("tumor",), 1.0),
}
