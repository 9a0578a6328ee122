"""CuPy in host memory, for tests of what runs on a device where there is none."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt


class Memory:
    """All that the fakes share: addresses, streams, and what was called in which order."""

    def __init__(self) -> None:
        self.addresses = itertools.count(0x1000, 0x1000)
        self.arrays: weakref.WeakValueDictionary[int, FakeArray] = weakref.WeakValueDictionary()
        self.streams: weakref.WeakValueDictionary[int, FakeStream] = weakref.WeakValueDictionary()
        self.calls: list[str] = []
        self.fails: set[str] = set()

    def call(self, name: str) -> bool:
        self.calls.append(name)
        return name not in self.fails


class FakeArray:
    def __init__(self, memory: Memory, values: npt.NDArray[Any]) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.data = SimpleNamespace(ptr=next(memory.addresses))
        self.memory = memory
        memory.arrays[self.data.ptr] = self

    def set(self, source: npt.NDArray[Any], stream: FakeStream) -> None:
        assert source.shape == self.shape
        assert source.dtype == self.dtype
        assert source.flags.c_contiguous
        stream.do(lambda: np.copyto(self.values, source))

    def get(self, stream: FakeStream) -> npt.NDArray[Any]:
        stream.synchronize()
        return self.values.copy()

    def __setitem__(self, where: Any, source: FakeArray) -> None:
        assert where is Ellipsis
        assert source.dtype == self.dtype
        np.copyto(self.values, source.values)


class FakeGraph:
    def __init__(self, work: list[Callable[[], None]]) -> None:
        self.work = work

    def launch(self, stream: FakeStream) -> None:
        stream.memory.call("launch graph")
        for part in self.work:
            part()


class FakeStream:
    """Does its work at once, or records it."""

    def __init__(self, memory: Memory, *, non_blocking: bool = False) -> None:
        self.memory, self.ptr = memory, next(memory.addresses)
        self.non_blocking = non_blocking
        self.captured: list[Callable[[], None]] | None = None
        memory.streams[self.ptr] = self

    def do(self, work: Callable[[], None]) -> None:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)

    def synchronize(self) -> None:
        assert self.captured is None, "a stream that is captured must not be waited for"

    def begin_capture(self) -> None:
        if not self.memory.call("begin capture"):
            raise RuntimeError("cudaErrorStreamCaptureUnsupported")
        self.captured = []

    def end_capture(self) -> FakeGraph:
        work, self.captured = self.captured or [], None
        return FakeGraph(work)

    def record(self) -> str:
        return f"event of {self.ptr:x}"

    def wait_event(self, event: str) -> None:
        self.memory.call(f"wait for {event}")

    def __enter__(self) -> None:
        self.memory.call("enter stream")

    def __exit__(self, *_: object) -> None:
        self.memory.call("leave stream")


def fake_cupy(memory: Memory, *, name: str = "NVIDIA Fake", major: int = 8, minor: int = 9) -> ModuleType:
    """CuPy as far as engine.runtime.cuda_device goes."""
    cupy = ModuleType("cupy")
    current = FakeStream(memory)

    def empty(shape: tuple[int, ...], dtype: str) -> FakeArray:
        if not memory.call("empty"):
            raise MemoryError("out of device memory")  # as CuPy does
        return FakeArray(memory, np.full(shape, 77, dtype))

    properties = {"name": name.encode() + b"\0\0", "major": major, "minor": minor, "multiProcessorCount": 58}
    vars(cupy).update(
        ndarray=FakeArray,
        empty=empty,
        cuda=SimpleNamespace(
            Stream=lambda non_blocking: FakeStream(memory, non_blocking=non_blocking),
            get_current_stream=lambda: current,
            runtime=SimpleNamespace(
                getDeviceProperties=lambda _index: properties, driverGetVersion=lambda: 13000
            ),
        ),
    )
    return cupy
