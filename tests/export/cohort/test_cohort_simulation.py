"""The simulated cohort: the numbers it was given come back out of it, and its folder says what it is."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import lifelines
import numpy as np
import pandas as pd
import pytest

from engine.errors import ConflictError, InvalidRequestError
from engine.files.image_file import read_ct_image
from engine.manifest import SIMULATED_COHORT
from engine.phantoms import PhantomProcedure
from engine.volume import CtVolume
from export.cohort import simulated_images
from export.cohort.simulated_images import simulate_cohort_folder
from export.cohort.simulation import CENTERS, TEXTURE_HAZARD_RATIO, SimulatedCase, draw_cases
from export.cohort.table import read_cohort_table
from tests.support.spheres import ball, centered_grid


def test_the_published_shares_are_exact() -> None:
    drawn = draw_cases(217, seed=1)
    assert sum(case.complete for case in drawn) == 70
    assert Counter(case.center.name for case in drawn) == {"A": 109, "B": 46, "C": 62}
    assert drawn == draw_cases(217, seed=1)
    assert drawn != draw_cases(217, seed=2)


@pytest.mark.parametrize("cases", [1, 2, 7, 60])
def test_any_number_of_cases(cases: int) -> None:
    drawn = draw_cases(cases, seed=4)
    assert len({case.case_id for case in drawn}) == cases
    assert all(case.months > 0 for case in drawn)


def test_no_case_is_no_cohort() -> None:
    with pytest.raises(InvalidRequestError):
        draw_cases(0, seed=1)


def test_hazard_ratios_and_events_come_back() -> None:
    drawn = draw_cases(30_000, seed=5)
    covariates = [[case.male, case.fibrinogen_g_per_l, case.complete, case.grain] for case in drawn]
    cohort = pd.DataFrame(np.array(covariates, dtype=float)).assign(
        months=[case.months for case in drawn],
        event=[case.progressed for case in drawn],
        center=[case.center.name for case in drawn],
    )
    fit = lifelines.CoxPHFitter().fit(cohort, "months", "event", strata=["center"])
    np.testing.assert_allclose(fit.hazard_ratios_, [1.568, 1.540, 0.110, TEXTURE_HAZARD_RATIO], rtol=0.06)
    assert np.mean([case.progressed for case in drawn]) == pytest.approx(90 / 217, abs=0.01)
    fibrinogen = np.array([case.fibrinogen_g_per_l for case in drawn if case.center is CENTERS[0]])
    np.testing.assert_allclose(np.quantile(fibrinogen, [0.25, 0.5, 0.75]), [2.6, 3.0, 3.5], atol=0.06)


def small_phantom(case: SimulatedCase, _seed: object, _size_mm: float) -> PhantomProcedure:
    grid = centered_grid((2.0, 2.0, 2.0), 40.0)
    hu = np.full(grid.shape_zyx, -700, dtype=np.int16)
    tumor, zone = (ball(grid, (0.0, 0.0, 0.0), radius, "mask") for radius in (5.0, 12.0))
    ct = CtVolume(hu, grid)
    return PhantomProcedure(ct, tumor, ct, zone, tumor, (0.0, 0.0, 0.0), truth=None)  # type: ignore[arg-type]  # unused


@pytest.fixture
def quick_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_images, "phantom_of", small_phantom)


@pytest.mark.usefixtures("quick_images")
def test_a_folder_says_that_it_is_simulated_and_can_be_read(tmp_path: Path) -> None:
    path = simulate_cohort_folder(tmp_path / "c", 4, seed=2)
    table = read_cohort_table(path)
    assert table.simulated
    with path.open(newline="") as rows:
        assert all(row["source"] == SIMULATED_COHORT for row in csv.DictReader(rows))
    assert SIMULATED_COHORT in (tmp_path / "c" / "README.txt").read_text()
    drawn = draw_cases(4, seed=2)
    for case, one in zip(table.cases, drawn, strict=True):
        assert case.months == one.months
        assert case.split == one.center.split
        planning = read_ct_image(case.images.planning)
        assert planning.voxels_hu.max() == -700 + one.center.offset_hu
        grain = read_ct_image(case.images.verification).voxels_hu.std()
        assert grain > 0


@pytest.mark.usefixtures("quick_images")
def test_more_grain_is_more_contrast(tmp_path: Path) -> None:
    case = draw_cases(1, seed=1)[0]
    spread = []
    for number, grain in enumerate((-2.0, 0.0, 2.0)):
        folder = tmp_path / str(number)
        simulated_images._keep_images(folder, replace(case, grain=grain), [1, 1], 40.0)
        spread.append(read_ct_image(folder / "verification.nii.gz").voxels_hu.std())
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.usefixtures("quick_images")
def test_a_stopped_simulation_goes_on_and_never_mixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def stopping(case: SimulatedCase, seed: object, size_mm: float) -> PhantomProcedure:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(case.case_id)
        return small_phantom(case, seed, size_mm)

    monkeypatch.setattr(simulated_images, "phantom_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        simulate_cohort_folder(tmp_path / "c", 3, seed=2)
    assert not (tmp_path / "c" / "cohort.csv").exists()
    monkeypatch.setattr(simulated_images, "phantom_of", small_phantom)
    simulate_cohort_folder(tmp_path / "c", 3, seed=2)
    whole = simulate_cohort_folder(tmp_path / "d", 3, seed=2)
    assert whole.read_bytes() == (tmp_path / "c" / "cohort.csv").read_bytes()
    with pytest.raises(ConflictError, match="another simulation"):
        simulate_cohort_folder(tmp_path / "c", 3, seed=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InvalidRequestError, match="not empty"):
        simulate_cohort_folder(tmp_path / "full", 3)
