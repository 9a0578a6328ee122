"""Grids, positions and ranges as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence

from coldspot.v1 import geometry_pb2

from engine.errors import InvalidGeometryError
from engine.geometry import Vector3, VolumeGeometry


def geometry_of(message: geometry_pb2.VolumeGeometry) -> VolumeGeometry:
    """Return the grid that a message describes.

    Raises
    ------
    InvalidGeometryError
    """
    shape, spacing, axes = message.shape_zyx, message.spacing_zyx_mm, message.directions_zyx_lps
    if len(shape) != 3 or len(spacing) != 3 or len(axes) != 9:
        raise InvalidGeometryError(
            "a geometry needs three sizes, three spacings and nine direction components (z, y, x axis)"
        )
    return VolumeGeometry(
        shape_zyx=(shape[0], shape[1], shape[2]),
        spacing_zyx_mm=_vector(spacing),
        directions_zyx_lps=(_vector(axes[0:3]), _vector(axes[3:6]), _vector(axes[6:9])),
        origin_lps_mm=position_of(message.origin_lps_mm),
        frame_of_reference_uid=message.frame_of_reference_uid,
    )


def geometry_message(geometry: VolumeGeometry) -> geometry_pb2.VolumeGeometry:
    """Return a grid as a message."""
    return geometry_pb2.VolumeGeometry(
        shape_zyx=geometry.shape_zyx,
        spacing_zyx_mm=geometry.spacing_zyx_mm,
        directions_zyx_lps=[component for axis in geometry.directions_zyx_lps for component in axis],
        origin_lps_mm=point_message(geometry.origin_lps_mm),
        frame_of_reference_uid=geometry.frame_of_reference_uid,
    )


def position_of(message: geometry_pb2.Point) -> Vector3:
    """Return a position in words, LPS mm."""
    return (message.x, message.y, message.z)


def point_message(position_lps_mm: Sequence[float] | None) -> geometry_pb2.Point | None:
    """Return a position, LPS mm, as a message; None stays None."""
    if position_lps_mm is None:
        return None
    x, y, z = (float(value) for value in position_lps_mm)
    return geometry_pb2.Point(x=x, y=y, z=z)


def _vector(components: Sequence[float]) -> Vector3:
    return (components[0], components[1], components[2])
