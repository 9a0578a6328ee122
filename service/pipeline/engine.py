"""The engine behind the service's :class:`service.pipeline.protocol.Pipeline` protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.assessment.planning import AssessmentSettings, prepare_planning
from engine.assessment.verification import assess_ablation
from engine.dicom.attributes import text
from engine.dicom.instances import parse_instance
from engine.dicom.segmentation import read_segmentation
from engine.dicom.series import read_series
from engine.dicom.structure_set import read_structure_set
from engine.errors import InvalidRequestError
from engine.files.image_file import write_mask, write_volume
from engine.files.reading import in_axis_order_of
from engine.kernels.backend import require_kernels
from engine.manifest import MODEL_FILE
from engine.registration import coarse_to_fine
from engine.registration.planning_features import FINEST_GRID_MM
from engine.volume import CtVolume, LabelMask
from service.pipeline.bundles import (
    InstalledSegmenter,
    find_segmenter,
    installed_bundles,
    interruptible,
    load_risk_model,
)
from service.pipeline.protocol import ModelDescription, PipelineDescription

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment, AssessmentMaps
    from engine.assessment.planning import PlanningOutcome
    from engine.geometry import Vector3
    from engine.risk.clinical_inputs import ClinicalInputs
    from engine.stages import StageListener
    from service.settings import Settings


AROUND_REGISTRATION_S: Final = 4.0
"""Of a deadline this much is kept for the stages before and after the registration, on two cores of 2026."""

_SEGMENTATION_S: Final = 6.0
"""Kept on top where the zone has to be segmented: patches of a box of about 11 cm."""

REGISTRATION: Final = (
    f"grid {FINEST_GRID_MM:g} mm, bending "
    + ", ".join(f"{weight:g}" for weight in (*coarse_to_fine.COARSE_STIFFNESS, coarse_to_fine.FINE_STIFFNESS))
    + ", steps "
    + ", ".join(str(steps) for steps in (*coarse_to_fine.COARSE_STEPS, coarse_to_fine.FINE_STEPS))
)
"""What the registration of a lesion is set to, for the provenance of every result."""


class EnginePipeline:
    """Reads, prepares and measures with :mod:`engine`.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    BackendError
        If the kernels that the settings name cannot run here; no others are taken instead.
    ModelError, InvalidRequestError
        If a model that is installed or named cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        require_kernels(settings.kernel_backend)
        self.assessment_settings = AssessmentSettings(
            max_slice_mm=settings.max_slice_mm,
            registration_deadline_s=settings.registration_deadline_s,
            kernels=settings.kernel_backend,
        )
        bundles = installed_bundles(settings.models_dir)
        self.risk_model = load_risk_model(settings, bundles)
        self.tumor_segmenter = find_segmenter(settings, bundles, "tumor_model", settings.tumor_model, "tumor")
        self.zone_segmenter = find_segmenter(
            settings, bundles, "zone_model", settings.zone_model, "ablation_zone"
        )
        self._segmenters_tested = False

    def describe(self) -> PipelineDescription:
        """Return what measures here."""
        described = []
        model = self.risk_model
        if model is not None:
            manifest = model.manifest
            described.append(ModelDescription(manifest.id, manifest.version, manifest.files[MODEL_FILE]))
        described += [
            one.describe() for one in (self.tumor_segmenter, self.zone_segmenter) if one is not None
        ]
        backend = "none" if model is None else model.backend
        return PipelineDescription(
            self.assessment_settings.kernels.value, backend, REGISTRATION, tuple(described)
        )

    def warm_up(self) -> None:
        """Compile the kernels by measuring a small phantom, draw its sheet, and open the segmentation models.

        Models whose backend is known are opened beside that, and segment their phantom; a backend that has to be
        measured first is measured when nothing else runs.

        Raises
        ------
        SelfTestError, ModelError, BackendError
        """
        from engine.selftest.phantom import warm_up  # noqa: PLC0415 - as above
        from engine.selftest.segmenter import prepare_phantom  # noqa: PLC0415 - phantoms load only where needed

        with ThreadPoolExecutor(2) as beside:
            phantom = beside.submit(prepare_phantom) if self._segmenters() else None
            tested = None
            if not any(one.is_to_be_measured() for one in self._segmenters()):
                tested = beside.submit(self._test_segmenters, phantom)
            measured = warm_up(self.assessment_settings.kernels)
            from service.pipeline.sheet import draw_sheet  # noqa: PLC0415 - matplotlib loads only where a sheet is drawn

            draw_sheet(measured, BytesIO())
        if tested is None:
            self._test_segmenters(phantom)
        else:
            tested.result()

    def self_test(self) -> None:
        """Measure a phantom of known truth, and segment one if the warm-up has not.

        Raises
        ------
        SelfTestError
        """
        from engine.selftest.phantom import run_self_test  # noqa: PLC0415 - as above

        run_self_test(self.assessment_settings.kernels)
        if not self._segmenters_tested:
            self._test_segmenters()

    def _segmenters(self) -> list[InstalledSegmenter]:
        return [one for one in (self.tumor_segmenter, self.zone_segmenter) if one is not None]

    def _test_segmenters(self, phantom: Future[None] | None = None) -> None:
        """Open the models, and let them segment a phantom, once it is made."""
        from engine.selftest.segmenter import require_segmenters  # noqa: PLC0415 - as above

        for segmenter in self._segmenters():
            segmenter.open()
        if phantom is not None:
            phantom.result()
        require_segmenters(self.tumor_segmenter, self.zone_segmenter)
        self._segmenters_tested = True

    def read_ct(self, instances: Sequence[bytes]) -> CtVolume:
        """Return the volume of a DICOM series in memory."""
        return read_series(instances)

    def read_mask(self, instance: bytes, ct: CtVolume, name: str, structure: str) -> LabelMask:
        """Return one structure of a DICOM SEG or RTSTRUCT on its CT."""
        where = f"the {name}"
        kind = text(parse_instance(instance, where).dataset, "Modality", where)
        if kind == "RTSTRUCT":
            mask = read_structure_set(instance, ct, roi=structure or None)
        elif kind == "SEG":
            if structure and not structure.isdecimal():
                raise InvalidRequestError(
                    f"{structure!r} is no segment number; choose the {name} by its number"
                )
            mask = read_segmentation(instance, ct, segment=int(structure) if structure else None)
        else:
            raise InvalidRequestError(f"{where} is DICOM of modality {kind}, not SEG or RTSTRUCT")
        return LabelMask(mask.voxels, mask.geometry, name)

    def lay_mask(self, mask: LabelMask, ct: CtVolume) -> LabelMask:
        """Return a mask with the axis order of its CT, if it has the same voxels in another one."""
        return in_axis_order_of(ct.geometry, mask)

    def prepare(
        self,
        planning: CtVolume,
        tumor: LabelMask | None,
        *,
        target_lps_mm: Vector3 | None,
        listener: StageListener,
    ) -> PlanningOutcome:
        """Do everything that needs only the planning CT."""
        return prepare_planning(
            planning,
            tumor,
            target_lps_mm=target_lps_mm,
            tumor_segmenter=interruptible(self.tumor_segmenter, listener),
            settings=self.assessment_settings,
            listener=listener,
        )

    def assess(
        self,
        prepared: PlanningOutcome,
        verification: CtVolume,
        zone: LabelMask | None,
        *,
        core: LabelMask | None,
        clinical: ClinicalInputs,
        include_risk_if_complete: bool,
        time_left_s: float | None,
        on_preliminary: Callable[[AblationAssessment], None],
        listener: StageListener,
    ) -> AblationAssessment:
        """Measure one verification CT."""
        return assess_ablation(
            prepared,
            verification,
            zone,
            core=core,
            zone_segmenter=interruptible(self.zone_segmenter, listener),
            clinical=clinical,
            risk_model=self.risk_model,
            settings=within(
                self.assessment_settings,
                time_left_s,
                AROUND_REGISTRATION_S + (_SEGMENTATION_S if zone is None else 0.0),
            ),
            include_risk_if_complete=include_risk_if_complete,
            on_preliminary=on_preliminary,
            listener=listener,
        )

    def write_artifacts(self, assessment: AblationAssessment, folder: Path) -> None:
        """Write masks, margin map and sheet of an assessment into ``folder``."""
        if assessment.maps is None:
            return
        _write_maps(assessment.maps, folder)
        from service.pipeline.sheet import draw_sheet  # noqa: PLC0415 - matplotlib loads only where a sheet is drawn

        draw_sheet(assessment, folder / "sheet.png")


def within(
    settings: AssessmentSettings,
    time_left_s: float | None,
    around_s: float = AROUND_REGISTRATION_S,
) -> AssessmentSettings:
    """Return settings that leave the registration no more than what a caller's deadline does.

    ``around_s`` is kept for everything else.
    """
    if time_left_s is None:
        return settings
    left_s = max(0.0, time_left_s - around_s)
    chosen_s = settings.registration_deadline_s
    return replace(settings, registration_deadline_s=left_s if chosen_s is None else min(left_s, chosen_s))


def _write_maps(maps: AssessmentMaps, folder: Path) -> None:
    """Write the masks, the margin map and the CT of the measurement grid as NIfTI."""
    masks = {"tumor": maps.tumor, "target": maps.target, "zone": maps.zone, "uncovered": maps.uncovered}
    for name, voxels in masks.items():
        write_mask(folder / f"{name}.nii.gz", LabelMask(voxels, maps.geometry, name))
    write_volume(folder / "margin_mm.nii.gz", maps.margin_mm, maps.geometry)
    write_volume(folder / "verification_region.nii.gz", maps.ct_hu, maps.geometry)
