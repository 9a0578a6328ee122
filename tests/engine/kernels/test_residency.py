"""Volumes that stay on the device: copied once, never stale, gone at the end, and nothing measured differently.

``gpu`` runs where CUDA answers: on a GPU, or in Numba's simulator, which :func:`test_it_passes_in_the_simulator`
starts. The simulator's mapped arrays are plain ones: what real ones are called stands in
:func:`test_names_of_numba`.
"""

from __future__ import annotations

import inspect
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import cuda

from engine.arrays import read_only
from engine.errors import InvalidRequestError
from engine.kernels.backend import KernelBackend, resident, sharing_residency
from engine.kernels.coverage import count_coverage
from engine.kernels.distance import distance_mm, signed_distance_mm
from engine.kernels.gpu import device, residency
from engine.kernels.gpu import resampling as gpu_resampling
from engine.kernels.gpu.coverage import MAX_EDGES
from engine.kernels.gpu.residency import Residency
from engine.kernels.resampling import resample
from tests.support.kernels.resident_volumes import (
    ON_THE_GPU,
    SHAPE,
    SHIFTED,
    SIMULATED,
    SPACING,
    distances_and_masks,
    hu,
    on_device,
    shifted,
)
from tests.support.simulator import run_in_the_simulator


@pytest.mark.skipif(SIMULATED, reason="already in the simulator")
def test_it_passes_in_the_simulator() -> None:
    in_use = str(Path(__file__).with_name("test_residency_in_use.py"))
    run_in_the_simulator(__file__, in_use, passed=38)


@ON_THE_GPU
def test_a_volume_goes_up_once(
    kernels: KernelBackend, memory: str, went_up: Counter[tuple[int, ...]]
) -> None:
    voxels, mask = read_only(hu()), read_only(hu(1) > 0)
    with resident(kernels) as held:
        for _ in range(3):
            shifted(voxels, kernels)
            distance_mm(mask, SPACING, kernels=kernels)
        count_coverage(np.zeros(SHAPE, np.float32), mask, mask, (1.0,), kernels=kernels)
        traffic = held.traffic
    assert went_up[SHAPE] == 2
    assert went_up[mask.size,] == 1  # the distances of zero, which may be written to
    assert traffic.spared_uploads >= 6
    assert traffic.spared_bytes >= 2 * voxels.nbytes + 4 * mask.nbytes
    assert traffic.uploads == went_up.total()


@ON_THE_GPU
def test_what_one_kernel_gives_the_next_one_finds(
    kernels: KernelBackend, memory: str, went_up: Counter[tuple[int, ...]]
) -> None:
    occupancy = read_only(np.clip(hu() / 400.0, 0.0, 1.0).astype(np.float32))
    with resident(kernels) as held:
        moved = shifted(occupancy, kernels)
        distance = signed_distance_mm(moved, SPACING, kernels=kernels)
        covered = read_only(distance < 1.0)
        went_up.clear()
        count_coverage(distance, covered, covered, (5.0,), kernels=kernels)
        assert went_up[distance.size,] == 1  # the mask that the host made, once for both
        assert held.traffic.downloads > 0 or memory == "shared memory"


