"""TensorRT engines of a bundle: for GPU generations from anywhere, for one device on that device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError
from engine.manifest import load_bundle
from engine.progress import CountProgress
from engine.runtime.cuda_device import CudaDevice
from engine.runtime.plan_cache import PlanCache
from engine.runtime.tensorrt_builder import CURRENT, BatchRange
from engine.runtime.tensorrt_library import load_library
from engine.runtime.tensorrt_plans import default_plan_folder, obtain_plan, plan_key

if TYPE_CHECKING:
    from pathlib import Path

    from engine.manifest import Precision
    from engine.runtime.tensorrt_library import Flavor


def build_engines(
    bundle: Path,
    target: str,
    precision: Precision = "fp32",
    out: Path | None = None,
    *,
    flavor: Flavor | None = None,
    batch: BatchRange | None = None,
    on_progress: CountProgress | None = None,
) -> tuple[Path, ...]:
    """Build the engines of a bundle, one for each ensemble member, and keep them with their records.

    Parameters
    ----------
    bundle : Path
        Folder ``models/<id>/<version>``; every file is checked against its hash first.
    target : str
        ``"current"``: the device here. ``"sm_86"`` and the like: a GPU generation, by TensorRT-RTX, for
        which no GPU is needed.
    precision : {"fp32", "fp16_mixed", "int8"}, optional
        Which variant of the bundle.
    out : Path, optional
        Folder of plans, by default the one sessions look into on this machine. Copied to a device, it is
        given as ``plan_folder``.
    flavor : {"tensorrt", "tensorrt-rtx"}, optional
        By default TensorRT for the device here, and TensorRT-RTX for a GPU generation.
    batch : BatchRange, optional
        Batch sizes one engine serves.
    on_progress : callable, optional
        Called with a phase's name, the steps done and the steps in all.

    Returns
    -------
    tuple of Path
        A folder for each engine, in the order of the members.

    Raises
    ------
    ManifestError, BundleIntegrityError
        If the bundle must not be used.
    EngineBuildError
        If the library refuses a network or the target: TensorRT-RTX has no sm_87, sm_90 and sm_100.
    EnginePlanError
        If an engine exists already and fails its check.
    BackendError
        If the library or the device is missing.
    """
    chosen: Flavor = flavor or ("tensorrt" if target == CURRENT else "tensorrt-rtx")
    if chosen == "tensorrt" and target != CURRENT:
        raise InvalidRequestError(
            f"TensorRT builds only on the device itself (target {CURRENT}); for {target} take tensorrt-rtx",
            field="target",
        )
    members = load_bundle(bundle).variant(precision)
    library, sizes = load_library(chosen), batch or BatchRange()
    gpu = CudaDevice().identity if target == CURRENT else None
    cache = PlanCache(out or default_plan_folder())
    folders = []
    for number, model_bytes in enumerate(members, start=1):
        key = plan_key(
            library,
            model_bytes,
            precision=precision,
            batch=sizes,
            gpu=gpu,
            target="" if target == CURRENT else target,
        )
        notify = _of_member(on_progress, number, len(members)) if on_progress else None
        obtain_plan(library, model_bytes, key, cache, batch=sizes, on_progress=notify)
        folders.append(cache.path(key))
    return tuple(folders)


def _of_member(on_progress: CountProgress, number: int, members: int) -> CountProgress:
    """Progress that names the member a phase belongs to, where there are several."""
    if members == 1:
        return on_progress
    return lambda phase, done, total: on_progress(f"{number}/{members} {phase}", done, total)
