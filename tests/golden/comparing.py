"""Recorded figures beside present ones: to the last digit on the same machine, else within tolerances."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.golden.commands import bin_folder

RECORD: Final = Path(__file__).parent / "figures.json"

RELATIVE_TOLERANCE: Final = 1e-3
"""Share by which a number may differ where processor or libraries are others. It holds for counts of voxels too."""

ABSOLUTE_TOLERANCE: Final = 1e-3
"""The same for numbers near 0, in their own unit (mm, mL, shares, probabilities)."""

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")

ABSENT: Final = "absent"
LIBRARIES: Final = ("numpy", "scipy", "numba", "SimpleITK", "onnxruntime", "torch")
ONLY_FOR: Final = {"torch": "fit-survival"}
"""Libraries on which one part alone rests."""

ASK_VERSIONS: Final = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
def found(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
print(json.dumps({name: found(name) for name in sys.argv[1:]}))
"""

Header = dict[str, Any]


def present_header() -> Header:
    """What floating point rests on here: the processor, and the libraries of the commands' environment.

    The number of cores belongs to it: sums over threads are added up in another order.
    """
    asked = [str(bin_folder() / "python"), "-c", ASK_VERSIONS, *LIBRARIES]
    versions = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    facts: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    numbered = [facts.get(name, "") for name in ("cpu family", "model")]
    return {
        "processor": facts.get("model name", "unknown"),
        "processor_family_and_model": " ".join(numbered).strip(),
        "avx512f": "avx512f" in facts.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
        "libraries": versions,
    }


def other_than_recorded(recorded: Header, present: Header, part: str) -> list[str]:
    """Say what of the header differs that matters to a part; nothing means that digits have to be equal."""
    before, now = dict(leaves(recorded)), dict(leaves(present))
    return [
        f"{name} {before.get(name)} recorded, {now.get(name)} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and ONLY_FOR.get(name.rpartition(".")[2], part) == part
    ]


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every figure with its dotted path; an empty list or object is a leaf of its own."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(content, list) and content:
        for index, value in enumerate(content):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, content


def differences(recorded: Any, present: Any, *, exact: bool) -> list[str]:
    """Return a line for every figure that differs.

    Parameters
    ----------
    recorded, present : dict
        Figures of one case.
    exact : bool
        To the last digit. Else numbers may differ by :data:`RELATIVE_TOLERANCE` or :data:`ABSOLUTE_TOLERANCE`,
        words are compared without the numbers in them, and digests of what was computed are not compared.

    Returns
    -------
    list of str
    """
    before, now = dict(leaves(recorded)), dict(leaves(present))
    found = []
    for path in dict.fromkeys((*before, *now)):
        old, new = before.get(path, ABSENT), now.get(path, ABSENT)
        if not (_same(old, new) if exact else _alike(path, old, new)):
            found.append(f"{path}: {old!r} recorded, {new!r} now")
    return found


def _same(old: Any, new: Any) -> bool:
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _alike(path: str, old: Any, new: Any) -> bool:
    if _is_number(old) and _is_number(new):
        return math.isclose(old, new, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    if isinstance(old, str) and isinstance(new, str):
        if DIGEST.fullmatch(old) and DIGEST.fullmatch(new):
            return old == new or not path.endswith(("_sha256", "_sha256]"))
        return NUMBER.sub("#", old) == NUMBER.sub("#", new)
    return _same(old, new)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_record() -> dict[str, Any]:
    """Return the record: ``header`` and, by key of the case, ``cases``."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def write_record(header: Header, cases: dict[str, Any]) -> None:
    """Write the record, a line for each case, keys in order."""

    def compact(content: Any) -> str:
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    lines = ",\n".join(f"{json.dumps(key)}:{compact(cases[key])}" for key in sorted(cases))
    RECORD.write_text(f'{{"header":{compact(header)},\n"cases":{{\n{lines}\n}}}}\n', encoding="utf-8")
