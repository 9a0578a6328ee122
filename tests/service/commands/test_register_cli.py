from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
import service.commands.registering
from engine import DISCLAIMER
from engine.errors import DeadlineExceededError
from engine.files.displacement_file import read_displacement
from engine.files.image_file import write_mask, write_volume
from engine.files.reading import read_ct
from engine.findings import RegistrationQuality
from engine.geometry import RigidTransform, VolumeGeometry, VoxelBox
from engine.refusal import RefusalCode, RefusedError
from engine.registration.field import DisplacementField
from engine.registration.judging.remaining_motion import DoubtfulRegion
from engine.registration.warping import warp
from engine.volume import CtVolume, LabelMask
from service.commands.landmarks import COLUMNS
from service.commands.registering import FIELD_FILE, REPORT_FILE, WARPED_FILE, in_hounsfield_units
from tests.support.dicom_files import write_ct_series

DATA = os.environ.get("COLDSPOT_DATA")
GRID = VolumeGeometry((20, 24, 22), (2.0, 1.5, 1.5), origin_lps_mm=(5.0, -30.0, 400.0))
SHIFT = (1.0, -2.0, 3.0)
NUMBERS = ("duration_s", "uncertainty_mm", "moving_from_fixed", "grid", "method")
QUALITY = tuple(field.name for field in fields(RegistrationQuality))

Calls = list[dict[str, Any]]


def shifted_field() -> DisplacementField:
    grid = VolumeGeometry((11, 10, 10), (4.0, 4.0, 4.0), origin_lps_mm=GRID.origin_lps_mm)
    vectors = np.zeros((*grid.shape_zyx, 3), dtype=np.float32) + np.array(SHIFT, dtype=np.float32)
    return DisplacementField(vectors, grid)


