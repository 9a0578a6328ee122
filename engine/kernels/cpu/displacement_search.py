"""Displacement search on the CPU: a line of cells against the window of the moving image around it.

At one displacement whole rows are compared, in vectors along x; a cell's rows stay in the nearest
cache while the displacement changes. The moving image is laid out so that the voxels which a
stride meets lie side by side, and so that an unknown voxel needs no branch: it keeps nothing of
the fixed code, and its own has as many bits as an unknown voxel costs.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels.arguments import BoolArray, FloatArray, IntArray, LabelArray
from engine.kernels.cpu.threads import over

CodeArray: TypeAlias = npt.NDArray[np.uint64]

ALL = np.uint64(2**64 - 1)
LANES = 8
"""Columns compared at once: two or four vectors on today's processors."""

WORD_BYTES = 8


def costs(
    fixed: CodeArray,
    moving: CodeArray,
    weight: BoolArray,
    known: BoolArray,
    cell: int,
    radius: int,
    step: int,
    stride: int,
    unknown_bits: int,
    code_bits: int,
) -> FloatArray:
    """Differing bits over ``code_bits`` of every cell at every displacement."""
    reach, size = radius * step, 2 * radius + 1
    depth, height, width = (n + 2 * reach for n in moving.shape)
    # room at a row's end for the lanes past it
    around = np.empty((2, depth, height, stride, -(-width // stride) + LANES), dtype=np.uint64)
    moving, known = moving.view(), known.view()
    moving.flags.writeable = known.flags.writeable = False  # one compiled type, whoever owns them
    unknown = np.uint64((1 << unknown_bits) - 1)
    over(depth, height * width, _lay_out, moving, known, reach, unknown, around)
    compared = (slice(None, None, stride),) * 3
    fixed, mask = fixed[compared].copy(), np.where(weight[compared], ALL, np.uint64(0))
    cells = tuple(-(-n * stride // cell) for n in fixed.shape)
    found = np.empty((*cells, size, size, size), dtype=np.float32)
    work = fixed.size * size**3 // (cells[0] * cells[1])
    lines = cells[0] * cells[1]
    over(lines, work, _search_lines, fixed, mask, around, cell // stride, step, stride, code_bits, found)
    return found


def cheapest(costs: FloatArray, penalties: FloatArray) -> tuple[LabelArray, int]:
    """Flat index of the first least cost plus penalties (cz, cy, cx, 3, L), and number of NaN costs."""
    cells, size = costs.shape[:3], costs.shape[3]
    chosen = np.empty(cells, dtype=np.int32)
    rows = costs.reshape(-1, size, size, size)
    rows.flags.writeable = False  # one compiled type, whoever owns the array
    nan = over(len(rows), size**3, _choose, rows, penalties.reshape(-1, 3, size), chosen.reshape(-1))
    return chosen, sum(nan)


@intrinsic
def _sum_rows(
    _typing: Any, rows: Any, masks: Any, moving: Any, known: Any, starts: Any, sums: Any, at: Any, to: Any
) -> Any:
    """Sum the differing bits of ``LANES`` columns from ``at`` over all rows; ``to`` is the displacement.

    A loop over rows that keeps its sums in vector registers, as LLVM does not by itself; ``ctpop``
    becomes the best that the processor has for a vector. Nothing tests a bound: rows of ``codes`` and
    ``masks`` are as long as ``sums``, a multiple of ``LANES``, and those of ``moving`` have room.
    """
    ir = cgutils.ir
    vector = ir.VectorType(ir.IntType(64), LANES)

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        views = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:6], arguments[:6], strict=True)
        ]
        codes_at, masks_at, moving_at, known_at, starts_at, sums_at = (view.data for view in views)
        width, count = (builder.extract_value(views[i].shape, 0) for i in (5, 4))
        column, offset = arguments[6:]
        ones = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i64"
        )

        def vector_at(base: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

        def load(base: Any, index: Any) -> Any:
            return builder.load(vector_at(base, index), align=WORD_BYTES)

        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * LANES))
        with cgutils.for_range(builder, count) as loop:
            here = builder.add(column, builder.mul(loop.index, width))
            start = builder.load(builder.gep(starts_at, [loop.index]))
            there = builder.add(builder.add(column, offset), start)
            kept = builder.and_(load(codes_at, here), load(known_at, there))
            differing = builder.and_(builder.xor(kept, load(moving_at, there)), load(masks_at, here))
            builder.store(builder.add(builder.load(total), builder.call(ones, [differing])), total)
        builder.store(builder.load(total), vector_at(sums_at, column), align=WORD_BYTES)
        return context.get_dummy_value()

    return types.void(rows, masks, moving, known, starts, sums, at, to), lower


@njit(nogil=True, cache=True)
def _lay_out(
    z_first: int,
    z_last: int,
    moving: CodeArray,
    known: BoolArray,
    reach: int,
    unknown: np.uint64,
    around: CodeArray,
) -> None:
    """Fill codes and masks (2, z, y, phase, x): padded column ``x * stride + phase``, all unknown around."""
    depth, height, width = moving.shape
    stride = around.shape[3]
    for z in range(z_first, z_last):
        around[0, z], around[1, z] = unknown, np.uint64(0)
        v = z - reach
        if not 0 <= v < depth:
            continue
        for u in range(height):
            codes, masks = around[0, z, u + reach], around[1, z, u + reach]
            for t in range(width):
                if known[v, u, t]:
                    column, phase = (t + reach) // stride, (t + reach) % stride
                    codes[phase, column], masks[phase, column] = moving[v, u, t], ALL


@njit(nogil=True, cache=True)
def _search_lines(
    first: int,
    last: int,
    fixed: CodeArray,
    mask: CodeArray,
    around: CodeArray,
    cell: int,
    step: int,
    stride: int,
    code_bits: int,
    found: FloatArray,
) -> None:
    rows = min(cell, fixed.shape[0]) * min(cell, fixed.shape[1])
    room = rows * (fixed.shape[2] + LANES)
    codes, masks = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint64)
    starts = np.empty(rows, dtype=np.int64)
    bits = np.empty(found.shape[2:], dtype=np.int32)
    for line in range(first, last):
        cz, cy = line // found.shape[1], line % found.shape[1]
        low, high = _counting_columns(mask, cell, cz, cy)
        if low < high:
            width = -(-(high - low) // LANES) * LANES
            shape = around.shape[1:]
            count = _gather_rows(
                fixed, mask, cell, cz, cy, low, high, width, stride, shape, codes, masks, starts
            )
            sums = np.empty(width, dtype=np.uint64)
            _search_line(codes, masks, starts[:count], around, sums, cell, step, bits[low // cell :])
        _write_line(bits, low // cell, -(-high // cell), code_bits, found[cz, cy])


@njit(nogil=True, cache=True)
def _counting_columns(mask: CodeArray, cell: int, cz: int, cy: int) -> tuple[int, int]:
    """Columns from the first to past the last cell of a line in which a voxel counts; 0 to 0 for none."""
    depth, height, width = mask.shape
    low, high = width, 0
    for z in range(cz * cell, min(cz * cell + cell, depth)):
        for y in range(cy * cell, min(cy * cell + cell, height)):
            for x in range(width):
                if mask[z, y, x]:
                    low, high = min(low, x), max(high, x + 1)
    return min(low, high) // cell * cell, min(-(-high // cell) * cell, width)


@njit(nogil=True, cache=True)
def _gather_rows(
    fixed: CodeArray,
    mask: CodeArray,
    cell: int,
    cz: int,
    cy: int,
    low: int,
    high: int,
    width: int,
    stride: int,
    shape: tuple[int, int, int, int],
    codes: CodeArray,
    masks: CodeArray,
    starts: IntArray,
) -> int:
    """Copy the rows in which a voxel counts, filled up to ``width``, and where theirs begin in the other."""
    depth, height, _ = fixed.shape
    count = 0
    for z in range(cz * cell, min(cz * cell + cell, depth)):
        for y in range(cy * cell, min(cy * cell + cell, height)):
            row = slice(count * width, (count + 1) * width)
            codes[row], masks[row] = np.uint64(0), np.uint64(0)
            counts = np.uint64(0)
            for x in range(high - low):
                codes[count * width + x] = fixed[z, y, low + x]
                masks[count * width + x] = mask[z, y, low + x]
                counts |= mask[z, y, low + x]
            if counts:
                starts[count] = (z * stride * shape[1] + y * stride) * shape[2] * shape[3] + low
                count += 1
    return count


@njit(nogil=True, cache=True)
def _search_line(
    codes: CodeArray,
    masks: CodeArray,
    starts: IntArray,
    around: CodeArray,
    sums: CodeArray,
    cell: int,
    step: int,
    bits: LabelArray,
) -> None:
    """Differing bits of consecutive cells, as many as ``sums`` has columns for."""
    _, _, height, stride, columns = around.shape
    moving, known = around[0].reshape(-1), around[1].reshape(-1)
    size = bits.shape[1]
    for i in range(size):
        for j in range(size):
            for k in range(size):
                row = (i * step * height + j * step) * stride + k * step % stride
                offset = row * columns + k * step // stride
                for x in range(0, len(sums), LANES):
                    _sum_rows(codes, masks, moving, known, starts, sums, x, offset)
                for c in range(min(len(bits), -(-len(sums) // cell))):
                    total = np.uint64(0)
                    for x in range(c * cell, min(c * cell + cell, len(sums))):
                        total += sums[x]
                    bits[c, i, j, k] = total


@njit(nogil=True, cache=True)
def _write_line(bits: LabelArray, first: int, last: int, code_bits: int, found: FloatArray) -> None:
    """Turn bits into shares, and leave nothing in the cells before ``first`` and from ``last``."""
    found[:first] = 0.0
    found[last:] = 0.0
    whole = np.float32(code_bits)
    counts, shares = bits[first:last].reshape(-1), found[first:last].reshape(-1)
    for i in range(len(shares)):
        shares[i] = np.float32(counts[i]) / whole


@njit(nogil=True, cache=True)
def _choose(first: int, last: int, costs: FloatArray, penalties: FloatArray, chosen: LabelArray) -> int:
    size = costs.shape[1]
    nan_costs = 0
    for c in range(first, last):
        best, at = np.float32(np.inf), 0
        for i in range(size):
            for j in range(size):
                away = penalties[c, 0, i] + penalties[c, 1, j]
                row, along_x = costs[c, i, j], penalties[c, 2]
                for k in range(size):
                    total = row[k] + (away + along_x[k])
                    if not total >= best:  # true for NaN
                        if total < best:
                            best, at = total, (i * size + j) * size + k
                        else:
                            nan_costs += 1
        chosen[c] = at
    return nan_costs
