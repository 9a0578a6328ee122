"""What a network takes beside the CT: volumes by the name of their channel, on the CT's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Int16Array
from engine.errors import InvalidRequestError, ManifestError
from engine.geometry import VolumeGeometry, index3
from engine.manifest import NAMED_CHANNELS, VERIFICATION_CT, SegmentationSection
from engine.model_identity import ModelIdentity
from engine.segmentation.orientation import Reorientation

ChannelSource: TypeAlias = Callable[[str, VolumeGeometry], Float32Array]
"""From the name of a channel and a grid to the channel's values there, (z, y, x): HU, or mm of a distance. The grid is
the part of the CT that the network sees, its axes as the network has them."""


def on_grid(volumes: Mapping[str, npt.NDArray[Any]], geometry: VolumeGeometry) -> ChannelSource:
    """Channels that are there already, all on one grid; parts of it are cut out, its axes turned.

    Parameters
    ----------
    volumes : mapping of str to ndarray, (z, y, x)
        By the channels' names.
    geometry : VolumeGeometry

    Raises
    ------
    InvalidRequestError
        When called: if a volume is missing, or is not of the grid's shape.
    """

    def volume(name: str, wanted: VolumeGeometry) -> Float32Array:
        values = volumes.get(name)
        if values is None or values.shape != geometry.shape_zyx:
            found = "is missing" if values is None else f"has the shape {values.shape}"
            raise InvalidRequestError(
                f"the channel {name} {found}; give it on the grid {geometry.shape_zyx} of the CT"
            )
        turned = _reorientation(geometry, wanted)
        box = turned.geometry(geometry).box_of(wanted)
        return np.asarray(turned.array(values)[box.slices], dtype=np.float32)

    return volume


def channel_volumes(
    section: SegmentationSection, hu: Int16Array, geometry: VolumeGeometry, companions: ChannelSource | None
) -> list[npt.NDArray[Any]]:
    """The volumes of all channels in the network's order, on the grid of the CT's part.

    Raises
    ------
    InvalidRequestError
        If the network needs more than the CT and there is no source, or it gives another shape.
    """
    if not section.companions:
        return [hu]
    if companions is None:
        raise InvalidRequestError(
            f"the model takes {', '.join(section.companions)} beside the CT, which only an assessment has; "
            "use a model of one channel here"
        )
    return [
        hu if channel.name == VERIFICATION_CT else _companion(channel.name, geometry, companions)
        for channel in section.channels
    ]


def require_named_channels(section: SegmentationSection, identity: ModelIdentity) -> None:
    """Require that several channels are told apart by their names.

    Raises
    ------
    ManifestError
    """
    names = [channel.name for channel in section.channels]
    if len(names) > 1 and not {VERIFICATION_CT} <= set(names) <= set(NAMED_CHANNELS):
        raise ManifestError(
            f"{identity} takes {len(names)} images ({', '.join(names)}), and it is not said which is which: only "
            f"{', '.join(NAMED_CHANNELS)} are known; export it again with --channel"
        )


def _companion(name: str, geometry: VolumeGeometry, companions: ChannelSource) -> Float32Array:
    values = companions(name, geometry)
    if values.shape != geometry.shape_zyx:
        raise InvalidRequestError(
            f"the channel {name} has the shape {values.shape}, the CT {geometry.shape_zyx}"
        )
    return values


def _reorientation(own: VolumeGeometry, wanted: VolumeGeometry) -> Reorientation:
    """How the axes of a grid have to be turned to run as those of another."""
    cosines = np.array(wanted.directions_zyx_lps) @ np.array(own.directions_zyx_lps).T
    order = np.abs(cosines).argmax(axis=1)
    return Reorientation(index3(order), index3(np.sign(cosines[range(3), order])))
