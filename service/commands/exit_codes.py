"""What the exit code of ``coldspot`` says beside the error classes."""

from __future__ import annotations

from typing import Final

from engine.exit_codes import EXIT_CODES, OK, exit_code_of

__all__ = ["EXIT_CODES", "EXPLANATION", "OK", "REFUSED", "exit_code_of"]

REFUSED: Final = 3

EXPLANATION: Final = (
    "Exit codes: 0 measured (or done); 1 internal error; 2 bad input or request; 3 refused: the images were "
    "read, but no trustworthy number can be given; 4 model bundle; 5 device or backend; 6 busy, unavailable, "
    "cancelled or timed out; 7 self-test failed."
)
