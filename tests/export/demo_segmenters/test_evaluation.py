"""What the card of a demo segmenter says of its agreement with known truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop is not installed: make setup-export")

from engine.geometry import VolumeGeometry
from engine.volume import LabelMask
from export.demo_segmenters.evaluation import (
    CaseAgreement,
    case_folders,
    failures,
    figures,
    surface_distance_95_mm,
)

FOUND = (
    CaseAgreement("good", 0.93, 1.5, 1.02, 0.01),
    CaseAgreement("bad", 0.61, 7.0, 1.7, 0.02),
    CaseAgreement("high", 0.90, 2.0, 1.1, 0.15),
    CaseAgreement("none", 0.0, float("inf"), 0.0, refusal="no"),
)


def ball(radius_mm: float, spacing_zyx_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> LabelMask:
    shape = tuple(int(60 / spacing) for spacing in spacing_zyx_mm)
    index = np.moveaxis(np.indices(shape), 0, -1) * np.array(spacing_zyx_mm)
    inside = np.linalg.norm(index - 30.0, axis=-1) <= radius_mm
    nz, ny, nx = shape
    return LabelMask(inside, VolumeGeometry((nz, ny, nx), spacing_zyx_mm), "zone")


def test_a_failure_is_named_on_the_card() -> None:
    assert failures("zone", FOUND) == (
        "failed on bad: Dice 0.61, volume 1.70 of the true one, TCR off by +0.020",
        "failed on high: Dice 0.90, volume 1.10 of the true one, TCR off by +0.150",
        "failed on none: no",
    )


def test_medians_stand_first_and_what_was_not_found_counts() -> None:
    rows = {figure.name: figure.value for figure in figures("zone", FOUND)}
    assert list(rows)[:4] == [
        "Dice, median",
        "95 % surface distance (mm), median",
        "TCR error, mean",
        "TCR error, median of absolute values",
    ]
    assert rows["Dice, median"] == pytest.approx(0.755)
    assert rows["95 % surface distance (mm), median"] == 2.0
    assert rows["TCR error, mean"] == 0.06
    assert rows["Dice, none"] == 0.0
    assert "95 % surface distance (mm), none" not in rows
    assert figures("zone", ()) == ()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (1.5, 1.0, 0.7)])
@pytest.mark.parametrize("more_mm", [0.0, 2.0, 5.0])
def test_the_surface_distance_of_balls(spacing: tuple[float, float, float], more_mm: float) -> None:
    found = surface_distance_95_mm(ball(10.0, spacing), ball(10.0 + more_mm, spacing))
    assert found == pytest.approx(more_mm, abs=0.5 * max(spacing))


def test_cases_of_both_kinds_are_found(tmp_path: Path) -> None:
    for name in ("truth-cases/b", "ablation-cases/z", "ablation-cases/a", "other/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "truth.json").touch()
    assert [folder.name for folder in case_folders(tmp_path)] == ["a", "z", "b"]
