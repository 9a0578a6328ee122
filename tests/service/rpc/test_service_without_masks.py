"""Models of an appliance draw what was not sent: bundles, settings, calls, provenance."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coldspot.v1 import assessment_pb2
from typer.testing import CliRunner

import service.commands.cli
from engine.errors import ClientCancelledError, InvalidRequestError, SelfTestError
from engine.files.image_file import write_volume
from engine.geometry import Vector3, VolumeGeometry
from engine.manifest import MODEL_FILE
from engine.selftest.segmenter import require_segmenters
from engine.stages import SilentListener, StageListener
from engine.volume import CtVolume, LabelMask
from service.cases.store import CaseStore, PreparedRecord
from service.client.client import ColdspotClient
from service.pipeline.bundles import choose_bundle, installed_bundles
from service.pipeline.engine import EnginePipeline
from service.pipeline.segmenters import InstalledSegmenter, find_segmenter, interruptible
from service.server import running_server
from service.settings import Settings
from tests.support.chest_without_masks import OTHER, TUMOR, planning, verification
from tests.support.installed_models import install
from tests.support.stub_engine import StubPipeline, make_case, settings_for
from tests.support.stub_segmenter import StubSegmenter, model, section


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    install(folder, "tumor-demo", "tumor")
    install(folder, "zone-demo", "ablation_zone")
    return folder


def chosen(settings: Settings) -> InstalledSegmenter | None:
    bundles = installed_bundles(settings.models_dir)
    return find_segmenter(settings, bundles, "tumor_model", settings.tumor_model, "tumor")


def test_the_newest_version_of_the_only_bundle_of_a_purpose_is_taken(models: Path, tmp_path: Path) -> None:
    install(models, "tumor-demo", "tumor", "1.10.0")
    install(models, "tumor-demo", "tumor", "1.9.0")
    found = chosen(settings_for(tmp_path, models_dir=models))
    assert found is not None
    assert str(found.identity) == "tumor-demo 1.10.0 (demo model)"
    assert found.identity.demo
    assert found.describe().identity.sha256 == installed_bundles(models)[0].manifest.files[MODEL_FILE]


def test_several_bundles_of_a_purpose_must_be_named(models: Path, tmp_path: Path) -> None:
    install(models, "site-net", "tumor", "2.0.0", demo=False)
    with pytest.raises(InvalidRequestError, match=r"tumor_model must name one of .* site-net, tumor-demo"):
        chosen(settings_for(tmp_path, models_dir=models))
    named = chosen(settings_for(tmp_path, models_dir=models, tumor_model="site-net"))
    assert named is not None
    assert str(named.identity) == "site-net 2.0.0"
    with pytest.raises(InvalidRequestError, match="tumor_model"):
        chosen(settings_for(tmp_path, models_dir=models, tumor_model="zone-demo"))
    assert chosen(settings_for(tmp_path, models_dir=models, tumor_model="none")) is None


def test_a_demo_model_draws_nothing_in_clinical_mode(models: Path, tmp_path: Path) -> None:
    assert chosen(settings_for(tmp_path, models_dir=models, clinical_mode=True)) is None
    install(models, "site-net", "tumor", demo=False)
    named = chosen(settings_for(tmp_path, models_dir=models, clinical_mode=True, tumor_model="site-net"))
    assert named is not None


def test_without_bundles_there_is_no_model(tmp_path: Path) -> None:
    assert choose_bundle((), "tumor_model", None, lambda _: True) is None
    with pytest.raises(InvalidRequestError, match="there is none"):
        choose_bundle((), "tumor_model", "gone", lambda _: True)


@pytest.fixture
def cases(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLDSPOT_MODELS_DIR", str(models))
    monkeypatch.setenv("COLDSPOT_SEGMENTATION_BACKEND", "onnxruntime")
    for name, ct in (("planning", planning(OTHER)), ("verification", verification(6.0, 13.0))):
        write_volume(tmp_path / f"{name}.nii.gz", ct.voxels_hu, ct.geometry)
    return ["assess", "--json", "--allow-demo-models", *_ct_arguments(tmp_path)]


def _ct_arguments(folder: Path) -> list[str]:
    names = ("planning", "verification")
    return [part for name in names for part in (f"--{name}", str(folder / f"{name}.nii.gz"))]


def test_two_cts_in_everything_out(cases: list[str], tmp_path: Path) -> None:
    """Through the command line, the client, the service, the bundles and ONNX Runtime."""
    several = CliRunner().invoke(service.commands.cli.app, cases)
    assert several.exit_code == 3, several.output
    refusal = json.loads(several.stdout)["refusal"]
    assert refusal["code"] == "several_lesions"
    assert len(refusal["candidates"]) == 2
    nearest = min(
        refusal["candidates"], key=lambda one: np.linalg.norm(np.subtract(one["place_lps_mm"], TUMOR))
    )
    place = ",".join(map(str, nearest["place_lps_mm"]))
    told = CliRunner().invoke(
        service.commands.cli.app, [*cases, f"--target={place}", "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert report["coverage"]["complete"] is False
    assert 0.3 < report["coverage"]["tcr"] < 0.95
    assert report["lesion"]["source"] == "segmented by tumor-demo 1.0.0 (demo model)"
    assert report["summary"].count("demo model") == 2
    assert report["lesion"]["origin"]["kind"] == report["coverage"]["zone_origin"]["kind"] == "demo_model"
    assert (
        sum("a demo model that is not meant for patients" in warning for warning in report["warnings"]) == 2
    )
    assert {"segment_tumor", "segment_zone"} <= set(report["timings_s"]) | {"segment_tumor"}
    provenance = report["provenance"]
    assert (provenance["tumor_model"], provenance["zone_model"]) == ("tumor-demo 1.0.0", "zone-demo 1.0.0")
    assert len(provenance["zone_model_sha256"]) == 64
    assert provenance["tumor_sha256"] is None
    assert "zone-demo: onnxruntime" in provenance["inference_backend"].lower()
    for name in ("tumor.nii.gz", "zone.nii.gz", "sheet.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.parametrize("clinical_mode", ["false", "true"])
def test_a_demo_model_draws_only_on_request(
    cases: list[str], monkeypatch: pytest.MonkeyPatch, clinical_mode: str
) -> None:
    monkeypatch.setenv("COLDSPOT_CLINICAL_MODE", clinical_mode)
    asked = [part for part in cases if part != "--allow-demo-models"] if clinical_mode == "false" else cases
    refused = CliRunner().invoke(service.commands.cli.app, [*asked, "--target", "1,2,-1"])
    assert refused.exit_code == 2, refused.output
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "invalid_request"
    assert "no tumor mask was sent" in error["message"]
    assert ("--allow-demo-models" if clinical_mode == "false" else "clinical mode") in error["message"]


@pytest.mark.parametrize("restarted", [False, True])
def test_each_request_has_to_allow_demo_models(models: Path, tmp_path: Path, *, restarted: bool) -> None:
    """What one request allowed does not hold for the next one, nor after a restart."""
    settings = settings_for(tmp_path, models_dir=models, segmentation_backend="onnxruntime", self_test=False)
    with (
        running_server(settings, EnginePipeline(settings)) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case(target_lps_mm=TUMOR)
        client.upload_ct(case, planning(), "planning")
        with pytest.raises(InvalidRequestError, match="no tumor mask was sent"):
            client.prepare(case)
        prepared = client.prepare(case, allow_demo_models=True)
        assert any("tumor-demo 1.0.0, a demo model" in warning for warning in prepared.warnings)
        after = verification(6.0, 13.0)
        sent = client.upload_ct(case, after, "verification")
        if not restarted:
            with pytest.raises(InvalidRequestError, match="drew the tumor when the case was prepared"):
                client.assess(case)
            supplied = LabelMask(after.voxels_hu >= 250, after.geometry)
            client.upload_mask(case, supplied, "zone", sent)
            with pytest.raises(InvalidRequestError, match="drew the tumor when the case was prepared"):
                client.assess(case)
            assert not client.case(case).assessment_ids
    if restarted:
        with (
            running_server(settings, EnginePipeline(settings)) as server,
            ColdspotClient(f"127.0.0.1:{server.port}") as client,
            pytest.raises(InvalidRequestError, match="no tumor mask was sent"),
        ):
            client.assess(case)


def test_a_supplied_tumor_does_not_allow_a_demo_zone(models: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, models_dir=models, segmentation_backend="onnxruntime", self_test=False)
    with (
        running_server(settings, EnginePipeline(settings)) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case()
        before = planning()
        sent = client.upload_ct(case, before, "planning")
        client.upload_mask(case, LabelMask(before.voxels_hu == 300, before.geometry), "tumor", sent)
        client.prepare(case)
        client.upload_ct(case, verification(6.0, 13.0), "verification")
        with pytest.raises(InvalidRequestError, match="no ablation zone mask was sent, and zone-demo"):
            client.assess(case)
        final = client.assess(case, allow_demo_models=True)
        assert final.coverage.zone_origin.kind == assessment_pb2.CONTOUR_KIND_DEMO_MODEL


def test_the_pipeline_says_which_models_it_has(models: Path, tmp_path: Path) -> None:
    pipeline = EnginePipeline(settings_for(tmp_path, models_dir=models))
    assert [model.identity.id for model in pipeline.describe().models] == ["tumor-demo", "zone-demo"]


@dataclass
class Remembering(StubPipeline):
    """A stub that remembers the target points it was given."""

    targets: list[Vector3 | None] = field(default_factory=list)

    def prepare(
        self,
        planning: CtVolume,
        tumor: LabelMask | None,
        *,
        target_lps_mm: Vector3 | None,
        allow_demo_models: bool,
        listener: StageListener,
    ) -> Any:
        self.targets.append(target_lps_mm)
        return super().prepare(
            planning,
            tumor,
            target_lps_mm=target_lps_mm,
            allow_demo_models=allow_demo_models,
            listener=listener,
        )


def test_a_target_given_to_prepare_holds_for_assess_and_survives_a_restart(tmp_path: Path) -> None:
    sent, before, after = make_case(seed=1), Remembering(), Remembering()
    settings = settings_for(tmp_path)
    with (
        running_server(settings, before) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case(target_lps_mm=(1.0, 2.0, 3.0))
        client.upload_ct(case, sent.planning, "planning")
        client.upload_ct(case, sent.verification, "verification")
        client.prepare(case)
        client.prepare(case, target_lps_mm=(4.5, 0.1, -6.0))
        client.assess(case)
        with pytest.raises(InvalidRequestError, match="finite LPS"):
            client.prepare(case, target_lps_mm=(float("inf"), 0.0, 0.0))
    assert before.targets == [(1.0, 2.0, 3.0), (4.5, 0.1, -6.0)], "the second one is used, not prepared again"
    with (
        running_server(settings, after) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        client.assess(case)
    assert after.targets == [(4.5, 0.1, -6.0)]


def test_a_store_of_an_older_version_is_read(tmp_path: Path) -> None:
    with closing(CaseStore(tmp_path)) as store:
        case = store.open_case("one", b"request")
        store.record_prepared(case, PreparedRecord("a", "b", 3, "1.0 2.0 3.0"))
    database = sqlite3.connect(tmp_path / "cases.sqlite")
    database.execute("ALTER TABLE prepared DROP COLUMN target")
    database.commit()
    database.close()
    with closing(CaseStore(tmp_path)) as store:
        assert store.prepared(case) == PreparedRecord("a", "b", 3)
        store.record_prepared(case, PreparedRecord("a", "b", 4, "1.0 2.0 3.0"))
        assert store.prepared(case) == PreparedRecord("a", "b", 4, "1.0 2.0 3.0")


def test_the_self_test_finds_a_network_that_computes_nonsense() -> None:
    blind = StubSegmenter(lambda ct: np.zeros(ct.geometry.shape_zyx, dtype=np.bool_), section=section(zone=1))
    with pytest.raises(SelfTestError, match=r"Dice coefficient of 0\.00"):
        require_segmenters(None, blind)
    site = StubSegmenter(blind.draw, section=section(zone=1), identity=model("site-net", demo=False))
    assert require_segmenters(None, site) == {"site-net 1.0.0": 0.0}
    assert require_segmenters(None, None) == {}


def test_a_job_that_nobody_waits_for_stops_between_two_patches(models: Path, tmp_path: Path) -> None:
    installed = chosen(settings_for(tmp_path, models_dir=models))
    assert installed is not None
    asked: list[int] = []

    class GoneAfterAPatch(SilentListener):
        def require_wanted(self) -> None:
            asked.append(len(asked))
            if len(asked) == 2:
                raise ClientCancelledError("gone")

    listener = GoneAfterAPatch()
    segmenter = interruptible(installed, listener)
    assert segmenter is not None
    assert segmenter.identity == installed.identity
    assert segmenter.section is installed.section
    voxels = np.random.default_rng(0).integers(-1000, 200, (40, 60, 60)).astype(np.int16)
    with pytest.raises(ClientCancelledError):
        segmenter.segment(CtVolume(voxels, VolumeGeometry(voxels.shape, (2.0, 1.0, 1.0))))
    assert asked == [0, 1]
    assert interruptible(None, listener) is None
