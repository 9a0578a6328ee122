"""``coldspot demo``: a phantom of known truth through the real client and service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.phantoms import make_procedure
from engine.progress import TextProgress
from service.client.procedure_call import MaskSource, Procedure
from service.commands.assessing import run_assessment
from service.commands.out_folder import require_out_folder
from service.commands.own_service import ChosenService

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


_DEMO_MARGIN_MM = 1.0
"""Minimal margin of the demo's ablation: a miss that a reader can see."""


def run_demo(
    chosen: ChosenService,
    seed: int,
    out: Path,
    make_pipeline: Callable[[Settings], Pipeline],
    progress: TextProgress,
    show: Callable[[dict[str, Any], dict[str, Any]], None],
) -> tuple[Path, ...]:
    """Make a phantom procedure, send it, show truth and answer, and return the files that were written."""
    require_out_folder(out)
    progress("making a phantom")
    phantom = make_procedure(seed, kind="miss", minimal_margin_mm=_DEMO_MARGIN_MM)
    procedure = Procedure(
        allow_demo_models=True,  # should a mask ever be missing: this is no patient
        planning=phantom.planning,
        verification=phantom.verification,
        tumor=MaskSource(phantom.tumor),
        zone=MaskSource(phantom.zone),
        core=MaskSource(phantom.core) if phantom.core is not None else None,
    )
    truth = phantom.truth.to_json()
    _, files = run_assessment(
        chosen, procedure, out, make_pipeline, progress, lambda measured: show(truth, measured)
    )
    return files
