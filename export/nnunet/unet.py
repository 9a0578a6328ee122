"""The U-Nets of nnU-Net v2 in PyTorch, with the module names of its published checkpoints.

Architecture: Isensee et al., Nat. Methods 18 (2021); residual encoder: Isensee et al., MICCAI 2024
(arXiv:2404.09556), blocks after ResNet-D (He et al., CVPR 2019). Only the last segmentation head is
computed; the others are loaded, because deep supervision trained them, and left out of the export.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

Size3 = tuple[int, int, int]
ONE: Size3 = (1, 1, 1)


@dataclass(frozen=True)
class UNetPlan:
    """Sizes of a 3D U-Net, one entry for each stage, highest resolution first.

    Parameters
    ----------
    channels, outputs : int
        Of the image and of the logits.
    features, kernels, strides, encoder_depths : sequence
        By stage; a depth counts convolutions (plain) or residual blocks.
    decoder_depths : sequence of int
        Lowest resolution first, one fewer than stages.
    residual : bool
        Whether the encoder has residual blocks behind a stem.
    stem_features : int, optional
        Of the residual encoder; the first stage's by default.
    conv_bias : bool
    norm_eps : float
    negative_slope : float
        Of the leaky ReLU; 0 is a ReLU.
    """

    channels: int
    outputs: int
    features: tuple[int, ...]
    kernels: tuple[Size3, ...]
    strides: tuple[Size3, ...]
    encoder_depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    residual: bool = False
    stem_features: int | None = None
    conv_bias: bool = True
    norm_eps: float = 1e-5
    negative_slope: float = 0.01


class UNet(nn.Module):
    """Plain or residual encoder, plain decoder.

    Parameters
    ----------
    plan : UNetPlan
    """

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        self.encoder = _Encoder(plan)
        self.decoder = _Decoder(plan)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, z, y, x) of an image (N, C, z, y, x)."""
        logits: torch.Tensor = self.decoder(self.encoder(image))
        return logits

    def scale_logits(self, by: float) -> None:
        """Multiply all logits: a network that is too sure of itself is calibrated by a number below 1."""
        with torch.no_grad():
            for weights in self.decoder.seg_layers.parameters():
                weights.mul_(by)

    def raise_background(self, by: float) -> None:
        """Add to the logit of label 0 everywhere: other labels must then lead by so much."""
        *_, head = self.decoder.seg_layers.parameters()
        with torch.no_grad():
            head[0] += by


class _ConvNorm(nn.Module):
    """Convolution, instance normalization and, where asked for, the nonlinearity."""

    def __init__(
        self,
        plan: UNetPlan,
        size_in: int,
        size_out: int,
        kernel: Size3,
        stride: Size3 = ONE,
        *,
        bias: bool | None = None,
        active: bool = True,
    ) -> None:
        super().__init__()
        z, y, x = kernel
        padding = ((z - 1) // 2, (y - 1) // 2, (x - 1) // 2)
        bias = plan.conv_bias if bias is None else bias
        self.conv = nn.Conv3d(size_in, size_out, kernel, stride, padding, bias=bias)
        self.norm = nn.InstanceNorm3d(size_out, eps=plan.norm_eps, affine=True)
        self.nonlin = nn.LeakyReLU(plan.negative_slope) if active else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.conv(features))
        return features if self.nonlin is None else self.nonlin(features)


class _Stack(nn.Module):
    """Convolutions in a row under the name ``convs``; the first one strides."""

    def __init__(self, plan: UNetPlan, sizes: Sequence[int], kernel: Size3, stride: Size3 = ONE) -> None:
        super().__init__()
        convs = [
            _ConvNorm(plan, size_in, size_out, kernel, stride if i == 0 else ONE)
            for i, (size_in, size_out) in enumerate(pairwise(sizes))
        ]
        self.convs = nn.Sequential(*convs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        stacked: torch.Tensor = self.convs(features)
        return stacked


class _ResidualBlock(nn.Module):
    """Two convolutions and a skip connection, which pools by averaging and projects where sizes differ."""

    def __init__(self, plan: UNetPlan, size_in: int, size_out: int, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(plan, size_in, size_out, kernel, stride)
        self.conv2 = _ConvNorm(plan, size_out, size_out, kernel, active=False)
        self.nonlin2 = nn.LeakyReLU(plan.negative_slope)
        skip: list[nn.Module] = []
        if stride != ONE:
            skip.append(nn.AvgPool3d(stride, stride))
        if size_in != size_out:
            skip.append(_ConvNorm(plan, size_in, size_out, ONE, bias=False, active=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.nonlin2(self.conv2(self.conv1(features)) + self.skip(features))
        return summed


class _ResidualStack(nn.Module):
    """Residual blocks in a row under the name ``blocks``; the first one strides."""

    def __init__(self, plan: UNetPlan, sizes: Sequence[int], kernel: Size3, stride: Size3) -> None:
        super().__init__()
        blocks = [
            _ResidualBlock(plan, size_in, size_out, kernel, stride if i == 0 else ONE)
            for i, (size_in, size_out) in enumerate(pairwise(sizes))
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        stacked: torch.Tensor = self.blocks(features)
        return stacked


class _Encoder(nn.Module):
    """Features of every stage, highest resolution first."""

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        size = plan.channels
        if plan.residual:
            stem = plan.stem_features or plan.features[0]
            self.stem: nn.Module | None = _Stack(plan, [size, stem], plan.kernels[0])
            size = stem
        else:
            self.stem = None
        stages = []
        for features, depth, kernel, stride in zip(
            plan.features, plan.encoder_depths, plan.kernels, plan.strides, strict=True
        ):
            sizes = [size, *[features] * depth]
            stack: Callable[..., nn.Module] = _ResidualStack if plan.residual else _Stack
            stage = stack(plan, sizes, kernel, stride)
            stages.append(stage if plan.residual else nn.Sequential(stage))
            size = features
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = image if self.stem is None else self.stem(image)
        skips = []
        for stage in self.stages:
            features = stage(features)
            skips.append(features)
        return skips


class _Decoder(nn.Module):
    """Up by transposed convolution, joined with the encoder's features of that stage."""

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        stages, up, heads = [], [], []
        levels = range(len(plan.features) - 2, -1, -1)
        for level, depth in zip(levels, plan.decoder_depths, strict=True):
            features, stride = plan.features[level], plan.strides[level + 1]
            up.append(
                nn.ConvTranspose3d(plan.features[level + 1], features, stride, stride, bias=plan.conv_bias)
            )
            stages.append(_Stack(plan, [2 * features, *[features] * depth], plan.kernels[level]))
            heads.append(nn.Conv3d(features, plan.outputs, 1))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(up)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        features = skips.pop()
        for stage, up in zip(self.stages, self.transpconvs, strict=True):
            # Popped, so that the skip is freed once it is joined: it is as large as anything a stage computes.
            features = stage(torch.cat([up(features), skips.pop()], dim=1))
        logits: torch.Tensor = self.seg_layers[-1](features)
        return logits
