"""What the command line's exit code says, by error class."""

from __future__ import annotations

from typing import Final

from engine import errors

OK: Final = 0
REFUSED: Final = 3

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

EXPLANATION: Final = (
    "Exit codes: 0 measured (or done); 1 internal error; 2 bad input or request; 3 refused: the images were "
    "read, but no trustworthy number can be given; 4 model bundle; 5 device or backend; 6 busy, unavailable, "
    "cancelled or timed out; 7 self-test failed."
)


def exit_code_of(error: errors.ColdspotError) -> int:
    """Return the exit code of an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
