"""The stored result of one case: one JSON file, written whole or not at all, that goes with its inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from engine.manifest.common import Section, Sha256, Text

_UNFINISHED_PREFIX: Final = ".unfinished-"
CHUNK_BYTES: Final = 1 << 22


class _Digest(Protocol):
    """A hash under construction, as of :mod:`hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Hash more bytes."""


_Outcome = Literal["measured", "refused", "failed"]


class CaseResult(Section):
    """Coverage and features of one case, or why there are none.

    Parameters
    ----------
    case_id : str
    key : str
        SHA-256 of everything the result depends on; another key is another result.
    outcome : {'measured', 'refused', 'failed'}
        A refusal is the engine's own; a failure is an error.
    code, reason : str
        Of a refusal or failure: for programs, for people.
    may_pass : bool
        The failure may not come again (memory, a file server): it is tried again by the next run.
    complete_coverage : bool, optional
        Whether the target coverage ratio is 1.
    features : dict of str to float
        Radiomics of the ablation zone, by the extractor's names; none where a zone has no such number.
    """

    schema_version: Literal[1] = 1
    case_id: Text
    key: Sha256
    outcome: _Outcome
    code: str = ""
    reason: str = ""
    may_pass: bool = False
    tcr: float | None = None
    complete_coverage: bool | None = None
    probability_complete: float | None = None
    minimal_margin_mm: float | None = None
    tumor_volume_ml: float | None = None
    zone_volume_ml: float | None = None
    warnings: tuple[str, ...] = ()
    features: dict[str, float | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> Self:
        if self.outcome == "measured":
            if self.complete_coverage is None or not self.features:
                raise ValueError("a measured case has coverage and features")
        elif not self.reason or self.features or self.tcr is not None:
            raise ValueError("a case without a measurement has a reason and no number")
        return self

    def to_json(self) -> str:
        """JSON text; the same result gives the same text."""
        content = self.model_dump(mode="json")
        content["features"] = dict(sorted(self.features.items()))
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def result_key(contents: Mapping[str, str], settings: Mapping[str, object]) -> str:
    """Hash of the input files' hashes and of every setting that the result depends on."""
    text = json.dumps({"contents": contents, "settings": settings}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their names; or the reason why it cannot be read."""
    digest = hashlib.sha256()
    try:
        if not path.is_dir():
            _feed(digest, path)
            return digest.hexdigest()
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            _feed(digest, file)
    except OSError as error:
        return f"not readable: {error.strerror}"  # once it is, the result is another one
    return digest.hexdigest()


def write_result(folder: Path, result: CaseResult) -> Path:
    """Write a result so that its file is the old one or the new one, whenever the machine stops."""
    path = result_path(folder, result.case_id)
    unfinished = folder / f"{_UNFINISHED_PREFIX}{path.name}"
    with unfinished.open("w", encoding="utf-8") as stream:
        stream.write(result.to_json())
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)
    return path


def read_result(folder: Path, case_id: str, key: str) -> CaseResult | None:
    """The stored result of a case; None if there is none for this key."""
    try:
        text = result_path(folder, case_id).read_bytes()
        result = CaseResult.model_validate_json(text)
    except (OSError, ValidationError):
        return None  # not there, or of another version of this program: computed anew
    usable = result.key == key and result.case_id == case_id and not result.may_pass
    return result if usable else None


def result_path(folder: Path, case_id: str) -> Path:
    """Where the result of a case is kept."""
    return folder / f"{case_id}.json"


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for path in folder.glob(f"{_UNFINISHED_PREFIX}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _feed(digest: _Digest, path: Path) -> None:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
