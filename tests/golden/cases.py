"""What is asked: every part of the record, case by case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.golden.commands import BACKEND, Answer, Workplace, ask, data_folder
from tests.golden.figures import folder_figures, kept

Figures = dict[str, Any]

SCANS: Final = (
    "lidc-5mm-under",
    "lidc-deep-complete",
    "lidc-half",
    "lidc-pleural-complete",
    "lidc-rigid-under",
    "lidc-shell-complete",
    "lidc-shell-miss",
    "lidc-waist-needle",
    "lung1-5mm-under",
)
WITH_CORE: Final = ("lidc-half", "lidc-waist-needle")
SEGMENTED: Final = ("lidc-half", "lung1-5mm-under")
WITHOUT_MASKS_REGISTERED: Final = "lidc-rigid-under"

CLINICAL: Final = ("--sex", "f", "--fibrinogen", "3.1", "--if-complete")
"""Sex, fibrinogen in g/L, and the risk that is associated with complete coverage."""

HALF_WIDTH_MM: Final = 40.0
"""Around the tumor, of the region in which it is segmented."""

COHORT: Final = Path(__file__).parent / "simulated-cohort.csv"
LATER_COHORT: Final = Path(__file__).parent / "simulated-cohort-later.csv"


@dataclass(frozen=True)
class Case:
    """One call of a command.

    Attributes
    ----------
    part, name : str
        Together its key in the record.
    measure : callable
        Returns the figures.
    needs_data : bool
        Whether it reads real CTs.
    """

    part: str
    name: str
    measure: Callable[[Workplace], Figures]
    needs_data: bool = True

    @property
    def key(self) -> str:
        """``part/name``."""
        return f"{self.part}/{self.name}"


def scan(name: str, file: str) -> Path:
    """Return a file of one of the real CTs with a painted ablation."""
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("COLDSPOT_DATA is not set")
    return folder / "ablation-cases" / name / file


def target(name: str, frame: str = "planning") -> str:
    """Return the tumor's true place, ``X,Y,Z`` in LPS mm of the planning or the verification CT."""
    truth = json.loads(scan(name, "truth.json").read_text(encoding="utf-8"))
    return ",".join(map(str, truth[f"target_{frame}_lps_mm"]))


def told(answer: Answer, out: Path) -> Figures:
    """Return what a command said and wrote."""
    printed, files = kept(answer.printed), folder_figures(out)
    for name, content in files.items():
        if content == printed:
            files[name] = "what was printed"
    return {"exit_code": answer.exit_code, "printed": printed, "files": files}


def assess(name: str, work: Workplace) -> Figures:
    """Coverage with supplied masks."""
    masks = ["--tumor", scan(name, "tumor.nii.gz"), "--zone", scan(name, "ablation_zone.nii.gz")]
    if name in WITH_CORE:
        masks += ["--core", scan(name, "ablation_core.nii.gz")]
    return _assess(name, work, *masks)


def assess_without_masks(name: str, work: Workplace) -> Figures:
    """Coverage where the demo models draw tumor and zone."""
    return _assess(name, work, f"--target={target(name)}", "--allow-demo-models")


def _assess(name: str, work: Workplace, *given: object) -> Figures:
    out = work.fresh(name)
    scans = ["--planning", scan(name, "planning.nii.gz"), "--verification", scan(name, "verification.nii.gz")]
    options = ["--server", work.server, "--json", "--out", out]
    return told(ask("coldspot", "assess", *scans, *given, *CLINICAL, *options), out)


def register(name: str, work: Workplace, *, masks: bool = True) -> Figures:
    """Registration at the lesion or, without masks, of whole lungs."""
    out = work.fresh(name)
    command = ["--fixed", scan(name, "verification.nii.gz"), "--moving", scan(name, "planning.nii.gz")]
    if masks:
        command += ["--fixed-zone", scan(name, "ablation_zone.nii.gz")]
        command += ["--moving-tumor", scan(name, "tumor.nii.gz")]
    return told(ask("coldspot", "register", *command, "--json", "--out", out), out)


def segment(name: str, work: Workplace, *, model: str, image: str, region: bool) -> Figures:
    """Labels of a demo model."""
    out = work.fresh(name)
    out.mkdir()
    command = ["--model", work.bundle(model), "--image", scan(name, f"{image}.nii.gz"), "--backend", BACKEND]
    if region:
        command += [f"--region={target(name, image)},{HALF_WIDTH_MM}"]
    return told(ask("coldspot", "segment", *command, "--json", "--out", out / "labels.nii.gz"), out)


def fit_survival(work: Workplace) -> Figures:
    """A survival model of a simulated table with a competing event."""
    out = work.fresh("fit-survival")
    table = [COHORT, "--time", "months", "--event", "event", "--test", LATER_COHORT, "--seed", 0]
    return told(ask("coldspot-export", "fit-survival", *table, "--json", "--out", out), out)


def demo(work: Workplace) -> Figures:
    """The phantom of known truth, on a service of its own."""
    out = work.fresh("demo")
    return told(ask("coldspot", "demo", "--seed", 0, "--json", "--out", out), out)


CASES: Final = (
    *(Case("assess", name, partial(assess, name)) for name in SCANS),
    *(Case("assess-without-masks", name, partial(assess_without_masks, name)) for name in SCANS),
    *(Case("register", name, partial(register, name)) for name in SCANS),
    Case(
        "register",
        f"{WITHOUT_MASKS_REGISTERED}-without-masks",
        partial(register, WITHOUT_MASKS_REGISTERED, masks=False),
    ),
    *(
        Case(
            "segment",
            f"{name}-{model}{'-region' if region else ''}",
            partial(segment, name, model=model, image=image, region=region),
        )
        for name in SEGMENTED
        for model, image, region in (
            ("zone-demo", "verification", False),
            ("zone-demo", "verification", True),
            ("tumor-demo", "planning", True),
        )
    ),
    Case("fit-survival", "simulated-cohort", fit_survival, needs_data=False),
    Case("demo", "seed-0", demo, needs_data=False),
)

PARTS: Final = tuple(dict.fromkeys(case.part for case in CASES))

QUICK: Final = (
    "assess/lidc-half",
    "assess/lidc-shell-miss",
    "assess-without-masks/lidc-shell-complete",
    "register/lidc-5mm-under",
    "fit-survival/simulated-cohort",
    "demo/seed-0",
)
"""What every test run compares; all of it together takes less than a minute."""
