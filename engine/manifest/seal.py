"""The seal of a bundle: the SHA-256 of its manifest and of its model card, in a file beside them.

The manifest names the SHA-256 of every network, and nothing names its own: a changed bit in a mean, a label or
a baseline would be another valid manifest. The seal is what it is checked against. Its text is what
``sha256sum --check manifest.json.sha256`` reads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.errors import BundleIntegrityError
from engine.manifest.model import MANIFEST_FILE, MODEL_CARD_FILE

SEAL_FILE: Final = f"{MANIFEST_FILE}.sha256"

_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S+)")
_SEALED: Final = (MANIFEST_FILE, MODEL_CARD_FILE)


def seal_text(manifest: bytes, card: bytes | None = None) -> str:
    """Content of a seal.

    Parameters
    ----------
    manifest : bytes
        Of ``manifest.json``.
    card : bytes, optional
        Of ``MODEL_CARD.md``, which states the digest of the manifest and so cannot be named in it.

    Returns
    -------
    str
        A line for each file, as ``sha256sum`` writes it.
    """
    contents = {MANIFEST_FILE: manifest} if card is None else {MANIFEST_FILE: manifest, MODEL_CARD_FILE: card}
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())


def read_seal(folder: Path) -> Mapping[str, str]:
    """SHA-256 of the manifest and, where the seal names it, of the model card, by file name.

    Raises
    ------
    BundleIntegrityError
        If there is no seal, or it is not as :func:`seal_text` writes it.
    """
    path = folder / SEAL_FILE
    try:
        text = path.read_bytes().decode("ascii")
    except FileNotFoundError as error:
        raise BundleIntegrityError(
            f"{folder} has no {SEAL_FILE}, so a changed manifest could not be told from the one that was exported; "
            "export or install the bundle again, or, if you know its manifest to be right, write the file with "
            f"`coldspot-export seal {folder}`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleIntegrityError(f"{path} cannot be read ({error}); install the bundle again") from error
    lines = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    digests = {line[2]: line[1] for line in lines if line is not None}
    if len(digests) != len(lines) or MANIFEST_FILE not in digests or not digests.keys() <= set(_SEALED):
        raise BundleIntegrityError(
            f"{path} is not a list of the SHA-256 of {MANIFEST_FILE} and {MODEL_CARD_FILE}; "
            "install the bundle again"
        )
    return digests
