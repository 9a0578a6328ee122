"""What the exit code of ``coldspot-export`` says: by error class the same as that of ``coldspot``."""

from __future__ import annotations

from typing import Final

from engine.errors import ModelError
from engine.exit_codes import EXIT_CODES, exit_code_of

__all__ = ["EXPLANATION", "NOT_ALIKE", "exit_code_of"]

NOT_ALIKE: Final = EXIT_CODES[ModelError]
"""Of a parity that was measured and not reached, as of the error."""

EXPLANATION: Final = (
    "Exit codes: 0 done; 1 internal error; 2 bad input or request; 4 a model that must not be used, or does "
    "not answer as its source; 5 device or backend."
)
