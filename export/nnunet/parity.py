"""Whether the exported graphs of a fold give what its PyTorch network gives, in FP32 and in FP16.

The reference computes first and its logits wait on disk, so that never more than one network is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from engine.manifest import ParityReport, TensorSpec
from engine.manifest.segmentation import IMAGE, LOGITS, SegmentationSection
from engine.runtime.onnx_session import OnnxSession
from export.memory import return_freed_memory
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

BeforeEach = Callable[[], None]
"""Called before each patch; what it raises stops the comparison."""


@dataclass(frozen=True)
class ReferenceLogits:
    """What a PyTorch network gives on every patch, as files.

    Parameters
    ----------
    backend : str
        Library, version and device.
    files : tuple of Path
        One array for each patch, (1, K, z, y, x).
    spread : float
        Range of all logits; it sets the tolerances.
    """

    backend: str
    files: tuple[Path, ...]
    spread: float

    @classmethod
    def of(
        cls,
        network: nn.Module,
        section: SegmentationSection,
        patches: SamplePatches,
        folder: Path,
        before_each: BeforeEach,
    ) -> ReferenceLogits:
        """Run the network on each patch.

        Parameters
        ----------
        network : torch.nn.Module
        section : SegmentationSection
        patches : SamplePatches
        folder : Path
            For the files.
        before_each : callable
        """
        return_freed_memory()
        files, low, high = [], float("inf"), float("-inf")
        with TorchSession(network, *tensor_specs(section)) as session:
            for index, patch in enumerate(patches.inputs):
                before_each()
                logits = session.run(dict(patch))[LOGITS]
                low, high = min(low, float(logits.min())), max(high, float(logits.max()))
                files.append(folder / f"logits_{index}.npy")
                np.save(files[-1], logits)
            return cls(session.backend, tuple(files), high - low)


@dataclass(frozen=True)
class FoldParity:
    """Comparisons of one fold's graphs with its network.

    Parameters
    ----------
    section : SegmentationSection
    patches : SamplePatches
    reference : ReferenceLogits
    fold : str
        Words behind a candidate's name, empty for a network alone.
    """

    section: SegmentationSection
    patches: SamplePatches
    reference: ReferenceLogits
    fold: str

    def of_fp32(self, graph: bytes, before_each: BeforeEach) -> ParityReport:
        """Compare the FP32 graph.

        Raises
        ------
        ParityError
            If it does not give what PyTorch gives.
        """
        session = OnnxSession(graph)
        del graph
        tolerance = max(_FP32_TOLERANCE, _FP32_TOLERANCE_SHARE * self.reference.spread)
        return require_parity(self._compared(session, f"fp32{self.fold}", tolerance, before_each))

    def of_fp16(self, graph: bytes, before_each: BeforeEach) -> ParityReport:
        """Compare the FP16-mixed variant of the FP32 graph, emulated: ONNX Runtime has no FP16 on the CPU.

        Raises
        ------
        ParityError
            If it does not give what PyTorch gives, but for near ties, which are wider than those of FP32.
        """
        name = f"fp16_mixed emulated (FP16 storage, FP32 arithmetic){self.fold}"
        session = OnnxSession(emulate_mixed_precision(graph))
        del graph
        report = self._compared(session, name, _FP16_TOLERANCE_SHARE * self.reference.spread, before_each)
        few = (report.label_flips or 0) <= _MAX_FP16_FLIP_SHARE * (report.voxels or 1)
        passed = report.max_abs <= report.tolerance and few
        return require_parity(report.model_copy(update={"passed": passed}))

    def _compared(
        self, session: OnnxSession, name: str, tolerance: float, before_each: BeforeEach
    ) -> ParityReport:
        kind: Literal["logits", "regions"] = "regions" if self.section.regions else "logits"
        return_freed_memory()
        with session:
            comparison = OutputComparison(self.reference.backend, f"{session.backend}, {name}", kind)
            for patch, expected in zip(self.patches.inputs, _arrays(self.reference.files), strict=True):
                before_each()
                comparison.add({LOGITS: expected}, session.run(dict(patch)))
        return comparison.report(tolerance=tolerance, measured_on=self.patches.measured_on)


def tensor_specs(section: SegmentationSection) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a network, as its bundle declares them."""
    return (
        (_spec(IMAGE, len(section.channels), section),),
        (_spec(LOGITS, section.output_count, section),),
    )


def _spec(name: str, channels: int, section: SegmentationSection) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("batch", channels, *section.patch_shape))


def _arrays(files: Iterable[Path]) -> Iterator[np.ndarray]:
    yield from (np.load(file) for file in files)
