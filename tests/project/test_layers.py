"""What the layout promises: the engine stands alone, and nobody else owns its names."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"engine", "export", "service"}
BARRED = ("torch", "grpc", "google.protobuf", "coldspot", "prometheus_client", "typer", "structlog")


def test_the_engine_imports_without_torch_and_without_the_wire() -> None:
    program = f"""
import importlib, pkgutil, sys
for name in {BARRED!r}:
    sys.modules[name] = None
import engine
skipped = ("engine.kernels.gpu",)
for module in pkgutil.walk_packages(engine.__path__, "engine."):
    if not module.name.startswith(skipped):
        importlib.import_module(module.name)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr


def test_an_assessment_loads_no_file_reader() -> None:
    program = """
import sys
import engine.assessment.verification
loaded = {"pydicom", "highdicom", "SimpleITK", "gdcm", "engine.files", "engine.dicom"} & set(sys.modules)
raise SystemExit(f"loaded: {sorted(loaded)}" if loaded else 0)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr


def test_no_dependency_owns_our_names() -> None:
    owners = {name: found for name, found in metadata.packages_distributions().items() if name in OURS}
    assert all(set(found) == {"coldspot"} for found in owners.values()), owners


def test_proto_is_never_a_package() -> None:
    assert not list((ROOT / "proto").rglob("__init__.py"))


def test_the_layers_hold() -> None:
    if not (ROOT / "engine" / "phantoms").exists():
        pytest.skip("engine.phantoms, a layer of the contracts, is not there yet")
    lint = Path(sys.executable).parent / "lint-imports"
    if not lint.exists():
        pytest.skip("import-linter is not installed (dependency group dev)")
    run = subprocess.run([str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
