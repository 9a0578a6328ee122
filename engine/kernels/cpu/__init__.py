"""CPU twins of the kernels, compiled by Numba.

Numba keeps compiled loops on disk and checks only the time and size of the file that defines a
loop, not those of the loops it calls. Stale machine code must not measure a patient, so the
cache's folder is named after the content of all these sources.
"""

from hashlib import sha256
from pathlib import Path

from numba import config

_HERE = Path(__file__).parent


def _cache_folder() -> str:
    content = sha256()
    for source in sorted(_HERE.glob("*.py")):
        content.update(source.read_bytes())
    parent = Path(config.CACHE_DIR) if config.CACHE_DIR else _HERE / "__pycache__"
    return str(parent / f"kernels-{content.hexdigest()[:16]}")


config.CACHE_DIR = _cache_folder()


def is_compiled() -> bool:
    """Whether machine code of these sources lies in the cache."""
    return any(Path(config.CACHE_DIR).rglob("*.nbc"))
