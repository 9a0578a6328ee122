"""A bundle folder: every byte is checked before anything of it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from engine.errors import BundleIntegrityError, ManifestError
from engine.manifest.model import MANIFEST_FILE, MODEL_FILE, ModelManifest, Precision


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle.

    Parameters
    ----------
    manifest : ModelManifest
    folder : Path
    model_bytes : bytes
        Of ``model.onnx``: the bytes that were hashed, never read again.
    contents : dict of str to bytes
        All files by name, hashed likewise.
    """

    manifest: ModelManifest
    folder: Path
    model_bytes: bytes
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the ONNX file, hexadecimal."""
        return self.manifest.files[MODEL_FILE]

    def variant(self, precision: Precision) -> tuple[bytes, ...]:
        """Networks of a precision, one for each ensemble member.

        Raises
        ------
        ManifestError
            If the bundle has no such variant.
        """
        names = self.manifest.variants.get(precision)
        if names is None:
            known = ", ".join(self.manifest.variants)
            raise ManifestError(
                f"{self.folder} has no variant {precision}, only {known}; choose one of these"
            )
        return tuple(self.contents[name] for name in names)


def read_manifest(folder: Path) -> ModelManifest:
    """Read and validate ``manifest.json`` of a bundle folder.

    Raises
    ------
    ManifestError
        If the file is missing, not UTF-8 JSON, or not a valid manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); give a bundle folder") from error
    try:
        return ModelManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        message = f"{path}: {where}: {first['msg']} ({error.error_count()} in all); export the bundle again"
        raise ManifestError(message) from error


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle after checking every file of it against the manifest.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.

    Raises
    ------
    ManifestError
        If the manifest is missing or invalid.
    BundleIntegrityError
        If a listed file is missing, differs from its hash or lies outside the folder, or if the
        folder holds a file that the manifest does not list.
    """
    manifest = read_manifest(folder)
    contents = {name: _checked_bytes(folder, name, sha256) for name, sha256 in manifest.files.items()}
    _refuse_unlisted(folder, set(contents))
    return Bundle(manifest, folder, contents[MODEL_FILE], contents)


def _checked_bytes(folder: Path, name: str, sha256: str) -> bytes:
    """Bytes of one listed file, read once and hashed."""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise BundleIntegrityError(f"{folder / name} is a link out of its bundle; copy the file in instead")
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{folder / name} cannot be read ({error.strerror}); install the bundle again"
        raise BundleIntegrityError(message) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise BundleIntegrityError(
            f"{folder / name} has SHA-256 {digest}, its manifest says {sha256}; install the bundle again"
        )
    return content


def _refuse_unlisted(folder: Path, listed: set[str]) -> None:
    """Refuse a file that nobody hashed: it has no place beside a model."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in listed | {MANIFEST_FILE}:
            raise BundleIntegrityError(f"{path} is not listed in the manifest; remove it or export again")
