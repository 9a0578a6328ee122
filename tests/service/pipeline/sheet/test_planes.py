"""Planes are upright in the patient, however the scan lies in its array."""

from __future__ import annotations

import numpy as np
import pytest

from engine.geometry import RigidTransform, Vector3, VolumeGeometry
from engine.volume import CtVolume
from service.pipeline.sheet.planes import OUTSIDE_HU, Orientation, Plane, ct_on, mask_on

CENTER = np.array([10.0, -20.0, 300.0])
TOWARD: dict[str, Vector3] = {
    "R": (-1.0, 0.0, 0.0),
    "L": (1.0, 0.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}


def ball_beside_center(offset_lps_mm: Vector3, directions: str) -> CtVolume:
    """A bright ball so far from ``CENTER``, in a scan whose axes (zyx) run in the directions."""
    slices, rows, columns = (TOWARD[letter] for letter in directions)
    shape = (51, 51, 51)
    x, y, z = (float(v) for v in CENTER - 25.0 * np.array([slices, rows, columns]).sum(axis=0))
    geometry = VolumeGeometry(shape, (1.0, 1.0, 1.0), (slices, rows, columns), (x, y, z))
    positions = geometry.to_lps(np.moveaxis(np.indices(shape), 0, -1))
    near = ((positions - CENTER - np.array(offset_lps_mm)) ** 2).sum(axis=-1) < 4.0**2
    return CtVolume(np.where(near, 500, -800).astype(np.int16), geometry)


@pytest.mark.parametrize("directions", ["SPL", "IAR", "LSP", "PRI", "RAS"])
@pytest.mark.parametrize("orientation", list(Orientation))
def test_the_letters_at_the_edges_are_true(orientation: Orientation, directions: str) -> None:
    plane = Plane(orientation, CENTER, 20.0)
    last = plane.pixels - 1
    for letter, row, column in (
        (orientation.left, last // 2, 0),
        (orientation.right, last // 2, last),
        (orientation.top, 0, last // 2),
        (orientation.bottom, last, last // 2),
    ):
        x, y, z = (20.0 * component for component in TOWARD[letter])
        hu = ct_on(plane, ball_beside_center((x, y, z), directions))
        bright = np.argwhere(hu > 0)
        assert np.abs(bright - np.array([row, column])).max() * plane.pixel_mm < 5.0
        assert hu[row, column] == 500.0


def test_a_moved_scan_is_shown_where_it_belongs() -> None:
    moved = RigidTransform.from_translation((7.0, 0.0, 0.0))
    plane = Plane(Orientation.AXIAL, CENTER, 20.0)
    hu = ct_on(plane, ball_beside_center((7.0, 0.0, 0.0), "SPL"), moved)
    assert np.argwhere(hu > 0).mean(axis=0) == pytest.approx([plane.pixels // 2] * 2, abs=0.2)


def test_beyond_the_scan_there_is_air_and_no_mask() -> None:
    ct = ball_beside_center((0.0, 0.0, 0.0), "SPL")
    far = Plane(Orientation.CORONAL, CENTER + np.array([0.0, 500.0, 0.0]), 10.0)
    assert (ct_on(far, ct) == OUTSIDE_HU).all()
    everywhere = np.ones(ct.geometry.shape_zyx, dtype=np.bool_)
    assert (mask_on(far, everywhere, ct.geometry) == 0.0).all()


def test_pixels_lie_where_the_plane_says() -> None:
    plane = Plane(Orientation.SAGITTAL, CENTER, 15.0)
    positions = plane.positions_lps_mm()
    assert plane.position_mm == 10.0
    assert (positions[..., 0] == 10.0).all()
    assert positions[0, 0] == pytest.approx([10.0, -35.0, 315.0])
    assert positions[-1, -1] == pytest.approx([10.0, -5.0, 285.0])
