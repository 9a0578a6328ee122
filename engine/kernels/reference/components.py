"""Definition of the components: SciPy's labels, put in order of size."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array, Int32Array, Int64Array


def label(
    mask: BoolArray, connectivity: int
) -> tuple[Int32Array, Int64Array, Float64Array, Int64Array, Int64Array]:
    """Labels by size, then sizes, centroids, box starts and box stops."""
    structure = ndimage.generate_binary_structure(3, 1 if connectivity == 6 else 3)
    labeled, count = ndimage.label(mask, structure)
    numbers, first = np.unique(labeled, return_index=True)
    sizes = np.bincount(labeled.ravel(), minlength=count + 1)[1:].astype(np.int64)
    order = np.lexsort((first[numbers > 0], -sizes))
    rank = np.zeros(count + 1, dtype=np.int32)
    rank[1 + order] = np.arange(1, count + 1)
    labels = np.ascontiguousarray(rank[labeled])
    index = np.arange(1, count + 1)
    centroids = np.array(ndimage.center_of_mass(mask, labels, index), dtype=np.float64).reshape(count, 3)
    boxes = np.array(
        [[(s.start, s.stop) for s in box] for box in ndimage.find_objects(labels)], dtype=np.int64
    )
    boxes = boxes.reshape(count, 3, 2)
    return labels, sizes[order], centroids, boxes[..., 0].copy(), boxes[..., 1].copy()
