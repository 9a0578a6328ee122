"""How a picture looks in greyscale print and to people who are color-blind."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from engine.arrays import Float64Array


class Vision(StrEnum):
    """Who looks at a picture, or how it was printed."""

    NORMAL = "normal"
    GREYSCALE = "greyscale"
    DEUTERANOPIA = "deuteranopia"
    PROTANOPIA = "protanopia"
    TRITANOPIA = "tritanopia"


_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_SEEN = {
    Vision.NORMAL: np.eye(3),
    Vision.GREYSCALE: np.tile(_LUMINANCE, (3, 1)),
    # Machado, Oliveira, Fernandes 2009 (doi:10.1109/TVCG.2009.113), severity 1.0, linear RGB.
    Vision.PROTANOPIA: np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    Vision.DEUTERANOPIA: np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    Vision.TRITANOPIA: np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def as_seen(rgb: Float64Array, vision: Vision) -> Float64Array:
    """Return sRGB colors (..., 3) from 0 to 1 as they are seen."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ _SEEN[vision].T, 0.0, 1.0)
    return np.asarray(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


def lab(rgb: Float64Array) -> Float64Array:
    """Return CIE L*a*b* (D65) of sRGB colors (..., 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
