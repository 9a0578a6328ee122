"""Segmentation of a CT by an nnU-Net, without torch.

``preprocessing`` (CT to network), ``companions`` (what a network of several channels takes beside the CT),
``sliding_window`` (network over patches), ``restoring`` (outputs to labels on the CT), ``resampling`` between the
grids, and the ``Segmenter`` that runs them.
"""

from __future__ import annotations

from engine.segmentation.companions import ChannelSource
from engine.segmentation.region import Box
from engine.segmentation.result import Segmentation
from engine.segmentation.segmenter import Segmenter, open_segmenter

__all__ = ["Box", "ChannelSource", "Segmentation", "Segmenter", "open_segmenter"]
