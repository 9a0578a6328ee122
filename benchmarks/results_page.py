"""The results of ``make bench`` as a table in benchmarks/README.md and as one picture of all ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.measurements import Measurement, measurements

BEGIN: Final = "<!-- written by make bench: begin -->"
END: Final = "<!-- written by make bench: end -->"
PICTURE: Final = "ratios.png"
COLORS: Final = ("#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#0072b2", "#999999", "#000000")
"""Okabe and Ito: told apart with any color vision."""

ROW_INCHES: Final = 0.19

Row = dict[str, Any]


def page(records: dict[str, Row], folders: dict[str, str], picture: str) -> str:
    """Markdown of one machine's records.

    Parameters
    ----------
    records : dict
        By benchmark: ``machine``, ``report``.
    folders : dict
        Where each lies, seen from the page.
    picture : str
        Likewise.

    Returns
    -------
    str
        A sentence on the machine, the picture, and a table for each benchmark that has peers.
    """
    machine = max(
        (record["machine"] for record in records.values()), key=lambda record: str(record["measured_at"])
    )
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if version != "not installed"
    )
    where = f"{machine['processor']} ({machine['vectors']}), {machine['cores']} cores, {machine['threads']} threads"
    when = f"{machine['memory_gib']:g} GiB, Python {machine['python']}; {machine['measured_at'][:10]}"
    lines = [
        f"{where}, {when}; {versions}.",
        "",
        f"![How many times as long as Coldspot every peer took]({picture})",
    ]
    for name, record in records.items():
        with_peers = [
            measurement
            for measurement in measurements(name, record["report"])
            if measurement.peers_s or measurement.not_installed
        ]
        if with_peers:
            described = (
                f"{record['machine']['measured_at'][:10]}, load before {record['machine']['load_before']:g}"
            )
            figures = f"[all figures]({folders[name]}/{name}.json)"
            lines += ["", f"### {name}", "", f"{described}; {figures}.", ""]
            lines += table(with_peers)
    return "\n".join(lines)


def table(rows: list[Measurement]) -> list[str]:
    """Lines of a table: Coldspot's median with its range, and every peer with its ratio, the fastest first."""
    lines = ["| what | Coldspot (least–greatest) | peers (times Coldspot's) | |", "|---|---:|---|---|"]
    for measurement in rows:
        peers = [
            f"{name} {seconds(measurement.peers_s[name])} (×{ratio:.1f})"
            for name, ratio in sorted(measurement.ratios.items(), key=lambda item: item[1])
        ]
        peers += [f"{name}: not installed" for name in measurement.not_installed]
        ours = f"{seconds(measurement.own_s)} ({seconds(measurement.fastest_s)}–{seconds(measurement.slowest_s)})"
        lines.append(f"| {measurement.subject} | {ours} | {', '.join(peers)} | {measurement.note} |")
    return lines


def seconds(value: float) -> str:
    """Three digits, in s or ms."""
    return f"{value:.3g} s" if value >= 1.0 else f"{1000 * value:.3g} ms"


def put_between(text: str, content: str) -> str:
    """Text with what stands between the two markers replaced.

    Raises
    ------
    ValueError
        If the markers do not occur once each, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"needs the lines {BEGIN} and {END}, once each and in this order")
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    return f"{head}{BEGIN}\n\n{content}\n\n{tail}"


def draw(records: dict[str, Row], to: Path) -> bool:
    """Every ratio as a point on a logarithmic axis; right of the line Coldspot is faster. False: there was none."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    rows = [
        (name, measurement)
        for name, record in records.items()
        for measurement in measurements(name, record["report"])
        if measurement.ratios
    ][::-1]
    if not rows:
        return False
    peers = list(dict.fromkeys(peer for _, measurement in rows[::-1] for peer in measurement.ratios))
    figure, axis = plt.subplots(figsize=(10.0, 1.6 + ROW_INCHES * len(rows)))
    for number, peer in enumerate(peers):
        positions = [y for y, (_, measurement) in enumerate(rows) if peer in measurement.ratios]
        axis.scatter(
            [rows[y][1].ratios[peer] for y in positions],
            positions,
            s=26,
            color=COLORS[number % len(COLORS)],
            marker="osD^vP*X"[number // len(COLORS) % 8],
            label=peer,
            zorder=3,
        )
    axis.axvline(1.0, color="black", linewidth=1.0)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_yticks(
        range(len(rows)), [f"{name}: {measurement.subject}" for name, measurement in rows], fontsize=7
    )
    axis.set_ylim(-1, len(rows))
    axis.grid(alpha=0.3)
    axis.set_xlabel("time of the peer / time of Coldspot (right of the line Coldspot is faster)")
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.9 * (0.3 + 0.16 * -(-len(peers) // 4)) / figure.get_figheight(), 1, 1))
    figure.savefig(to, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return True
