"""What ``coldspot demo`` does: a phantom of known truth through the real client and service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.client.procedure_call import MaskSource, Procedure, assess_procedure, connected, fetch_all
from service.record.report import assessment_json

if TYPE_CHECKING:
    from engine.phantoms import PhantomProcedure
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


_DEMO_MARGIN_MM = 1.0
"""Least margin that the demo's ablation leaves: a miss that a reader can see."""


@dataclass(frozen=True)
class _DemoOutcome:
    """True and measured figures of one phantom, and the files that were written."""

    truth: dict[str, Any]
    measured: dict[str, Any]
    files: tuple[Path, ...]


def run_demo(
    address: str | None,
    seed: int,
    out: Path,
    make_pipeline: Callable[[Settings], Pipeline],
    tell: Callable[[str], None],
) -> _DemoOutcome:
    """Make a phantom procedure, send it, and put the answer beside the truth."""
    from engine.phantoms import make_procedure  # noqa: PLC0415 - loads scipy and numba

    tell("making a phantom")
    phantom = make_procedure(seed, kind="miss", minimal_margin_mm=_DEMO_MARGIN_MM)
    procedure = Procedure(
        planning=phantom.planning,
        verification=phantom.verification,
        tumor=MaskSource(phantom.tumor),
        zone=MaskSource(phantom.zone),
        core=MaskSource(phantom.core) if phantom.core is not None else None,
    )
    with connected(address, make_pipeline) as client:
        final = assess_procedure(client, procedure, tell)
        files = fetch_all(client, final, out)
    return _DemoOutcome(_truth_of(phantom), assessment_json(final), tuple(files))


def _truth_of(phantom: PhantomProcedure) -> dict[str, Any]:
    """Return what is true of a phantom, as JSON has it."""
    truth: dict[str, Any] = _plain(phantom.truth)
    return truth


def _plain(content: Any) -> Any:
    """Dataclasses as dictionaries, arrays and tuples as lists."""
    if is_dataclass(content):
        return {field.name: _plain(getattr(content, field.name)) for field in fields(content)}
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if hasattr(content, "tolist"):
        return content.tolist()
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_plain(value) for value in content]
    return content
