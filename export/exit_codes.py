"""What the exit code of ``coldspot-export`` says, by error class: the same as that of ``coldspot``."""

from __future__ import annotations

from typing import Final

from engine import errors

NOT_ALIKE: Final = 4
"""Of a parity that was measured and not reached, as of the error."""

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
    "Exit codes: 0 done; 1 internal error; 2 bad input or request; 4 a model that must not be used, or does "
    "not answer as its source; 5 device or backend."
)


def exit_code_of(error: errors.ColdspotError) -> int:
    """Return the exit code of an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
