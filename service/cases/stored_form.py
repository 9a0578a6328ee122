"""Requests and headers as the case store keeps them: JSON with sorted keys, so that equal ones are equal bytes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from engine.errors import PreconditionError
from service.cases.requests import CaseRequest
from service.cases.series import SeriesHeader

_Stored = TypeVar("_Stored")

_REQUESTS: Final = TypeAdapter(CaseRequest)
_HEADERS: Final = TypeAdapter(SeriesHeader)


def encode(content: CaseRequest | SeriesHeader) -> bytes:
    """Return a request or a header in its stored form."""
    return json.dumps(asdict(content), sort_keys=True).encode()


def decode_request(stored: bytes) -> CaseRequest:
    """Return the request that opened a case.

    Raises
    ------
    PreconditionError
        If another version of the service has stored it.
    """
    return _decode(_REQUESTS, stored)


def decode_header(stored: bytes) -> SeriesHeader:
    """Return the header of a stored series.

    Raises
    ------
    PreconditionError
        If another version of the service has stored it.
    """
    return _decode(_HEADERS, stored)


def _decode(adapter: TypeAdapter[_Stored], stored: bytes) -> _Stored:
    try:
        return adapter.validate_python(json.loads(stored))
    except (ValueError, ValidationError):
        raise PreconditionError(
            "the case was stored by another version of the service; delete it and open it anew"
        ) from None
