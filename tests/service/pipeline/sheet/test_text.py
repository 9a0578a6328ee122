"""Text is wrapped by its measured width, and nothing of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.pipeline.sheet.text import BODY, HEADING, SMALL, TextStyle, text_width_in, wrapped

STYLES = (BODY, HEADING, SMALL)
WORDS = st.text(st.characters(codec="latin-1", categories=("L", "N", "P", "S")), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(WORDS, min_size=1, max_size=30),
    style=st.sampled_from(STYLES),
    width_in=st.floats(0.5, 7.0),
)
def test_every_line_fits_and_every_word_stays(words: list[str], style: TextStyle, width_in: float) -> None:
    lines = wrapped(" ".join(words), width_in, style)
    assert "".join(lines).replace(" ", "") == "".join(" ".join(words).split())
    for line in lines:
        assert text_width_in(line, style) <= width_in or len(line) == 1


def test_a_paragraph_breaks_between_its_words() -> None:
    text = "slices are 5.0 mm apart against a margin of 5 mm; reconstruct at 1.25 mm"
    lines = wrapped(text, 2.0, BODY)
    assert len(lines) > 2
    assert " ".join(lines) == text


def test_an_identifier_is_broken_where_it_does_not_fit() -> None:
    identifier = "1.3.6.1.4.1.14519.5.2.1.6279.6001." + "7" * 90
    lines = wrapped(identifier, 1.5, BODY)
    assert "".join(lines) == identifier
    assert all(text_width_in(line, BODY) <= 1.5 for line in lines)


def test_line_breaks_of_the_text_are_kept() -> None:
    assert wrapped("a\nb", 2.0, BODY) == ("a", "b")
    assert wrapped("", 2.0, BODY) == ("",)


def test_a_dollar_sign_begins_no_formula() -> None:
    assert text_width_in("$x_1$ mL", BODY) > text_width_in("x_1 mL", BODY)


@pytest.mark.parametrize("style", STYLES)
def test_larger_and_bolder_text_is_wider(style: TextStyle) -> None:
    assert text_width_in("uncovered", style) < text_width_in(
        "uncovered", TextStyle(style.size_pt + 1, bold=True)
    )
