"""Name, version and licence of a fitted model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import InvalidRequestError

_LICENCE_UNKNOWN = "not stated: ask whoever fitted the model before passing it on"


@dataclass(frozen=True)
class ModelNames:
    """Identity of a bundle, checked before hours are spent on it.

    Parameters
    ----------
    model_id : str
        Lower-case words joined by hyphens.
    version : str
        As 1.0.0.
    licence : str

    Raises
    ------
    InvalidRequestError
    """

    model_id: str
    version: str = "1.0.0"
    licence: str = _LICENCE_UNKNOWN

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.model_id):
            raise InvalidRequestError(f"{self.model_id!r} is no id of a model: write it as ltp-risk", "id")
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise InvalidRequestError(f"{self.version!r} is no version: write it as 1.0.0", "model_version")
        if not self.licence:
            raise InvalidRequestError("the licence is empty: say it, or leave the option out", "licence")
