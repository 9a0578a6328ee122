"""What a command prints when stdout is closed, full, without a reader, or knows few characters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import typer
from engine.command_line import errors_shown, print_json, print_text, run_program
from engine.errors import InvalidRequestError

app = typer.Typer()

@app.command()
def command(
    error: bool = False, late: bool = False, nan: bool = False, json: bool = False, number: float = 0.0
) -> None:
    with errors_shown(as_json=json, prefix="coldspot"):
        if error:
            raise InvalidRequestError("10\\u00b0 is wrong")
        if json:
            print_json({"tilt": "10\\u00b0 \\u00d7 2", "many": list(range(30000))})
        else:
            print_text("10\\u00b0 \\u00d7 2\\n" * 30000)
        if late:
            raise InvalidRequestError("not written")
        if nan:
            print_json({"tcr": float("nan")})
        if number > 3.0:
            raise SystemExit(3)

run_program(app)
"""


def program(shell: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program with ``shell`` behind it."""
    command = f'"$0" -c "$1" {" ".join(f"--{word}" for word in words)} {shell}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}", sys.executable, PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )


@pytest.mark.parametrize("words", [(), ("json",)])
def test_a_reader_that_has_had_enough_ends_a_command_quietly(words: tuple[str, ...]) -> None:
    ended = program("| head -c 10", *words)
    assert (ended.returncode, ended.stderr) == (141, "")
    assert len(ended.stdout) >= 8


@pytest.mark.parametrize("words", [(), ("json",), ("json", "error"), ("error",)])
def test_a_closed_output_is_said_before_anything_is_begun(words: tuple[str, ...]) -> None:
    ended = program(">&-", *words)
    assert ended.returncode == 2
    assert "standard output is closed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert program(">&- 2>&-", *words).returncode == 2


@pytest.mark.parametrize("words", [(), ("json",), ("json", "error")])
def test_a_full_disk_behind_stdout_is_an_error(words: tuple[str, ...]) -> None:
    ended = program(">/dev/full", *words)
    assert ended.returncode == 2
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_characters_that_stdout_lacks_are_escaped(environment: dict[str, str]) -> None:
    ended = program("| head -n 1 | cat", **environment)
    assert ended.stdout == "10\\xb0 \\xd7 2\n"
    wrong = program("", "error", **environment)
    assert (wrong.returncode, wrong.stderr) == (2, "coldspot: 10\\xb0 is wrong\n")
    assert json.loads(program("", "json", **environment).stdout)["tilt"] == "10° × 2"


def test_without_stderr_a_command_still_answers() -> None:
    assert json.loads(program("2>&-", "json").stdout)["tilt"]
    assert program("2>&-", "error").returncode == 2


@pytest.mark.parametrize(("word", "exit_code"), [("late", 2), ("nan", 1)])
def test_stdout_holds_one_object_whatever_happens_after_it(word: str, exit_code: int) -> None:
    ended = program("", "json", word)
    assert ended.returncode == exit_code
    assert json.loads(ended.stdout)["tilt"]
    assert ended.stderr.startswith("coldspot: ")


@pytest.mark.parametrize("word", ["nonsense", "number=many", "number"])
def test_a_wrong_option_is_told_as_json_too(word: str) -> None:
    ended = program("", "json", word)
    assert ended.returncode == 2
    told = json.loads(ended.stdout)["error"]
    assert told["code"] == "invalid_request"
    assert "--help" in told["message"]
    assert ended.stderr == ""
    readable = program("", word)
    assert (readable.returncode, readable.stdout) == (2, "")


@pytest.mark.parametrize("number", ["1", "5"])
def test_a_command_keeps_its_own_exit_code(number: str) -> None:
    assert program("", "json", f"number={number}").returncode == (3 if number == "5" else 0)


@pytest.mark.parametrize(
    ("words", "named"),
    [(("number", ""), "--number"), (("number=",), "--number"), (("json", "number="), "--number")],
)
def test_an_empty_value_is_no_path_and_no_number(words: tuple[str, ...], named: str) -> None:
    """A shell makes one of a variable that is not set; as a path it would be the current folder."""
    shell = "''" if words[-1] == "" else ""
    ended = program(shell, *(word for word in words if word))
    assert ended.returncode == 2
    told = json.loads(ended.stdout)["error"]["message"] if "json" in words else ended.stderr
    assert f"{named} is empty" in told
    assert "Traceback" not in ended.stderr
