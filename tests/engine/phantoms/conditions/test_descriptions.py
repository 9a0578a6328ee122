"""Descriptions of procedures: drawn from a seed, each condition a switch of its own."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidRequestError
from engine.phantoms.conditions import CONDITIONS, PROCEDURAL, Condition, ProcedureDescription, describe

ALL = list(CONDITIONS)


@given(st.integers(0, 2**31), st.sampled_from(ALL), st.integers(0, 200))
def test_a_description_follows_from_its_seed_and_survives_json(seed: int, name: str, number: int) -> None:
    said = describe(seed, [name], number)
    assert said == describe(seed, [name], number)
    assert ProcedureDescription.from_json(json.loads(json.dumps(said.to_json()))) == said
    assert said.name == name


@given(st.integers(0, 2**31), st.sampled_from(ALL), st.integers(0, 30))
def test_a_condition_sets_its_own_fields_and_no_others(seed: int, name: str, number: int) -> None:
    said = asdict(describe(seed, [name], number))
    usual = asdict(ProcedureDescription(0))
    varies = {
        "seed",
        "conditions",
        "margin_mm",
        "tumor_volume_ml",
        "patient_turned_deg",
        "breath_mm",
        "bend_mm",
    }
    varies |= {"in_plane_mm", "place", "background"}
    changed = {field for field in said if said[field] != usual[field]} - varies
    assert len(changed) <= 4
    others = [describe(seed, [other], number) for other in ALL if other != name]
    for field in changed - {"planning_slice_mm", "verification_slice_mm", "zone", "field_shift_mm"}:
        sharing = {other.name for other in others if asdict(other)[field] == said[field]}
        assert not sharing, f"{name} and {sharing} set {field} to the same value"


@given(st.integers(0, 1000), st.integers(0, 20))
def test_two_conditions_at_once_are_both(seed: int, number: int) -> None:
    said = describe(seed, ["needles", "effusion"], number)
    assert said.needles in (1, 2, 3)
    assert 6.0 <= said.effusion_mm <= 15.0
    assert said.name == "needles+effusion"


@given(st.integers(0, 1000), st.sampled_from(ALL), st.integers(0, 20))
def test_a_condition_that_needs_a_certain_chest_gets_it(seed: int, name: str, number: int) -> None:
    said = describe(seed, [name], number, backgrounds=("some_ct",))
    assert said.background == ("some_ct" if CONDITIONS[name].real else PROCEDURAL)


def test_a_misspelt_switch_is_not_silently_off() -> None:
    with pytest.raises(InvalidRequestError, match="no needels"):
        ProcedureDescription.from_json({"seed": 1, "needels": 2})
    with pytest.raises(InvalidRequestError, match="'needels'; known: ordinary"):
        describe(1, ["needels"])


def test_every_condition_says_what_it_changes() -> None:
    said: list[Condition] = list(CONDITIONS.values())
    assert len({condition.says for condition in said}) == len(said) >= 36
