"""The segmentation models of the service: opened when they are first needed, and stopped where a job ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.progress import ItemProgress
from engine.segmentation import open_segmenter
from service.pipeline.backend_choice import CHOICES, ChoiceShelf, RecordedChoice
from service.pipeline.bundles import InstalledBundle, choose_bundle
from service.pipeline.protocol import ModelPurpose, ServedModel

if TYPE_CHECKING:
    from engine.manifest import SegmentationSection
    from engine.model_identity import ModelIdentity
    from engine.segmentation import Box, ChannelSource, Segmentation, Segmenter
    from engine.stages import StageListener
    from engine.volume import CtVolume
    from service.settings import Settings

ENGINES: Final = "engines"
"""Name of the folder, below the state directory, with the engines compiled for this device."""

_AUTO: Final = "auto"
"""Given as the name of a backend: the fastest one on this machine."""


def find_segmenter(
    settings: Settings, bundles: tuple[InstalledBundle, ...], setting: str, name: str | None, purpose: str
) -> InstalledSegmenter | None:
    """Return the segmentation model of a purpose (``tumor``, ``ablation_zone``) that may be used here.

    Raises
    ------
    InvalidRequestError
        If there are several models and the settings name none of them.
    """
    chosen = choose_bundle(
        bundles,
        setting,
        name,
        lambda manifest: manifest.segmentation is not None and manifest.segmentation.purpose == purpose,
    )
    if chosen is None or (chosen.manifest.demo and settings.clinical_mode):
        return None
    return InstalledSegmenter(chosen, settings.segmentation_backend, settings.state_dir / ENGINES)


class InstalledSegmenter:
    """A segmentation model that is opened when it is first needed: masks may be supplied instead.

    Parameters
    ----------
    bundle : InstalledBundle
    backend : str
        As :func:`engine.segmentation.open_segmenter` takes it.
    plan_folder : Path, optional
        Where compiled engines are kept.

    Attributes
    ----------
    folder : Path
        Its bundle.
    identity : ModelIdentity
    section : SegmentationSection
        What its labels mean.
    choice : RecordedChoice or None
        What its backend was chosen by, once it is open; None where the settings name a backend.
    """

    def __init__(self, bundle: InstalledBundle, backend: str, plan_folder: Path | None = None) -> None:
        section = bundle.manifest.segmentation
        if section is None:
            raise ValueError(f"{bundle.identity} is not a segmentation model")
        self.folder: Path = bundle.folder
        self.identity: ModelIdentity = bundle.identity
        self.section: SegmentationSection = section
        self.choice: RecordedChoice | None = None
        self._backend, self._plan_folder = backend, plan_folder
        self._choices = None if plan_folder is None else ChoiceShelf(plan_folder / CHOICES)
        self._opened: Segmenter | None = None

    def describe(self) -> ServedModel:
        """Return the model's identity and what runs it."""
        backend = self._backend if self._opened is None else self._opened.backend
        chosen_by = "" if self.choice is None else self.choice.in_words()
        return ServedModel(self.identity, ModelPurpose(self.section.purpose), backend, chosen_by)

    def segment(
        self,
        ct: CtVolume,
        *,
        around: Box | None = None,
        companions: ChannelSource | None = None,
        on_progress: ItemProgress | None = None,
    ) -> Segmentation:
        """Segment a CT, or a region of it; what ``on_progress`` raises between patches stops the work.

        Raises
        ------
        InputError, ModelError, BackendError
        """
        return self.open().segment(ct, around=around, companions=companions, on_progress=on_progress)

    def is_to_be_measured(self) -> bool:
        """Whether opening it times all backends first, for which nothing else should run."""
        if self._opened is not None or self._backend != _AUTO:
            return False
        return self._choices is None or self._choices.find(self.identity.sha256) is None

    def open(self) -> Segmenter:
        """Check the bundle and open its networks, once.

        Raises
        ------
        ModelError, BackendError
        """
        if self._opened is None:
            if self._backend == _AUTO and self._choices is not None:
                self._opened = self._open_fastest(self._choices)
            else:
                self._opened = self._open(self._backend)
        return self._opened

    def _open_fastest(self, choices: ChoiceShelf) -> Segmenter:
        """Open with the backend that is the fastest here; measure where that is not known."""
        self.choice = choices.find(self.identity.sha256)
        if self.choice is not None:
            return self._open(self.choice.backend)
        opened = self._open(_AUTO)
        self.choice = choices.keep(self.identity.sha256, opened)
        return opened

    def _open(self, backend: str) -> Segmenter:
        return open_segmenter(self.folder, backend=backend, plan_folder=self._plan_folder)


class _InterruptibleSegmenter:
    """An installed model for one job, which may end between two patches.

    Parameters
    ----------
    segmenter : InstalledSegmenter
    listener : StageListener
        Asked before the first patch and after each one whether the answer is still wanted.
    """

    def __init__(self, segmenter: InstalledSegmenter, listener: StageListener) -> None:
        self._segmenter, self._listener = segmenter, listener

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        return self._segmenter.identity

    @property
    def section(self) -> SegmentationSection:
        """What its labels mean."""
        return self._segmenter.section

    def segment(
        self, ct: CtVolume, *, around: Box | None = None, companions: ChannelSource | None = None
    ) -> Segmentation:
        """Segment a CT, or a region of it.

        Raises
        ------
        InputError, ModelError, BackendError, InterruptedAssessmentError
        """
        return self._segmenter.segment(
            ct,
            around=around,
            companions=companions,
            on_progress=lambda _done, _total: self._listener.require_wanted(),
        )


def interruptible(
    segmenter: InstalledSegmenter | None, listener: StageListener
) -> _InterruptibleSegmenter | None:
    """Return a model that stops when its job does; None where there is no model."""
    return None if segmenter is None else _InterruptibleSegmenter(segmenter, listener)
