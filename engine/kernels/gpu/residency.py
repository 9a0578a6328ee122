"""What lies on the device while an assessment runs: one stream, and every volume that went there once.

A host array is known by its memory, and only while nothing may write to it: then the device's voxels are the same.
Nothing here is looked for by content.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import config, cuda

from engine.arrays import AnyArray, UInt8Array

_MIN_BUFFER: Final = 1 << 12


@dataclass
class Traffic:
    """What went over the bus, or on shared memory from one array to another, and what did not have to."""

    uploads: int = 0
    uploaded_bytes: int = 0
    spared_uploads: int = 0
    spared_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0
    waits: int = 0


class _Known(NamedTuple):
    owner: weakref.ref[AnyArray]
    on_device: Any


class Residency:
    """The device's memory of one assessment; threads of its pools share it."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.stream: Any = cuda.stream()
        self.is_open = True
        self._shares_memory = shares_memory()
        self._known: dict[tuple[int, int], _Known] = {}
        self._spare: list[UInt8Array] = []
        self._in_flight: list[UInt8Array] = []
        self._read_in_place: list[Any] = []
        self._lock = RLock()

    def upload(self, array: AnyArray) -> Any:
        """Voxels on the device; no kernel may write to them, they may be those of an earlier call."""
        with self._lock:
            self._forget_what_the_host_dropped()
            owner, key = _owner(array), (array.ctypes.data, array.nbytes)
            known = self._known.get(key)
            if known is not None and owner is not None and known.owner() is owner:
                self.traffic.spared_uploads += 1
                self.traffic.spared_bytes += array.nbytes
                return known.on_device.view(array.dtype).reshape(array.shape)
            on_device = self._mapped_copy(array) if self._shares_memory else self.copied(array)
            if owner is not None and _is_memory_of_python(owner):
                self._known[key] = _Known(weakref.ref(owner), on_device)
            return on_device

    def copied(self, array: AnyArray) -> Any:
        """Voxels on the device, for kernels to write to; over a pinned buffer."""
        with self._lock:
            self._count_upload(array)
            buffer = self._take(array.nbytes)
            copies = _as(buffer, array.shape, array.dtype)
            np.copyto(copies, array)
            self._in_flight.append(buffer)  # until the stream has been waited for
            return cuda.to_device(copies, stream=self.stream)

    def result(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """Memory on the device for what is handed out; on shared memory the host sees it too."""
        if not self._shares_memory:
            return cuda.device_array(shape, dtype=dtype, stream=self.stream)
        return _seen_by_both(shape, dtype, self.stream)[0]

    def download(self, arrays: Sequence[Any]) -> list[AnyArray]:
        """Arrays on the host, after one wait for the stream."""
        with self._lock:
            buffers = [
                None if hasattr(array, "seen_by_host") else self._take(int(array.nbytes)) for array in arrays
            ]
            copies = [
                array.seen_by_host if buffer is None else _as(buffer, tuple(array.shape), array.dtype)
                for array, buffer in zip(arrays, buffers, strict=True)
            ]
            for array, buffer, to in zip(arrays, buffers, copies, strict=True):
                if buffer is not None:
                    array.copy_to_host(to, stream=self.stream)
                    self.traffic.downloads += 1
                    self.traffic.downloaded_bytes += to.nbytes
            gone_up, self._in_flight = self._in_flight, []
            self._read_in_place, still_read = [], self._read_in_place
        self._wait()
        del still_read  # not before: memory may be freed while a kernel reads it
        volumes = [to if buffer is None else to.copy() for to, buffer in zip(copies, buffers, strict=True)]
        with self._lock:
            self._spare += gone_up + [buffer for buffer in buffers if buffer is not None]
        return volumes

    def hand_out(self, array: Any) -> AnyArray:
        """A volume on the host, read-only; no kernel may write to it any more, the next one finds it here."""
        (volume,) = self.download([array])
        _make_read_only(volume)
        owner = _owner(volume)
        if owner is not None:
            with self._lock:
                self._known[volume.ctypes.data, volume.nbytes] = _Known(weakref.ref(owner), array)
        return volume

    def release(self) -> None:
        """Let everything go, whatever has happened."""
        self.is_open = False
        try:
            self._wait()
        finally:
            self._known, self._spare, self._in_flight, self._read_in_place = {}, [], [], []
            self.stream = None
            if not config.ENABLE_CUDASIM:  # which frees at once
                cuda.current_context().memory_manager.deallocations.clear()

    def _forget_what_the_host_dropped(self) -> None:
        dropped = [key for key, known in self._known.items() if known.owner() is None]
        # a kernel may read it still
        self._read_in_place += [self._known.pop(key).on_device for key in dropped]

    def _wait(self) -> None:
        self.traffic.waits += 1
        self.stream.synchronize()

    def _count_upload(self, array: AnyArray) -> None:
        self.traffic.uploads += 1
        self.traffic.uploaded_bytes += array.nbytes

    def _mapped_copy(self, array: AnyArray) -> Any:
        """Memory of host and device: what CUDA did not allocate, it cannot see without this."""
        self._count_upload(array)
        on_device, seen_by_host = _seen_by_both(array.shape, array.dtype, self.stream)
        np.copyto(seen_by_host, array)
        self._read_in_place.append(on_device)
        return on_device

    def _take(self, size: int) -> UInt8Array:
        """A pinned buffer that nothing is using; they are few, and locking pages is slow."""
        capacity = max(_MIN_BUFFER, 1 << (size - 1).bit_length())
        fitting = [i for i, buffer in enumerate(self._spare) if size <= buffer.size <= 4 * capacity]
        if fitting:
            return self._spare.pop(min(fitting, key=lambda i: self._spare[i].size))
        pinned: UInt8Array = cuda.pinned_array(capacity, dtype=np.uint8)
        return pinned


_CURRENT: ContextVar[Residency | None] = ContextVar("residency", default=None)


def current() -> Residency | None:
    """The residency of this thread's work, if there is one."""
    residency = _CURRENT.get()
    return residency if residency is not None and residency.is_open else None


@contextmanager
def resident() -> Iterator[Residency]:
    """Keep volumes on the device until the block ends; inside another such block, that one's go on."""
    outer = current()
    if outer is not None:
        yield outer
        return
    held = Residency()
    token = _CURRENT.set(held)
    try:
        yield held
    finally:
        _CURRENT.reset(token)
        held.release()


def shares_memory() -> bool:
    """Whether device and host have one memory, as on a Jetson; the simulator knows no such attribute."""
    return not config.ENABLE_CUDASIM and bool(cuda.get_current_device().INTEGRATED)


def _seen_by_both(shape: tuple[int, ...], dtype: npt.DTypeLike, stream: Any) -> tuple[Any, AnyArray]:
    """Mapped memory as the device and as the host sees it."""
    mapped = cuda.mapped_array(shape, dtype=dtype, stream=stream)
    on_device = mapped.view(mapped.dtype)  # an array of the device alone, whose views are such again
    on_device.seen_by_host = np.asarray(mapped)
    return on_device, on_device.seen_by_host


def _as(buffer: UInt8Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return buffer[:size].view(dtype).reshape(shape)


def _owner(array: AnyArray) -> AnyArray | None:
    """The array that owns the memory; None where one on the way there may be written to, or the first has gaps."""
    if not array.flags.c_contiguous:
        return None
    while not array.flags.writeable:
        if not isinstance(array.base, np.ndarray):
            return array
        array = array.base
    return None


def _is_memory_of_python(owner: AnyArray) -> bool:
    """Whether the memory is the array's own, or of bytes; a file's could change under it."""
    base: Any = owner.base
    return base is None or isinstance(base, bytes)


def _make_read_only(array: AnyArray) -> None:
    """An array and those whose memory it is."""
    array.flags.writeable = False
    if isinstance(array.base, np.ndarray):
        _make_read_only(array.base)
