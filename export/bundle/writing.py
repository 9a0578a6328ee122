"""Writing a bundle: the networks, their manifest, the model card rendered from it, and the seal of both."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine.errors import InvalidRequestError
from engine.manifest import (
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    SEAL_FILE,
    Bundle,
    ModelManifest,
    load_bundle,
    manifest_text,
    seal_text,
)
from export.bundle.model_card import render_model_card

__all__ = ["render_model_card", "require_free", "write_bundle", "write_bundle_folder"]


def write_bundle(
    manifest: ModelManifest, networks: bytes | Mapping[str, bytes], models_folder: Path
) -> Bundle:
    """Write ``<models_folder>/<id>/<version>/`` and load it back with every check.

    See :func:`write_bundle_folder`.
    """
    return write_bundle_folder(manifest, networks, models_folder / manifest.id / manifest.version)


def write_bundle_folder(
    manifest: ModelManifest, networks: bytes | Mapping[str, bytes | Path], folder: Path
) -> Bundle:
    """Write a bundle into a folder of its own and load it back with every check.

    The folder appears whole or not at all; the same manifest and networks give the same bytes.

    Parameters
    ----------
    manifest : ModelManifest
        Its ``files`` are replaced by those that are written.
    networks : bytes, or mapping of str to bytes or Path
        The self-contained ONNX model, or all of them by file name (see ``ModelManifest.variants``); files are
        moved in.
    folder : Path
        Must not exist: a version never changes.

    Raises
    ------
    InvalidRequestError
        If it exists already.
    """
    require_free(folder)
    models: dict[str, bytes | Path] = (
        {MODEL_FILE: networks} if isinstance(networks, bytes) else dict(networks)
    )
    files = {name: _sha256(content) for name, content in models.items()}
    complete = ModelManifest.model_validate_json(
        manifest.model_copy(update={"files": files}).model_dump_json()
    )
    text, card = manifest_text(complete), render_model_card(complete).encode()
    contents = {
        **models,
        MODEL_CARD_FILE: card,
        MANIFEST_FILE: text,
        SEAL_FILE: seal_text(text, card).encode(),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in contents.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.move(content, path)
            else:
                path.write_bytes(content)
        checked = load_bundle(unfinished)
        unfinished.chmod(0o755)  # a temporary folder is private
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return replace(checked, folder=folder)


def require_free(folder: Path) -> None:
    """Refuse a folder that exists; call it before a long export.

    Raises
    ------
    InvalidRequestError
    """
    if folder.exists():
        raise InvalidRequestError(f"{folder} exists already; give a new version, or remove it yourself")


def _sha256(content: bytes | Path) -> str:
    """Digest of bytes, or of a file without holding it in memory."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
