"""Compiled engines, kept on the device they were built for.

Loading a plan is running native code, so a plan is used only if it is, byte for byte, what its record says,
and if nobody else can have written it. That finds damage, mix-ups and other accounts of the machine; it
cannot stop somebody who already acts as this account.

One folder a plan: ``<folder>/<network>-<key>/`` with ``plan`` and ``record.json``, moved into place as one.
Nothing is built over a plan that fails its check: an operator has to see that, and remove the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from engine.errors import (
    BackendError,
    EnginePlanError,
    PlanDeviceError,
    PlanIntegrityError,
    PlanModelError,
    PlanVersionError,
)

PLAN_FILE: Final = "plan"
RECORD_FILE: Final = "record.json"
UNFINISHED: Final = ".unfinished-"

_KIND_OF_FIELD: Final[dict[str, type[EnginePlanError]]] = {
    "content": PlanModelError,
    "onnx_sha256": PlanModelError,
    "precision": PlanModelError,
    "batch": PlanModelError,
    "flavor": PlanVersionError,
    "version": PlanVersionError,
    "target": PlanDeviceError,
    "gpu_name": PlanDeviceError,
    "sm_count": PlanDeviceError,
    "driver": PlanDeviceError,
}


@dataclass(frozen=True)
class PlanKey:
    """Everything that a plan depends on.

    Parameters
    ----------
    onnx_sha256 : str
    precision : str
        That of the ONNX model.
    batch : str
        Batch sizes the plan serves, ``minimum-usual-maximum``.
    flavor, version : str
        The library.
    target : str
        GPU generation, ``"sm_86"`` and the like.
    gpu_name : str, optional
    sm_count : int, optional
    driver : str, optional
        Empty and 0 for a plan of TensorRT-RTX that serves a whole GPU generation.
    content : {"plan", "timing cache"}, optional
        What is kept under the key; a timing cache is of a device, not of one model.
    """

    onnx_sha256: str
    precision: str
    batch: str
    flavor: str
    version: str
    target: str
    gpu_name: str = ""
    sm_count: int = 0
    driver: str = ""
    content: str = "plan"

    @property
    def folder_name(self) -> str:
        """First digits of the network's hash, the GPU generation, and a digest of the whole key."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return (
            f"{self.onnx_sha256[:12] or 'timings'}-{self.flavor}-{self.target}-{self.precision}-{digest[:16]}"
        )