@ON_THE_GPU
def test_on_shared_memory_no_volume_is_copied_back(
    kernels: KernelBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not SIMULATED:
        pytest.skip("decided by the device")
    monkeypatch.setattr(residency, "shares_memory", lambda: True)
    with resident(kernels) as held:
        found = shifted(read_only(hu()), kernels)
        assert held.traffic.downloaded_bytes == 0
    np.testing.assert_array_equal(found, shifted(hu(), KernelBackend.CPU))


@ON_THE_GPU
def test_an_array_that_may_be_written_to_goes_up_again(kernels: KernelBackend, memory: str) -> None:
    voxels = hu()
    window = voxels.view()
    window.flags.writeable = False  # its owner may still be written to
    with resident(kernels):
        for given in (voxels, window):
            before = shifted(given, kernels)
            voxels += 7
            after = shifted(given, kernels)
            np.testing.assert_array_equal(after, shifted(voxels.copy(), KernelBackend.CPU))
            assert (after != before).any()


@ON_THE_GPU
def test_one_that_is_opened_again_goes_up_again(kernels: KernelBackend, memory: str) -> None:
    voxels = read_only(hu())
    with resident(kernels):
        shifted(voxels, kernels)
        voxels.flags.writeable = True
        voxels += 7
        np.testing.assert_array_equal(shifted(voxels, kernels), shifted(voxels.copy(), KernelBackend.CPU))


@ON_THE_GPU
def test_what_is_handed_out_refuses_to_be_written_to(kernels: KernelBackend, memory: str) -> None:
    with resident(kernels):
        found = shifted(hu(), kernels)
        marked = resample(hu() > 0, SHIFTED, SHAPE, order=0, kernels=kernels)
    for array in (found, marked, found[1:], marked.view(np.uint8)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    shifted(hu(), kernels)[0] = 0  # outside of it, as ever


@ON_THE_GPU
def test_memory_that_is_used_again_is_another_volume(kernels: KernelBackend, memory: str) -> None:
    addresses = []
    with resident(kernels):
        for value in range(4):
            voxels = read_only(np.full((2, 2, 2), value, dtype=np.int16))
            addresses.append(voxels.ctypes.data)
            assert shifted(voxels, kernels)[0, 0, 0] == value
            del voxels
    assert len(set(addresses)) < len(addresses)  # or the test shows nothing


@ON_THE_GPU
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_freed_at_the_end(kernels: KernelBackend, fails: bool) -> None:
    voxels, before = read_only(hu()), on_device()
    shifted(voxels, kernels)
    kept: Residency | None = None
    try:
        with resident(kernels) as kept:
            found = shifted(voxels, kernels)
            assert on_device() > before
            if fails:
                count_coverage(*distances_and_masks(), range(MAX_EDGES + 1), kernels=kernels)
    except InvalidRequestError:
        assert fails
    assert kept is not None
    assert on_device() == before
    assert not kept.is_open
    assert kept.stream is None
    assert not any(isinstance(part, list | dict) and part for part in vars(kept).values())
    assert residency.current() is None
    np.testing.assert_array_equal(found, shifted(voxels, KernelBackend.CPU))  # and outlives it


@ON_THE_GPU
def test_what_nobody_holds_any_more_leaves_the_device(kernels: KernelBackend) -> None:
    with resident(kernels):
        shifted(hu(1, (2, 2, 2)), kernels)
        before = on_device()
        for seed in range(5):
            shifted(read_only(hu(seed, (2, 2, 2))), kernels)
        assert on_device() <= before + 2


@ON_THE_GPU
def test_a_block_within_a_block_is_the_same(kernels: KernelBackend) -> None:
    with resident(kernels) as outer:
        with resident(kernels) as inner:
            assert inner is outer
        assert outer.is_open
        assert residency.current() is outer


@ON_THE_GPU
def test_threads_of_a_pool_share_it(kernels: KernelBackend) -> None:
    voxels = read_only(hu())
    with resident(kernels) as held:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(sharing_residency(device.upload), [voxels] * 16))
        assert (held.traffic.uploads, held.traffic.spared_uploads) == (1, 15)
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(sharing_residency(residency.current))
            assert late.result() is held
            outside = sharing_residency(residency.current)
    assert outside() is None  # of a thread that goes on too long


@ON_THE_GPU
def test_pinned_buffers_are_used_again_but_not_while_they_are_read(kernels: KernelBackend) -> None:
    with resident(kernels) as held:
        first = held.copied(hu(1))
        assert len(held._in_flight) == 1
        held.copied(hu(2))
        assert len(held._in_flight) == 2  # the device may still read the first
        held.download([first])
        assert not held._in_flight
        shifted(hu(3), kernels)
        spare = {buffer.ctypes.data for buffer in held._spare}
        shifted(hu(4), kernels)
        assert {buffer.ctypes.data for buffer in held._spare} == spare


@ON_THE_GPU
def test_of_a_large_ct_only_the_part_that_is_sampled_goes_up(
    kernels: KernelBackend, went_up: Counter[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = read_only(hu(3, (12, 40, 40)))
    for first in ((0, 0, 0), (4, 20, 17), (9, 37, 37), (-3, 39, 30)):
        index_map = np.column_stack([np.diag([0.9, 0.8, -1.0]), np.array(first) + 0.5])
        for order in (0, 1):
            run = partial(resample, ct, index_map, (4, 4, 3), order=order, fill=-1024)
            with resident(kernels):
                part = run(kernels=kernels)
                assert not went_up[ct.shape]
                with monkeypatch.context() as patch:
                    patch.setattr(gpu_resampling, "PART_SHARE", 0.0)
                    np.testing.assert_array_equal(part, run(kernels=kernels))
            went_up.clear()
            # a half may be rounded to either side where it is linear
            assert np.abs(part.astype(int) - run()).max() <= order


def test_on_a_cpu_nothing_is_kept() -> None:
    with resident(KernelBackend.CPU) as held:
        assert held is None
        assert shifted(hu(), KernelBackend.CPU).flags.writeable


@pytest.mark.skipif(SIMULATED, reason="of the real package")
def test_names_of_numba() -> None:
    """What the simulator has no counterpart of, or takes without looking at it."""
    from numba.cuda.cudadrv import devicearray, driver, enums

    def named(function: Any, *names: str) -> bool:
        return set(names) <= set(inspect.signature(function).parameters)

    assert named(cuda.to_device, "stream")
    assert named(cuda.device_array, "shape", "dtype", "stream")
    assert named(cuda.mapped_array, "shape", "dtype", "stream")
    assert named(cuda.pinned_array, "shape", "dtype")
    assert named(devicearray.DeviceNDArray.copy_to_host, "ary", "stream")
    assert named(driver.Event.record, "stream")
    assert callable(cuda.stream)
    assert callable(driver.Stream.synchronize)
    assert issubclass(devicearray.MappedNDArray, np.ndarray)
    assert devicearray.MappedNDArray.view is devicearray.DeviceNDArrayBase.view  # not that of NumPy
    assert driver.DEVICE_ATTRIBUTES["INTEGRATED"] == enums.CU_DEVICE_ATTRIBUTE_INTEGRATED
    assert "memory_manager" in inspect.getsource(driver.Context.__init__)
    manager = inspect.getsource(driver.HostOnlyCUDAMemoryManager.__init__)
    assert "self.deallocations = _PendingDeallocs()" in manager
    assert callable(driver._PendingDeallocs.clear)


@pytest.mark.skipif(SIMULATED, reason="of the real package")
def test_views_of_a_real_device_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba's own class over memory that is only said to be a device's: how its views are made."""
    from numba.cuda.cudadrv import devicearray

    class Memory:
        __cuda_memory__ = True
        _cuda_memsize_ = 24

    array = devicearray.DeviceNDArray((2, 3), (12, 4), np.dtype(np.float32), gpu_data=Memory())
    array.seen_by_host = "the host's view"
    for dtype, shape in ((np.float32, (2, 3)), (np.uint8, (24,)), (np.float32, (6,)), (np.int32, (3, 2, 1))):
        viewed = array.view(np.dtype(dtype)).reshape(shape)
        assert (viewed.shape, viewed.dtype, viewed.gpu_data) == (shape, dtype, array.gpu_data)
        assert not hasattr(viewed, "seen_by_host")  # of the whole result alone
    assert array.ravel().shape == (6,)
