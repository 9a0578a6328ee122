"""Places and volumes in words: a side is the patient's, and none is guessed."""

from __future__ import annotations

import itertools

import pytest

from engine.assessment.wording import place_in_words, volume_in_words
from engine.findings import Direction, LungSide


@pytest.mark.parametrize(
    ("directions", "side", "words"),
    [
        ((Direction.LEFT,), LungSide.LEFT, "lateral (left) of the tumor"),
        ((Direction.LEFT,), LungSide.RIGHT, "medial (left) of the tumor"),
        ((Direction.RIGHT,), LungSide.RIGHT, "lateral (right) of the tumor"),
        ((Direction.RIGHT,), LungSide.LEFT, "medial (right) of the tumor"),
        ((Direction.RIGHT,), None, "toward the patient's right of the tumor"),
        ((Direction.SUPERIOR,), None, "superior (toward the head) of the tumor"),
        (
            (Direction.LEFT, Direction.POSTERIOR, Direction.INFERIOR),
            LungSide.LEFT,
            "lateral (left), posterior (toward the back), inferior (toward the feet) of the tumor",
        ),
        ((), LungSide.LEFT, "around the tumor's center"),
    ],
)
def test_a_place_reads_as_a_radiologist_says_it(
    directions: tuple[Direction, ...], side: LungSide | None, words: str
) -> None:
    assert place_in_words(directions, side) == words


def test_no_side_stands_bare() -> None:
    axes = (
        (None, Direction.LEFT, Direction.RIGHT),
        (None, Direction.ANTERIOR, Direction.POSTERIOR),
        (None, Direction.SUPERIOR, Direction.INFERIOR),
    )
    for chosen, side in itertools.product(itertools.product(*axes), (None, *LungSide)):
        words = place_in_words(tuple(direction for direction in chosen if direction), side)
        for bare in ("left", "right"):
            for before, _, _ in (words.partition(bare),) if bare in words else ():
                assert before.endswith(("lateral (", "medial (", "patient's ")), words


@pytest.mark.parametrize(
    ("volume_ml", "words"),
    [
        (0.0001, "less than 0.01 mL"),
        (0.0135, "0.01 mL"),
        (0.808, "0.81 mL"),
        (8.06, "8.1 mL"),
        (0.996, "1.00 mL"),
    ],
)
def test_a_volume_is_never_rounded_to_none(volume_ml: float, words: str) -> None:
    assert volume_in_words(volume_ml) == words