class PlanCache:
    """Plans by key in one folder.

    Parameters
    ----------
    folder : Path
        Made if it is not there, for this account alone.

    Raises
    ------
    PlanIntegrityError
        If others may write into the folder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BackendError(
                f"compiled engines cannot be kept in {folder} ({error.strerror}); choose another folder"
            ) from error
        _require_private(folder)
        self.folder = folder

    def path(self, key: PlanKey) -> Path:
        """Folder that holds the plan of a key, or would."""
        return self.folder / key.folder_name

    def load(self, key: PlanKey) -> bytes | None:
        """Return the plan of a key, checked; None if there is none.

        Raises
        ------
        PlanIntegrityError
            If plan or record were changed or are incomplete, or others may write them.
        PlanDeviceError, PlanVersionError, PlanModelError
            If what lies there is the plan of another key.
        """
        path = self.path(key)
        return read_plan(path, key) if path.exists() or path.is_symlink() else None

    def store(self, key: PlanKey, plan: bytes) -> Path:
        """Keep a plan; one that is already there stays.

        Returns
        -------
        Path
            Its folder.
        """
        return _write_plan(self.path(key), key, plan)

    def replace(self, key: PlanKey, content: bytes) -> Path:
        """Keep something in place of what was there, for whoever holds :meth:`only_builder`."""
        shutil.rmtree(self.path(key), ignore_errors=True)
        return self.store(key, content)

    def remove_superseded(self, key: PlanKey) -> tuple[Path, ...]:
        """Remove what another version of the library, or another driver, had built in place of a key.

        Nothing loads it again, and an update would leave gigabytes behind. What has no complete record is
        left for an operator to look at.

        Returns
        -------
        tuple of Path
            The folders that are gone.
        """
        gone = []
        for path in sorted(self.folder.glob(f"*/{RECORD_FILE}")):
            kept = _key_of(path.parent)
            if kept is None or kept == key:
                continue
            if replace(kept, version=key.version, driver=key.driver) == key:
                leaving = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
                path.parent.rename(leaving / "superseded")  # at once: nobody finds half of it
                shutil.rmtree(leaving, ignore_errors=True)
                gone.append(path.parent)
        return tuple(gone)

    def obtain(self, key: PlanKey, build: Callable[[], bytes]) -> bytes:
        """Return the plan of a key, built by ``build`` and kept if there is none.

        Whoever asks for the same plan meanwhile, in any process, waits and gets that one. A plan that is
        built takes the place of those that other versions of the library had built.

        Raises
        ------
        EnginePlanError
            As :meth:`load`; nothing is built then.
        """
        with self.only_builder(key):
            plan = self.load(key)
            if plan is None:
                plan = build()
                self.store(key, plan)
                self.remove_superseded(key)
            return plan

    @contextmanager
    def only_builder(self, key: PlanKey) -> Iterator[None]:
        """Hold the lock of a key among all processes; a process that dies lets go of it."""
        lock = os.open(self.folder / f"{key.folder_name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _write_plan(path: Path, key: PlanKey, plan: bytes) -> Path:
    """Write the folder of a plan, complete or not at all; one that is already there stays.

    Parameters
    ----------
    path : Path
        The folder to make.
    key : PlanKey
    plan : bytes

    Returns
    -------
    Path
        The folder.
    """
    record = {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)}
    text = json.dumps(record, indent=1) + "\n"
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))  # mode 0700
    try:
        _write(unfinished / PLAN_FILE, plan)
        _write(unfinished / RECORD_FILE, text.encode())
        _sync(unfinished)
        unfinished.rename(path)
        _sync(path.parent)
    except OSError as error:
        if not path.is_dir():  # else somebody was faster; whoever loads it checks it
            raise BackendError(f"{path} cannot be written ({error.strerror}); free some space") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return path


def read_plan(path: Path, key: PlanKey) -> bytes:
    """Read the folder of a plan, and check it against the key it has to have.

    Returns
    -------
    bytes
        The bytes that were hashed.

    Raises
    ------
    PlanIntegrityError
        If plan or record were changed or are incomplete, or others may write them.
    PlanDeviceError, PlanVersionError, PlanModelError
        If it is the plan of another key.
    """
    _require_private(path)
    record = _record(path)
    _require_same_key(path, record.get("key"), key)
    plan = _read(path / PLAN_FILE)
    digest = hashlib.sha256(plan).hexdigest()
    if digest != record.get("sha256"):
        raise PlanIntegrityError(
            f"{path / PLAN_FILE} has SHA-256 {digest}, its record says {record.get('sha256')}: it was changed "
            f"after it was built and is not loaded; find out how, then remove {path} and build it again"
        )
    return plan


def _key_of(path: Path) -> PlanKey | None:
    """The key of a folder as its record says it; None where that is not complete."""
    try:
        _require_private(path)
        return PlanKey(**_record(path)["key"])
    except (EnginePlanError, OSError, TypeError):
        return None


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(_read(path / RECORD_FILE))
    except ValueError as error:
        raise PlanIntegrityError(
            f"{path / RECORD_FILE} is not JSON; remove {path} and build it again"
        ) from error
    if not isinstance(record, dict) or set(record) != {"key", "sha256", "bytes"}:
        raise PlanIntegrityError(f"{path / RECORD_FILE} is not a record; remove {path} and build it again")
    return record


def _require_same_key(path: Path, recorded: Any, key: PlanKey) -> None:
    """Refuse another key, by the first part that differs: model, then library, then device."""
    names = {item.name for item in fields(PlanKey)}
    if not isinstance(recorded, dict) or set(recorded) != names:
        raise PlanIntegrityError(
            f"{path / RECORD_FILE} has no complete key; remove {path} and build it again"
        )
    for name, kind in _KIND_OF_FIELD.items():
        expected = getattr(key, name)
        if recorded[name] != expected:
            what = name.replace("_", " ")
            raise kind(
                f"{path} was built for {what} {recorded[name]!r}, and {expected!r} is needed here; "
                f"remove it and build it again on this device"
            )


def _require_private(path: Path) -> None:
    """Refuse what somebody else may have written: only this account and root may."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PlanIntegrityError(f"{path} is a link; put the plan itself there, or build it again")
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PlanIntegrityError(
            f"{path} can be written by others (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}), "
            "and a plan is code; give it to this account alone (chmod go-w), then build the plans again"
        )


def _read(path: Path) -> bytes:
    """Bytes of a private file, from the one file that was checked."""
    try:
        _require_private(path)
        return path.read_bytes()
    except OSError as error:
        raise PlanIntegrityError(
            f"{path} cannot be read ({error.strerror}); remove {path.parent} and build it again"
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write a new file for this account alone, onto the disk."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
