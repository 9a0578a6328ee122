"""Whatever the way a mask comes in, its faults reach the answer; clinical mode refuses those that no anatomy has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ClinicalModeError, EmptyMaskError
from engine.files.image_file import write_mask
from engine.files.reading import read_ct
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient, SentSeries
from service.server import running_server
from tests.support.spheres import ball, centered_grid
from tests.support.stub_engine import StubPipeline, settings_for

GRID = centered_grid((1.0, 0.75, 0.75), 24.0)
CT = CtVolume(np.random.default_rng(0).integers(-900, 100, GRID.shape_zyx, dtype=np.int16), GRID)
WHOLE = ball(GRID, (0.0, 0.0, 0.0), 12.0, "ablation zone")
MIDDLE = tuple(int(size) // 2 for size in GRID.shape_zyx)
DATA = os.environ.get("COLDSPOT_DATA")


def with_fault(*lost: slice | int) -> LabelMask:
    voxels = WHOLE.voxels.copy()
    voxels[lost] = False
    return LabelMask(voxels, GRID, WHOLE.name)


@pytest.fixture(params=[False, True], ids=["research", "clinical"])
def clinical_mode(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def client(tmp_path: Path, *, clinical_mode: bool) -> Iterator[ColdspotClient]:
    with (
        running_server(settings_for(tmp_path, clinical_mode=clinical_mode), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as connected,
    ):
        yield connected


def sent_ct(client: ColdspotClient, ct: CtVolume, role: str) -> tuple[str, SentSeries]:
    case = client.open_case()
    return case, client.upload_ct(case, ct, role)


@pytest.mark.parametrize("lost", [(MIDDLE[0] + 2,), (MIDDLE[0], MIDDLE[1], MIDDLE[2] - 5)])
@pytest.mark.parametrize("role", ["zone", "core"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_lost_slice_or_voxel_is_said_or_refused(
    client: ColdspotClient,
    tmp_path: Path,
    lost: tuple[int, ...],
    role: str,
    *,
    clinical_mode: bool,
    as_file: bool,
) -> None:
    case, ct = sent_ct(client, CT, "verification")
    faulty, file = with_fault(*lost), tmp_path / "mask.nii.gz"
    write_mask(file, faulty)
    mask = file if as_file else faulty
    if clinical_mode:
        with pytest.raises(ClinicalModeError, match=r"clinical mode: the ablation (zone|core) mask"):
            client.upload_mask(case, mask, role, ct)
    else:
        warning, *_ = client.upload_mask(case, mask, role, ct).warnings
        assert warning.startswith(f"the ablation {role} mask ")
        assert " mL" in warning
        assert "LPS (" in warning


def test_a_whole_mask_and_its_place_among_others_are_taken_in_silence(client: ColdspotClient) -> None:
    case, ct = sent_ct(client, CT, "planning")
    assert client.upload_mask(case, WHOLE, "tumor", ct).warnings == ()


def test_an_empty_mask_is_refused_with_and_without_its_ct(client: ColdspotClient) -> None:
    case, ct = sent_ct(client, CT, "planning")
    empty = LabelMask(np.zeros(GRID.shape_zyx, dtype=np.bool_), GRID)
    for drawn_on in (ct, SentSeries("")):
        with pytest.raises(EmptyMaskError):
            client.upload_mask(case, empty, "tumor", drawn_on)


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no faulty masks to read")
@pytest.mark.parametrize(
    ("name", "ct_name", "role", "parts", "refused"),
    [
        ("zone_one_slice_empty", "verification", "zone", ["lacks 1 slice", "1.08 mL"], True),
        ("tumor_stray_voxel", "planning", "tumor", ["1 stray part", "1 voxel"], True),
    ],
)
def test_masks_of_the_field(
    client: ColdspotClient,
    name: str,
    ct_name: str,
    role: str,
    parts: list[str],
    *,
    refused: bool,
    clinical_mode: bool,
) -> None:
    folder = Path(DATA or "absent")
    planning_or_verification = read_ct(folder / "ablation-cases" / "lidc-deep-complete" / f"{ct_name}.nii.gz")
    case, ct = sent_ct(client, planning_or_verification, ct_name)
    path = folder / "field-faults" / "mask-faults" / f"{name}.nii.gz"
    if refused and clinical_mode:
        with pytest.raises(ClinicalModeError, match=parts[0]):
            client.upload_mask(case, path, role, ct)
        return
    said = " ".join(client.upload_mask(case, path, role, ct).warnings)
    assert all(part in said for part in parts), said


def test_a_mask_that_comes_before_its_ct_is_known_is_inspected_too(
    client: ColdspotClient, *, clinical_mode: bool
) -> None:
    case, _ = sent_ct(client, CT, "verification")
    faulty = with_fault(MIDDLE[0])
    if clinical_mode:
        with pytest.raises(ClinicalModeError):
            client.upload_mask(case, faulty, "zone", SentSeries(""))
    else:
        assert client.upload_mask(case, faulty, "zone", SentSeries("")).warnings
