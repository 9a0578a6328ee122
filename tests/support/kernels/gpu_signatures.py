"""Types of the arguments of every GPU kernel, to compile them without a GPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numba import boolean, float32, float64, int16, int32, int64, types, uint8, uint32, uint64


def volume(kind: Any, dimensions: int = 3) -> Any:
    return types.Array(kind, dimensions, "C")


MAPS = (volume(float64, 2), volume(float32, 4), float64, boolean, float64, float64)
NODES = volume(float64, 4)
KERNELS = {
    "distance._nearest_marked_along_x": (volume(uint8), float32, float32, volume(float32)),
    "distance._envelope": (volume(float32), int64, float32, float32, volume(float32)),
    "distance._nearest_crossing": (volume(float32), float32, int64, float32, float32, volume(float32)),
    "distance._keep_less": (volume(float32), volume(float32)),
    "distance._root": (volume(float32), int64, int64, int64, float32, volume(float32)),
    "distance._signed_root": (
        volume(float32),
        volume(float32),
        float32,
        int64,
        int64,
        int64,
        float32,
        volume(float32),
    ),
    "components._own_root": (volume(uint8), volume(int32, 1)),
    "components._join_neighbors": (volume(uint8), volume(int32, 2), volume(int32, 1)),
    "components._to_root": (volume(int32, 1),),
    "coverage._count": (
        volume(float32, 1),
        volume(uint8, 1),
        volume(uint8, 1),
        volume(float32, 1),
        volume(uint32, 1),
        volume(float32, 1),
    ),
    "power_sums._add": (volume(int16, 1), volume(uint64, 1)),
    "resampling._convert": (volume(int16), volume(float32)),
    "resampling._prefilter_lines": (volume(float32), int64),
    "resampling._nearest": (volume(int16), *MAPS, volume(int16)),
    "resampling._linear": (volume(int16), *MAPS, volume(int16)),
    "resampling._cubic": (volume(float32), *MAPS, volume(int16)),
    "self_similarity._square_differences": (volume(float32), *(int64,) * 6, volume(float32)),
    "self_similarity._box_sum": (volume(float32), int64, int64, volume(float32)),
    "self_similarity._encode": (
        volume(float32, 4),
        volume(int64, 2),
        volume(float32, 1),
        float32,
        volume(uint64),
    ),
    "matching._moment_terms": (volume(float32), volume(float32), volume(uint8), NODES),
    "matching._equation_terms": (
        volume(float32),
        volume(float32),
        volume(uint8),
        NODES,
        float64,
        float64,
        float64,
        NODES,
    ),
    "matching._gather": (NODES, volume(int64, 2), float64, NODES),
    "bending._apply_bending": (NODES, NODES),
    "bending._initialize": (NODES, NODES, NODES, NODES, NODES, NODES, volume(float64, 1)),
    "bending._update_direction": (NODES, NODES, volume(float64, 1), float64, int64),
    "bending._multiply": (NODES, NODES, NODES, volume(float64, 1), float64, int64, volume(float64, 1)),
    "bending._take_step": (
        NODES,
        NODES,
        NODES,
        NODES,
        NODES,
        NODES,
        volume(float64, 1),
        float64,
        int64,
        volume(float64, 1),
    ),
}


def has_nvvm() -> bool:
    try:
        import_module("numba.cuda.cudadrv.nvvm").NVVM()
    except Exception:  # noqa: BLE001 - whatever is missing, the toolkit is not there
        return False
    return True
