"""The cache of compiled engines: what it refuses, and that it never builds over what it refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import (
    BackendError,
    BundleIntegrityError,
    EngineBuildError,
    InvalidRequestError,
    PlanDeviceError,
    PlanIntegrityError,
    PlanModelError,
    PlanVersionError,
)
from engine.manifest import load_bundle
from engine.runtime import cuda_device
from engine.runtime.backends import fastest_backend, open_session
from engine.runtime.plan_cache import PLAN_FILE, RECORD_FILE, UNFINISHED, PlanCache, PlanKey, read_plan
from engine.runtime.tensorrt_builder import BatchRange
from engine.runtime.tensorrt_library import load_library
from engine.runtime.tensorrt_plans import default_plan_folder, plan_key
from export.bundle.tensorrt_plan import build_engines
from tests.support.devices.fake_tensorrt import VERSIONS, install
from tests.support.networks import unet_3d

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "models" / "deepsurv-demo" / "1.0.0"
RTX = next(version for version in VERSIONS if version.startswith("tensorrt-rtx "))
TENSORRT = "tensorrt 11.4.0.106"
SMALL = unet_3d(width=2, patch=8)

KEY = PlanKey(
    onnx_sha256="ab" * 32,
    precision="fp32",
    batch="1-1-8",
    flavor="tensorrt",
    version="10.16.1.11",
    target="sm_87",
    gpu_name="Orin",
    sm_count=8,
    driver="CUDA 13.2",
)
PLAN = b"compiled" * 1000


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "engines")


def never() -> bytes:
    raise AssertionError("nothing may be built here")


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


class TestSuperseding:
    def test_a_new_plan_takes_the_place_of_those_of_other_versions(self, cache: PlanCache) -> None:
        older = replace(KEY, version="10.3.0")
        other_driver = replace(KEY, driver="CUDA 12.6")
        others = [replace(KEY, onnx_sha256="cd" * 32, version="10.3.0"), replace(KEY, sm_count=16)]
        for key in (older, other_driver, *others):
            cache.store(key, PLAN)
        cache.obtain(KEY, lambda: PLAN)
        assert cache.load(older) is cache.load(other_driver) is None
        assert all(cache.load(key) == PLAN for key in (KEY, *others))
        assert not list(cache.folder.glob(f"{UNFINISHED}*"))

    def test_what_has_no_complete_record_is_left_to_an_operator(self, cache: PlanCache) -> None:
        path = cache.store(replace(KEY, version="10.3.0"), PLAN)
        (path / RECORD_FILE).write_text("{}")
        assert cache.remove_superseded(KEY) == ()
        assert path.is_dir()


class TestKeeping:
    def test_what_was_built_is_kept_for_this_account_alone(self, cache: PlanCache) -> None:
        assert cache.load(KEY) is None
        assert cache.obtain(KEY, lambda: PLAN) == PLAN
        assert cache.obtain(KEY, never) == PLAN
        path = cache.path(KEY)
        assert (path / PLAN_FILE).stat().st_mode & 0o777 == 0o600
        assert (path / RECORD_FILE).stat().st_mode & 0o777 == 0o600
        assert cache.folder.stat().st_mode & 0o777 == 0o700
        assert json.loads((path / RECORD_FILE).read_text())["key"]["gpu_name"] == "Orin"
        assert not list(cache.folder.glob(f"{UNFINISHED}*"))

    @pytest.mark.parametrize("part", sorted(vars(KEY)))
    def test_every_part_of_the_key_counts(self, cache: PlanCache, part: str) -> None:
        cache.store(KEY, PLAN)
        changed: Any = {part: 9 if part == "sm_count" else "other"}
        assert cache.load(replace(KEY, **changed)) is None

    def test_a_build_that_fails_leaves_nothing(self, cache: PlanCache) -> None:
        def fail() -> bytes:
            raise BackendError("no memory")

        with pytest.raises(BackendError):
            cache.obtain(KEY, fail)
        assert cache.obtain(KEY, lambda: PLAN) == PLAN

    def test_what_is_there_stays(self, cache: PlanCache) -> None:
        cache.store(KEY, PLAN)
        cache.store(KEY, b"another")
        assert cache.load(KEY) == PLAN
        cache.replace(KEY, b"another")
        assert cache.load(KEY) == b"another"

    def test_a_full_disk_is_a_backend_error(self, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(BackendError, match="No space"):
            cache.store(KEY, PLAN)
        assert list(cache.folder.iterdir()) == []

    def test_many_builders_build_once(self, cache: PlanCache) -> None:
        context = multiprocessing.get_context("fork")
        built = context.Value("i", 0)

        def build() -> bytes:
            with built.get_lock():
                built.value += 1
            time.sleep(0.2)
            return PLAN

        def obtain() -> None:
            assert cache.obtain(KEY, build) == PLAN

        processes = [context.Process(target=obtain) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0] * 4
        assert built.value == 1


class TestRefusing:
    def refused(self, cache: PlanCache, error: type[Exception], words: str) -> None:
        """Refused, again and again, and nothing is built over it."""
        before = contents(cache.folder)
        for _ in range(2):
            with pytest.raises(error, match=words) as raised:
                cache.obtain(KEY, never)
            assert type(raised.value) is error
        assert contents(cache.folder) == before

    def test_one_flipped_bit(self, cache: PlanCache) -> None:
        plan = cache.store(KEY, PLAN) / PLAN_FILE
        content = bytearray(plan.read_bytes())
        content[len(content) // 2] ^= 1
        plan.write_bytes(content)
        self.refused(cache, PlanIntegrityError, "changed after it was built")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"key": 1, "sha256": 2, "bytes": 3}'])
    def test_a_damaged_record(self, cache: PlanCache, content: bytes) -> None:
        (cache.store(KEY, PLAN) / RECORD_FILE).write_bytes(content)
        self.refused(cache, PlanIntegrityError, "build it again")

    @pytest.mark.parametrize("missing", [PLAN_FILE, RECORD_FILE])
    def test_a_missing_file(self, cache: PlanCache, missing: str) -> None:
        (cache.store(KEY, PLAN) / missing).unlink()
        self.refused(cache, PlanIntegrityError, "No such file")

    @pytest.mark.parametrize(
        ("part", "value", "error"),
        [
            ("gpu_name", "Thor", PlanDeviceError),
            ("target", "sm_110", PlanDeviceError),
            ("sm_count", 16, PlanDeviceError),
            ("driver", "CUDA 12.6", PlanDeviceError),
            ("version", "10.3.0", PlanVersionError),
            ("flavor", "tensorrt-rtx", PlanVersionError),
            ("onnx_sha256", "cd" * 32, PlanModelError),
            ("precision", "fp16_mixed", PlanModelError),
            ("batch", "1-8-8", PlanModelError),
        ],
    )
    def test_the_plan_of_another_key(
        self, cache: PlanCache, part: str, value: Any, error: type[Exception]
    ) -> None:
        other = cache.store(replace(KEY, **{part: value}), PLAN)
        other.rename(cache.path(KEY))
        self.refused(cache, error, "is needed here")

    @pytest.mark.parametrize("name", ["", PLAN_FILE, RECORD_FILE])
    def test_what_others_may_write(self, cache: PlanCache, name: str) -> None:
        path = cache.store(KEY, PLAN) / name
        path.chmod(path.stat().st_mode | 0o020)
        self.refused(cache, PlanIntegrityError, "written by others")

    def test_a_folder_others_may_write(self, cache: PlanCache) -> None:
        cache.folder.chmod(0o777)
        with pytest.raises(PlanIntegrityError, match="written by others"):
            PlanCache(cache.folder)

    def test_another_owner(self, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
        path = cache.store(KEY, PLAN)
        owner = 4242
        if os.geteuid() != 0:
            pytest.skip("only root can give a file to somebody else")
        os.chown(path / PLAN_FILE, owner, owner)
        self.refused(cache, PlanIntegrityError, "owner 4242")

    @pytest.mark.parametrize("name", ["", PLAN_FILE])
    def test_a_link(self, cache: PlanCache, tmp_path: Path, name: str) -> None:
        path = cache.store(KEY, PLAN) / name
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        self.refused(cache, PlanIntegrityError, "is a link")

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BackendError, match="another folder"):
            PlanCache(tmp_path / "file" / "engines")


class TestSessions:
    """Plans by way of ``open_session``, over a fake library and device."""

    def open(self, folder: Path) -> None:
        with open_session(SMALL, flavor_of(self.version), plan_folder=folder):
            pass

    version = TENSORRT

    def test_built_once_and_then_loaded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        memory = install(monkeypatch, self.version)
        self.open(tmp_path / "engines")
        self.open(tmp_path / "engines")
        assert memory.calls.count("build") == 1
        assert memory.calls.count("deserialize") == 2

    def test_timings_serve_the_next_network(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        memory = install(monkeypatch, self.version)
        self.open(tmp_path / "engines")
        with open_session(unet_3d(width=1, patch=8), "tensorrt", plan_folder=tmp_path / "engines"):
            pass
        assert [call for call in memory.calls if call.startswith("timings")] == [
            "timings b''",
            "timings b'+'",
        ]

    def test_a_tampered_plan_is_never_loaded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        memory = install(monkeypatch, self.version)
        folder = tmp_path / "engines"
        self.open(folder)
        memory.calls.clear()
        (plan,) = (path for path in folder.glob("*/plan") if not path.parent.name.startswith("timings"))
        plan.write_bytes(plan.read_bytes() + b"\0")
        with pytest.raises(PlanIntegrityError):
            self.open(folder)
        with pytest.raises(PlanIntegrityError):  # not even to choose something else instead
            fastest_backend(SMALL, candidates=["tensorrt"], plan_folder=folder, threads=1, repeats=1)
        assert memory.calls == []

    @pytest.mark.parametrize(
        ("version", "gpu"),
        [("tensorrt 10.16.1.11", {}), (TENSORRT, {"name": "NVIDIA Other"}), (TENSORRT, {"minor": 6})],
    )
    def test_another_version_or_device_gets_its_own(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, gpu: dict[str, Any]
    ) -> None:
        install(monkeypatch, TENSORRT)
        self.open(tmp_path / "engines")
        memory = install(monkeypatch, version, **gpu)
        self.open(tmp_path / "engines")
        assert memory.calls.count("build") == 1

    def test_a_plan_for_a_generation_serves_its_devices(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        memory = install(monkeypatch, RTX)
        folders = build_engines(BUNDLE, "sm_89", out=tmp_path / "engines")
        model = load_bundle(BUNDLE).model_bytes
        with open_session(model, "tensorrt-rtx", plan_folder=tmp_path / "engines"):
            pass
        assert memory.calls.count("build") == 1
        key = plan_key(
            load_library("tensorrt-rtx"), model, precision="fp32", batch=BatchRange(), target="sm_120"
        )
        with pytest.raises(PlanDeviceError, match="sm_120"):
            read_plan(folders[0], key)

    def test_a_device_rtx_does_not_know(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install(monkeypatch, RTX, major=9, minor=0)
        with pytest.raises(EngineBuildError, match="cannot build for sm_90"):
            open_session(SMALL, "tensorrt-rtx", plan_folder=tmp_path / "engines")


class TestExporting:
    def test_real_engines_for_a_generation(self, tmp_path: Path) -> None:
        pytest.importorskip(
            "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make setup-export"
        )
        told: list[str] = []
        (folder,) = build_engines(
            BUNDLE, "sm_89", out=tmp_path / "engines", on_progress=lambda phase, *_: told.append(phase)
        )
        record = json.loads((folder / RECORD_FILE).read_text())
        assert record["key"]["target"] == "sm_89"
        assert record["key"]["onnx_sha256"] == load_bundle(BUNDLE).model_sha256
        assert (folder / PLAN_FILE).stat().st_size == record["bytes"]
        assert told

    @pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "MODEL_CARD.md"])
    def test_a_bundle_with_one_flipped_bit(self, tmp_path: Path, name: str) -> None:
        bundle = tmp_path / "1.0.0"
        shutil.copytree(BUNDLE, bundle)
        content = bytearray((bundle / name).read_bytes())
        content[-20] ^= 1
        (bundle / name).write_bytes(content)
        with pytest.raises(BundleIntegrityError, match=name):
            build_engines(bundle, "sm_89", out=tmp_path / "engines")
        assert not (tmp_path / "engines").exists()

    def test_the_device_here_needs_a_device(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def no_driver() -> None:
            raise BackendError("there is no NVIDIA driver here")

        install(monkeypatch, TENSORRT)
        monkeypatch.setattr(cuda_device, "require_driver", no_driver)
        with pytest.raises(BackendError, match="no NVIDIA driver"):
            build_engines(BUNDLE, "current", out=tmp_path / "engines")

    def test_tensorrt_does_not_build_for_elsewhere(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="tensorrt-rtx"):
            build_engines(BUNDLE, "sm_89", out=tmp_path / "engines", flavor="tensorrt")

    def test_the_device_here(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install(monkeypatch, TENSORRT)
        (folder,) = build_engines(BUNDLE, "current", out=tmp_path / "engines")
        assert json.loads((folder / RECORD_FILE).read_text())["key"]["gpu_name"] == "NVIDIA Fake"

    def test_where_plans_are_kept(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert default_plan_folder() == tmp_path / "coldspot" / "engines"


def flavor_of(version: str) -> str:
    return version.split(" ", maxsplit=1)[0]
