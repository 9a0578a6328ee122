from __future__ import annotations

import json

import pytest

from engine.command_line import EXIT_CODE_MEANINGS, errors_shown, explain_exit_codes, print_json
from engine.errors import CapacityError, ManifestError, PlanIntegrityError


def leave(error: BaseException, *, as_json: bool = False, prefix: str = "") -> object:
    """Raise an error in a command; return the exit code."""
    with pytest.raises(SystemExit) as left, errors_shown(as_json=as_json, prefix=prefix):
        raise error
    return left.value.code


@pytest.mark.parametrize(
    ("error", "exit_code", "code", "message"),
    [
        (ManifestError("no id"), 4, "invalid_manifest", "no id"),
        (PlanIntegrityError("changed"), 4, "plan_integrity", "changed"),
        (CapacityError("full", 1.0), 6, "at_capacity", "full"),
        (KeyboardInterrupt(), 130, "cancelled", "stopped from the keyboard"),
        (ZeroDivisionError("oops"), 1, "internal_error", "ZeroDivisionError: oops"),
    ],
)
def test_an_error_is_a_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, exit_code: int, code: str, message: str
) -> None:
    assert leave(error) == exit_code
    assert capsys.readouterr() == ("", f"{code}: {message}\n")
    assert leave(error, prefix="coldspot") == exit_code
    assert capsys.readouterr() == ("", f"coldspot: {message}\n")
    assert leave(error, as_json=True, prefix="coldspot") == exit_code
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"error": {"code": code, "message": message}}
    assert printed.err == ""


def test_a_command_may_choose_its_own_exit_code() -> None:
    assert leave(SystemExit(3)) == 3


def test_a_number_that_is_none_is_never_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"tcr": 0.5})
    assert json.loads(capsys.readouterr().out) == {"tcr": 0.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"tcr": float("nan")})


def test_exit_codes_are_explained() -> None:
    assert explain_exit_codes(0, 7) == "Exit codes: 0 done; 7 self-test failed."
    assert set(EXIT_CODE_MEANINGS) == {*range(8), 130, 141, 143}
