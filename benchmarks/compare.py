"""What got slower between two results of one machine; exit code 1 if something did.

    python -m benchmarks.compare [OLDER NEWER] [--results FOLDER]

Folders of results by name; without them the newest two of the machine that measured last. Something got slower if its
median grew by more than 30 %, and its fastest run is slower than the slowest of before, and by more than a millisecond:
the same command differs by up to 30 % from one minute to the next on a shared machine. All three are judged after
dividing by the drift of the machine: the median of what the peers took now over before, of the same versions, in the
same benchmark (1 where fewer than three took part). Exit code 2: there is nothing to compare.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.measurements import Measurement, measurements
from benchmarks.result_folders import RESULTS, ResultFolder, result_folders

NOISE: Final = 1.3
MIN_DIFFERENCE_S: Final = 1e-3
MIN_PEERS: Final = 3

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One measurement then and now.

    Parameters
    ----------
    benchmark, subject : str
    before_s, after_s : float
        Medians.
    drift : float
        How much longer the peers took.
    slower : bool
        By more than the noise.
    """

    benchmark: str
    subject: str
    before_s: float
    after_s: float
    drift: float
    slower: bool

    def __str__(self) -> str:
        grown = self.after_s / self.before_s / self.drift
        return (
            f"{self.benchmark}: {self.subject}: {self.before_s:.4g} s -> {self.after_s:.4g} s "
            f"({grown:.2f} times, peers {self.drift:.2f} times)"
        )


def compare(before: dict[str, Row], after: dict[str, Row]) -> tuple[list[Change], list[str]]:
    """Compare the records of two folders.

    Parameters
    ----------
    before, after : dict
        Records by benchmark: ``arguments``, ``machine``, ``report``.

    Returns
    -------
    changes : list of Change
        Of everything that both hold.
    left_out : list of str
        What was not compared, and why.
    """
    changes, left_out = [], []
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            left_out.append(f"{name}: only in the {'newer' if name in after else 'older'} result")
            continue
        if before[name]["arguments"] != after[name]["arguments"]:
            left_out.append(f"{name}: measured with other arguments")
            continue
        old, new = (
            {measurement.subject: measurement for measurement in measurements(name, record["report"])}
            for record in (before[name], after[name])
        )
        same_peers = before[name]["machine"]["versions"] == after[name]["machine"]["versions"]
        drift = machine_drift(old, new) if same_peers else 1.0
        changes += [judge(name, old[subject], new[subject], drift) for subject in old if subject in new]
        left_out += [f"{name}: {subject}: only in one result" for subject in old.keys() ^ new.keys()]
    return changes, left_out


def machine_drift(old: dict[str, Measurement], new: dict[str, Measurement]) -> float:
    """How much longer the peers took; 1 where too few took part."""
    ratios = [
        new[subject].peers_s[peer] / seconds
        for subject, measurement in old.items()
        if subject in new
        for peer, seconds in measurement.peers_s.items()
        if peer in new[subject].peers_s
    ]
    return statistics.median(ratios) if len(ratios) >= MIN_PEERS else 1.0


def judge(benchmark: str, old: Measurement, new: Measurement, drift: float) -> Change:
    """Whether something got slower by more than the noise."""
    expected_s = old.own_s * drift
    slower = (
        new.own_s > NOISE * expected_s
        and new.fastest_s > old.slowest_s * drift
        and new.own_s - expected_s > MIN_DIFFERENCE_S
    )
    return Change(benchmark, old.subject, old.own_s, new.own_s, drift, slower)


def chosen(root: Path, names: list[str]) -> tuple[ResultFolder, ResultFolder] | None:
    """The two named folders, or the newest two of the machine that measured last."""
    folders = result_folders(root)
    if names:
        by_name = {folder.path.name: folder for folder in folders}
        unknown = [name for name in names if name not in by_name]
        if unknown or len(names) != 2:
            raise SystemExit(f"name two of: {', '.join(by_name) or 'there are no results yet'}")
        return by_name[names[0]], by_name[names[1]]
    of_machine = [folder for folder in folders if folder.machine == folders[-1].machine]
    return (of_machine[-2], of_machine[-1]) if len(of_machine) > 1 else None


def main() -> int:
    """Compare, print, and say whether something got slower."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="older and newer")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    pair = chosen(arguments.results, arguments.folders)
    if pair is None:
        print("there are no two results of one machine yet: make bench", file=sys.stderr)
        return 2
    older, newer = pair
    if older.machine != newer.machine:
        print(
            f"{older.machine} and {newer.machine} are different machines: times say nothing", file=sys.stderr
        )
        return 2
    changes, left_out = compare(older.reports(), newer.reports())
    slower = [change for change in changes if change.slower]
    print(f"{older.path.name} -> {newer.path.name}: {len(changes)} compared, {len(slower)} slower")
    for line in left_out:
        print(f"not compared: {line}")
    for change in slower:
        print(f"SLOWER  {change}")
    return 1 if slower else 0 if changes else 2


if __name__ == "__main__":
    sys.exit(main())
