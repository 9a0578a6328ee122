"""``Generic_UNet`` of nnU-Net v1 in PyTorch, with the module names of its published checkpoints.

Source: nnU-Net, branch nnunetv1, ``generic_UNet.py``, as its trainers configure it: strided
convolutions down, transposed convolutions without bias up, instance normalization, leaky ReLU 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

Size3 = tuple[int, int, int]
ONE: Size3 = (1, 1, 1)
_MAX_FEATURES_3D = 320
_NEGATIVE_SLOPE = 0.01
NORM_EPS = 1e-5


@dataclass(frozen=True)
class GenericUNetPlan:
    """Sizes of the network; ``kernels`` has one entry more than ``pools``, for the bottleneck."""

    channels: int
    outputs: int
    base_features: int
    pools: tuple[Size3, ...]
    kernels: tuple[Size3, ...]
    convs_per_stage: int = 2


class GenericUNet(nn.Module):
    """Context (down) and localization (up) paths.

    Parameters
    ----------
    plan : GenericUNetPlan
    """

    def __init__(self, plan: GenericUNetPlan) -> None:
        super().__init__()
        depth, pools = plan.convs_per_stage, plan.pools
        features = [min(plan.base_features * 2**level, _MAX_FEATURES_3D) for level in range(len(pools) + 1)]
        sizes, strides = [plan.channels, *features], [ONE, *pools]
        context: list[nn.Module] = [
            _Stack([sizes[level], *[features[level]] * depth], plan.kernels[level], strides[level])
            for level in range(len(pools))
        ]
        bottleneck = _last_apart(features[-2], features[-1], depth, plan.kernels[-1], pools[-1])
        self.conv_blocks_context = nn.ModuleList([*context, bottleneck])
        up, localization, heads = [], [], []
        for step, pool in enumerate(reversed(pools)):
            below, skip = features[-1 - step], features[-2 - step]
            up.append(nn.ConvTranspose3d(below, skip, pool, pool, bias=False))
            # v1 takes the kernel of the stage below here, not of the stage joined with.
            localization.append(_last_apart(2 * skip, skip, depth, plan.kernels[-1 - step], ONE))
            heads.append(nn.Conv3d(skip, plan.outputs, 1, bias=False))
        self.conv_blocks_localization = nn.ModuleList(localization)
        self.tu = nn.ModuleList(up)
        self.seg_outputs = nn.ModuleList(heads)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, z, y, x) of an image (N, C, z, y, x)."""
        features, skips = image, []
        for stage in self.conv_blocks_context[:-1]:
            features = stage(features)
            skips.append(features)
        features = self.conv_blocks_context[-1](features)
        for up, stage in zip(self.tu, self.conv_blocks_localization, strict=True):
            features = stage(torch.cat([up(features), skips.pop()], dim=1))
        logits: torch.Tensor = self.seg_outputs[-1](features)
        return logits


def _last_apart(size_in: int, size_out: int, depth: int, kernel: Size3, stride: Size3) -> nn.Module:
    """A stage whose last convolution is a stack of its own, as v1 names it."""
    first = _Stack([size_in, *[size_out] * (depth - 1)], kernel, stride)
    return nn.Sequential(first, _Stack([size_out, size_out], kernel))


class _ConvNorm(nn.Module):
    """Convolution, instance normalization, leaky ReLU."""

    def __init__(self, size_in: int, size_out: int, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        z, y, x = (1 if k == 3 else 0 for k in kernel)
        self.conv = nn.Conv3d(size_in, size_out, kernel, stride, (z, y, x))
        self.instnorm = nn.InstanceNorm3d(size_out, eps=NORM_EPS, affine=True)
        self.lrelu = nn.LeakyReLU(_NEGATIVE_SLOPE)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        active: torch.Tensor = self.lrelu(self.instnorm(self.conv(features)))
        return active


class _Stack(nn.Module):
    """Convolutions in a row under the name ``blocks``; the first one strides."""

    def __init__(self, sizes: Sequence[int], kernel: Size3, stride: Size3 = ONE) -> None:
        super().__init__()
        blocks = [
            _ConvNorm(size_in, size_out, kernel, stride if i == 0 else ONE)
            for i, (size_in, size_out) in enumerate(pairwise(sizes))
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        stacked: torch.Tensor = self.blocks(features)
        return stacked
