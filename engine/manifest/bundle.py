"""A bundle folder: every byte is checked before anything of it is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from engine.errors import BundleIntegrityError, ManifestError
from engine.manifest.model import MANIFEST_FILE, MODEL_FILE, ModelManifest, Precision, manifest_text
from engine.manifest.seal import SEAL_FILE, read_seal
from engine.model_identity import ModelIdentity


@dataclass(frozen=True)
class SealedManifest:
    """A manifest with the digest of its bytes, which the seal of its bundle names.

    Parameters
    ----------
    manifest : ModelManifest
    sha256 : str
        Of ``manifest.json``, hexadecimal.
    """

    manifest: ModelManifest
    sha256: str

    @classmethod
    def of(cls, manifest: ModelManifest) -> Self:
        """Take a manifest that is in memory, with the digest that it has once it is written."""
        return cls(manifest, hashlib.sha256(manifest_text(manifest)).hexdigest())

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        manifest = self.manifest
        return ModelIdentity(
            manifest.id, manifest.version, manifest.files[MODEL_FILE], manifest.demo, self.sha256
        )


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle.

    Parameters
    ----------
    sealed : SealedManifest
    folder : Path
    model_bytes : bytes
        Of ``model.onnx``: the bytes that were hashed, never read again.
    contents : dict of str to bytes
        All files that the manifest lists by name, hashed likewise.
    """

    sealed: SealedManifest
    folder: Path
    model_bytes: bytes
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def manifest(self) -> ModelManifest:
        """What the bundle says of itself."""
        return self.sealed.manifest

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self.sealed.identity

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
    """Read, check and validate ``manifest.json`` of a bundle folder.

    Raises
    ------
    ManifestError, BundleIntegrityError
        See :func:`read_sealed_manifest`.
    """
    return read_sealed_manifest(folder).manifest


def read_sealed_manifest(folder: Path) -> SealedManifest:
    """Read ``manifest.json`` of a bundle folder, check it against its seal, and validate it.

    Raises
    ------
    ManifestError
        If the file is missing, not UTF-8 JSON, or not a valid manifest.
    BundleIntegrityError
        If it is not the manifest that was sealed, or there is no seal.
    """
    return _checked_manifest(folder)[0]


def parse_manifest(text: bytes, path: Path) -> ModelManifest:
    """Validate the content of a manifest.

    Parameters
    ----------
    text : bytes
    path : Path
        Where it was read from, for the message.

    Raises
    ------
    ManifestError
        If it is not UTF-8 JSON, or not a valid manifest.
    """
    try:
        return ModelManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        message = f"{path}: {where}: {first['msg']} ({error.error_count()} in all); export the bundle again"
        raise ManifestError(message) from error


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle after checking every file of it against the manifest, and that against its seal.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.

    Raises
    ------
    ManifestError
        If the manifest is missing or invalid.
    BundleIntegrityError
        If the manifest differs from its seal or has none, if a listed file is missing, differs from its
        hash or lies outside the folder, or if the folder holds a file that is not listed.
    """
    sealed, seal = _checked_manifest(folder)
    files = sealed.manifest.files
    contents = {name: _checked_bytes(folder, name, sha256, MANIFEST_FILE) for name, sha256 in files.items()}
    for name, sha256 in seal.items():
        _checked_bytes(folder, name, sha256, SEAL_FILE)
    _refuse_unlisted(folder, {*contents, *seal, SEAL_FILE})
    return Bundle(sealed, folder, contents[MODEL_FILE], contents)


def _checked_manifest(folder: Path) -> tuple[SealedManifest, Mapping[str, str]]:
    """Return the manifest, and all that its seal names."""
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); give a bundle folder") from error
    seal = read_seal(folder)
    sha256 = seal[MANIFEST_FILE]
    _require_digest(path, text, sha256, SEAL_FILE)
    return SealedManifest(parse_manifest(text, path), sha256), seal


def _checked_bytes(folder: Path, name: str, sha256: str, stated_in: str) -> bytes:
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
    _require_digest(folder / name, content, sha256, stated_in)
    return content


def _require_digest(path: Path, content: bytes, sha256: str, stated_in: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise BundleIntegrityError(
            f"{path} has SHA-256 {digest}, {stated_in} says {sha256}: it was changed or damaged after the export; "
            "install the bundle again"
        )


def _refuse_unlisted(folder: Path, listed: set[str]) -> None:
    """Refuse a file that nobody hashed: it has no place beside a model."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in listed:
            raise BundleIntegrityError(
                f"{path} is listed neither in {MANIFEST_FILE} nor in {SEAL_FILE}; remove it or export again"
            )
