"""Model folders inside zip archives, as TotalSegmentator publishes them, and folders inside folders."""

from __future__ import annotations

import shutil
import stat
import weakref
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from engine.errors import SourceModelError, UnreadableFileError

MAX_UNPACKED_BYTES = 16 * 2**30
_MAX_MEMBERS = 20_000
_KEPT_NAMES = ("plans.json", "dataset.json", "plans.pkl", "postprocessing.json", "postprocessing.pkl")
_KEPT_ENDINGS = (".pth", ".model", ".model.pkl")
_PLANS = ("plans.json", "plans.pkl")
_BLOCK = 2**20


class ModelFolder:
    """The folder that holds the plans and folds of one trained model, unpacked for as long as this object lives.

    Parameters
    ----------
    source : Path
        A trained model's folder, a data set's folder with one trained model, or a zip of either.
    configuration : str, optional
        Chooses between several by the ending of the folder's name (``…__3d_fullres``).

    Raises
    ------
    SourceModelError
        If there is no plan below the path, or more than one.
    UnreadableFileError
        If the archive is damaged, names a file outside itself, holds a link, or is too large.
    """

    def __init__(self, source: Path, configuration: str | None = None) -> None:
        root = source
        if not source.is_dir():
            root = Path(mkdtemp(prefix="coldspot-export-"))
            weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
            _unpack(source, root)
        self.path: Path = _only_model(root, configuration)


def _only_model(folder: Path, configuration: str | None) -> Path:
    """The one folder with plans and folds below (or at) this one."""
    plan_folders = sorted({plans.parent for name in _PLANS for plans in folder.rglob(name)})
    # nnU-Net copies plans into preprocessed folders, too: only those with folds are models.
    models = [f for f in plan_folders if any(f.glob("*/*.pth")) or any(f.glob("*/*.model"))]
    if configuration is not None and len(models) > 1:
        models = [model for model in models if model.name.endswith(f"__{configuration}")]
    if len(models) != 1:
        names = ", ".join(str(model.relative_to(folder)) for model in models) or "none"
        raise SourceModelError(
            f"{folder} must hold one trained nnU-Net (plans.json or plans.pkl, and folds); found: {names}"
        )
    return models[0]


def _unpack(archive: Path, into: Path) -> None:
    """Write the files that are needed, after every name in the archive was checked."""
    try:
        with zipfile.ZipFile(archive) as source:
            members = source.infolist()
            _require_harmless(archive, members)
            bytes_left = MAX_UNPACKED_BYTES
            for member in members:
                # A fold without a checkpoint must be seen to lack it: its folder is made all the same.
                name = into / PurePosixPath(member.filename)
                (name if member.is_dir() else name.parent).mkdir(parents=True, exist_ok=True)
                if _is_needed(member):
                    bytes_left -= _write(source, member, into, bytes_left)
    except OSError as error:
        raise UnreadableFileError(
            f"{archive} cannot be read ({error.strerror}); give a folder or a zip"
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise UnreadableFileError(f"{archive} is not an intact zip ({error}); download it again") from error


def _require_harmless(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would write outside its folder, link, or fill the disk."""
    if len(members) > _MAX_MEMBERS:
        raise UnreadableFileError(f"{archive} has {len(members)} files; a model has a few")
    names = [member.filename for member in members]
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            raise UnreadableFileError(
                f"{archive} holds {name!r}, which leads out of the archive or is a link; do not unpack it"
            )
    if len(set(names)) != len(names):
        raise UnreadableFileError(f"{archive} holds two files of one name; download it again")


def _is_needed(member: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(member.filename).name
    return not member.is_dir() and (name in _KEPT_NAMES or name.endswith(_KEPT_ENDINGS))


def _write(source: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path, max_bytes: int) -> int:
    """Unpack one file; what it really holds is counted, not what its header says."""
    target = into / PurePosixPath(member.filename)
    written = 0
    with source.open(member) as packed, target.open("wb") as unpacked:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > max_bytes:
                raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES / 2**30:g} GiB")
            unpacked.write(block)
    return written
