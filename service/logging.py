"""JSON logs without patient data: only keys on the allow-list are written.

Messages of exceptions are not logged either, for they may quote a file; the class and the place in
the code are.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

ALLOWED_KEYS: Final = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "method",
        "case_id",
        "series_id",
        "assessment_id",
        "incident_id",
        "role",
        "bytes",
        "outcome",
        "code",
        "error_class",
        "frames",
        "duration_s",
        "latency_s",
        "version",
        "backend",
        "port",
        "signal",
        "withheld",
    }
)


def _keep_allowed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Drop every key that is not on the allow-list, and say how many were dropped."""
    kept = {key: value for key, value in event.items() if key in ALLOWED_KEYS}
    if len(kept) < len(event):
        kept["withheld"] = len(event) - len(kept)
    return kept


def configure_logging() -> None:
    """Write JSON lines to stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_stderr,
        cache_logger_on_first_use=False,
    )


def silence_logging() -> None:
    """Write nothing, for a service that lives inside a command."""
    structlog.configure(
        processors=[_drop], logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False
    )


def _stderr(*_names: Any) -> structlog.WriteLogger:
    """Return a logger on the present stderr, which may have been replaced since the first one was made."""
    return structlog.WriteLogger(sys.stderr)


def _drop(_logger: Any, _method: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return the logger; it follows a later :func:`configure_logging`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


def error_trace(error: BaseException) -> dict[str, Any]:
    """Return an exception's class and its stack frames as fields of a log line, without its message."""
    frames = [
        f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {"error_class": type(error).__name__, "frames": frames[-12:]}
