# ruff: noqa: T201 - a report for the terminal
"""Whether engine, service and the tests load under every Python that is supported: part of ``make check``.

An environment for a Python (``.venv`` or ``.venv-py312``, which ``make pythons`` makes) imports every module and
collects the tests. A Python without one only compiles the sources. What could not be tried is said.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SUPPORTED = ((3, 11), (3, 12), (3, 13))
SOURCES = ("engine", "service", "export", "benchmarks", "tests", "deploy", "requirements")
_STAMP = ".dev"
"""What the Makefile leaves in an environment that has the development tools."""

_VERSION = "import sys; print(*sys.version_info[:2], sep='.')"
_COMPILE = """
import pathlib, sys
for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
"""
_IMPORT = """
import importlib, pkgutil
for package in ("engine", "service"):
    top = importlib.import_module(package)
    for module in pkgutil.walk_packages(top.__path__, package + "."):
        if not module.name.startswith("engine.kernels.gpu."):
            importlib.import_module(module.name)
"""


@dataclass(frozen=True)
class Outcome:
    """What was tried under one Python, and the end of its output if it failed."""

    version: str
    tried: str
    failure: str = ""


def version_of(python: Path | str) -> str:
    """``3.12`` for an interpreter that starts; empty for one that does not (a shim of pyenv, a broken link)."""
    try:
        answer = subprocess.run(
            [str(python), "-c", _VERSION], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def interpreters(version: str) -> Iterator[Path]:
    """Where a Python of this version may be, the likeliest first."""
    name = f"python{version}"
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if (path := Path(folder) / name).is_file():
            yield path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"), reverse=True)


def interpreter(version: str) -> Path | None:
    """The first Python of this version that starts."""
    return next((path for path in interpreters(version) if version_of(path) == version), None)


def environment(version: str) -> Path | None:
    """Python of an environment with the development tools, for this version."""
    for folder in (Path(sys.prefix), ROOT / ".venv", ROOT / f".venv-py{version.replace('.', '')}"):
        python = folder / "bin" / "python"
        equipped = folder == Path(sys.prefix) or (folder / _STAMP).exists()
        if equipped and python.exists() and version_of(python) == version:
            return python
    return None


def failure_of(command: list[str]) -> str:
    """End of the output of a command that failed."""
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    return "" if run.returncode == 0 else (run.stdout + run.stderr)[-3000:] or f"exit code {run.returncode}"


def trial(version: str) -> Outcome:
    """Try one Python as far as this machine allows."""
    if python := environment(version):
        imported = failure_of([str(python), "-c", _IMPORT])
        collect = [str(python), "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
        return Outcome(version, "modules imported, tests collected", imported or failure_of(collect))
    if found := interpreter(version):
        folders = [folder for folder in SOURCES if (ROOT / folder).is_dir()]
        tried = "sources compiled only, for want of an environment (make pythons)"
        return Outcome(version, tried, failure_of([str(found), "-c", _COMPILE, *folders]))
    return Outcome(version, "")


def main(arguments: list[str]) -> int:
    """Print a line for each Python; ``--interpreters`` lists those that an environment can be made with."""
    versions = [".".join(map(str, version)) for version in SUPPORTED]
    if arguments == ["--interpreters"]:
        print(*(f"{v}={path}" for v in versions if (path := interpreter(v))), sep="\n")
        return 0
    failed = False
    for outcome in map(trial, versions):
        if not outcome.tried:
            print(f"Python {outcome.version}: not on this machine, not tried")
        else:
            print(f"Python {outcome.version}: {outcome.tried}{': FAILED' if outcome.failure else ''}")
        if outcome.failure:
            failed = True
            print(outcome.failure)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
