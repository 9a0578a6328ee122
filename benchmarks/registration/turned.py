"""Turned patients, with the zone where the registration believes the tumor to be: whether a hidden miss gets through.

    python -m benchmarks.registration.turned [--count 200] [--seed 17] [--max-angle 30] [--part 0/1]

Each case is assessed with the zone around the true tumor, and where that answer puts the tumor elsewhere again, with a
zone of the same size around that place, which hides the error of the pose. Real chests are found through COLDSPOT_DATA.
Every case is one line of the runs file; a run that was stopped goes on, and several may each take a part of the cases.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine_name
from benchmarks.registration.turned_cases import Background, TurnedPair, backgrounds, descriptions, make_pair
from engine.arrays import Float64Array
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import PlanningOutcome, prepare_planning
from engine.assessment.verification import assess_ablation

RESULTS: Final = Path(__file__).parents[1] / "results"
BANDS_DEG: Final = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 45.0))
WRONG_MM: Final = 3.0
"""A tumor placed this far off must be refused."""

SAME_PLACE_MM: Final = 0.5
"""Where the answer is nearer to the truth, the zone would lie where it does already."""

MISS_MM: Final = 3.0
"""A true margin of no more than this must not be called complete."""

Line = dict[str, Any]


def assess(
    planning: PlanningOutcome, pair: TurnedPair, zone_center_lps_mm: Float64Array
) -> tuple[Line, Float64Array]:
    """Assess a case with its zone at a place: the scores, and where the answer puts the tumor."""
    verification, zone = pair.with_zone(zone_center_lps_mm)
    started = time.perf_counter()
    answer = assess_ablation(planning, verification, zone)
    line: Line = {
        "seconds": round(time.perf_counter() - started, 3),
        "true_tcr": pair.true_tcr(zone_center_lps_mm),
        "true_margin_mm": pair.true_margin_mm(zone_center_lps_mm),
    }
    if answer.refusal is not None:
        refusal = {"code": str(answer.refusal.code), "reason": answer.refusal.reason}
        return line | {"refusal": refusal}, zone_center_lps_mm
    measured, place = _measured(answer, pair)
    return line | measured, place


def _measured(answer: AblationAssessment, pair: TurnedPair) -> tuple[Line, Float64Array]:
    motion, quality = answer.alignment.planning_from_verification, answer.alignment.quality
    if motion is None or quality is None:
        raise ValueError("a final answer has an alignment with its quality")
    in_planning = pair.planning_from_verification.apply(pair.center_lps_mm)
    place = motion.inverse.apply(in_planning)
    coverage, margin = answer.coverage, answer.margin
    return {
        "pose_error_mm": float(np.linalg.norm(place - pair.center_lps_mm)),
        "pose_sd_mm": answer.alignment.pose_sd_mm,
        "rotation_deg": quality.rotation_deg,
        "judge_disagreement_mm": quality.judge_disagreement_mm,
        "residual_mm": quality.residual_mm,
        "mismatched_share": quality.mismatched_share,
        "tcr": coverage.tcr,
        "tcr_interval_90": coverage.tcr_interval_90,
        "margin_mm": margin.minimal_mm,
        "margin_interval_90_mm": margin.minimal_interval_90_mm,
        "probability_complete": coverage.probability_complete,
        "lung_clipped_probability_complete": coverage.lung_clipped_probability_complete,
    }, place


def run_case(pair: TurnedPair) -> Line:
    """Assess a case with the zone around the true tumor, then with the zone where that answer puts it, if elsewhere."""
    described = pair.description
    planning = prepare_planning(pair.planning, pair.tumor)
    plain, believed = assess(planning, pair, pair.center_lps_mm)
    off_mm = float(np.linalg.norm(believed - pair.center_lps_mm))
    adversarial = assess(planning, pair, believed)[0] if off_mm >= SAME_PLACE_MM else None
    return {
        "number": described.number,
        "background": described.background,
        "angle_deg": described.angle_deg,
        "plain": plain,
        "adversarial": adversarial,
    }


def run(runs_file: Path, chests: dict[str, Background], options: argparse.Namespace) -> None:
    """Run the cases of this part that the runs file does not hold yet."""
    part, parts = (int(number) for number in options.part.split("/"))
    done = {line["number"] for line in read_lines(runs_file)}
    for described in descriptions(options.seed, options.count, list(chests), options.max_angle):
        if described.number in done or described.number % parts != part:
            continue
        line = run_case(make_pair(chests[described.background], described, options.seed))
        with runs_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(_told(line), flush=True)


def _told(line: Line) -> str:
    words = [f"{line['number']:4d} {line['background']:13s} {line['angle_deg']:5.1f}°"]
    for kind in ("plain", "adversarial"):
        of_kind = line[kind]
        if of_kind is None:
            continue
        if "refusal" in of_kind:
            words.append(f"refused ({of_kind['refusal']['code']})")
        else:
            words.append(
                f"{of_kind['pose_error_mm']:5.2f} mm off, TCR {of_kind['tcr']:.3f}/{of_kind['true_tcr']:.3f}"
            )
    return "  ".join(words)


def read_lines(runs_file: Path) -> list[Line]:
    """All cases so far."""
    if not runs_file.exists():
        return []
    return [json.loads(text) for text in runs_file.read_text(encoding="utf-8").splitlines()]


def table(lines: list[Line]) -> str:
    """What came out, by angle."""
    head = (
        "| turned by | cases | refused | pose error, median · 95 % · largest (mm) | accepted ≥ 3 mm off "
        "| TCR error, median · 95 % · largest | margin error, median · 95 % (mm) | 90 % interval holds TCR · margin "
        "| hidden misses |"
    )
    rows = [head, "|---" * 9 + "|"]
    for low, high in (*BANDS_DEG, (0.0, 180.0)):
        inside = [line for line in lines if low <= line["angle_deg"] < high]
        if inside:
            rows.append(_row(f"{low:g}–{high:g}°" if high < 180.0 else "all", inside))
    return "\n".join(rows) + "\n"


def _row(name: str, lines: list[Line]) -> str:
    refused = sum("refusal" in line["plain"] for line in lines)
    told = [line[kind] for line in lines for kind in ("plain", "adversarial") if line[kind] is not None]
    answers = [answer for answer in told if "refusal" not in answer]
    if not answers:
        return f"| {name} | {len(lines)} | {refused} " + "| – " * 6 + "|"
    pose = np.array([a["pose_error_mm"] for a in answers])
    tcr = np.array([abs(a["tcr"] - a["true_tcr"]) for a in answers])
    margin = np.array([abs(a["margin_mm"] - a["true_margin_mm"]) for a in answers])
    held = (
        np.mean([_holds(a["tcr_interval_90"], a["true_tcr"]) for a in answers]),
        np.mean([_holds(a["margin_interval_90_mm"], a["true_margin_mm"]) for a in answers]),
    )
    return (
        f"| {name} | {len(lines)} | {refused} | {_quantiles(pose, 2)} | {int((pose >= WRONG_MM).sum())} | "
        f"{_quantiles(tcr, 3)} | {np.median(margin):.2f} · {np.percentile(margin, 95):.2f} "
        f"| {held[0]:.0%} · {held[1]:.0%} | {sum(is_hidden_miss(a) for a in answers)} |"
    )


def is_hidden_miss(answer: Line) -> bool:
    """Whether a tumor without a safe margin is called complete, plain or in lung."""
    told = max(answer["probability_complete"], answer["lung_clipped_probability_complete"] or 0.0)
    return bool(answer["true_margin_mm"] <= MISS_MM and told > 0.5)


def _holds(interval: tuple[float, float] | None, truth: float) -> bool:
    return interval is not None and interval[0] - 1e-3 <= truth <= interval[1] + 1e-3


def _quantiles(values: Float64Array, digits: int) -> str:
    return " · ".join(f"{v:.{digits}f}" for v in (np.median(values), np.percentile(values, 95), values.max()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--max-angle", type=float, default=30.0)
    parser.add_argument("--part", default="0/1", help="of the cases, so that several processes share them")
    parser.add_argument("--runs", type=Path, default=RESULTS / "turned.jsonl")
    options = parser.parse_args()
    data = os.environ.get("COLDSPOT_DATA")
    if not data:
        print("COLDSPOT_DATA is not set: procedural chests only")
    run(options.runs, backgrounds(Path(data) if data else None), options)
    print(f"{machine_name()}\n\n{table(read_lines(options.runs))}")


if __name__ == "__main__":
    main()
