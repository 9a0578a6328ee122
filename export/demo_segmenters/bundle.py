"""From a trained demo segmenter to its bundle: what it was trained on, how well it does, where it fails."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from engine import __version__
from engine.manifest import DEMO_MODEL, MODEL_FILE, ModelManifest
from engine.progress import ItemProgress
from engine.runtime.onnx_session import OnnxSession
from engine.segmentation import Segmenter
from export.demo_segmenters.evaluation import CaseAgreement, case_folders, evaluate, failures, figures
from export.demo_segmenters.operating_point import OperatingPoint
from export.demo_segmenters.scenes.backgrounds import HELD_OUT, REAL_CHESTS
from export.demo_segmenters.tasks import DemoTask
from export.nnunet.bundle import export_networks, network_graph
from export.nnunet.model import NnunetModel
from export.nnunet.unet import UNet

_VERSION = "2.0.0"


@dataclass(frozen=True)
class Recipe:
    """How a network was trained: scenes, their seed, the rest in words, and where its logits are cut."""

    scenes: int
    seed: int
    training: str
    point: OperatingPoint


def write_demo_bundle(
    task: DemoTask,
    network: UNet,
    out: Path,
    recipe: Recipe,
    real_ct: Path | None = None,
    on_progress: ItemProgress | None = None,
) -> Path:
    """Evaluate a trained network and write its bundle.

    Parameters
    ----------
    task : DemoTask
    network : UNet
    out : Path
        Folder of bundles; ``<id>/<version>`` is written below it.
    recipe : Recipe
    real_ct : Path, optional
        Folder of the real CTs that were painted into, with the cases to evaluate on.
    on_progress : callable, optional
        Called with the number of cases evaluated and in all.

    Raises
    ------
    ParityError, InvalidRequestError
        See :func:`export.nnunet.bundle.export_networks`.
    """
    trained_on = f"{recipe.scenes} painted scenes (seed {recipe.seed}) in {_chests(task, real_ct)}"
    model = NnunetModel(
        section=task.section,
        networks=(network,),
        folds=("0",),
        name=task.bundle_id,
        configuration="3d_fullres",
        trainer="coldspot demo",
        assumptions=(
            f"trained on {trained_on}: what is not painted there, it never saw",
            _on_the_safe_side(task, recipe.point),
        ),
    )
    manifest = ModelManifest.model_construct(
        schema_version=1,
        id=task.bundle_id,
        version=_VERSION,
        kind="segmentation",
        description=f"Demo segmenter of the {' and its '.join(task.labels)} in CT, a small 3D U-Net",
        intended_use="Demonstration of the whole path from two CTs to an answer; not for patients",
        demo=True,
        fitted_on=f"{DEMO_MODEL}: {trained_on}",
        licence="Apache-2.0",
        provenance=f"coldspot-export train-demo {__version__}, {recipe.training}",
        performance=(),
    )
    agreements: tuple[CaseAgreement, ...] = ()
    images: tuple[Path, ...] = ()
    if real_ct is not None:
        with _trained_segmenter(task, model, manifest) as segmenter:
            agreements = evaluate(task.name, segmenter, real_ct, on_progress)
        name = "verification.nii.gz" if task.name == "zone" else "planning.nii.gz"
        cases = case_folders(real_ct)
        images = tuple(case / name for case in cases[:1] + cases[-1:])
    model = replace(model, assumptions=(*model.assumptions, *failures(task.name, agreements)))
    manifest = manifest.model_copy(update={"performance": figures(task.name, agreements)})
    folder = out / task.bundle_id / _VERSION
    return export_networks(model, folder, manifest=manifest, precisions=("fp32",), images=images)


def _trained_segmenter(task: DemoTask, model: NnunetModel, manifest: ModelManifest) -> Segmenter:
    """The network as the engine will run it, before its bundle is written."""
    graph = network_graph(model, 0)
    session = OnnxSession(graph)
    described = {
        "inputs": session.inputs,
        "outputs": session.outputs,
        "segmentation": task.section,
        "files": {MODEL_FILE: hashlib.sha256(graph).hexdigest()},
    }
    return Segmenter(manifest.model_copy(update=described), [session])


def _chests(task: DemoTask, real_ct: Path | None) -> str:
    if real_ct is None:
        return "procedural chests"
    used = [name for name, tasks in REAL_CHESTS.items() if task.name in tasks and name not in HELD_OUT]
    return f"procedural chests and real CTs without an ablation of their own ({', '.join(used)})"


def _on_the_safe_side(task: DemoTask, point: OperatingPoint) -> str:
    """How the operating point was chosen and what it gives, for the card."""
    what = (
        f"mean error of TCR {point.error:+.3f}"
        if task.name == "zone"
        else f"median volume {1.0 + point.error:.2f} of the true one"
    )
    return (
        f"cut at a lead of {point.lead:.1f} over the background, logits times {point.sharpness:.2f}, chosen on the "
        f"safe side on {point.scenes} scenes in chests that were not trained on: {what}, median Dice {point.dice:.3f}"
    )
