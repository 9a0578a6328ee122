"""What every command line of the project has in common: exit codes, errors without a traceback, JSON on stdout.

It needs no library for command lines, so that ``coldspot`` and ``coldspot-export`` share it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from engine import errors
from engine.errors import ColdspotError, entry_for

INTERNAL_ERROR: Final = 1
REFUSED: Final = 3
_STOPPED: Final = 130
"""As a shell reports a program that SIGINT ended."""

EXIT_CODE_MEANINGS: Final = {
    0: "done",
    INTERNAL_ERROR: "internal error",
    2: "bad input or request",
    REFUSED: "refused: the images were read, but no trustworthy number can be given",
    4: "a model that must not be used, or does not answer as its source",
    5: "device or backend",
    6: "busy, unavailable, cancelled or timed out",
    7: "self-test failed",
    _STOPPED: "stopped from the keyboard",
}

_EXIT_CODES: Final[dict[type[ColdspotError], int]] = {
    errors.ColdspotError: INTERNAL_ERROR,
    errors.InputError: 2,
    errors.StateError: 2,
    errors.UnauthenticatedError: 2,
    errors.ModelError: 4,
    errors.BackendError: 5,
    errors.CapacityError: 6,
    errors.InterruptedAssessmentError: 6,
    errors.ServiceUnavailableError: 6,
    errors.SelfTestError: 7,
}
"""Only the classes whose exit code differs from that of their parent."""


def exit_code_of(kind: type[ColdspotError]) -> int:
    """Return the exit code of an error class."""
    return entry_for(kind, _EXIT_CODES)


def explain_exit_codes(*codes: int) -> str:
    """Return a sentence for ``--help`` that says what these exit codes mean."""
    return "Exit codes: " + "; ".join(f"{code} {EXIT_CODE_MEANINGS[code]}" for code in codes) + "."


@contextmanager
def errors_shown(*, as_json: bool, prefix: str = "") -> Iterator[None]:
    """Turn an error into a message and an exit code; a traceback is never shown.

    Parameters
    ----------
    as_json : bool
        Print ``{"error": {"code", "message"}}`` on stdout instead of a line on stderr.
    prefix : str, optional
        What stands before the message on stderr; by default the code of the error.

    Raises
    ------
    SystemExit
    """
    try:
        yield
    except ColdspotError as error:
        _fail(error.code, str(error), exit_code_of(type(error)), as_json, prefix)
    except KeyboardInterrupt:
        _fail("cancelled", "stopped from the keyboard", _STOPPED, as_json, prefix)
    except Exception as error:  # noqa: BLE001 - the last resort of a command
        _fail("internal_error", f"{type(error).__name__}: {error}", INTERNAL_ERROR, as_json, prefix)


def _fail(code: str, message: str, exit_code: int, as_json: bool, prefix: str) -> NoReturn:
    if as_json:
        print_json({"error": {"code": code, "message": message}})
    else:
        sys.stderr.write(f"{prefix or code}: {message}\n")
    raise SystemExit(exit_code)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
