"""One fold as ONNX files that were compared with it, phase after phase, with one network in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine.manifest import MODEL_FILE, ParityReport
from engine.progress import ShareProgress
from export.nnunet.model import NnunetModel
from export.nnunet.parity import BeforeEach, FoldParity, ReferenceLogits
from export.onnx_graph.mixed_precision import to_mixed_precision
from export.onnx_graph.network_graph import network_to_onnx
from export.onnx_graph.precision import measure_ranges, require_fp16_range
from export.parity.sample_patches import SamplePatches


class Steps:
    """Progress over steps of about equal length; each is reported before it begins.

    Parameters
    ----------
    count : int
    on_progress : callable
        Called with what is being done and a share from 0 to 1.
    """

    def __init__(self, count: int, on_progress: ShareProgress) -> None:
        self._count, self._on_progress, self._begun = count, on_progress, 0

    def begin(self, what: str) -> None:
        """Report the next step."""
        self._on_progress(what, min(self._begun / self._count, 1.0))
        self._begun += 1


@dataclass(frozen=True, eq=False)
class FoldExport:
    """How the folds of a model are exported.

    Parameters
    ----------
    model : NnunetModel
    patches : SamplePatches
        To measure on.
    metadata : mapping of str to str
        Written into the graphs.
    mixed : bool
        Whether an FP16-mixed variant is written beside that in FP32.
    folder : Path
        For the ONNX files; logits of the reference pass through it.
    """

    model: NnunetModel
    patches: SamplePatches
    metadata: Mapping[str, str]
    mixed: bool
    folder: Path

    @property
    def step_count(self) -> int:
        """Number of steps of all folds."""
        runs = (4 if self.mixed else 2) * len(self.patches.inputs)
        return len(self.model.networks) * (runs + (3 if self.mixed else 1))

    def run(self, member: int, steps: Steps) -> tuple[dict[str, str], list[ParityReport]]:
        """Export one fold.

        Parameters
        ----------
        member : int
            Position in ``model.networks``.
        steps : Steps

        Returns
        -------
        dict of str to str
            File names by precision.
        list of ParityReport
            Of FP32, and of FP16 emulated on the CPU.

        Raises
        ------
        SourceModelError, PrecisionOverflowError, ParityError
            See :func:`export.nnunet.bundle.export_nnunet`.
        """
        fold = f"fold {self.model.folds[member]}"
        several = len(self.model.networks) > 1
        files = {"fp32": _file_name("fp32", self.model.folds[member] if member else None)}
        path = self.folder / files["fp32"]
        begin = _beginning(steps, f"{fold}: ")
        begin("writing the network")()
        reference = self._written_and_run(member, path, begin("PyTorch, the reference"))
        parity = FoldParity(self.model.section, self.patches, reference, f", {fold}" if several else "")
        reports = [parity.of_fp32(path.read_bytes(), begin("ONNX Runtime, compared with it"))]
        if self.mixed:
            files["fp16_mixed"] = _file_name("fp16_mixed", self.model.folds[member] if member else None)
            self._write_mixed(path, self.folder / files["fp16_mixed"], begin)
            begin("preparing FP16 emulation")()
            reports.append(parity.of_fp16(path.read_bytes(), begin("FP16 emulated, compared with it")))
        for logits in reference.files:
            logits.unlink()
        return files, reports

    def _written_and_run(self, member: int, path: Path, before_each: BeforeEach) -> ReferenceLogits:
        """Write the FP32 graph, and run the network that it was written from; afterwards it is let go."""
        network = self.model.networks[member]
        path.write_bytes(graph_of(network, self.model, member, self.metadata))
        return ReferenceLogits.of(network, self.model.section, self.patches, self.folder, before_each)

    def _write_mixed(self, fp32: Path, path: Path, begin: Callable[[str], BeforeEach]) -> None:
        """Write the FP16-mixed variant, unless an activation would overflow."""
        before_each = begin("range of activations")
        ranges = measure_ranges(fp32.read_bytes(), self.patches.inputs, on_progress=lambda *_: before_each())
        require_fp16_range(ranges)
        begin("writing FP16")()
        path.write_bytes(to_mixed_precision(fp32.read_bytes()))


def graph_of(network: nn.Module, model: NnunetModel, member: int, metadata: Mapping[str, str]) -> bytes:
    """One fold's network as ONNX, with its source in the metadata.

    Raises
    ------
    SourceModelError
        See :func:`export.onnx_graph.network_graph.network_to_onnx`.
    """
    source = {
        "source": model.description,
        "framework": model.section.framework,
        "fold": model.folds[member],
        "trainer": model.trainer,
        "labels": ", ".join(f"{value} {name}" for name, value in model.section.labels.items()),
        "spacing_mm": ", ".join(f"{s:g}" for s in model.section.spacing_mm),
    }
    if model.checkpoint:
        source["checkpoint"] = model.checkpoint
    return network_to_onnx(
        network,
        channels=len(model.section.channels),
        outputs=model.section.output_count,
        patch_shape=model.section.patch_shape,
        name=f"{model.slug.replace('-', '_')}_fold_{model.folds[member]}",
        metadata={**source, **metadata},
    )


def _file_name(precision: str, fold: str | None) -> str:
    """``model.onnx`` for the first fold in FP32, and names that say what differs."""
    parts = [MODEL_FILE.removesuffix(".onnx")]
    if fold is not None:
        parts.append(f"fold_{fold}")
    if precision != "fp32":
        parts.append(precision)
    return ".".join([*parts, "onnx"])


def _beginning(steps: Steps, prefix: str) -> Callable[[str], BeforeEach]:
    """What reports the next step of a phase, for each phase by its name."""
    return lambda phase: lambda: steps.begin(prefix + phase)
