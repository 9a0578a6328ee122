"""The five inputs of a procedure as files, a pipeline that reads them as the engine does, and commands run on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

import service.commands.cli
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import PlanningOutcome
from engine.files.image_file import write_mask, write_volume
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume
from service.pipeline.image_reader import EngineImageReader
from tests.support.spheres import ball, centered_grid
from tests.support.stub_engine import StubPipeline

GRID = replace(centered_grid((1.5, 0.8, 0.8), 24.0), frame_of_reference_uid="1.2.3")
TUMOR, ZONE = ball(GRID, (2.0, 1.0, 0.0), 6.0, "tumor"), ball(GRID, (2.0, 1.0, 0.0), 12.0, "ablation zone")
BOTH_CTS = ("planning", "verification")


class ReadingStub(EngineImageReader, StubPipeline):
    """Reads as the engine does and measures nothing: planning and verification CT may have any two grids."""

    def assess(
        self, prepared: PlanningOutcome, verification: CtVolume, *_: Any, **chosen: Any
    ) -> AblationAssessment:
        return StubPipeline.assess(self, prepared, verification, None, **chosen)


def ct(seed: int, grid: VolumeGeometry = GRID) -> CtVolume:
    hu = np.random.default_rng(seed).integers(-1000, 300, grid.shape_zyx, dtype=np.int16)
    return CtVolume(hu, grid)


def write_procedure(folder: Path) -> dict[str, Path]:
    """Five good inputs."""
    written = {name: folder / f"{name}.nii.gz" for name in (*BOTH_CTS, "tumor", "zone", "core")}
    for seed, name in enumerate(BOTH_CTS):
        write_volume(written[name], ct(seed).voxels_hu, GRID)
    write_mask(written["tumor"], TUMOR)
    write_mask(written["zone"], ZONE)
    write_mask(written["core"], ball(GRID, (2.0, 1.0, 0.0), 8.0, "ablation core"))
    return written


def options(paths: dict[str, Path]) -> list[str]:
    return [part for name, path in paths.items() for part in (f"--{name}", str(path))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, list(arguments))


def checked(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = run("check", *arguments, "--json")
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)
