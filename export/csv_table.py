"""Tables as hospitals save them: CSV in UTF-8, one line per case, the first one with the columns' names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.errors import InvalidRequestError


def read_rows(path: Path, field: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the header, and (line number, fields) of every line that is not blank.

    Parameters
    ----------
    path : Path
    field : str
        Name of the wrong part of the request, for the error.

    Raises
    ------
    InvalidRequestError
        If the file cannot be read, is no CSV, or has no case.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, row) for row in reader if any(text.strip() for text in row)]
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read ({error.strerror})", field) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{path} is no UTF-8 CSV ({error}): save it as one", field) from error
    if len(rows) < 2:
        raise InvalidRequestError(f"{path} needs a header and a line for every case", field)
    return [name.strip() for name in rows[0][1]], rows[1:]


def header_faults(header: Sequence[str], needed: Sequence[str]) -> Iterator[str]:
    """Say which columns are missing, duplicated or unnamed."""
    yield from (f"column {name} is missing" for name in needed if name not in header)
    yield from (f"column {name} occurs twice" for name, count in Counter(header).items() if count > 1)
    yield from (f"column {n} has no name" for n, name in enumerate(header, start=1) if not name)
