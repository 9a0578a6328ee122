"""Networks of FM-LCT's kind with random weights, their checkpoints and patches for them; needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.fm_lct.vision_transformer import VisionTransformer, VisionTransformerPlan

SMALL = VisionTransformerPlan(image_size=16, patch_size=8, width=48, depth=2, heads=4)


def network(plan: VisionTransformerPlan = SMALL, seed: int = 0) -> VisionTransformer:
    """Random weights of the size that training leaves: everything takes part."""
    torch.manual_seed(seed)
    made = VisionTransformer(plan)
    made.eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            spread = 0.3 if weight.ndim == 1 or name == "cls_token" else weight[0].numel() ** -0.5
            weight.copy_(torch.randn_like(weight) * spread + (name.endswith("norm.weight") * 1.0))
    return made


def save(state: Any, path: Path) -> Path:
    torch.save({"epoch": 3, "arch": "vit", "state_dict": state}, path)
    return path


def patches(plan: VisionTransformerPlan = SMALL, count: int = 2) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = (2, 1, *[plan.image_size] * 3)
    return [{"patch": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]
