"""Sealing a bundle that was written before bundles had seals, or by hand."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ManifestError
from engine.manifest import (
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    SEAL_FILE,
    SealedManifest,
    load_bundle,
    parse_manifest,
    seal_text,
)


def seal_bundle(folder: Path) -> SealedManifest:
    """Write the seal of a bundle that has none, and load the bundle with every check.

    The seal says that the manifest stays what it is now, not that it is right: compare its digest with the one
    that the maker of the model states.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``. One that has a seal is checked and left alone.

    Returns
    -------
    SealedManifest

    Raises
    ------
    ManifestError
        If the manifest is missing or invalid.
    BundleIntegrityError
        If a file is not the one that the manifest names, or an existing seal does not fit: a seal is never
        replaced. Then no seal is left behind.
    """
    seal = folder / SEAL_FILE
    if not seal.exists():
        return _newly_sealed(folder, seal)
    return load_bundle(folder).sealed


def _newly_sealed(folder: Path, seal: Path) -> SealedManifest:
    path, card = folder / MANIFEST_FILE, folder / MODEL_CARD_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); give a bundle folder") from error
    parse_manifest(text, path)
    seal.write_text(seal_text(text, card.read_bytes() if card.exists() else None), encoding="ascii")
    try:
        return load_bundle(folder).sealed
    except BaseException:
        seal.unlink(missing_ok=True)
        raise
