"""Networks that are one function of the image, and a CT for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import ndimage

from engine.arrays import Float32Array
from engine.geometry import VolumeGeometry
from engine.manifest import Channel, SegmentationSection
from engine.segmentation import Segmenter
from engine.volume import CtVolume
from tests.support.segmentation_models import manifest_of, tensors

DEEPSURV = Path(__file__).parents[2] / "models" / "deepsurv-demo" / "1.0.0"


def section(**changes: Any) -> SegmentationSection:
    """A network on the CT's own grid that sees HU."""
    given: dict[str, Any] = {
        "framework": "nnunet_v2",
        "purpose": "other",
        "labels": {"background": 0, "tumor": 1},
        "spacing_mm": (2.0, 1.0, 1.0),
        "patch_shape": (8, 12, 12),
        "mirror_axes": (0, 1, 2),
        "channels": (Channel(name="CT", scheme="none"),),
    }
    return SegmentationSection(**{**given, **changes})


class StubSession:
    """A network that is one function of the image."""

    backend = "stub"

    def __init__(
        self,
        it: SegmentationSection,
        network: Callable[[Float32Array], Float32Array] | None = None,
        batch: int | str = "batch",
    ) -> None:
        self.inputs, self.outputs = tensors(it, batch)
        self.network = network or above_zero
        self.batches: list[int] = []
        self.closed = False

    def run(self, inputs: dict[str, Float32Array]) -> dict[str, Float32Array]:
        self.batches.append(len(inputs["image"]))
        logits = self.network(inputs["image"])
        logits.flags.writeable = False
        return {"logits": logits}

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def above_zero(image: Float32Array) -> Float32Array:
    """Label 1 wherever the image is above 0."""
    return np.concatenate([np.zeros_like(image), image], axis=1)


def segmenter(it: SegmentationSection, *sessions: StubSession, **options: Any) -> Segmenter:
    return Segmenter(manifest_of(it), sessions or (StubSession(it),), **options)


def ct_of(shape: tuple[int, int, int] = (20, 30, 26), seed: int = 0, **geometry: Any) -> CtVolume:
    """Smooth noise about 0 HU, nowhere 0."""
    rng = np.random.default_rng(seed)
    hu = (ndimage.gaussian_filter(rng.standard_normal(shape), 2.0) * 4000).astype(np.int16)
    hu[hu == 0] = 1
    return CtVolume(hu, VolumeGeometry(shape, **{"spacing_zyx_mm": (2.0, 1.0, 1.0), **geometry}))
