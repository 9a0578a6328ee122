"""Figures of the public commands against the record; `python -m tests.golden.record --check` compares all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest

from tests.golden.cases import CASES, PARTS, QUICK, Case
from tests.golden.commands import Workplace, data_folder
from tests.golden.comparing import differences, leaves, other_than_recorded, present_header, read_record
from tests.golden.figures import EXCLUDED, kept
from tests.golden.record import how


def selected(case: Case) -> Any:
    marks = [] if case.key in QUICK else [pytest.mark.acceptance]
    return pytest.param(case, id=case.key, marks=marks)


@pytest.fixture(scope="module")
def work() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


@cache
def other(part: str) -> tuple[str, ...]:
    return tuple(other_than_recorded(read_record()["header"], present_header(), part))


@pytest.mark.timeout(1200)  # a first call compiles the kernels
@pytest.mark.parametrize("case", [selected(case) for case in CASES])
def test_figures_are_as_recorded(
    case: Case, work: Workplace, record_property: Callable[[str, object], None]
) -> None:
    if case.needs_data and data_folder() is None:
        pytest.skip("COLDSPOT_DATA is not set: no real CT to read")
    if case.part == "fit-survival" and find_spec("torch") is None:
        pytest.skip("torch is not installed: make setup-export")
    compared = how(list(other(case.part)))
    record_property("golden", compared)
    recorded = read_record()["cases"][case.key]
    found = differences(recorded, case.measure(work), exact=not other(case.part))
    assert not found, f"{case.key}, compared {compared}:\n" + "\n".join(found)


def test_the_record_holds_every_case_and_nothing_else() -> None:
    recorded = read_record()["cases"]
    assert sorted(recorded) == sorted(case.key for case in CASES)
    assert set(QUICK) <= set(recorded)
    assert {case.part for case in CASES if case.key in QUICK} == set(PARTS) - {"segment"}


def test_no_time_no_identity_and_no_path_is_recorded() -> None:
    for path, value in leaves(read_record()["cases"]):
        assert not EXCLUDED.intersection(path.replace("[", ".").split(".")), path
        assert not str(value).startswith("/"), path


def test_excluded_keys_are_left_out_at_any_depth() -> None:
    assert kept({"a": [{"latency_s": 1.0, "b": 2}], "timings_s": {"c": 3}}) == {"a": [{"b": 2}]}


@pytest.mark.parametrize(
    ("old", "new", "exact", "within"),
    [
        (0.5, 0.5, True, True),
        (0.5, 0.5000000000000001, False, True),
        (0.5, 0.502, False, False),
        (20000, 20015, False, True),
        (20000, 20030, False, False),
        (1, True, False, False),
        (None, 0.0, False, False),
        ("TCR 0.84", "TCR 0.85", False, True),
        ("TCR 0.84", "none", False, False),
        ("a" * 64, "b" * 64, False, True),
        ([1, 2], [1, 2, 3], False, False),
        ([], None, False, False),
    ],
)
def test_what_counts_as_a_difference(old: Any, new: Any, exact: bool, within: bool) -> None:
    assert (not differences({"x": old}, {"x": new}, exact=True)) is exact
    assert (not differences({"x": old}, {"x": new}, exact=False)) is within


def test_digests_of_what_was_sent_are_always_compared() -> None:
    old, new = {"zone_sha256": "a" * 64}, {"zone_sha256": "b" * 64}
    assert differences(old, new, exact=False) == [
        f"zone_sha256: {'a' * 64!r} recorded, {'b' * 64!r} now",
    ]


def test_a_version_of_torch_matters_to_the_fit_alone() -> None:
    recorded, here = {"libraries": {"torch": "1", "numpy": "2"}}, {"libraries": {"torch": None, "numpy": "2"}}
    assert other_than_recorded(recorded, here, "assess") == []
    assert other_than_recorded(recorded, here, "fit-survival") == ["libraries.torch 1 recorded, None here"]
