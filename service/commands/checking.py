"""What ``coldspot check`` does: read what an assessment would read, by the same code, and measure nothing.

Each input is prepared as the client sends it, announced as the service announces it, and decoded as the service
decodes it; the two CTs are compared as an assessment compares them. An error of one input does not hide another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.assessment.planning import AssessmentSettings, planning_refusal, require_thin
from engine.assessment.verification import compare_headers
from engine.assessment.wording import slice_warning
from engine.command_line import INTERNAL_ERROR, REFUSED, exit_code_of
from engine.errors import ClinicalModeError, ColdspotError
from engine.files.file_names import shown_name
from engine.files.image_file import image_format
from engine.input_warning import InputWarning, InputWarningCode
from engine.progress import TextProgress
from engine.refusal import Refusal, RefusedError
from engine.structures.zone import require_uncut
from engine.unit_doubt import require_hounsfield
from engine.volume import CtVolume, LabelMask
from service.cases.volumes import SeriesDecoder
from service.client.client import CT_ROLES, MASK_ROLES
from service.client.sending import Outgoing, ct_content, mask_content
from service.intake.upload import check_header
from service.pipeline.image_reader import EngineImageReader
from service.settings import Settings, read_settings
from service.wire.requests import series_header

PLANNING: Final = "planning"
VERIFICATION: Final = "verification"
TUMOR: Final = "tumor"
ZONE: Final = "zone"
CORE: Final = "core"


@dataclass(frozen=True)
class InputSource:
    """A file or folder, and which series or structure of it is meant where it has several."""

    path: Path
    choice: str = ""


@dataclass(frozen=True)
class CheckRequest:
    """What is to be checked; what is None was not given."""

    planning: InputSource
    verification: InputSource | None = None
    tumor: InputSource | None = None
    zone: InputSource | None = None
    core: InputSource | None = None


@dataclass(frozen=True)
class _SourceFacts:
    """What an input was read from: the name of its file or folder, and its format."""

    name: str
    format: str
    is_dicom: bool


@dataclass(frozen=True)
class InputProblem:
    """Why an input, or two together, cannot be assessed.

    Parameters
    ----------
    code, message : str
        Of the error or refusal that an assessment would end with.
    input : str or None
        ``planning``, ``verification``, ``tumor``, ``zone`` or ``core``; None where it is none of them.
    exit_code : int
        With which an assessment would end.
    """

    code: str
    message: str
    input: str | None
    exit_code: int


@dataclass(frozen=True)
class _NamedWarning:
    """A warning, and the input it is about."""

    warning: InputWarning
    input: str


@dataclass(eq=False)
class CheckedInputs:
    """What was read, and what was noticed; a volume that could not be read is missing.

    Parameters
    ----------
    cts : dict of str to CtVolume
    masks : dict of str to LabelMask
    sources : dict of str to _SourceFacts
        Of every input that could be opened.
    warnings : list of _NamedWarning
    problems : list of InputProblem
        In the order in which an assessment would meet them.
    """

    cts: dict[str, CtVolume] = field(default_factory=dict)
    masks: dict[str, LabelMask] = field(default_factory=dict)
    sources: dict[str, _SourceFacts] = field(default_factory=dict)
    warnings: list[_NamedWarning] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """With which an assessment of these inputs would end before it measures: 0, or that of its first problem."""
        return self.problems[0].exit_code if self.problems else 0

    def warn(self, name: str, warnings: Sequence[InputWarning]) -> None:
        """Keep what was noticed of an input."""
        self.warnings += [_NamedWarning(warning, name) for warning in warnings]

    def warn_in_words(self, name: str, messages: Sequence[str]) -> None:
        """Keep sentences about an input."""
        self.warn(name, [InputWarning(InputWarningCode.OTHER, message) for message in messages])

    @contextmanager
    def collecting(self, name: str | None) -> Iterator[None]:
        """Keep the error or refusal that an assessment would end with, and go on with the next input."""
        try:
            yield
        except ColdspotError as error:
            self.fail(name, error)
        except RefusedError as refused:
            self.refuse(name, refused.refusal)
        except Exception as error:  # noqa: BLE001 - as the last resort of a command: the other inputs are still checked
            message = f"{type(error).__name__}: {error}"
            self.problems.append(InputProblem("internal_error", message, name, INTERNAL_ERROR))

    def fail(self, name: str | None, error: ColdspotError) -> None:
        """Keep an error that an assessment would end with."""
        self.problems.append(InputProblem(error.code, str(error), name, exit_code_of(type(error))))

    def refuse(self, name: str | None, refusal: Refusal) -> None:
        """Keep a refusal that an assessment would give as its answer."""
        self.problems.append(InputProblem(refusal.code.value, refusal.reason, name, REFUSED))


def check_procedure(request: CheckRequest, progress: TextProgress) -> CheckedInputs:
    """Read and check the inputs of an assessment, in its order, with the settings of a service started here.

    Parameters
    ----------
    request : CheckRequest
    progress : callable
        Called with what is being done.

    Returns
    -------
    CheckedInputs
        Errors are among its problems; none is raised.
    """
    checked = CheckedInputs()
    with checked.collecting(None):
        settings = read_settings()
        _check(request, settings, checked, progress)
    return checked


def _check(request: CheckRequest, settings: Settings, checked: CheckedInputs, progress: TextProgress) -> None:
    reading = _Reading(settings, checked)
    for ct_name, ct_source, masks in (
        (PLANNING, request.planning, ((TUMOR, request.tumor),)),
        (VERIFICATION, request.verification, ((ZONE, request.zone), (CORE, request.core))),
    ):
        if ct_source is not None:
            progress(f"reading the {ct_name} CT")
            reading.read_ct(ct_name, ct_source)
        for mask_name, mask_source in masks:
            if mask_source is not None:
                progress(f"reading the {mask_name} mask")
                reading.read_mask(mask_name, mask_source, ct_name, is_ct_given=ct_source is not None)
    _check_together(checked, AssessmentSettings(max_slice_mm=settings.max_slice_mm))


@dataclass(frozen=True, eq=False)
class _Reading:
    """Reads one input after the other, as the client and the service do."""

    settings: Settings
    checked: CheckedInputs

    def read_ct(self, name: str, source: InputSource) -> None:
        with self.checked.collecting(name):
            outgoing = ct_content(source.path, source.choice)
            self._keep_source(name, source, outgoing)
            volume = self._decoded(name, outgoing, None)
            if isinstance(volume, CtVolume):
                self.checked.cts[name] = volume

    def read_mask(self, name: str, source: InputSource, ct_name: str, *, is_ct_given: bool) -> None:
        ct = self.checked.cts.get(ct_name)
        with self.checked.collecting(name):
            outgoing = mask_content(source.path, name, source.choice)
            self._keep_source(name, source, outgoing)
            if ct is None:
                why = "could not be read" if is_ct_given else f"was not given (--{ct_name})"
                apart = f"the {name} mask was not compared with its CT, which {why}"
                self.checked.warn_in_words(name, [apart])
                if outgoing.is_dicom and is_ct_given:
                    return
            volume = self._decoded(name, outgoing, ct)
            if isinstance(volume, LabelMask):
                self.checked.masks[name] = volume

    def _keep_source(self, name: str, source: InputSource, outgoing: Outgoing) -> None:
        image = "DICOM" if outgoing.is_dicom else image_format(source.path)
        self.checked.sources[name] = _SourceFacts(shown_name(source.path), image, outgoing.is_dicom)

    def _decoded(self, name: str, outgoing: Outgoing, ct: CtVolume | None) -> CtVolume | LabelMask:
        role = CT_ROLES[name] if name in CT_ROLES else MASK_ROLES[name]
        header = series_header(outgoing.header("", role, ""))
        check_header(header, self.settings)
        content = outgoing.parts[0] if len(outgoing.parts) == 1 else memoryview(b"".join(outgoing.parts))

        def decode(*, clinical_mode: bool) -> CtVolume | LabelMask:
            return SeriesDecoder(EngineImageReader(), clinical_mode=clinical_mode).decode(header, content, ct)

        volume = self._with_figures_of_refused(name, decode)
        self.checked.warn(name, volume.warnings)
        return volume

    def _with_figures_of_refused(
        self, name: str, decode: Callable[..., CtVolume | LabelMask]
    ) -> CtVolume | LabelMask:
        """What clinical mode refuses is read all the same: its figures tell why."""
        try:
            return decode(clinical_mode=self.settings.clinical_mode)
        except ClinicalModeError as error:
            self.checked.fail(name, error)
            return decode(clinical_mode=False)


def _check_together(checked: CheckedInputs, settings: AssessmentSettings) -> None:
    """Compare and refuse what was read, in the order of an assessment, as far as it needs no measurement."""
    planning, verification = checked.cts.get(PLANNING), checked.cts.get(VERIFICATION)
    if planning is not None:
        with checked.collecting(PLANNING):
            require_hounsfield(planning, PLANNING)
        spacing_mm = planning.geometry.spacing_zyx_mm
        checked.warn_in_words(PLANNING, slice_warning(PLANNING, spacing_mm, settings.target_margin_mm))
        refusal = planning_refusal(planning, checked.masks.get(TUMOR), settings)
        if refusal is not None:
            checked.refuse(PLANNING, refusal)
    if verification is None:
        return
    if planning is not None:
        with checked.collecting(VERIFICATION):
            checked.warn_in_words(VERIFICATION, compare_headers(planning, verification, settings))
    with checked.collecting(VERIFICATION):
        require_thin(verification.geometry.spacing_zyx_mm, VERIFICATION, settings.max_slice_mm)
    zone = checked.masks.get(ZONE)
    if zone is not None:
        with checked.collecting(ZONE):
            require_uncut(zone)
