from __future__ import annotations

import pytest

from engine.errors import InvalidRequestError
from service.commands.options import parse_numbers, parse_point


def test_a_point_is_three_numbers() -> None:
    assert parse_point("1,-2.5, 3e1", "target") == (1.0, -2.5, 30.0)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "1,2,x", "1;2;3"])
def test_anything_else_names_the_option(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--target is X,Y,Z in LPS mm") as refused:
        parse_point(text, "target")
    assert refused.value.field == "target"


def test_a_list_with_a_part_that_is_no_number_has_none() -> None:
    assert parse_numbers("1,2,3,4") == [1.0, 2.0, 3.0, 4.0]
    assert parse_numbers("1,,3") == []
