"""A folder of several series on the command line: listed, chosen, and named in the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
import service.commands.registering
from engine.files.image_file import write_mask
from engine.refusal import RefusalCode, RefusedError
from engine.volume import CtVolume, LabelMask
from tests.support.dicom_files import ct_instances, write_datasets, write_segmentation
from tests.support.dicom_series import phantom_ct
from tests.support.stub_engine import StubPipeline

LUNG, SOFT, LATER = phantom_ct(seed=1), phantom_ct(seed=2), phantom_ct(seed=3)
TUMOR = LabelMask(LUNG.voxels_hu > 2500, LUNG.geometry, "tumor")


def write(folder: Path, ct: CtVolume, number: int, description: str, **overrides: Any) -> None:
    datasets = ct_instances(ct, SeriesNumber=number, SeriesDescription=description, **overrides)
    write_datasets(folder / str(number), datasets)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A planning folder of two CTs, a verification folder of one and a note, and masks."""
    write(tmp_path / "before", LUNG, 3, "Lung 2.5", ConvolutionKernel="Br64d")
    write(tmp_path / "before", SOFT, 4, "Soft tissue")
    write(tmp_path / "after", LATER, 5, "Control", AcquisitionTime="110405")
    (tmp_path / "after" / "note.txt").write_text("a note")
    write_mask(tmp_path / "zone.nii.gz", LabelMask(LATER.voxels_hu > 0, LATER.geometry, "zone"))
    write_segmentation(tmp_path / "seg", LUNG, {"Lung tumor": TUMOR.voxels, "Vessel": ~TUMOR.voxels})
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(service.commands.cli.app, [str(argument) for argument in arguments])


def assess(study: Path, *extra: str | Path) -> Result:
    given = ("--planning", study / "before", "--verification", study / "after")
    masks = ("--tumor", study / "seg", "--zone", study / "zone.nii.gz")
    return run("assess", *given, *masks, "--json", *extra)


@pytest.fixture
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.commands.cli, "make_pipeline", lambda _settings: StubPipeline())


@pytest.mark.usefixtures("_stub")
def test_several_series_are_an_error_that_lists_them(study: Path) -> None:
    result = assess(study, "--tumor-structure", "1")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "mixed_series"
    assert "3 'Lung 2.5' (kernel Br64d, 6 slices of 2.5 mm); 4 'Soft tissue' (6 slices" in error["message"]


@pytest.mark.usefixtures("_stub")
@pytest.mark.parametrize(
    ("choice", "structure"), [("3", "Lung tumor"), ("lung 2.5", "lung tumor"), ("3", "1")]
)
def test_a_series_and_a_segment_are_chosen(study: Path, choice: str, structure: str) -> None:
    result = assess(
        study, "--planning-series", choice, "--verification-series", "5", "--tumor-structure", structure
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    planning, verification = report["provenance"]["planning"], report["provenance"]["verification"]
    assert (planning["series_description"], planning["convolution_kernel"]) == ("Lung 2.5", "Br64d")
    assert (planning["acquired_at"], planning["instance_count"]) == ("2026-01-02T03:04:05", 6)
    assert (verification["series_description"], verification["acquired_at"]) == (
        "Control",
        "2026-01-02T11:04:05",
    )


@pytest.mark.usefixtures("_stub")
@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--planning-series", "7", "--tumor-structure", "1"), "is numbered or called '7', only 3"),
        (
            ("--planning-series", "3", "--tumor-structure", "tumor"),
            "has no segment 'tumor', only 1 'Lung tumor'",
        ),
        (("--planning-series", "3"), "2 segments"),
    ],
)
def test_a_choice_that_is_none_is_an_error(study: Path, extra: tuple[str, ...], said: str) -> None:
    result = assess(study, *extra)
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "invalid_request"
    assert said in error["message"]


@pytest.mark.usefixtures("_stub")
def test_a_series_of_an_image_file_is_an_error(study: Path) -> None:
    given = ("--planning", study / "zone.nii.gz", "--verification", study / "after", "--planning-series", "3")
    result = run("assess", *given, "--json")
    assert json.loads(result.stdout)["error"]["message"].startswith("zone.nii.gz is no DICOM folder")


def test_register_and_segment_choose_and_refuse_alike(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[CtVolume] = []

    def register(fixed: CtVolume, moving: CtVolume, **_given: object) -> None:
        got.extend((fixed, moving))
        raise RefusedError(RefusalCode.FOLDING, "far enough")

    monkeypatch.setattr(service.commands.registering, "register", register)
    monkeypatch.setattr(service.commands.registering, "warm_up", lambda **_given: None)
    common = ("--fixed", study / "after", "--moving", study / "before", "--out", study / "out", "--json")
    refused = run("register", *common)
    assert json.loads(refused.stdout)["error"]["code"] == "mixed_series"
    chosen = run("register", *common, "--moving-series", "4", "--fixed-series", "Control")
    assert chosen.exit_code == 3
    assert np.array_equal(got[0].voxels_hu, LATER.voxels_hu)
    assert np.array_equal(got[1].voxels_hu, SOFT.voxels_hu)
    warnings = json.loads(chosen.stdout)["warnings"]
    assert "fixed CT: beside the DICOM files, not read: 1 txt" in warnings
    image = ("--image", study / "before", "--model", study, "--out", study / "labels.nii.gz", "--json")
    assert json.loads(run("segment", *image).stdout)["error"]["code"] == "mixed_series"
    assert json.loads(run("segment", *image, "--series", "9").stdout)["error"]["code"] == "invalid_request"
    swapped = ("--fixed", study / "before", "--moving", study / "after", "--out", study / "out", "--json")
    late = run("register", *swapped, "--fixed-series", "3")
    assert json.loads(late.stdout)["error"]["code"] == "acquired_out_of_order"
    twice = ("--fixed", study / "after", "--moving", study / "after", "--out", study / "out", "--json")
    assert json.loads(run("register", *twice).stdout)["error"]["code"] == "same_series"
