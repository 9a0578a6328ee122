"""Which of the installed model bundles is used for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from engine.manifest import MODEL_FILE, ModelManifest, read_manifest
from engine.risk.model import SurvivalModel
from engine.risk.signature import require_computable
from service.pipeline.backend_choice import CHOICES, ChoiceShelf, RecordedChoice
from service.pipeline.protocol import ModelDescription

if TYPE_CHECKING:
    from engine.manifest import SegmentationSection
    from engine.model_identity import ModelIdentity
    from engine.segmentation import Box, Segmentation, Segmenter
    from engine.segmentation.sliding_window import ProgressListener
    from engine.stages import StageListener
    from engine.volume import CtVolume
    from service.settings import Settings

ENGINES: Final = "engines"
"""Below the state directory: compiled engines of the device's models."""

_AUTO: Final = "auto"
"""As the name of a backend: the fastest one here."""

NO_MODEL: Final = "none"
"""As the name of a model: none is used, whatever is installed."""


@dataclass(frozen=True)
class _InstalledBundle:
    """The newest version of a bundle."""

    folder: Path
    manifest: ModelManifest


def installed_bundles(models_dir: Path) -> tuple[_InstalledBundle, ...]:
    """Return the newest version of every bundle below ``models_dir``.

    Raises
    ------
    ManifestError
    """
    newest: dict[str, tuple[tuple[int, ...], _InstalledBundle]] = {}
    for path in sorted(models_dir.glob("*/*/manifest.json")):
        manifest = read_manifest(path.parent)
        version = tuple(int(part) for part in manifest.version.split("."))
        if manifest.id not in newest or newest[manifest.id][0] < version:
            newest[manifest.id] = version, _InstalledBundle(path.parent, manifest)
    return tuple(bundle for _, bundle in newest.values())


def choose_bundle(
    bundles: tuple[_InstalledBundle, ...],
    setting: str,
    name: str | None,
    wanted: Callable[[ModelManifest], bool],
) -> _InstalledBundle | None:
    """Return the bundle of a purpose: the named one, or the only one there is.

    Raises
    ------
    InvalidRequestError
        If there are several and none is named, or the named one is not there.
    """
    fitting = {bundle.manifest.id: bundle for bundle in bundles if wanted(bundle.manifest)}
    if name == NO_MODEL or (not fitting and name is None):
        return None
    chosen = name or (next(iter(fitting)) if len(fitting) == 1 else "")
    if chosen not in fitting:
        raise InvalidRequestError(
            f"{setting} must name one of the installed bundles: {', '.join(sorted(fitting)) or 'there is none'}"
        )
    return fitting[chosen]


def load_risk_model(settings: Settings, bundles: tuple[_InstalledBundle, ...]) -> SurvivalModel | None:
    """Return the newest version of the risk model that may be used here, if there is one.

    Raises
    ------
    InvalidRequestError
        If there are several models and the settings name none of them.
    ModelError
        If the bundle must not be used.
    BackendError
        If its signature needs an extractor of radiomics that is not installed.
    """
    chosen = choose_bundle(bundles, "risk_model", settings.risk_model, lambda one: one.kind == "survival")
    if chosen is None:
        return None
    model = SurvivalModel.load(chosen.folder)
    if not model.usable(settings.clinical_mode):
        return None
    require_computable(model)
    return model


def find_segmenter(
    settings: Settings, bundles: tuple[_InstalledBundle, ...], setting: str, name: str | None, purpose: str
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
        lambda one: one.segmentation is not None and one.segmentation.purpose == purpose,
    )
    if chosen is None or (chosen.manifest.demo and settings.clinical_mode):
        return None
    return InstalledSegmenter(chosen, settings.segmentation_backend, settings.state_dir / ENGINES)


class InstalledSegmenter:
    """A segmentation model that is opened when it is first needed: masks may be supplied instead.

    Parameters
    ----------
    bundle : _InstalledBundle
    backend : str
        As :func:`engine.segmentation.open_segmenter` takes it.
    plan_folder : Path, optional
        Where compiled engines are kept.
    """

    def __init__(self, bundle: _InstalledBundle, backend: str, plan_folder: Path | None = None) -> None:
        self._bundle, self._backend, self._plan_folder = bundle, backend, plan_folder
        self._choices = None if plan_folder is None else ChoiceShelf(plan_folder / CHOICES)
        self._choice: RecordedChoice | None = None
        self._opened: Segmenter | None = None

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        return self._bundle.manifest.identity

    @property
    def section(self) -> SegmentationSection:
        """What its labels mean."""
        section = self._bundle.manifest.segmentation
        assert section is not None  # noqa: S101 - chosen by its purpose, which stands there
        return section

    def describe(self) -> ModelDescription:
        """Return what it is, and what runs it."""
        manifest = self._bundle.manifest
        backend = self._backend if self._opened is None else self._opened.backend
        chosen_by = "" if self._choice is None else self._choice.told()
        return ModelDescription(manifest.id, manifest.version, manifest.files[MODEL_FILE], backend, chosen_by)

    @property
    def choice(self) -> RecordedChoice | None:
        """What its backend was chosen by, once it is open; None where the settings name a backend."""
        return self._choice

    def segment(
        self, ct: CtVolume, *, around: Box | None = None, on_progress: ProgressListener | None = None
    ) -> Segmentation:
        """Segment a CT, or a region of it; what ``on_progress`` raises between patches stops the work.

        Raises
        ------
        InputError, ModelError, BackendError
        """
        return self.open().segment(ct, around=around, on_progress=on_progress)

    def is_to_be_measured(self) -> bool:
        """Whether opening it times all backends first, for which nothing else should run."""
        if self._opened is not None or self._backend != _AUTO:
            return False
        return self._choices is None or self._choices.find(self._bundle.manifest.files[MODEL_FILE]) is None

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
        """Open with the backend that was the fastest here; measure where that is not known."""
        digest = self._bundle.manifest.files[MODEL_FILE]
        self._choice = choices.find(digest)
        if self._choice is not None:
            return self._open(self._choice.backend)
        opened = self._open(_AUTO)
        self._choice = choices.keep(digest, opened)
        return opened

    def _open(self, backend: str) -> Segmenter:
        from engine.segmentation import open_segmenter  # noqa: PLC0415 - loads the backend's library

        return open_segmenter(self._bundle.folder, backend=backend, plan_folder=self._plan_folder)


class _InterruptibleSegmenter:
    """An installed model for one job, which may end between two patches.

    Parameters
    ----------
    segmenter : InstalledSegmenter
    listener : StageListener
        Asked before the first patch and after each whether somebody still waits.
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

    def segment(self, ct: CtVolume, *, around: Box | None = None) -> Segmentation:
        """Segment a CT, or a region of it.

        Raises
        ------
        InputError, ModelError, BackendError, InterruptedAssessmentError
        """
        return self._segmenter.segment(
            ct, around=around, on_progress=lambda _done, _total: self._listener.require_wanted()
        )


def interruptible(
    segmenter: InstalledSegmenter | None, listener: StageListener
) -> _InterruptibleSegmenter | None:
    """Return a model that stops where its job does; None where there is none."""
    return None if segmenter is None else _InterruptibleSegmenter(segmenter, listener)
