"""Segmentation of a CT by an nnU-Net, without torch.

``preprocessing`` (CT to network), ``sliding_window`` (network over patches), ``restoring`` (outputs to
labels on the CT), ``resampling`` between the grids, and the ``Segmenter`` that runs them.
"""

from __future__ import annotations

from engine.segmentation.region import Box
from engine.segmentation.segmenter import Segmentation, Segmenter, open_segmenter

__all__ = ["Box", "Segmentation", "Segmenter", "open_segmenter"]
