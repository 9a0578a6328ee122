"""What happens before the first assessment: kernels compiled, models opened, phantoms measured.

It loads the phantoms and matplotlib, so it is imported only where a service starts.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from engine.selftest import phantom, segmenter
from service.pipeline.artifact_files import write_artifacts
from service.pipeline.sheet.facts import SheetFacts

if TYPE_CHECKING:
    from engine.kernels.backend import KernelBackend
    from service.pipeline.segmenters import InstalledSegmenter


_WARM_UP_FACTS: Final = SheetFacts("warm-up", "warm-up", "", "")


def warm_up(
    kernels: KernelBackend, tumor: InstalledSegmenter | None, zone: InstalledSegmenter | None
) -> None:
    """Compile the kernels by measuring a small phantom, write its artifacts, and test the segmentation models.

    Models whose backend is known are opened at the same time and segment their phantom; a backend that has to be
    measured first is measured when nothing else runs.

    Raises
    ------
    SelfTestError, ModelError, BackendError
    """
    models = [model for model in (tumor, zone) if model is not None]
    with ThreadPoolExecutor(2) as pool:
        prepared = pool.submit(segmenter.prepare_phantom) if models else None
        tested = None
        if not any(model.is_to_be_measured() for model in models):
            tested = pool.submit(check_segmenters, tumor, zone, prepared)
        with TemporaryDirectory(prefix="coldspot-warm-up-") as folder:
            write_artifacts(phantom.warm_up(kernels), _WARM_UP_FACTS, Path(folder))
    if tested is None:
        check_segmenters(tumor, zone, prepared)
    else:
        tested.result()


def measure_phantom(kernels: KernelBackend) -> None:
    """Measure a phantom of known truth.

    Raises
    ------
    SelfTestError
    """
    phantom.run_self_test(kernels)


def check_segmenters(
    tumor: InstalledSegmenter | None, zone: InstalledSegmenter | None, prepared: Future[None] | None = None
) -> None:
    """Open the models, and let them segment a phantom, once it is prepared.

    Raises
    ------
    SelfTestError, ModelError, BackendError
    """
    for model in (tumor, zone):
        if model is not None:
            model.open()
    if prepared is not None:
        prepared.result()
    segmenter.require_segmenters(tumor, zone)
