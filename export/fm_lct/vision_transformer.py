"""The 3D vision transformer of FM-LCT in PyTorch, with the module names of its published checkpoint.

Architecture: Dosovitskiy et al., ICLR 2021 (ViT-B, pre-norm, exact GELU), on cubes of voxels instead of
squares of pixels; position embedding: a fixed table, the checkpoint's own or sines and cosines along three
axes, as moco-v3 (Chen et al., ICCV 2021) has them along two. Written from these descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from engine.manifest.features import PositionTable

NORM_EPS = 1e-6
"""Of every layer normalization."""

_TEMPERATURE = 10000.0
"""Longest wavelength of the position embedding, in patches, over 2π."""


@dataclass(frozen=True)
class VisionTransformerPlan:
    """Sizes of the network; the defaults are FM-LCT's (ViT-B, 48³ voxels, 216 patches and one class token).

    Parameters
    ----------
    image_size, patch_size : int
        Voxels along each axis.
    width : int
        Length of a token and of the feature vector; a multiple of 6 and of ``heads``.
    depth, heads, mlp_ratio : int
    """

    image_size: int = 48
    patch_size: int = 8
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size or self.width % 6 or self.width % self.heads:
            raise ValueError(f"{self}: the image must hold whole patches, the width 6 and the heads")

    @property
    def grid(self) -> int:
        """Patches along each axis."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return self.grid**3 + 1


class VisionTransformer(nn.Module):
    """Encoder whose class token, after the last normalization, is the feature vector.

    Parameters
    ----------
    plan : VisionTransformerPlan, optional
    positions : torch.Tensor, (1, tokens, width), optional
        Table that is added to class token and patches; :func:`position_embedding` by default.

    Attributes
    ----------
    position_table : {"checkpoint", "sine_cosine"}
        Where the table comes from.
    """

    pos_embed: torch.Tensor

    def __init__(
        self, plan: VisionTransformerPlan | None = None, positions: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.plan = plan = plan or VisionTransformerPlan()
        self.position_table: PositionTable = "sine_cosine" if positions is None else "checkpoint"
        self.patch_embed = _PatchEmbedding(plan)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, plan.width))
        self.blocks = nn.ModuleList(_Block(plan) for _ in range(plan.depth))
        self.norm = nn.LayerNorm(plan.width, eps=NORM_EPS)
        if positions is None:
            positions = position_embedding(plan.grid, plan.width)
        # Not among the weights: a checkpoint may lack it, and keeps it under several names.
        self.register_buffer("pos_embed", positions, persistent=False)

    def forward(self, patch: torch.Tensor) -> torch.Tensor:
        """Features (N, width) of images (N, 1, z, y, x)."""
        tokens = self.patch_embed(patch)
        first = self.cls_token.expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], dim=1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        features: torch.Tensor = self.norm(tokens)[:, 0]
        return features


def position_embedding(grid: int, width: int) -> torch.Tensor:
    """Fixed position embedding with a zero row for the class token.

    Parameters
    ----------
    grid : int
        Patches along each axis.
    width : int
        A multiple of 6: a sine and a cosine part along each of three axes.

    Returns
    -------
    torch.Tensor, (1, grid³ + 1, width)
        Patches in array order (z, y, x).
    """
    sixth = width // 6
    frequency = _TEMPERATURE ** -(torch.arange(sixth, dtype=torch.float32) / sixth)
    positions = torch.cartesian_prod(*[torch.arange(grid, dtype=torch.float32)] * 3)
    angles = positions[:, :, None] * frequency
    waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    return torch.cat([torch.zeros(1, width), waves])[None]


class _PatchEmbedding(nn.Module):
    """Tokens (N, patch, width) of an image, by a convolution that steps over whole patches."""

    def __init__(self, plan: VisionTransformerPlan) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, plan.width, plan.patch_size, plan.patch_size)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens


class _Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, plan: VisionTransformerPlan) -> None:
        super().__init__()
        self.heads = plan.heads
        self.qkv = nn.Linear(plan.width, 3 * plan.width)
        self.proj = nn.Linear(plan.width, plan.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        cases, count, width = tokens.shape
        split = self.qkv(tokens).reshape(cases, count, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(cases, count, width)
        projected: torch.Tensor = self.proj(mixed)
        return projected


class _Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between."""

    def __init__(self, plan: VisionTransformerPlan) -> None:
        super().__init__()
        self.fc1 = nn.Linear(plan.width, plan.mlp_ratio * plan.width)
        self.fc2 = nn.Linear(plan.mlp_ratio * plan.width, plan.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.fc2(nn.functional.gelu(self.fc1(tokens)))
        return mixed


class _Block(nn.Module):
    """Attention and MLP, each normalized before and added to its input."""

    def __init__(self, plan: VisionTransformerPlan) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(plan.width, eps=NORM_EPS)
        self.attn = _Attention(plan)
        self.norm2 = nn.LayerNorm(plan.width, eps=NORM_EPS)
        self.mlp = _Mlp(plan)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed
