"""Asks the package index for what a Jetson would install: ``python deploy/aarch64_wheels.py``.

Writes ``aarch64-wheels.txt`` next to this file: the wheel of every locked package for Python 3.12 on aarch64 with the
glibc of JetPack 7. Nothing is downloaded but what pip needs to resolve, and nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/bedside.txt", "deploy/jetson.txt")
WHEELS = ROOT / "deploy" / "aarch64-wheels.txt"
NEWEST_GLIBC, OLDEST_GLIBC = 39, 17


def platforms() -> list[str]:
    """Return the platforms whose wheels run there, the newest first."""
    minors = range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
    return [*(f"manylinux_2_{minor}_aarch64" for minor in minors), "manylinux2014_aarch64"]


def wheels_of(lock: str) -> list[str]:
    """Return the file names that pip would install from a lock.

    Raises
    ------
    subprocess.CalledProcessError
        If a package has no wheel there, or none of those whose hashes are locked.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--no-deps",
        ]
        command += ["--require-hashes", "--only-binary", ":all:", "--target", folder, "--report", str(report)]
        command += ["--implementation", "cp", "--python-version", "3.12", "--requirement", str(ROOT / lock)]
        for platform in platforms():
            command += ["--platform", platform]
        subprocess.run(command, check=True)
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [package["download_info"]["url"].rsplit("/", 1)[1] for package in packages]


if __name__ == "__main__":
    names = sorted({name for lock in LOCKS for name in wheels_of(lock)})
    WHEELS.write_text("\n".join(names) + "\n", encoding="utf-8")
