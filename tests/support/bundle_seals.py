"""Bundles that a test has changed: sealed again, so that the change itself is what is looked at."""

from __future__ import annotations

from pathlib import Path

from engine.manifest import MANIFEST_FILE, MODEL_CARD_FILE, SEAL_FILE, seal_text


def sealed_anew(folder: Path) -> None:
    """Seal a bundle whose manifest or card was changed."""
    card = folder / MODEL_CARD_FILE
    text = seal_text((folder / MANIFEST_FILE).read_bytes(), card.read_bytes() if card.exists() else None)
    (folder / SEAL_FILE).write_text(text)
