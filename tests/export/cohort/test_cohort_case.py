"""One case from its files: measured as at the bedside; whatever is wrong with it is its result."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from engine.files.image_file import write_mask, write_volume
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import feature_names
from engine.volume import LabelMask
from export.cohort import case_run
from export.cohort.case_job import CaseJob, CohortSettings
from export.cohort.case_result import CaseResult
from export.cohort.case_run import run_case
from export.cohort.table import CaseImages
from tests.support.radiomics_zones import NO_EXTRACTOR
from tests.support.spheres import ball, centered_grid
from tests.support.stub_segmenter import StubSegmenter, section

GRID = centered_grid((1.6, 1.3, 1.3), 65.0)
CENTER = (1.0, 2.0, -1.0)
needs_radiomics = pytest.mark.skipif(find_spec("radiomics") is None, reason=NO_EXTRACTOR)


@cache
def chest() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=GRID.shape_zyx)
    fine, coarse = ndimage.gaussian_filter(noise, 1.8), ndimage.gaussian_filter(noise[::-1], 6.0)
    hu = np.clip(-700 + 130 * fine / fine.std() + 60 * coarse / coarse.std(), -1000, 100)
    return np.asarray(hu, dtype=np.int16)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CaseImages:
    folder = tmp_path_factory.mktemp("case")
    tumor, zone = ball(GRID, CENTER, 8.0, "tumor"), ball(GRID, CENTER, 16.0, "ablation zone")
    core = ball(GRID, CENTER, 13.0, "core")
    planning, verification = chest().copy(), chest().copy()
    planning[tumor.voxels] = 20
    mottle = np.random.default_rng(1).normal(0.0, 60.0, GRID.shape_zyx).astype(np.int16)
    verification[zone.voxels] = -550 + mottle[zone.voxels]
    verification[core.voxels] = -50 + mottle[core.voxels]
    write_volume(folder / "planning.nii.gz", planning, GRID)
    write_volume(folder / "verification.nii.gz", verification, GRID)
    for name, mask in (("tumor", tumor), ("zone", zone), ("core", core)):
        write_mask(folder / f"{name}.nii.gz", mask)
    empty = LabelMask(np.zeros(GRID.shape_zyx, dtype=np.bool_), GRID, "zone")
    write_mask(folder / "empty.nii.gz", empty)
    return CaseImages(
        planning=folder / "planning.nii.gz",
        verification=folder / "verification.nii.gz",
        tumor=folder / "tumor.nii.gz",
        zone=folder / "zone.nii.gz",
        core=folder / "core.nii.gz",
    )


def result(images: CaseImages) -> CaseResult:
    return run_case(CaseJob("a1", images, CohortSettings(), "0" * 64))


@needs_radiomics
def test_a_case_is_measured(images: CaseImages) -> None:
    found = result(images)
    assert (found.outcome, found.reason) == ("measured", "")
    assert found.complete_coverage is True
    assert found.tcr == 1.0
    assert found.minimal_margin_mm == pytest.approx(8.0, abs=1.0)
    assert set(found.features) == set(feature_names(RadiomicsSettings()))
    assert len(found.features) == 1316
    assert CaseResult.model_validate_json(found.to_json()) == found


@needs_radiomics
def test_radscore_and_coverage_rest_on_one_segmentation(
    images: CaseImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = ball(GRID, CENTER, 16.0, "ablation zone").voxels
    segmenter = StubSegmenter(lambda _: drawn, section=section(zone=1))
    monkeypatch.setattr(case_run, "_opened", lambda _, model: segmenter if model else None)
    found = result(images.model_copy(update={"zone": None, "zone_model": images.planning.parent}))
    assert sum(box is not None for box in segmenter.asked) == 1, "the zone is drawn once"
    assert found.features == result(images).features


def test_a_refusal_and_an_error_are_results(images: CaseImages) -> None:
    folder = images.planning.parent
    gone = result(images.model_copy(update={"planning": folder / "gone.nii.gz"}))
    assert (gone.outcome, gone.code, gone.may_pass) == ("failed", "unreadable_file", False)
    empty = result(images.model_copy(update={"zone": folder / "empty.nii.gz", "core": None}))
    assert (empty.outcome, empty.code) == ("failed", "empty_mask")
    no_model = result(images.model_copy(update={"zone": None, "zone_model": folder}))
    assert (no_model.outcome, no_model.code) == ("failed", "invalid_manifest")
    assert not any((gone.features, empty.features, no_model.features))


def test_slices_too_thick_are_a_refusal(images: CaseImages, tmp_path: Path) -> None:
    thick = centered_grid((6.5, 1.3, 1.3), 65.0)
    tumor = ball(thick, CENTER, 8.0, "tumor")
    hu = np.where(tumor.voxels, 40, -700).astype(np.int16)
    write_volume(tmp_path / "planning.nii.gz", hu, thick)
    write_mask(tmp_path / "tumor.nii.gz", tumor)
    found = result(
        images.model_copy(
            update={"planning": tmp_path / "planning.nii.gz", "tumor": tmp_path / "tumor.nii.gz"}
        )
    )
    assert (found.outcome, found.code) == ("refused", "slices_too_thick")
    assert found.tcr is None


def test_an_unexpected_error_may_pass(images: CaseImages, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(case_run, "read_ct", out_of_memory)
    found = result(images)
    assert (found.outcome, found.code, found.may_pass) == ("failed", "internal_error", True)
    assert found.reason == "MemoryError: no room"
