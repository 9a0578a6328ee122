"""Our network on the published DeepSurv benchmark, compared with Cox and the published C-indices.

    COLDSPOT_DATA=... python -m benchmarks.survival [--sets whas gbsg] [--seeds 5] [--cases N] [--results FILE]
        [--table]

The sets' own splits; everything that can be chosen is chosen by cross-validation on the training part (as
``coldspot-export fit-survival`` does), the test part is looked at once. Every fit is kept in FILE as one line
of JSON, and not repeated. With ``--cases`` the training part is a random N of its cases, others for every seed: a
small table, on which a network has little to learn from. Needs ``make setup-export``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.deepsurv.fitting import fit_survival
from export.survival.concordance import concordance_index
from export.survival.cox import fit_cox
from export.survival.table import SurvivalTable

ROOT = Path(__file__).parents[2]
FOLDER: Final = "survival-deepsurv"
FILES: Final = {
    "whas": "whas_train_test.h5",
    "support": "support_train_test.h5",
    "metabric": "metabric_IHC4_clinical_train_test.h5",
    "gbsg": "gbsg_cancer_train_test.h5",
    "nonlinear": "gaussian_survival_data.h5",
    "linear": "linear_survival_data.h5",
}
PUBLISHED: Final = {
    "whas": 0.8626,
    "support": 0.6183,
    "metabric": 0.6434,
    "gbsg": 0.6684,
    "nonlinear": 0.6489,
    "linear": 0.7740,
}
"""DeepSurv of Katzman et al. 2018, BMC Med Res Methodol 18:24."""
NEEDED: Final = {"whas": 0.84, "support": 0.6083, "metabric": 0.6334, "gbsg": 0.6584, "nonlinear": 0.64}

Row = dict[str, Any]


def read_set(name: str) -> tuple[SurvivalTable, SurvivalTable]:
    """Training and test cohort of a set."""
    import h5py

    with h5py.File(Path(os.environ["COLDSPOT_DATA"]) / FOLDER / FILES[name]) as file:
        train, test = (_table(file[part]) for part in ("train", "test"))
    return train, test


def _table(group: Any) -> SurvivalTable:
    covariates = np.asarray(group["x"], dtype=np.float64)
    names = tuple(f"x{number}" for number in range(covariates.shape[1]))
    return SurvivalTable(
        names, covariates, np.asarray(group["t"], dtype=np.float64), np.asarray(group["e"]) > 0
    )


def _drawn(table: SurvivalTable, cases: int, seed: int) -> SurvivalTable:
    kept = np.random.default_rng([seed, cases]).choice(table.cases, min(cases, table.cases), replace=False)
    return SurvivalTable(table.names, table.covariates[kept], table.months[kept], table.event[kept])


def measure(name: str, seed: int, cases: int | None = None) -> Row:
    """One fit of the product's defaults, to all of the training part or to so many of its cases."""
    train, test = read_set(name)
    if cases is not None:
        train = _drawn(train, cases, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = fit_survival(train, test=test, seed=seed)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    log_risk = fitted.log_risk(test.with_covariates(fitted.names).covariates)
    cox = fit_cox(train.covariates, train.months, train.event)
    return {
        "set": name,
        "seed": seed,
        "cases": train.cases,
        "test_c_index": concordance_index(test.months, test.event, log_risk),
        "cox_c_index": concordance_index(test.months, test.event, cox.log_risk(test.covariates)),
        "out_of_fold_c_index": [candidate.c_index for candidate in fitted.tried],
        "chosen": str(fitted.chosen.settings),
        "slope": fitted.recalibration.applied,
        "wall_s": seconds[0],
        "cpu_s": seconds[1],
    }


def table_of(rows: list[Row]) -> str:
    """Markdown: one line per set."""
    lines = [
        (
            "| Set | Cases train / test | Ours, mean (SD; least to largest) | Seeds | Published | Needed | Cox | CPU s "
            "| Chosen |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in FILES:
        rows_of_set = [row for row in rows if row["set"] == name]
        if not rows_of_set:
            continue
        c_indices = [row["test_c_index"] for row in rows_of_set]
        chosen = sorted({row["chosen"] for row in rows_of_set})
        train, test = read_set(name)
        spread = statistics.stdev(c_indices) if len(c_indices) > 1 else float("nan")
        fitted_to = rows_of_set[0].get("cases", train.cases)
        cox = statistics.mean(row["cox_c_index"] for row in rows_of_set)
        lines.append(
            f"| {name} | {fitted_to} / {test.cases} | {statistics.mean(c_indices):.4f} ({spread:.4f}; "
            f"{min(c_indices):.4f} to {max(c_indices):.4f}) | {len(rows_of_set)} | {PUBLISHED[name]:.4f} "
            f"| {NEEDED.get(name, float('nan')):.4f} | {cox:.4f} "
            f"| {statistics.mean(row['cpu_s'] for row in rows_of_set):.0f} | {'; '.join(chosen)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is not yet in the results, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=ROOT / "survival-benchmark.jsonl")
    parser.add_argument("--cases", type=int, help="fit to so many cases of each training part")
    parser.add_argument("--table", action="store_true", help="only print the results so far")
    options = parser.parse_args()
    rows = []
    if options.results.exists():
        rows = [json.loads(line) for line in options.results.read_text().splitlines()]
    done = {(row["set"], row["seed"]) for row in rows}
    for seed in range(0 if options.table else options.seeds):
        for name in options.sets:
            if (name, seed) not in done:
                rows.append(measure(name, seed, options.cases))
                with options.results.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print(table_of(rows))


if __name__ == "__main__":
    main()
