"""No miss hides in lung that is as light as air: what is not covered is listed, and nothing is called complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.files.reading import read_ct, read_mask
from engine.phantoms.ablation import AblationKind
from engine.phantoms.painting import paint_ablation
from engine.phantoms.procedure import PhantomProcedure, make_procedure
from engine.volume import CtVolume, LabelMask
from tests.support.ablation_cases import ROOT, needs_real_ct

KINDS: tuple[AblationKind, ...] = ("miss", "under", "half")
REAL = ("lidc-rigid-under", "lidc-deep-complete", "lung1-5mm-under")


def hyperinflated(
    ct: CtVolume, structures: tuple[LabelMask, ...], lung_hu: float, contrast: float
) -> CtVolume:
    """The same scan with lung of another median density and paler structure; zone and tumor stay."""
    hu = ct.voxels_hu.astype(np.float32)
    kept = np.zeros(hu.shape, dtype=np.bool_)
    for mask in structures:
        kept |= ndimage.binary_dilation(mask.voxels, iterations=3)
    light = (hu < -500.0) & (hu > -990.0) & ~kept
    hu[light] = lung_hu + contrast * (hu[light] - np.median(hu[light]))
    return CtVolume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), ct.geometry, ct.acquisition)


def require_no_hidden_miss(procedure: PhantomProcedure, seed: int) -> bool:
    """Assess a procedure in light lung; whether it was measured and not refused."""
    rng = np.random.default_rng(1000 + seed)
    lung_hu, contrast = float(rng.uniform(-970.0, -900.0)), float(rng.uniform(0.4, 0.8))
    planning = hyperinflated(procedure.planning, (procedure.tumor,), lung_hu, contrast)
    later_hu = max(-975.0, lung_hu + float(rng.uniform(-20.0, 20.0)))
    verification = hyperinflated(procedure.verification, (procedure.zone,), later_hu, contrast)
    found = assess_ablation(prepare_planning(planning, procedure.tumor), verification, procedure.zone)
    truth = procedure.truth
    assert truth.minimal_margin_mm <= 3.5, "the zone was to leave a narrow margin"
    if found.refusal is not None:
        return False
    coverage = found.coverage
    assert coverage.probability_complete is not None
    assert coverage.probability_complete <= 0.5
    assert (
        coverage.lung_clipped_probability_complete is None
        or coverage.lung_clipped_probability_complete <= 0.5
    )
    assert found.uncovered
    if truth.uncovered:
        assert any(region.in_lung for region in found.uncovered)
    assert coverage.not_assessable_share is not None
    assert coverage.not_assessable_share <= truth.not_assessable_share + 0.06
    return True


def painted(seed: int) -> PhantomProcedure:
    rng = np.random.default_rng(seed)
    return make_procedure(seed, kind=KINDS[seed % 3], minimal_margin_mm=float(rng.uniform(-3.0, 2.5)))


def on_real_ct(seed: int) -> PhantomProcedure:
    folder = Path(ROOT) / REAL[seed % len(REAL)]
    ct = read_ct(folder / "planning.nii.gz")
    tumor = read_mask(folder / "tumor.nii.gz", ct, "tumor")
    rng = np.random.default_rng(seed)
    return paint_ablation(
        ct, tumor, seed=seed, kind=KINDS[seed % 3], minimal_margin_mm=float(rng.uniform(-3.0, 2.5))
    )


def test_no_miss_hides_in_light_lung() -> None:
    assert require_no_hidden_miss(painted(1), 1)


@needs_real_ct
def test_no_miss_hides_in_light_lung_of_a_real_ct() -> None:
    assert require_no_hidden_miss(on_real_ct(1), 1)


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", range(25))
def test_no_miss_hides_in_25_painted_procedures(seed: int) -> None:
    require_no_hidden_miss(painted(seed), seed)


@pytest.mark.acceptance
@needs_real_ct
@pytest.mark.parametrize("seed", range(25))
def test_no_miss_hides_in_25_procedures_on_real_ct(seed: int) -> None:
    require_no_hidden_miss(on_real_ct(seed), seed)
