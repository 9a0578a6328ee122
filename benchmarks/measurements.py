"""The common form of the benchmarks' reports: Coldspot's time, and those of the peers that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Row = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """One timed subject of a benchmark, with Coldspot's time and its peers'.

    Parameters
    ----------
    subject : str
        What it is, the same words in every report.
    own_s, fastest_s, slowest_s : float
        Coldspot's median, and its fastest and slowest run.
    peers_s : dict of str to float
        Medians of others by name.
    not_installed : tuple of str
        Peers that were not installed.
    note : str
        Printed next to the time: an error, a share.
    """

    subject: str
    own_s: float
    fastest_s: float
    slowest_s: float
    peers_s: dict[str, float] = field(default_factory=dict)
    not_installed: tuple[str, ...] = ()
    note: str = ""

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long each peer took."""
        return {name: seconds / self.own_s for name, seconds in self.peers_s.items()}


def measurements(benchmark: str, report: Row) -> list[Measurement]:
    """The measurements in a benchmark's report; none for a benchmark that this module does not know."""
    read = READERS.get(benchmark)
    return [] if read is None else list(read(report))


_RETIRED_KERNELS: Final = ("growth + coverage", "occupied box")
"""Kernels that older results have timed and that are no longer here."""


def _kernels(report: Row) -> Iterator[Measurement]:
    for row in report["rows"]:
        if row["kernel"].startswith(_RETIRED_KERNELS):
            continue
        low, high = row["spread_ms"]["coldspot"]
        yield Measurement(
            f"{row['kernel']}, {row['size']}",
            row["coldspot_ms"] / 1000,
            low / 1000,
            high / 1000,
            {name: ms / 1000 for name, ms in row["others_ms"].items()},
            tuple(row["not_installed"]),
        )


def _growth(report: Row) -> Iterator[Measurement]:
    for point in report["points"]:
        if point["kernel"].startswith(_RETIRED_KERNELS):
            continue
        subject = f"{point['kernel']}, {point['curve']} {point['at']:g}"
        yield Measurement(
            subject,
            point["ms"] / 1000,
            point["least_ms"] / 1000,
            point["greatest_ms"] / 1000,
            note=f"{point['peak_mb']:.0f} MB",
        )


def _registration(report: Row) -> Iterator[Measurement]:
    rows = [row for row in report["results"] if row.get("seconds") is not None]
    missing = tuple(
        name for name, method in report["methods"].items() if method["version"] == "not installed"
    )
    for ours in (row for row in rows if row["method"] == "coldspot"):
        others = {
            row["method"]: row for row in rows if row["case"] == ours["case"] and row["method"] != "coldspot"
        }
        errors = [
            f"{name} {row['scores']['tumor_error_mm']:.2f} mm"
            for name, row in {"coldspot": ours, **others}.items()
            if "tumor_error_mm" in row["scores"]
        ]
        fastest_s, slowest_s = ours["seconds_range"]
        yield Measurement(
            ours["case"],
            ours["seconds"],
            fastest_s,
            slowest_s,
            {name: row["seconds"] for name, row in others.items()},
            missing,
            f"off in the tumor: {', '.join(errors)}" if errors else "",
        )


def _segmentation(report: Row) -> Iterator[Measurement]:
    rows = [row for row in report["rows"] if "wall_s" in row]
    for ours in rows:
        if "times_faster" not in ours:
            continue
        peer = next(
            row
            for row in rows
            if (row["image"], row["scope"]) == (ours["image"], ours["scope"]) and row is not ours
        )
        yield Measurement(
            f"{ours['image']}, {ours['scope']}, {ours['contender']}",
            ours["wall_s"],
            min(ours["walls_s"]),
            max(ours["walls_s"]),
            {peer["contender"]: peer["wall_s"]},
            note=f"labels that differ: {ours['flipped_share']:.1e}",
        )


def _radiomics(report: Row) -> Iterator[Measurement]:
    ours = [row for row in report["rows"] if row["contender"].startswith("Coldspot")]
    peers = {row["contender"]: row["wall_s"] for row in report["rows"] if row not in ours}
    for row in ours:
        walls = row.get("walls_s", [row["least_wall_s"], row["wall_s"]])
        yield Measurement(
            row["contender"].removeprefix("Coldspot, "), row["wall_s"], min(walls), max(walls), dict(peers)
        )


def _service(report: Row) -> Iterator[Measurement]:
    upload = report.get("upload", report)
    if "median_s" not in upload:
        return
    median, spread = upload["median_s"], upload["spread_s"]
    for name in ("upload_ct", "digest made before"):
        if name in median:
            fastest_s, slowest_s = spread[name]
            yield Measurement(
                f"{upload['bytes'] / 1e6:.0f} MB CT, {name}",
                median[name],
                fastest_s,
                slowest_s,
                {"bare gRPC stream": median["bare stream"]},
            )


def _end_to_end(report: Row) -> Iterator[Measurement]:
    for case in report["cases"]:
        rows = {name: row for name, row in case["contenders"].items() if "total_s" in row}
        chain = rows.pop("existing tools", None)
        for name, row in rows.items():
            peers, note = {}, f"TCR {row['tcr']:.3f} ({row['tcr_error']:+.3f})"
            # The chain has the large network: what has another one, or none, is no comparison of the whole.
            if chain is not None and "31 M" in name:
                peers = {"existing tools": chain["total_s"]["median"]}
                note += f"; existing tools {chain['tcr']:.3f} ({chain['tcr_error']:+.3f})"
            if chain is not None and "zone supplied" in name:
                peers = {"existing tools without their network": chain["without_network_s"]["median"]}
            times = row["total_s"]
            yield Measurement(
                f"{case['case']}: {name}",
                times["median"],
                times["least"],
                times["greatest"],
                peers,
                tuple(report["not_installed"]),
                note,
            )


READERS: Final[dict[str, Callable[[Row], Iterator[Measurement]]]] = {
    "kernels": _kernels,
    "growth": _growth,
    "registration": _registration,
    "segmentation": _segmentation,
    "radiomics": _radiomics,
    "service": _service,
    "end_to_end": _end_to_end,
}