def answer(**other: Any) -> Any:
    quality = RegistrationQuality(**{**dict.fromkeys(QUALITY, 0.5), **other.pop("quality", {})})
    alignment = {
        "method": "stand-in",
        "planning_from_verification": RigidTransform.from_translation(SHIFT),
        "quality": quality,
        "uncertainty_mm": 0.7,
    }
    doubtful = other.pop("doubtful", ())
    found = SimpleNamespace(**{**alignment, **other})
    return SimpleNamespace(alignment=found, field=shifted_field(), doubtful=doubtful)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A registration that knows the answer; the calls it got, without the one that loads kernels."""
    return answer_with(monkeypatch, answer)


def answer_with(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> Calls:
    got: Calls = []

    def register(fixed: CtVolume, moving: CtVolume, **given: Any) -> Any:
        got.append({"fixed": fixed, "moving": moving, **given})
        return make()

    monkeypatch.setattr(service.commands.registering, "register", register)
    monkeypatch.setattr(service.commands.registering, "warm_up", lambda **_given: None)
    monkeypatch.setenv("COLUMNS", "150")
    return got


def ct_voxels(seed: int = 1) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 200, GRID.shape_zyx).astype(np.int16)


def ball(name: str) -> LabelMask:
    voxels = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    voxels[8:12, 9:14, 9:14] = True
    return LabelMask(voxels, GRID, name)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """Arguments that name two CTs and an output folder."""
    for seed, name in enumerate(("fixed", "moving"), start=1):
        write_volume(tmp_path / f"{name}.nii.gz", ct_voxels(seed), GRID)
    write_mask(tmp_path / "zone.nii.gz", ball("zone"))
    write_mask(tmp_path / "tumor.nii.gz", ball("tumor"))
    named = {"fixed": "fixed.nii.gz", "moving": "moving.nii.gz", "out": "out"}
    return [part for name, file in named.items() for part in (f"--{name}", str(tmp_path / file))]


def landmarks(folder: Path, *rows: tuple[float, ...]) -> list[str]:
    path = folder / "landmarks.csv"
    lines = [",".join(COLUMNS), *(",".join(str(v) for v in row) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return ["--landmarks", str(path)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, ["register", *arguments])


def test_registers_writes_and_scores(calls: Calls, given: list[str], tmp_path: Path) -> None:
    pairs = landmarks(
        tmp_path, (10, -20, 410, 11, -22, 413), (12, -10, 420, 13, -12, 424), (900, 0, 0, 900, 0, 0)
    )
    masks = ["--fixed-zone", str(tmp_path / "zone.nii.gz"), "--moving-tumor", str(tmp_path / "tumor.nii.gz")]
    result = run(*given, *masks, *pairs, "--deadline-s", "2.5", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["landmarks"]["mean_mm"] == pytest.approx(0.5, abs=1e-5)
    assert report["landmarks"]["median_mm"] == pytest.approx(0.5, abs=1e-5)
    assert report["landmarks"]["max_mm"] == pytest.approx(1.0, abs=1e-5)
    assert report["landmarks"]["p95_mm"] == pytest.approx(0.95, abs=1e-5)
    assert (report["landmarks"]["scored"], report["landmarks"]["outside"]) == (2, 1)
    assert 0 < report["duration_s"] < 60
    assert set(report["quality"]) == set(QUALITY)
    assert report["uncertainty_mm"] == 0.7
    assert report["refusal"] is None
    assert [row[3] for row in report["moving_from_fixed"]] == [*SHIFT, 1]
    assert report["disclaimer"] == DISCLAIMER
    assert json.loads((tmp_path / "out" / REPORT_FILE).read_text("utf-8")) == report
    field = read_displacement(tmp_path / "out" / FIELD_FILE)
    assert np.array_equal(field.displacement_lps_mm, shifted_field().displacement_lps_mm)
    warped, fixed = read_ct(tmp_path / "out" / WARPED_FILE), calls[0]["fixed"]
    assert warped.geometry.same_grid(fixed.geometry)
    assert np.array_equal(warped.voxels_hu, warp(calls[0]["moving"], fixed, shifted_field()).voxels_hu)
    (call,) = calls
    assert (call["fixed_zone"].name, call["moving_tumor"].name) == ("ablation zone", "tumor")
    assert (call["deadline_s"], call["kernels"]) == (2.5, "cpu")


def test_without_masks_and_landmarks(calls: Calls, given: list[str]) -> None:
    result = run(*given, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["landmarks"] is None
    assert calls[0]["fixed_zone"] is None
    assert calls[0]["moving_tumor"] is None
    assert calls[0]["deadline_s"] is None


def test_dicom_folders_are_taken_too(calls: Calls, given: list[str], tmp_path: Path) -> None:
    write_ct_series(
        tmp_path / "series", CtVolume(ct_voxels()[:9], GRID.crop(VoxelBox((0, 0, 0), (9, 24, 22))))
    )
    result = run(*given, "--fixed", str(tmp_path / "series"), "--json")
    assert result.exit_code == 0, result.output
    assert calls[0]["fixed"].geometry.shape_zyx == (9, 24, 22)


def test_a_refusal_leaves_no_field(calls: Calls, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    out = Path(given[-1])
    pairs = landmarks(out.parent, (10, -20, 410, 11, -22, 413))
    assert run(*given).exit_code == 0
    assert (out / FIELD_FILE).exists()

    def refuse() -> Any:
        raise RefusedError(RefusalCode.WRONG_SIDE, "the mirror image fits")

    answer_with(monkeypatch, refuse)
    result = run(*given, *pairs, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["refusal"] == {"code": "wrong_side", "reason": "the mirror image fits"}
    assert all(report[name] is None for name in NUMBERS)
    assert set(report["quality"]) == set(QUALITY)
    assert set(report["quality"].values()) == set(report["landmarks"].values()) == {None}
    assert [path.name for path in out.iterdir()] == [REPORT_FILE]
    assert json.loads((out / REPORT_FILE).read_text("utf-8")) == report
    readable = run(*given)
    assert readable.exit_code == 3
    assert "REFUSED" in readable.stdout
    assert "the mirror image fits (wrong_side)" in readable.stdout


def test_an_error_leaves_no_old_field_either(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    assert run(*given).exit_code == 0

    def late() -> Any:
        raise DeadlineExceededError("not even a coarse answer in 0.1 s")

    answer_with(monkeypatch, late)
    assert run(*given, "--json", "--deadline-s", "0.1").exit_code == 6
    assert not list(Path(given[-1]).iterdir())


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (["--fixed", "/nowhere.nii.gz"], "unreadable_file"),
        (["--moving", "/nowhere"], "unreadable_file"),
        (["--fixed-zone", "{}/other_grid.nii.gz"], "grid_mismatch"),
        (["--moving-tumor", "{}/empty.nii.gz"], "empty_mask"),
        (["--moving-tumor", "{}/labels.nii.gz"], "invalid_request"),
        (["--landmarks", "{}/nowhere.csv"], "unreadable_file"),
        (["--landmarks", "{}/header.csv"], "invalid_request"),
        (["--deadline-s", "0"], "invalid_request"),
        (["--deadline-s", "nan"], "invalid_request"),
        (["--out", "{}/fixed.nii.gz"], "invalid_request"),
        (["--fixed", "{}/labels.nii.gz"], "not_ct"),
    ],
)
def test_bad_input(calls: Calls, given: list[str], tmp_path: Path, extra: list[str], code: str) -> None:
    other = VolumeGeometry((20, 24, 22), (2.0, 1.5, 1.5), origin_lps_mm=(6.0, -30.0, 400.0))
    write_mask(tmp_path / "other_grid.nii.gz", LabelMask(ball("zone").voxels, other))
    write_mask(tmp_path / "empty.nii.gz", LabelMask(np.zeros(GRID.shape_zyx, dtype=np.bool_), GRID))
    two = ball("tumor").voxels.astype(np.uint8)
    two[0, 0, 0] = 2
    write_volume(tmp_path / "labels.nii.gz", two, GRID)
    (tmp_path / "header.csv").write_text("x,y,z\n1,2,3\n", encoding="utf-8")
    arguments = [*given, *(part.format(tmp_path) for part in extra)]
    result = run(*arguments, "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["error"]["code"] == code
    readable = run(*arguments)
    assert readable.exit_code == 2
    assert readable.stderr.startswith("coldspot: ")
    assert not calls
    assert not (tmp_path / "out" / FIELD_FILE).exists()
    assert not (tmp_path / "out" / WARPED_FILE).exists()


def test_a_label_is_chosen_by_its_number(calls: Calls, given: list[str], tmp_path: Path) -> None:
    two = ball("tumor").voxels.astype(np.uint8)
    two[0, 0, 0] = 2
    write_volume(tmp_path / "labels.nii.gz", two, GRID)
    chosen = ["--moving-tumor", str(tmp_path / "labels.nii.gz"), "--moving-tumor-structure", "2"]
    assert run(*given, *chosen).exit_code == 0
    assert np.count_nonzero(calls[0]["moving_tumor"].voxels) == 1


def test_values_without_rescale_intercept_are_brought_to_hu(
    calls: Calls, given: list[str], tmp_path: Path
) -> None:
    """A chest as raw CT numbers: air 0, lung 200, soft tissue 1060."""
    raw = np.full(GRID.shape_zyx, 1060, dtype=np.int16)
    raw[:, :8], raw[:, 8:16] = 0, 200
    write_volume(tmp_path / "moving.nii.gz", raw, GRID)
    report = json.loads(run(*given, "--json").stdout)
    assert any("moving CT" in warning and "1024" in warning for warning in report["warnings"])
    assert np.array_equal(calls[0]["moving"].voxels_hu, raw - 1024)
    assert not any("1024" in warning for warning in report["warnings"] if "fixed" in warning)


@pytest.mark.parametrize(
    "values",
    [
        (-1000, -800, 40),
        (-900, 1030, 40),
        (40, 60, 1060),
        (-1024, -100, 1000),
        (0, 50, 400),
        (-2000, -900, 1050),
    ],
)
def test_real_hu_stay(values: tuple[int, int, int]) -> None:
    """Chest; lung and dense bone; abdomen without air and 3 % of dense bone; metal; organs alone; padding and lung."""
    hu = np.resize(np.array(values[:2], dtype=np.int16), GRID.shape_zyx)
    hu[::6, ::6, :] = values[2]
    ct = CtVolume(hu, GRID)
    assert in_hounsfield_units(ct) is ct


def test_a_region_that_was_lost_is_named(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    lost = DoubtfulRegion((12.3, -45.0, 400.0), 3.4, 58.3)
    answer_with(monkeypatch, lambda: answer(doubtful=(lost,)))
    warnings = json.loads(run(*given, "--json").stdout)["warnings"]
    (warning,) = (warning for warning in warnings if "do not rely" in warning)
    assert "LPS (12, -45, 400) mm" in warning
    assert "58 mL" in warning
    assert "3.4 mm" in warning


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no POPI pair to read")
def test_the_popi_pair_is_in_hu_as_it_is(calls: Calls, given: list[str]) -> None:
    folder = Path(DATA or "") / "pair-popi5mm"
    pair = ["--fixed", str(folder / "10-P_5x5x5.nii.gz"), "--moving", str(folder / "60-P_5x5x5.nii.gz")]
    report = json.loads(run(*given, *pair, "--json").stdout)
    assert not any("HU" in warning for warning in report["warnings"])
    assert calls[0]["fixed"].voxels_hu.min() < -900


def test_a_person_reads_a_table(calls: Calls, given: list[str], tmp_path: Path) -> None:
    pairs = landmarks(tmp_path, (10, -20, 410, 11, -22, 413), (900, 0, 0, 900, 0, 0))
    shown = run(*given, *pairs).stdout
    for part in (
        DISCLAIMER,
        "Expected error",
        "0.70 mm",
        "1 scored, 1 beyond the field left out",
        "Duration",
    ):
        assert part in shown
    assert "nan" not in shown


def test_what_is_not_finite_is_null(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    answer_with(monkeypatch, lambda: answer(uncertainty_mm=float("nan"), quality={QUALITY[0]: float("inf")}))
    report = json.loads(run(*given, "--json").stdout)
    assert report["uncertainty_mm"] is None
    assert report["quality"][QUALITY[0]] is None


def test_the_registration_is_timed_without_loading_its_kernels(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    order: list[str] = []
    clock = iter([10.0, 11.5])

    def perf_counter() -> float:
        order.append("clock")
        return next(clock)

    monkeypatch.setattr(
        service.commands.registering, "warm_up", lambda **given: order.append(f"warm up {given}")
    )
    monkeypatch.setattr(service.commands.registering, "time", SimpleNamespace(perf_counter=perf_counter))
    assert json.loads(run(*given, "--json").stdout)["duration_s"] == 1.5
    assert order == ["warm up {'with_zone': False, 'with_tumor': False}", "clock", "clock"]


def test_help_loads_nothing_heavy() -> None:
    check = (
        "import sys; from typer.testing import CliRunner; import service.commands.cli; "
        "CliRunner().invoke(service.commands.cli.app, ['register', '--help']); "
        "print(sorted({'numpy', 'grpc', 'scipy', 'numba'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to register")
def test_a_real_lesion_and_real_lungs(tmp_path: Path) -> None:
    """The command as it is; the accuracy itself is the benchmark's business."""
    case = Path(DATA or "") / "ablation-cases" / "lidc-half"
    out = ["--out", str(tmp_path), "--json"]
    pair = ["--fixed", str(case / "verification.nii.gz"), "--moving", str(case / "planning.nii.gz")]
    masks = ["--fixed-zone", str(case / "ablation_zone.nii.gz"), "--moving-tumor", str(case / "tumor.nii.gz")]
    scored = run(*pair, *masks, "--landmarks", str(case / "truth" / "landmarks.csv"), *out)
    assert scored.exit_code == 0, scored.output
    report = json.loads(scored.stdout)
    assert report["landmarks"]["mean_mm"] < 0.4
    assert report["landmarks"]["outside"] == 0
    assert 0 < report["uncertainty_mm"] < 2.0
    truth = read_displacement(case / "truth" / "displacement_lps_mm.nii.gz")
    found = read_displacement(tmp_path / FIELD_FILE)
    center = np.array(json.loads((case / "truth.json").read_text())["target_verification_lps_mm"])
    assert np.linalg.norm(found.at(center) - truth.at(center)) < 0.8

    folder = Path(DATA or "") / "pair-popi5mm"
    ours, theirs = (np.loadtxt(folder / f"{phase}-Landmarks.pts", comments="#") for phase in ("10", "60"))
    pairs = landmarks(tmp_path, *(tuple(row) for row in np.hstack([ours, theirs]).tolist()))
    lungs = ["--fixed", str(folder / "10-P_5x5x5.nii.gz"), "--moving", str(folder / "60-P_5x5x5.nii.gz")]
    report = json.loads(run(*lungs, *pairs, *out).stdout)
    assert report["landmarks"]["mean_mm"] < 1.5
    assert report["landmarks"]["unregistered_mean_mm"] == pytest.approx(6.29, abs=0.01)
    grid = read_displacement(tmp_path / FIELD_FILE).geometry
    assert grid.contains(ours).all()


def test_half_an_answer_is_not_left(calls: Calls, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(service.commands.registering, "write_volume", fail)
    result = run(*given, "--json")
    assert result.exit_code == 2
    assert "No space left" in json.loads(result.stdout)["error"]["message"]
    assert list(Path(given[-1]).iterdir()) == []
