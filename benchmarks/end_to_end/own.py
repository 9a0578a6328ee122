"""Coldspot's side of the end-to-end benchmark: the assessment in this process, and through the service on loopback."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import numpy as np

from benchmarks.segmentation.standard_bundle import RISK
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.files.reading import read_ct, read_mask
from engine.manifest import SegmentationSection
from engine.model_identity import ModelIdentity
from engine.phantoms import make_procedure
from engine.progress import ItemProgress
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel
from engine.segmentation import Box, ChannelSource, Segmentation, Segmenter
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient
from service.pipeline.engine import EnginePipeline
from service.pipeline.protocol import ModelPurpose, ServedModel
from service.pipeline.segmenters import InstalledSegmenter
from service.server import running_server
from service.settings import read_settings

SEX: Final = "f"
CORE: Final = "core"

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class AblationCase:
    """One pair with its masks, in memory, and the TCR that its masks and the true displacement give."""

    name: str
    planning: CtVolume
    tumor: LabelMask
    verification: CtVolume
    zone: LabelMask
    core: LabelMask
    tcr: float

    @classmethod
    def read(cls, folder: Path) -> AblationCase:
        """Read a folder of the ablation cases."""
        planning, verification = read_ct(folder / "planning.nii.gz"), read_ct(folder / "verification.nii.gz")
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        return cls(
            folder.name,
            planning,
            read_mask(folder / "tumor.nii.gz", planning, "tumor"),
            verification,
            read_mask(folder / "ablation_zone.nii.gz", verification, "ablation zone"),
            read_mask(folder / "ablation_core.nii.gz", verification, "ablation core"),
            float(truth["of_supplied_masks"]["tcr"]),
        )

    @classmethod
    def of_phantom(cls, name: str) -> AblationCase:
        """The demo's phantom, which needs no data."""
        phantom = make_procedure(0, kind="miss", minimal_margin_mm=1.0)
        return cls(
            name,
            phantom.planning,
            phantom.tumor,
            phantom.verification,
            phantom.zone,
            phantom.core,
            phantom.truth.tcr,
        )

    def as_new(self) -> AblationCase:
        """The same voxels in new objects, without anything cached."""

        def ct(old: CtVolume) -> CtVolume:
            return CtVolume(old.voxels_hu.copy(), old.geometry, old.acquisition)

        def mask(old: LabelMask) -> LabelMask:
            return LabelMask(old.voxels.copy(), old.geometry, old.name)

        return replace(
            self,
            planning=ct(self.planning),
            tumor=mask(self.tumor),
            verification=ct(self.verification),
            zone=mask(self.zone),
            core=mask(self.core),
        )


class ReplacedSegmenter:
    """A model that is run for its time; its output is replaced by the supplied masks.

    It stands where a :class:`engine.segmentation.Segmenter` or an installed one of the service stands.

    Parameters
    ----------
    model : Segmenter

    Attributes
    ----------
    case : AblationCase
        Whose masks are put in; set before every use.
    network_s : float
        Seconds that the model took since this was last set to zero.
    """

    case: AblationCase

    def __init__(self, model: Segmenter) -> None:
        self._model = model
        self.network_s = 0.0

    @property
    def identity(self) -> ModelIdentity:
        """The model's, without the demo flag that marks doubtful contours: these are the supplied ones."""
        return replace(self._model.identity, demo=False)

    @property
    def section(self) -> SegmentationSection:
        """What its labels mean."""
        return self._model.section

    def open(self) -> Segmenter:
        """The model, which is open."""
        return self._model

    def describe(self) -> ServedModel:
        """What it is, for the provenance."""
        return ServedModel(self._model.identity, ModelPurpose.ABLATION_ZONE, self._model.backend)

    def segment(
        self,
        ct: CtVolume,
        *,
        around: Box | None = None,
        companions: ChannelSource | None = None,
        on_progress: ItemProgress | None = None,
    ) -> Segmentation:
        """Run the model, and give the supplied masks on the grid of its labels."""
        started = time.perf_counter()
        segmentation = self._model.segment(ct, around=around, companions=companions, on_progress=on_progress)
        self.network_s += time.perf_counter() - started
        region = ct.geometry.box_of(segmentation.geometry).slices
        zone, core = self.case.zone.voxels[region], self.case.core.voxels[region]
        labels = np.where(zone, self.section.labels["zone"], 0).astype(np.uint8)
        labels[zone & core] = self.section.labels[CORE]
        return replace(segmentation, labels=labels, probability=(labels > 0).astype(np.float16))


