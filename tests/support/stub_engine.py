"""A stand-in for the engine: answers at once, and differently for different inputs.

TCR is the share of tumor voxels that the zone covers on the verification grid, and the summary carries
checksums of everything that was passed in, so that a mixed-up answer is seen.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.assessment.outcome import AblationAssessment, AssessmentMaps
from engine.assessment.planning import PlanningOutcome, PreparedPlanning, require_prepared
from engine.dicom.file_format import starts_with_preamble
from engine.dicom.masks import read_dicom_mask
from engine.dicom.series import read_series
from engine.errors import UnreadableFileError
from engine.findings import (
    SUPPLIED,
    THRESHOLDED,
    AlignmentFinding,
    AlignmentMethod,
    ColdSpot,
    CoverageFinding,
    Direction,
    LesionFinding,
    MarginFinding,
    PlanningFrameFinding,
    RegistrationQuality,
)
from engine.geometry import RigidTransform, Vector3, VolumeGeometry
from engine.model_identity import ModelIdentity
from engine.progress import TextProgress
from engine.refusal import Refusal, RefusalCode
from engine.registration.planning_features import planning_features
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalRisk
from engine.stages import Stage, StageClock, StageListener
from engine.structures.surface import StructureSurface
from engine.volume import Acquisition, CtVolume, LabelMask
from service.pipeline.protocol import ModelPurpose, PipelineDescription, ServedModel
from service.pipeline.sheet.facts import SheetFacts
from service.settings import Settings

REFUSED_HU = -1000
"""A verification CT whose first voxel has this value is refused."""

BROKEN_HU = -999
"""One whose first voxel has this value makes the stub fail in an unforeseen way."""

PATIENT = "PATIENT^SECRET"

QUALITY = RegistrationQuality(
    similarity=0.9,
    residual_mm=0.4,
    descriptor_residual=0.2,
    inverse_consistency_mm=0.6,
    min_jacobian=0.7,
    max_jacobian=1.3,
    folding_share=0.0,
    evidence_share=0.8,
    mismatched_share=0.05,
    sliding_mm=0.2,
    new_air_ml=0.1,
    contraction=0.02,
)


@dataclass
class StubPipeline:
    """The service's Pipeline protocol, without an engine.

    Parameters
    ----------
    stage_s : float
        How long each stage takes.
    gate : callable, optional
        Called inside the registration stage.
    artifact_gate : callable, optional
        Called before artifacts are written.
    """

    stage_s: float = 0.0
    gate: Callable[[], object] | None = None
    artifact_gate: Callable[[], object] | None = None
    fail_self_test: Exception | None = None
    prepared_count: int = 0
    stages_run: list[str] = field(default_factory=list)
    times_left_s: list[float | None] = field(default_factory=list)

    def describe(self) -> PipelineDescription:
        return PipelineDescription(
            "stub",
            "none",
            "grid 0 mm",
            (
                ServedModel(
                    ModelIdentity("demo", "1", "0" * 64, demo=True, manifest_sha256="1" * 64),
                    ModelPurpose.RISK,
                ),
            ),
        )

    def load_kernels(self, progress: TextProgress) -> None:
        progress("loading the kernels")

    def warm_up(self) -> None:
        pass

    def self_test(self) -> None:
        if self.fail_self_test is not None:
            raise self.fail_self_test

    def read_ct(self, instances: Sequence[bytes], series: str) -> CtVolume:
        if all(starts_with_preamble(instance) for instance in instances):
            return read_series(instances, series)
        if not all(instance.startswith(b"CT") for instance in instances):
            raise UnreadableFileError(f"instance 1 of {PATIENT} is not a CT")
        voxels = np.array([list(instance[2:6]) for instance in instances], dtype=np.int16)
        voxels = voxels.reshape(len(instances), 2, 2)
        return CtVolume(
            voxels, VolumeGeometry(voxels.shape, (1.0, 1.0, 1.0)), Acquisition(patient_id=PATIENT)
        )

    def read_mask(self, instance: bytes, ct: CtVolume, name: str, structure: str) -> LabelMask:
        if starts_with_preamble(instance):
            return read_dicom_mask(instance, ct, name, label=structure or None)
        if not instance.startswith(b"SEG"):
            raise UnreadableFileError(f"the {name} is no segmentation")
        return LabelMask(ct.voxels_hu > 0, ct.geometry, name)

    def in_axis_order_of(self, ct: CtVolume, mask: LabelMask) -> LabelMask:
        return mask

    def prepare(
        self,
        planning: CtVolume,
        tumor: LabelMask | None,
        *,
        target_lps_mm: Vector3 | None,
        allow_demo_models: bool,
        listener: StageListener,
    ) -> PlanningOutcome:
        clock = StageClock(listener)
        with clock.stage(Stage.LOCATE_LESION):
            self._work(Stage.LOCATE_LESION)
        if tumor is None:
            tumor = LabelMask(planning.voxels_hu > 0, planning.geometry, "tumor")
        self.prepared_count += 1
        lesion = LesionFinding(tumor.volume_ml, target_lps_mm, None, SUPPLIED, 10.0)
        return PreparedPlanning(
            planning,
            StructureSurface(tumor),
            lesion,
            tumor,
            planning_features(planning, tumor),
            ("prepared by a stub",),
            clock.timings_s,
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
        allow_demo_models: bool,
        time_left_s: float | None,
        on_preliminary: Callable[[AblationAssessment], None],
        listener: StageListener,
    ) -> AblationAssessment:
        prepared = require_prepared(prepared)
        self.times_left_s.append(time_left_s)
        clock = StageClock(listener)
        with clock.stage(Stage.COARSE_ALIGNMENT):
            self._work(Stage.COARSE_ALIGNMENT)
        first = int(verification.voxels_hu[0, 0, 0])
        if first == BROKEN_HU:
            raise ZeroDivisionError(PATIENT)
        refusal = Refusal(RefusalCode.NO_ZONE, "no zone") if first == REFUSED_HU else None
        summary = " ".join(
            [
                checksum(prepared.planning.voxels_hu),
                checksum(prepared.tumor.voxels),
                checksum(verification.voxels_hu),
                checksum(zone.voxels if zone else None),
                checksum(core.voxels if core else None),
                str(clinical.sex),
                str(clinical.fibrinogen_g_per_l),
            ]
        )
        tcr = (
            0.0
            if zone is None
            else float((prepared.tumor.voxels & zone.voxels).sum()) / float(prepared.tumor.voxels.sum())
        )
        on_preliminary(_assessment(summary, tcr, refusal, {}, preliminary=True))
        for stage in (Stage.REGISTRATION, Stage.COVERAGE, Stage.RISK):
            with clock.stage(stage):
                self._work(stage)
        maps = None if zone is None or refusal else _maps(verification, prepared.tumor, zone)
        return _assessment(
            summary, tcr, refusal, clock.timings_s, maps=maps, if_complete=include_risk_if_complete
        )

    def write_artifacts(self, assessment: AblationAssessment, facts: SheetFacts, folder: Path) -> None:
        if self.artifact_gate is not None:
            self.artifact_gate()
        if assessment.maps is None:
            (folder / "sheet.png").write_bytes(b"\x89PNG refused")
            return
        for name in ("tumor", "target", "zone", "uncovered", "margin_mm", "verification_region"):
            (folder / f"{name}.nii.gz").write_bytes(f"{name} {assessment.summary}".encode())
        (folder / "sheet.png").write_bytes(b"\x89PNG" + assessment.maps.tumor.tobytes()[:1000] * 1000)

    def _work(self, stage: Stage) -> None:
        self.stages_run.append(stage.value)
        if self.stage_s:
            time.sleep(self.stage_s)
        if self.gate is not None and stage is Stage.REGISTRATION:
            self.gate()


def checksum(voxels: npt.NDArray[Any] | None) -> str:
    return "none" if voxels is None else f"{zlib.crc32(np.ascontiguousarray(voxels).tobytes()):08x}"


def _maps(verification: CtVolume, tumor: LabelMask, zone: LabelMask) -> AssessmentMaps:
    return AssessmentMaps(
        geometry=verification.geometry,
        ct_hu=verification.voxels_hu,
        tumor=tumor.voxels,
        target=tumor.voxels,
        zone=zone.voxels,
        core=None,
        lung=zone.voxels,
        uncovered=tumor.voxels & ~zone.voxels,
        uncovered_outside=np.zeros_like(zone.voxels),
        not_assessable=np.zeros_like(zone.voxels),
        margin_mm=zone.voxels.astype(np.float32),
        surface_margin_mm=np.array([-1.0, 2.0, 6.0, 11.0]),
    )


def _assessment(
    summary: str,
    tcr: float,
    refusal: Refusal | None,
    timings_s: dict[str, float],
    *,
    preliminary: bool = False,
    maps: AssessmentMaps | None = None,
    if_complete: bool = False,
) -> AblationAssessment:
    """Numbers are left in on purpose where they must not be told: the service has to withhold them."""
    spot = ColdSpot(1, 0.5, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 2.0, (Direction.LEFT,), None)
    risk = SurvivalRisk(
        months=(12, 24),
        probability=(0.1, 0.2),
        band_90=((0.05, 0.2), (0.1, 0.3)),
        model="demo 1 (simulated cohort)",
        identity=ModelIdentity("demo", "1", "0" * 64, demo=True, manifest_sha256="1" * 64),
        statements=("simulated cohort: 10 %",),
        flags=(),
        probability_if_complete=(0.01, 0.02) if if_complete else (),
    )
    return AblationAssessment(
        preliminary=preliminary,
        summary=summary,
        coverage=_coverage(tcr),
        margin=MarginFinding(
            minimal_mm=-1.0,
            minimal_interval_90_mm=(-2.0, 0.5),
            shares=(0.1, 0.2, 0.3, 0.4),
            lung_clipped_minimal_mm=-1.0,
            lung_clipped_minimal_interval_90_mm=(-1.5, 0.0),
            core_minimal_mm=-2.0,
            quantile_2_mm=-0.5,
            insufficient_surface_cm2=1.5,
        ),
        planning_frame=PlanningFrameFinding(tcr / 2, (tcr / 4, 1.0), -0.5, (-1.5, 1.0), 0.1),
        uncovered=(spot,),
        alignment=AlignmentFinding(
            AlignmentMethod.DEFORMABLE, RigidTransform.identity(), 0.9, 0.4, 0.3, QUALITY, "1.2.3", "1.2.4"
        ),
        lesion=LesionFinding(1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), SUPPLIED, 10.0),
        risk=risk,
        timings_s=timings_s,
        warnings=("stub",),
        refusal=refusal,
        seed=1,
        draws=1000,
        maps=maps,
    )


def _coverage(tcr: float) -> CoverageFinding:
    return CoverageFinding(
        tcr=tcr,
        tcr_interval_90=(tcr / 2, 1.0),
        complete=tcr == 1.0,
        probability_complete=tcr / 2,
        lung_clipped_tcr=tcr,
        lung_clipped_tcr_interval_90=(tcr / 3, 1.0),
        lung_clipped_complete=tcr == 1.0,
        lung_clipped_probability_complete=tcr / 3,
        not_assessable_share=0.1,
        core_tcr=tcr / 3,
        core_origin=THRESHOLDED,
        target_volume_ml=4.0,
        zone_volume_ml=5.0,
        target_margin_mm=5.0,
        zone_origin=SUPPLIED,
    )


@dataclass(frozen=True)
class StubCase:
    """A tiny procedure of known answer."""

    planning: CtVolume
    tumor: LabelMask
    verification: CtVolume
    zone: LabelMask
    tcr: float

    @property
    def summary(self) -> str:
        """What the stub must say of it, without a core and clinical inputs."""
        voxels = (
            self.planning.voxels_hu,
            self.tumor.voxels,
            self.verification.voxels_hu,
            self.zone.voxels,
            None,
        )
        return " ".join([*(checksum(array) for array in voxels), "None", "None"])


def make_case(seed: int, shape: tuple[int, int, int] = (4, 6, 8)) -> StubCase:
    rng = np.random.default_rng(seed)
    grid = VolumeGeometry(shape, (2.0, 1.0, 1.0))
    planning, verification = (
        CtVolume(rng.integers(-900, 400, shape, dtype=np.int16), grid) for _ in range(2)
    )
    tumor, zone = (LabelMask(rng.random(shape) < 0.5, grid) for _ in range(2))
    tcr = float((tumor.voxels & zone.voxels).sum()) / float(tumor.voxels.sum())
    return StubCase(planning, tumor, verification, zone, tcr)


def settings_for(folder: Path, **changes: Any) -> Settings:
    """A service on a free port of this machine that keeps its state below ``folder``."""
    chosen = {
        "port": 0,
        "metrics_port": None,
        "state_dir": folder / "state",
        "drain_grace_s": 5.0,
        "max_admitted": 8,
        "min_free_bytes": 0,
    }
    return Settings(**{**chosen, **changes})
