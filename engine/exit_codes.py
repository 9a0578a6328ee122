"""What the exit code of a command says, by error class: one table for every command line of the project."""

from __future__ import annotations

from typing import Final

from engine import errors

OK: Final = 0

EXIT_CODES: Final[dict[type[Exception], int]] = {
    errors.InputError: 2,
    errors.StateError: 2,
    errors.ModelError: 4,
    errors.BackendError: 5,
    errors.CapacityError: 6,
    errors.InterruptedAssessmentError: 6,
    errors.ServiceUnavailableError: 6,
    errors.SelfTestError: 7,
    errors.ColdspotError: 1,
}
"""The first class an error is an instance of decides."""


def exit_code_of(error: errors.ColdspotError) -> int:
    """Return the exit code of an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
