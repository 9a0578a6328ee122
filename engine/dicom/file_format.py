"""How a DICOM file begins: with its preamble (PS3.10 7.1), or with the data set itself.

Archives and discs hold both. Without preamble and file meta information the encoding has to be told from the
first element: its value representation is there (explicit), or its length is (implicit).
"""

from __future__ import annotations

import re
from typing import Final

_PREAMBLE_BYTES: Final = 128
_MAGIC: Final = b"DICM"
HEAD_BYTES: Final = _PREAMBLE_BYTES + len(_MAGIC)
"""Bytes from the start of a file that tell whether it is DICOM."""

DICOM_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".ima"})

_FIRST_GROUPS: Final = frozenset({0x0002, 0x0008})
"""Group of the first element: file meta information, or what every instance starts with."""

_LAST_FIRST_ELEMENT: Final = 0x0060
"""No instance starts later in its first group than with its modality (0008,0060)."""

_MAX_FIRST_LENGTH: Final = 1024
_EXPLICIT_VR: Final = re.compile(rb"(?:AE|AS|CS|DA|DT|IS|LO|LT|OB|PN|SH|SQ|ST|TM|UI|UL|UN|US|UT)")


def starts_with_preamble(head: bytes | memoryview) -> bool:
    """Whether a file starts as PS3.10 says: 128 bytes, then ``DICM``."""
    return bytes(head[_PREAMBLE_BYTES:HEAD_BYTES]) == _MAGIC


def starts_as_dicom(head: bytes | memoryview) -> bool:
    """Whether a file starts with the preamble, or without it as a data set does."""
    return starts_with_preamble(head) or _starts_as_data_set(bytes(head[:HEAD_BYTES]))


def data_set_offset(head: bytes | memoryview) -> int:
    """Where a data set without preamble begins: some writers leave out only the 128 bytes before ``DICM``."""
    return len(_MAGIC) if bytes(head[: len(_MAGIC)]) == _MAGIC else 0


def _starts_as_data_set(head: bytes) -> bool:
    element = head[data_set_offset(head) :][:8]
    if len(element) < 8:
        return False
    for order in ("little", "big"):
        group, number = (int.from_bytes(element[at : at + 2], order) for at in (0, 2))
        if group not in _FIRST_GROUPS or number > _LAST_FIRST_ELEMENT:
            continue
        if _EXPLICIT_VR.match(element, 4):
            return True
        if (
            order == "little"
            and group == 0x0008
            and int.from_bytes(element[4:], "little") <= _MAX_FIRST_LENGTH
        ):
            return True
    return False
