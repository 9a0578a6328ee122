"""What a reader noticed, and what clinical mode does with it."""

from __future__ import annotations

import pytest

from engine.errors import ClinicalModeError
from engine.input_warning import (
    REFUSED_CLINICALLY,
    InputWarning,
    InputWarningCode,
    messages,
    require_clinical,
)


@pytest.mark.parametrize("code", InputWarningCode)
def test_clinical_mode_refuses_exactly_the_codes_it_names(code: InputWarningCode) -> None:
    warnings = [InputWarning(InputWarningCode.OTHER, "first"), InputWarning(code, "second")]
    if code in REFUSED_CLINICALLY:
        with pytest.raises(ClinicalModeError, match=r"clinical mode: second$"):
            require_clinical(warnings)
    else:
        require_clinical(warnings)


def test_messages_keep_their_order() -> None:
    warnings = [InputWarning(InputWarningCode.OTHER, text) for text in ("b", "a")]
    assert messages(warnings) == ("b", "a")
    assert str(warnings[0]) == "b"
