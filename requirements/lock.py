"""Writes the lock files: ``python requirements/lock.py [--upgrade]``, which is what ``make lock`` calls.

Every file pins each package with its hashes, for Linux on x86_64 and aarch64 and all supported Pythons,
and names no package index: it installs from whichever one this machine is set up for.
"""
# ruff: noqa: INP001 - a script beside its files, not a module of a package

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "requirements"
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--fork-strategy=fewest",
    "--generate-hashes",
    "--only-binary=:all:",
    "--no-header",
    "--no-annotate",
    "--quiet",
)
CONTENTS = {
    "bedside": ("pyproject.toml",),
    "build": ("--group=build",),
    "dev": ("pyproject.toml", "--group=dev"),
    "mutants": ("--group=mutants", "--constraint=requirements/dev.txt"),
    "workshop": (
        "requirements/workshop.in",
        "--override=requirements/workshop-without.in",
        "--no-binary=acvl-utils",  # nnU-Net needs it and it has no wheel
        "--no-binary=pyradiomics-bhklab",  # likewise, and neither has what it needs
        "--no-binary=docopt",
    ),
    "bench": ("requirements/bench.in", "--override=requirements/bench-without.in"),
}
"""Lock file and what is in it. The first one binds the others, so that a test runs what is shipped."""

ENVIRONMENT = re.compile(r" ; python_full_version < '3\.\d+' and \(\(platform_machine[^\\\n]*(?= )")
"""True wherever the locks are meant for; left in, pip would pass over everything elsewhere in silence."""


def lock(name: str, *, upgrade: bool) -> None:
    """Resolve one lock file and write it."""
    path = ROOT / FOLDER / f"{name}.txt"
    bound = () if name == "bedside" else ("--constraint", f"{FOLDER}/bedside.txt")
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", *CONTENTS[name], *OPTIONS, *bound),
        *("--output-file", str(path)),
        *(("--upgrade",) if upgrade else ()),
    ]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 - nothing of it comes from outside
    path.write_text(ENVIRONMENT.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    for file in CONTENTS:
        lock(file, upgrade="--upgrade" in sys.argv[1:])
