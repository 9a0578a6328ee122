"""Cases of the bench: which conditions, how often, and each made once and kept."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.calibration.by_condition.backgrounds import background, background_names
from benchmarks.calibration.keeping import CONTENT, keep, load
from engine.phantoms.conditions import CONDITIONS, ProcedureDescription, describe, make_conditioned
from engine.phantoms.procedure import PhantomProcedure


@dataclass(frozen=True)
class BenchCase:
    """One case by its name, ``<conditions>-<number>``, and everything that is chosen in it."""

    key: str
    description: ProcedureDescription


@dataclass(frozen=True, eq=False)
class MadeCase:
    """A case with its scans; ``planning_frame`` is the second truth, ``made_s`` 0 where it was kept."""

    procedure: PhantomProcedure
    planning_frame: dict[str, float]
    made_s: float


def bench_cases(names: str, count: int, seed: int, first: int = 0) -> list[BenchCase]:
    """``count`` cases of each of the conditions, by turns.

    Parameters
    ----------
    names : str
        ``all``, or names separated by commas; ``a+b`` is both at once.
    count : int
    seed : int
    first : int
        Number of the first case of each condition.
    """
    wanted = list(CONDITIONS) if names == "all" else names.split(",")
    backgrounds = background_names()
    return [
        BenchCase(f"{name}-{number:03d}", describe(seed, name.split("+"), number, backgrounds=backgrounds))
        for number in range(first, first + count)
        for name in wanted
    ]


def load_or_make(case: BenchCase, folder: Path | None) -> MadeCase:
    """A case from the folder of kept ones, or made and kept there.

    Raises
    ------
    SystemExit
        The folder holds another case of this name.
    """
    place = None if folder is None else folder / case.key
    if place is not None and (place / CONTENT).is_file():
        procedure, content = load(place)
        if ProcedureDescription.from_json(content["description"]) != case.description:
            raise SystemExit(f"{place} holds another case of this name (another seed or version); empty it")
        return MadeCase(procedure, content["planning_frame"], 0.0)
    started = time.perf_counter()
    made = make_conditioned(case.description, background(case.description.background))
    duration_s = time.perf_counter() - started
    planning_frame: dict[str, Any] = asdict(made.planning_frame)
    if place is not None:
        keep(
            place,
            made.procedure,
            {"description": case.description.to_json(), "planning_frame": planning_frame},
        )
    return MadeCase(made.procedure, planning_frame, duration_s)
