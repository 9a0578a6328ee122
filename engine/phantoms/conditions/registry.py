"""The conditions that a procedure can be simulated under, each drawn on its own; several can be combined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.errors import InvalidRequestError
from engine.phantoms.conditions.description import PROCEDURAL, ProcedureDescription

_Changes = dict[str, Any]
"""Fields of a description and their values."""

_CLASSES_MM: Final = ((3.0, 7.0), (-2.5, 3.0), (3.0, 7.0), (7.0, 9.0))
"""By turns, so that half of the margins lie where the verdict is decided."""


@dataclass(frozen=True)
class Condition:
    """One switch of the simulation.

    Parameters
    ----------
    says : str
        What it changes, for tables.
    draw : callable
        From a generator and the number of the case among those of the condition to the fields it sets.
    real : bool
        Whether a real CT can be the background: what needs a certain place, or lung of a certain kind, is
        simulated in the procedural chest.
    """

    says: str
    draw: Callable[[np.random.Generator, int], _Changes]
    real: bool = True


def _one_of(field: str, *values: Any, **others: Any) -> Callable[[np.random.Generator, int], _Changes]:
    """By turns, one of several values for a field."""
    return lambda _, number: {field: values[number % len(values)], **others}


def _between(
    field: str, low: float, high: float, **others: Any
) -> Callable[[np.random.Generator, int], _Changes]:
    return lambda rng, _: {field: float(rng.uniform(low, high)), **others}


def _margin_of_zone(zone: str, low: float, high: float) -> Callable[[np.random.Generator, int], _Changes]:
    return _between("margin_mm", low, high, zone=zone)


def _signed(
    field: str, low: float, high: float, **others: Any
) -> Callable[[np.random.Generator, int], _Changes]:
    return lambda rng, number: {field: float(rng.uniform(low, high)) * (1 if number % 2 else -1), **others}


def _slices(*pairs: tuple[float, float]) -> Callable[[np.random.Generator, int], _Changes]:
    return lambda _, number: dict(
        zip(("planning_slice_mm", "verification_slice_mm"), pairs[number % len(pairs)], strict=True)
    )


def _kernels(_: np.random.Generator, number: int) -> _Changes:
    pair = (("sharp", "soft"), ("soft", "sharp"), ("sharp", "sharp"), ("soft", "soft"))[number % 4]
    return dict(zip(("planning_kernel", "verification_kernel"), pair, strict=True))


def _noise(rng: np.random.Generator, _: int) -> _Changes:
    return {
        "planning_noise_hu": float(rng.uniform(25.0, 90.0)),
        "verification_noise_hu": float(rng.uniform(70.0, 150.0)),
    }


def _inflation(rng: np.random.Generator, number: int) -> _Changes:
    return _signed("inflation", 0.04, 0.08, density_follows=number % 4 < 2)(rng, number)


def _hyperinflated(rng: np.random.Generator, number: int) -> _Changes:
    return {"lung_hu": float(rng.uniform(-970.0, -900.0)), "place": ("central", "subpleural")[number % 2]}


def _small_field(_: np.random.Generator, number: int) -> _Changes:
    field = ("verification_field_mm", "planning_field_mm")[number % 2]
    return {field: 72.0, "field_shift_mm": (4.0, 10.0)[number // 2 % 2]}


CONDITIONS: Final[dict[str, Condition]] = {
    "ordinary": Condition("nothing beyond what every case has", lambda _, __: {}),
    "exact_zone": Condition(
        "zone exactly 3, 5.3 or 7 mm beyond the tumor", _one_of("margin_mm", 3.0, 5.3, 7.0, zone="exact")
    ),
    "left_over": Condition("tumor left over on one side by 1 to 3 mm", _margin_of_zone("left_over", -3.0, -1.0)),
    "heat_sink": Condition("zone falls short beside a vessel", _margin_of_zone("heat_sink", 4.0, 7.0), real=False),
    "lobed_zone": Condition("lobed zone", _margin_of_zone("lobed", 1.0, 6.5)),
    "burns_joined": Condition("two burns, joined", _margin_of_zone("burns_joined", -1.5, 6.0)),
    "burns_apart": Condition("two burns, apart", _margin_of_zone("burns_apart", 0.5, 4.0)),
    "cavity": Condition("cavity of 6 mm in the core", _one_of("cavity_mm", 6.0)),
    "bubbles": Condition("bubbles of gas in the core", _one_of("bubbles", 6, 14)),
    "tumor_turned": Condition("tumor turned by 5 to 15 degrees", _between("tumor_turned_deg", 5.0, 15.0)),
    "contraction": Condition(
        "tumor and surroundings contracted by up to 30 %", _between("contraction", 0.0, 0.30, tumor_contracts=True)
    ),
    "breathing": Condition("shifted by 12 to 20 mm, either way", _signed("breath_mm", 12.0, 20.0)),
    "inflation": Condition("lung inflated by 4 to 8 %, either way, its density following or not", _inflation),
    "bend": Condition("warped by 10 mm", _one_of("bend_mm", 10.0)),
    "central": Condition("deep in the lung", _one_of("place", "central")),
    "subpleural": Condition("just below the pleura", _one_of("place", "subpleural")),
    "wall": Condition("abutting the chest wall", _one_of("place", "wall"), real=False),
    "diaphragm": Condition("at the diaphragm", _one_of("place", "diaphragm"), real=False),
    "mediastinum": Condition("at the mediastinum", _one_of("place", "mediastinum"), real=False),
    "slide_wall": Condition(
        "slides along the chest wall by 4 to 10 mm", _between("slide_wall_mm", 4.0, 10.0, place="subpleural")
    ),
    "slide_fissure": Condition(
        "slides along a fissure by 4 to 8 mm", _between("slide_fissure_mm", 4.0, 8.0), real=False
    ),
    "pneumothorax": Condition(
        "pneumothorax of 3 to 12 mm", _between("pneumothorax_mm", 3.0, 12.0, place="subpleural"), real=False
    ),
    "effusion": Condition("effusion of 6 to 15 mm", _between("effusion_mm", 6.0, 15.0, place="subpleural"), real=False),
    "hemorrhage": Condition("blood along the tract, 6 to 10 mm wide", _between("hemorrhage_mm", 6.0, 10.0)),
    "atelectasis": Condition(
        "collapsed lung along the pleura, 8 to 12 mm deep",
        _between("atelectasis_mm", 8.0, 12.0, place="subpleural"),
        real=False,
    ),
    "needles": Condition("one to three needles in place, with streaks", _one_of("needles", 1, 2, 3)),
    "breathing_step": Condition("step of 2 to 6 mm between slabs", _signed("breathing_step_mm", 2.0, 6.0)),
    "contrast": Condition("contrast medium in planning alone", _between("contrast_hu", 100.0, 250.0)),
    "noise": Condition("noise up to 150 HU", _noise),
    "kernels": Condition("soft and sharp kernels", _kernels),
    "thick_planning": Condition("planning in slices of 2.5 to 5 mm", _slices((5.0, 1.0), (2.5, 1.0), (3.0, 0.75))),
    "thick_verification": Condition(
        "verification in slices of 2.5 to 5 mm", _slices((1.0, 5.0), (0.75, 2.5), (1.0, 3.0))
    ),
    "thick_both": Condition("both in slices of 2.5 to 5 mm", _slices((5.0, 5.0), (2.5, 2.5), (3.0, 3.0))),
    "small_field": Condition("small and shifted field of view", _small_field),
    "patient_turned": Condition("patient turned by up to 30 degrees", _signed("patient_turned_deg", 8.0, 30.0)),
    "hyperinflated": Condition("lung of -970 to -900 HU", _hyperinflated),
    "bowel_gas": Condition(
        "10 to 40 mL of new gas below the diaphragm",
        _between("bowel_gas_ml", 10.0, 40.0, place="diaphragm"),
        real=False,
    ),
    "skin_shift": Condition(
        "skin lower by 3 to 6 mm", _between("skin_shift_mm", 3.0, 6.0, place="subpleural"), real=False
    ),
}  # fmt: skip
"""Every condition by its name."""


def describe(
    seed: int, conditions: Sequence[str], number: int = 0, *, backgrounds: Sequence[str] = (PROCEDURAL,)
) -> ProcedureDescription:
    """Draw a description.

    Parameters
    ----------
    seed : int
    conditions : sequence of str
        Names in ``CONDITIONS``; the later ones win where two set the same field.
    number : int
        Number of the case among those of these conditions.
    backgrounds : sequence of str
        The case is simulated in one of them, if its conditions allow.

    Raises
    ------
    InvalidRequestError
        A condition is not known.
    """
    for name in conditions:
        if name not in CONDITIONS:
            raise InvalidRequestError(f"no condition is called {name!r}; known: {', '.join(CONDITIONS)}")
    rng = np.random.default_rng([seed, number, *(list(CONDITIONS).index(name) for name in conditions)])
    drawn = _ordinary(rng, number)
    allowed = [b for b in backgrounds if b == PROCEDURAL or all(CONDITIONS[name].real for name in conditions)]
    drawn["background"] = str(rng.choice(allowed)) if allowed else PROCEDURAL
    drawn["seed"] = int(rng.integers(2**31))
    for name in conditions:
        drawn |= CONDITIONS[name].draw(rng, number)
    return ProcedureDescription(conditions=tuple(conditions), **drawn)


def _ordinary(rng: np.random.Generator, number: int) -> _Changes:
    """What varies in every case."""
    return {
        "margin_mm": float(rng.uniform(*_CLASSES_MM[number % len(_CLASSES_MM)])),
        "tumor_volume_ml": float(np.clip(np.exp(rng.normal(0.5, 0.7)), 0.3, 8.0)),
        "patient_turned_deg": float(rng.normal(0.0, 2.0)),
        "breath_mm": float(rng.uniform(-10.0, 10.0)),
        "bend_mm": float(rng.uniform(5.0, 8.0)),
        "in_plane_mm": float(rng.uniform(0.65, 0.85)),
        "place": str(rng.choice(["central", "subpleural"], p=[0.7, 0.3])),
    }
