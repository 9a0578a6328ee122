"""Carries out a Dockerfile without a Docker engine: ``python deploy/rehearse.py Dockerfile.x86 --folder X``.

The build stage runs in a folder that stands for the image's root, the service starts from it with the runtime
stage's environment as another user who may write only the volume, and the image's own health check says when it is
ready. What cannot be done this way is printed, not passed over.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("opt", "src", "dist", "models", "var/lib/coldspot", "tmp")
NEEDS_AN_ENGINE = re.compile(r"^(apt-get|groupadd|useradd|rm -rf /var/lib/apt|install --directory)")
OWNER = 10001
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile and the stage it stands in."""

    name: str
    arguments: str
    stage: str


@dataclass
class Rehearsal:
    """What was done, and what was not."""

    image: str
    steps: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    serving_after_s: list[float] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    written_outside: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)


def instructions(text: str) -> list[Instruction]:
    """Split a Dockerfile into its instructions."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    image, stage = [], ""
    for line in filter(str.strip, joined.splitlines()):
        name, arguments = line.strip().split(maxsplit=1)
        if name == "FROM":
            stage = arguments.split(" AS ")[1].strip()
        image.append(Instruction(name, re.sub(r"\s+", " ", arguments), stage))
    return image


def environment_of(image: list[Instruction]) -> dict[str, str]:
    """Return the variables of the runtime stage."""
    parts = [one.arguments for one in image if one.name == "ENV" and one.stage == "runtime"]
    return dict(part.split("=", 1) for text in parts for part in text.split())


def context(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files below ``root`` that ``.dockerignore`` sends to the builder."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = [line[1:] for line in lines if line.startswith("!")]
    refused = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    for name in admitted:
        start = root / name
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            parts = path.relative_to(root).parts
            if path.is_file() and not any(fnmatch.fnmatch(part, word) for part in parts for word in refused):
                yield path


def python_for_everybody() -> str:
    """Return an interpreter that another user may start; this one, if there is none."""
    for name in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        path = Path(name).resolve()
        if path.exists() and all(parent.stat().st_mode & 0o001 for parent in path.parents):
            return str(path)
    return sys.executable


def rehearse(dockerfile: str, folder: Path, python: str = "") -> Rehearsal:
    """Build and start what a Dockerfile describes below ``folder``.

    Raises
    ------
    subprocess.CalledProcessError
        If a step fails.
    RuntimeError
        If the service does not get ready.
    """
    image = instructions((ROOT / dockerfile).read_text(encoding="utf-8"))
    done = Rehearsal(dockerfile)
    build(image, folder, python or python_for_everybody(), done)
    environment = {name: in_folder(value, folder) for name, value in environment_of(image).items()}
    environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
    prepare_runtime(folder, done)
    for _ in range(2):  # the second start finds what the first one has built
        start_once(image, folder, environment, done)
    return done


def build(image: list[Instruction], folder: Path, python: str, done: Rehearsal) -> None:
    """Run the steps of the build stage."""
    source = folder / "src"
    for path in context():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for instruction in image:
        if instruction.name != "RUN":
            continue
        for step in instruction.arguments.split(" && "):
            here = os.uname().machine == "aarch64" or "jetson.txt" not in step
            if instruction.stage != "build" or NEEDS_AN_ENGINE.match(step) or not here:
                done.not_run.append(f"{instruction.stage}: {step}")
                continue
            command = re.sub(r"^python3\b", python, in_folder(step, folder))
            subprocess.run(["/bin/bash", "-c", command], cwd=source, check=True)
            done.steps.append(step)


def in_folder(text: str, folder: Path) -> str:
    """Move the paths of the image below a folder."""
    return re.sub(rf"(?<![\w./-])/(?={'|'.join(PLACES)})", f"{folder}/", text)


def prepare_runtime(folder: Path, done: Rehearsal) -> None:
    """Create the volume, and the folders that the service may write to."""
    for name in ("models", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    volume = folder / "var/lib/coldspot"
    volume.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        for path in (volume, folder / "tmp"):
            os.chown(path, OWNER, OWNER)
    else:
        done.not_run.append("runtime: another user (only root can start one)")


def start_once(image: list[Instruction], folder: Path, environment: dict[str, str], done: Rehearsal) -> None:
    """Start the service, wait for the health check, ask for its models, and stop it."""
    (health,) = [instruction.arguments for instruction in image if instruction.name == "HEALTHCHECK"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        **environment,
        "COLDSPOT_PORT": port,
        "COLDSPOT_METRICS_PORT": "0",
        "TMPDIR": str(folder / "tmp"),
    }
    owner = OWNER if os.geteuid() == 0 else None
    began = time.time()
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(
            [str(folder / "opt/coldspot/bin/coldspot"), "serve"],
            env=environment,
            cwd=folder / "tmp",
            stdout=log,
            stderr=log,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )
    try:
        check = [*json.loads(health[health.index("[") :]), "--server", f"127.0.0.1:{port}"]
        wait_until_healthy(running, check, environment)
        done.serving_after_s.append(round(time.time() - began, 1))
        info = subprocess.run(
            [str(folder / "opt/coldspot/bin/coldspot"), "info", "--server", f"127.0.0.1:{port}", "--json"],
            env=environment,
            check=True,
            capture_output=True,
        )
        done.models = json.loads(info.stdout)["models"]
    finally:
        running.terminate()
        done.exit_codes.append(running.wait(60))
    done.written_outside += written_since(began, folder)


def wait_until_healthy(
    running: subprocess.Popen[bytes], check: list[str], environment: dict[str, str]
) -> None:
    """Repeat the image's health check until it succeeds."""
    began = time.monotonic()
    while subprocess.run(check, env=environment, check=False, capture_output=True).returncode != 0:
        if running.poll() is not None or time.monotonic() - began > PATIENCE_S:
            raise RuntimeError(f"the service did not get ready (exit code {running.poll()}); see its log")
        time.sleep(1.0)


def written_since(began: float, folder: Path) -> list[str]:
    """Return what was written below the folder, but not into the volume or ``/tmp``."""
    allowed = (folder / "var/lib/coldspot", folder / "tmp", folder / "log")
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and path.stat().st_mtime > began
        and not any(path.is_relative_to(place) for place in allowed)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("dockerfile")
    parser.add_argument("--folder", type=Path, required=True, help="empty; stands for the image's root")
    parser.add_argument("--python", default="", help="for the environment, in place of the image's")
    arguments = parser.parse_args()
    outcome = rehearse(arguments.dockerfile, arguments.folder.resolve(), arguments.python)
    print(json.dumps(vars(outcome), indent=1))