def assess(case: AblationCase, risk: SurvivalModel, segmenter: ReplacedSegmenter | None) -> Row:
    """One assessment in this process, from voxels in memory to the answer; planning work is not timed."""
    case = case.as_new()
    prepared = prepare_planning(case.planning, case.tumor)
    if segmenter is not None:
        segmenter.case, segmenter.network_s = case, 0.0
    preliminary_s: list[float] = []
    started = time.perf_counter()
    assessment = assess_ablation(
        prepared,
        case.verification,
        case.zone if segmenter is None else None,
        zone_segmenter=segmenter,
        clinical=ClinicalInputs(SEX),
        risk_model=risk,
        on_preliminary=lambda _answer: preliminary_s.append(time.perf_counter() - started),
    )
    total_s = time.perf_counter() - started
    if assessment.refusal is not None:
        return {"refusal": assessment.refusal.reason}
    if assessment.radscore is None:
        raise SystemExit("the risk model has no signature")
    return {
        "total_s": total_s,
        **_network(total_s, segmenter),
        "preliminary_s": preliminary_s[0],
        "steps_s": {
            **assessment.timings_s,
            "between the stages": total_s - sum(assessment.timings_s.values()),
        },
        "tcr": assessment.coverage.tcr,
        "features": assessment.radscore.features,
    }


def _network(total_s: float, segmenter: ReplacedSegmenter | None) -> Row:
    network_s = 0.0 if segmenter is None else segmenter.network_s
    return {"network_s": network_s, "without_network_s": total_s - network_s}


class LoopbackService:
    """The real service with its engine, in this process, and a client on loopback."""

    def __init__(self, client: ColdspotClient, pipeline: EnginePipeline) -> None:
        self._client, self._pipeline = client, pipeline

    def assess(self, case: AblationCase, segmenter: ReplacedSegmenter | None) -> Row:
        """One procedure; timed from the last byte of the verification CT, as the service reports it."""
        client = self._client
        # Another voxel each time: the service knows a CT again that it has decoded before.
        case = case.as_new()
        case.verification.voxels_hu.flags.writeable = True
        case.verification.voxels_hu[0, 0, 0] = np.random.default_rng().integers(-1000, -900)
        self._pipeline.zone_segmenter = cast("InstalledSegmenter | None", segmenter)
        if segmenter is not None:
            segmenter.case, segmenter.network_s = case, 0.0
        case_id = client.open_case(request_id=str(uuid4()), sex=SEX)
        planning = client.upload_ct(case_id, case.planning, "planning")
        client.upload_mask(case_id, case.tumor, "tumor", planning)
        client.prepare(case_id)
        verification = client.upload_ct(case_id, case.verification, "verification")
        if segmenter is None:
            client.upload_mask(case_id, case.zone, "zone", verification)
        preliminary_at: list[float] = []
        final = client.assess(
            case_id,
            allow_demo_models=True,
            on_preliminary=lambda _answer: preliminary_at.append(time.perf_counter()),
        )
        ended = time.perf_counter()
        if final.HasField("refusal"):
            return {"refusal": final.refusal.reason}
        with (
            tempfile.TemporaryDirectory() as folder
        ):  # drawn after the answer: the next contender has to wait
            client.fetch_artifact(final, "sheet.png", Path(folder))
        client.delete_case(case_id)
        stages = dict(final.timings_s)
        return {
            "total_s": final.latency_s,
            **_network(final.latency_s, segmenter),
            "preliminary_s": final.latency_s - (ended - preliminary_at[0]),
            "steps_s": stages,
            "tcr": final.coverage.tcr,
        }


@contextmanager
def loopback_service(folder: Path, models: Path) -> Iterator[LoopbackService]:
    """A service with the risk model of ``models``; it skips the self-test, the first round warms it."""
    settings = read_settings(
        port=0,
        metrics_port=None,
        state_dir=folder,
        models_dir=models,
        risk_model=RISK,
        self_test=False,
    )
    pipeline = EnginePipeline(settings)
    with (
        running_server(settings, pipeline) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        yield LoopbackService(client, pipeline)
