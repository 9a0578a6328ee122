"""Whether the exported graph of a fold gives what its PyTorch network gives, in FP32 and in FP16."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from engine.manifest import ParityReport, TensorSpec
from engine.manifest.segmentation import IMAGE, LOGITS, SegmentationSection
from engine.runtime.onnx_session import OnnxSession
from export.nnunet.model import NnunetModel
from export.onnx_graph.mixed_precision import emulate_mixed_precision
from export.parity.comparison import OutputComparison, require_parity
from export.parity.sample_patches import SamplePatches
from export.parity.torch_session import TorchSession

_FP32_TOLERANCE = 1e-3
"""Of logits; labels can only differ where two logits are closer than twice this."""

_FP32_TOLERANCE_SHARE = 1e-4
"""Of the range of the reference's logits, where that is more: float32 holds seven digits."""

_FP16_TOLERANCE_SHARE = 0.02
"""Of the range of the reference's logits."""

_MAX_FP16_FLIP_SHARE = 0.01
"""Share of voxels whose label FP16 may change; each is a near tie within twice the tolerance."""


def measure_fold_parity(
    model: NnunetModel, member: int, graph: bytes, patches: SamplePatches, *, fp16: bool
) -> list[ParityReport]:
    """Compare one fold's variants with its PyTorch network.

    Returns
    -------
    list of ParityReport
        Of FP32, and of FP16 emulated on the CPU: ONNX Runtime has no FP16 arithmetic there.

    Raises
    ------
    ParityError
        If a variant does not give what PyTorch gives.
    """
    inputs = (tensor_spec(IMAGE, len(model.section.channels), model.section),)
    outputs = (tensor_spec(LOGITS, model.section.output_count, model.section),)
    fold = f", fold {model.folds[member]}" if len(model.networks) > 1 else ""
    candidates = [_Candidate(f"fp32{fold}", graph, emulated=False)]
    if fp16:
        name = f"fp16_mixed emulated (FP16 storage, FP32 arithmetic){fold}"
        candidates.append(_Candidate(name, emulate_mixed_precision(graph), emulated=True))
    with ExitStack() as opened:
        source = opened.enter_context(TorchSession(model.networks[member], inputs, outputs))
        sessions = {
            candidate.name: opened.enter_context(OnnxSession(candidate.graph)) for candidate in candidates
        }
        comparisons, spread = _compare(source, sessions, model.section, patches)
    reports = []
    for candidate in candidates:
        tolerance = (
            _FP16_TOLERANCE_SHARE * spread
            if candidate.emulated
            else max(_FP32_TOLERANCE, _FP32_TOLERANCE_SHARE * spread)
        )
        report = comparisons[candidate.name].report(tolerance=tolerance, measured_on=patches.measured_on)
        reports.append(require_parity(_judged_as_fp16(report) if candidate.emulated else report))
    return reports


@dataclass(frozen=True)
class _Candidate:
    """A graph to compare with the source; ``emulated`` where FP16 is rounded to on a CPU."""

    name: str
    graph: bytes
    emulated: bool


def _compare(
    source: TorchSession,
    sessions: Mapping[str, OnnxSession],
    section: SegmentationSection,
    patches: SamplePatches,
) -> tuple[dict[str, OutputComparison], float]:
    """Run all on each patch, the slow reference once; the range of its logits sets the tolerances."""
    kind: Literal["logits", "regions"] = "regions" if section.regions else "logits"
    comparisons = {
        name: OutputComparison(source.backend, f"{session.backend}, {name}", kind)
        for name, session in sessions.items()
    }
    low, high = float("inf"), float("-inf")
    for patch in patches.inputs:
        expected = source.run(dict(patch))
        low, high = min(low, float(expected[LOGITS].min())), max(high, float(expected[LOGITS].max()))
        for name, session in sessions.items():
            comparisons[name].add(expected, session.run(dict(patch)))
    return comparisons, high - low


def _judged_as_fp16(report: ParityReport) -> ParityReport:
    """FP16 may flip a few near ties, which are wider than those of FP32."""
    few = (report.label_flips or 0) <= _MAX_FP16_FLIP_SHARE * (report.voxels or 1)
    return report.model_copy(update={"passed": report.max_abs <= report.tolerance and few})


def tensor_spec(name: str, channels: int, section: SegmentationSection) -> TensorSpec:
    """Name, type and shape of a network's input or output, as its bundle declares it."""
    return TensorSpec(name=name, dtype="float32", shape=("batch", channels, *section.patch_shape))
