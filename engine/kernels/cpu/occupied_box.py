"""Boxes of marked voxels on the CPU: 64-bit words, and none of them read twice.

A slice without a mark is read once. A slice with one is read from both ends to its first and last
mark, and between those rows only beside the columns that the box already holds.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import BoolArray, Int64Array, UInt8Array
from engine.kernels.arguments import Index3
from engine.kernels.cpu.threads import over

_WORD = 8
_BLOCK = 512
"""Words that are joined before one test: 4 KiB, a loop that vectorizes."""

_WordArray: TypeAlias = npt.NDArray[np.uint64]


def occupied_box(mask: BoolArray) -> tuple[Index3, Index3] | None:
    """Start and stop (exclusive) of the marked voxels; None if there are none."""
    marks, words = _as_words(mask)
    parts = over(len(mask), mask[0].size // _WORD, _extent, np.array(mask.shape), marks, words)
    low = np.min([part[0] for part in parts], axis=0)
    high = np.max([part[1] for part in parts], axis=0)
    if high[0] == 0:
        return None
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def _as_words(mask: BoolArray) -> tuple[UInt8Array, _WordArray]:
    """Flat bytes of a mask, and the whole 64-bit words among them."""
    marks = mask.reshape(-1).view(np.uint8)
    if marks.ctypes.data % _WORD:
        marks = marks.copy()
    words = marks[: marks.size // _WORD * _WORD].view(np.uint64)
    marks.flags.writeable = words.flags.writeable = False
    return marks, words


@njit(nogil=True, cache=True)
def _extent(
    z_first: int,
    z_last: int,
    size: Int64Array,
    marks: UInt8Array,
    words: _WordArray,
) -> tuple[Int64Array, Int64Array]:
    height, width = size[1], size[2]
    low, high = size.copy(), np.zeros(3, dtype=np.int64)
    for z in range(z_first, z_last):
        begin, end = z * height * width, (z + 1) * height * width
        first = _first_marked(begin, end, marks, words)
        if first == end:
            continue
        last = _last_marked(first, end, marks, words)
        low[0], high[0] = min(low[0], z), z + 1
        y_first, y_last = (first - begin) // width, (last - begin) // width
        low[1], high[1] = min(low[1], y_first), max(high[1], y_last + 1)
        for y in range(y_first, y_last + 1):
            row = begin + y * width
            until = row + low[2]
            low[2] = _first_marked(row, until, marks, words) - row
            since = row + high[2]
            high[2] = _last_marked(since, row + width, marks, words) + 1 - row
    return low, high


@njit(nogil=True, cache=True)
def _any_in_words(first: int, last: int, words: _WordArray) -> bool:
    """Whether one of the words holds a mark; unsigned, as an index that may be negative does not vectorize."""
    joined = np.uint64(0)
    for k in range(np.uint64(first), np.uint64(last)):
        joined |= words[k]
    return bool(joined != np.uint64(0))


@njit(nogil=True, cache=True)
def _first_marked(
    begin: int,
    end: int,
    marks: UInt8Array,
    words: _WordArray,
) -> int:
    """Index of the first mark in ``begin..end``, ``end`` if there is none."""
    word_first, word_last = -(-begin // _WORD), end // _WORD
    if word_first < word_last:
        for i in range(begin, word_first * _WORD):
            if marks[i]:
                return i
        k = word_first
        while k < word_last and not _any_in_words(k, min(k + _BLOCK, word_last), words):
            k += _BLOCK
        begin = min(k, word_last) * _WORD
    for i in range(begin, end):
        if marks[i]:
            return i
    return end


@njit(nogil=True, cache=True)
def _last_marked(
    begin: int,
    end: int,
    marks: UInt8Array,
    words: _WordArray,
) -> int:
    """Index of the last mark in ``begin..end``, ``begin - 1`` if there is none."""
    word_first, word_last = -(-begin // _WORD), end // _WORD
    if word_first < word_last:
        for i in range(end - 1, word_last * _WORD - 1, -1):
            if marks[i]:
                return i
        k = word_last
        while k > word_first and not _any_in_words(max(k - _BLOCK, word_first), k, words):
            k -= _BLOCK
        end = max(k, word_first) * _WORD
    for i in range(end - 1, begin - 1, -1):
        if marks[i]:
            return i
    return begin - 1
