from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError, InvalidRequestError, UnreadableFileError
from engine.geometry import VolumeGeometry
from engine.registration.field import DisplacementField
from service.commands.landmarks import COLUMNS, LandmarkPairs, read_landmarks, score_landmarks

HEADER = ",".join(COLUMNS)
GRID = VolumeGeometry((8, 9, 10), (2.0, 1.5, 1.0), origin_lps_mm=(-4.0, 10.0, 100.0))


def moved_by(shift_lps_mm: tuple[float, float, float]) -> DisplacementField:
    vectors = np.zeros((*GRID.shape_zyx, 3), dtype=np.float32) + np.array(shift_lps_mm, dtype=np.float32)
    return DisplacementField(vectors, GRID)


def written(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_pairs_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = written(tmp_path, f"\ufeff{HEADER}\r\n1, 2,3,4,5,6.5\r\n\r\n-1e1,0,0,0,0,0\r\n,,,,,\r\n")
    pairs = read_landmarks(path)
    assert pairs.fixed_lps_mm.tolist() == [[1, 2, 3], [-10, 0, 0]]
    assert pairs.moving_lps_mm.tolist() == [[4, 5, 6.5], [0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "header"),
        ("1,2,3,4,5,6\n", "header"),
        ("moving_x,moving_y,moving_z,fixed_x,fixed_y,fixed_z\n1,2,3,4,5,6\n", "header"),
        (f"{HEADER},name\n1,2,3,4,5,6,a\n", "header"),
        (f"{HEADER}\n", "no row"),
        (f"{HEADER}\n\n , ,,,,\n", "no row"),
        (f"{HEADER}\n1,2,3,4,5,6\n1,2,3,4,5,nan\n", "line 3"),
        (f"{HEADER}\n1,2,3,4,5,inf\n", "line 2"),
        (f"{HEADER}\n1,2,3,4,5,1e9\n", "line 2"),
        (f"{HEADER}\n\n1,2,3,4,5\n", "line 3"),
        (f"{HEADER}\n1,2,3,4,5,6,7\n", "line 2"),
        (f"{HEADER}\n1;2;3;4;5;6\n", "line 2"),
        (f"{HEADER}\na,2,3,4,5,6\n", "line 2"),
    ],
)
def test_refuses_what_is_no_table_of_pairs(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InvalidRequestError, match=where) as caught:
        read_landmarks(written(tmp_path, text))
    assert caught.value.field == "landmarks"


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"nowhere\.csv"):
        read_landmarks(tmp_path / "nowhere.csv")
    with pytest.raises(UnreadableFileError):
        read_landmarks(tmp_path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\x1f\x8b\xff\xfe" * 10)
    with pytest.raises(UnreadableFileError, match="not a text file"):
        read_landmarks(binary)


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "pairs.csv"
    path.write_text(f"{HEADER}\n{text}", encoding="utf-8")
    with suppress(InputError):
        assert np.isfinite(read_landmarks(path).fixed_lps_mm).all()


def test_score_against_known_errors() -> None:
    fixed = GRID.to_lps(np.array([[1.0, 1, 1], [2, 3, 4], [6, 7, 8], [0, 0, 0]]))
    error = np.array([0.0, 1.0, 2.0, 5.0])
    moving = fixed + (3.0, -2.0, 1.0) + error[:, None] * np.array([0.0, 0.6, 0.8])
    score = score_landmarks(moved_by((3.0, -2.0, 1.0)), LandmarkPairs(fixed, moving))
    assert (score.scored, score.outside) == (4, 0)
    assert score.mean_mm == pytest.approx(2.0, abs=1e-5)
    assert score.median_mm == pytest.approx(1.5, abs=1e-5)
    assert score.p95_mm == pytest.approx(np.percentile(error, 95), abs=1e-5)
    assert score.max_mm == pytest.approx(5.0, abs=1e-5)
    assert score.unregistered_mean_mm == pytest.approx(np.linalg.norm(moving - fixed, axis=1).mean())


@pytest.mark.parametrize(
    ("index", "counts"),
    [((-0.9, 0, 0), True), ((-1.1, 0, 0), False), ((7.9, 8, 9), True), ((0, 9.1, 0), False)],
)
def test_beyond_the_field_by_more_than_a_voxel_is_counted_and_not_scored(
    index: tuple[float, float, float], counts: bool
) -> None:
    fixed = GRID.to_lps(np.array([(3.0, 3.0, 3.0), index]))
    score = score_landmarks(moved_by((0.0, 0.0, 0.0)), LandmarkPairs(fixed, fixed))
    assert (score.scored, score.outside) == ((2, 0) if counts else (1, 1))


def test_no_landmark_on_the_field_gives_no_figure() -> None:
    far = np.full((3, 3), 1000.0)
    score = score_landmarks(moved_by((0.0, 0.0, 0.0)), LandmarkPairs(far, far))
    assert (score.mean_mm, score.median_mm, score.p95_mm, score.max_mm) == (None,) * 4
    assert (score.scored, score.outside) == (0, 3)
