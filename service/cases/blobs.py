"""Bytes on disk under the name of their SHA-256: complete and flushed, or not there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from engine.errors import ChecksumError, NotFoundError
from service.cases.owner_only import withdraw_from_others

_LONG_BYTES: Final = 1 << 20
"""Length from which a chunk is hashed in a second thread."""

_SHA256_NAME = re.compile(r"[0-9a-f]{64}")


def aligned_buffer(size: int) -> memoryview:
    """Return memory, filled with zeros, aligned so that :meth:`BlobWriter.write` writes it without a copy."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


class BlobWriter:
    """A file that is not a blob yet: hashed while it is written, discarded unless it is kept.

    Use as a context manager; leaving it removes what :meth:`BlobStore.keep` has not taken.

    Notes
    -----
    Whole pages of an :func:`aligned_buffer` go to the disk without a copy in the kernel (``O_DIRECT``), which leaves
    :meth:`flush` little to wait for. Anything not aligned, and everything after it, goes through the page cache.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid4().hex
        self._descriptor = _create(self.path)
        self._hash = hashlib.sha256()
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="sha256")  # starts when it is first used
        self._open = True
        self.size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Append ``chunk``; a long one is hashed and written at the same time."""
        if len(chunk) < _LONG_BYTES:
            self._hash.update(chunk)
            self._append(chunk)
        else:
            hashed = self._hashing.submit(self._hash.update, chunk)
            try:
                self._append(chunk)
            finally:
                hashed.result()
        self.size += len(chunk)

    def _append(self, chunk: bytes | memoryview) -> None:
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not _end_direct_writing(self._descriptor):
                    raise

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written so far."""
        return self._hash.hexdigest()

    def flush(self) -> None:
        """Return when the bytes are on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        self._hashing.shutdown()
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


class BlobStore:
    """Content-addressed files in one folder.

    Parameters
    ----------
    folder : Path
        Made if absent, and its owner's alone from now on. Unfinished files of an earlier run are removed.

    Attributes
    ----------
    unfinished : Path
        Folder on the same file system for what is not a blob yet.

    Raises
    ------
    PreconditionError
        If other accounts can use one of the files or folders, and this account may not change that.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs, self.unfinished = folder / "blobs", folder / "unfinished"
        for needed in (folder, self._blobs, self.unfinished):
            needed.mkdir(mode=0o700, parents=True, exist_ok=True)
        withdraw_from_others(folder, self._blobs, self.unfinished, *self._blobs.iterdir())
        for leftover in self.unfinished.iterdir():
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        _flush_folder(folder)

    def writer(self) -> BlobWriter:
        """Begin a new blob."""
        return BlobWriter(self.unfinished)

    def keep(self, writer: BlobWriter) -> str:
        """Make a flushed file a blob and return its digest; durable when this returns."""
        writer.close()
        target = self.path(writer.sha256)
        if not target.exists():
            writer.path.rename(target)
            _flush_folder(self._blobs)
        return writer.sha256

    def path(self, sha256: str) -> Path:
        """Return the path of the blob with this digest, whether or not it exists."""
        if not _SHA256_NAME.fullmatch(sha256):
            raise NotFoundError("a blob is named by 64 hexadecimal digits")
        return self._blobs / sha256

    def read(self, sha256: str) -> bytes:
        """Return the bytes of a blob, checked against its name.

        Raises
        ------
        NotFoundError, ChecksumError
        """
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"the stored bytes {sha256[:12]}… are gone; upload them again") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ChecksumError(f"the stored bytes {sha256[:12]}… are damaged on disk; upload them again")
        return content

    def remove(self, sha256: str) -> None:
        """Remove a blob if it is there."""
        self.path(sha256).unlink(missing_ok=True)

    def size(self, sha256: str) -> int:
        """Return how many bytes a blob has; 0 if it is not there."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return 0

    def total_bytes(self) -> int:
        """Return how many bytes all blobs have together."""
        return sum(self.size(name) for name in self.names())

    def names(self) -> set[str]:
        """Return the digests of all blobs."""
        return {entry.name for entry in self._blobs.iterdir() if _SHA256_NAME.fullmatch(entry.name)}


def _create(path: Path) -> int:
    """Open a new file for direct writing, where its file system knows that."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    path.unlink(missing_ok=True)  # some file systems have made the name by then
    return os.open(path, flags, 0o600)


def _end_direct_writing(descriptor: int) -> bool:
    """Write through the page cache from now on; False if that is how it was."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return bool(flags & os.O_DIRECT)


def _flush_folder(folder: Path) -> None:
    """Return when the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
