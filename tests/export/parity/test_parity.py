"""Comparing sessions: figures against their definitions, and what no figure shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.errors import BlankOutputError, NonFiniteOutputError, ParityError
from export.parity.comparison import (
    NamedSession,
    OutputComparison,
    OutputKind,
    compare_sessions,
    decided_flips,
    require_parity,
)

Answer = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Session:
    """A session that computes with NumPy."""

    def __init__(self, answer: Answer, backend: str = "numpy") -> None:
        self.answer, self.backend = answer, backend

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(self.answer(inputs["image"]))


def compare(
    reference: Answer, candidate: Answer, *inputs: np.ndarray, kind: OutputKind = "values", **options: Any
) -> Any:
    return compare_sessions(
        Session(reference, "reference"),
        Session(candidate, "candidate"),
        [{"image": value} for value in inputs],
        measured_on="numbers",
        kind=kind,
        **{"tolerance": 1e-3, **options},
    )


def images(count: int = 2, shape: tuple[int, ...] = (1, 3, 4, 5, 6)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


@settings(max_examples=30)
@given(
    arrays(np.float64, (2, 7), elements=st.floats(-1e3, 1e3)),
    arrays(np.float64, (2, 7), elements=st.floats(-1, 1)),
)
def test_the_figures_are_what_they_are_called(values: np.ndarray, noise: np.ndarray) -> None:
    values[0, 0] = values.max() + 1  # something varies
    report = compare(lambda _: {"y": values}, lambda _: {"y": values + noise}, images(1)[0], tolerance=2.0)
    difference = np.abs((values + noise) - values)
    assert report.max_abs == pytest.approx(difference.max(), rel=1e-6)
    assert report.mean_abs == pytest.approx(difference.mean(), rel=1e-5, abs=1e-9)
    assert report.p999_abs == pytest.approx(np.quantile(difference, 0.999, method="higher"), rel=1e-6)
    assert (report.cases, report.passed) == (2, True)
    assert (report.dice, report.cosine_distance, report.voxels) == (None, None, None)


def test_a_rare_large_difference_is_in_the_largest_but_not_in_the_percentile() -> None:
    values = np.arange(4000, dtype=np.float32).reshape(1, 4000)
    off = values.copy()
    off[0, 17] += 1
    report = compare(lambda _: {"y": values}, lambda _: {"y": off}, images(1)[0])
    assert (report.max_abs, report.p999_abs, report.passed) == (1.0, 0.0, False)
    with pytest.raises(ParityError, match="largest difference 1 "):
        require_parity(report)


def logits_of(gap: np.ndarray) -> np.ndarray:
    """Two labels: the second is ``gap`` above the first."""
    return np.stack([np.zeros_like(gap), gap], axis=1)


def test_flips_near_ties_and_dice_are_counted_as_defined() -> None:
    gap = np.full((1, 1, 1, 8), -5.0, np.float32)
    gap[..., :4] = 5.0
    gap[..., 4] = -0.004  # a near tie of the background
    other = gap.copy()
    other[..., 4] = 0.003  # flipped, but near
    other[..., 3] = -0.1  # flipped, and was clear
    report = compare(
        lambda _: {"logits": logits_of(gap)},
        lambda _: {"logits": logits_of(other)},
        images(1)[0],
        kind="logits",
        tolerance=10.0,
    )
    assert (report.label_flips, report.near_tie_flips, report.voxels) == (2, 1, 8)
    assert decided_flips(report) == 1
    assert report.dice == pytest.approx(2 * 3 / (4 + 4))
    assert not report.passed  # one of eight voxels is more than 1e-4 of them
    with pytest.raises(ParityError, match="1 of 8 voxels with another label"):
        require_parity(report)
    report = compare(
        lambda _: {"logits": logits_of(gap)},
        lambda _: {"logits": logits_of(other)},
        images(1)[0],
        kind="logits",
        tolerance=10.0,
        max_flip_share=0.2,
    )
    assert require_parity(report).passed


def test_three_labels_are_compared_by_the_two_best_logits() -> None:
    logits = np.zeros((1, 3, 1, 1, 2), np.float32)
    logits[0, :, 0, 0, 0] = 1.0, 4.0, 3.995  # near, between labels 1 and 2
    logits[0, :, 0, 0, 1] = -9.0, 2.0, 8.0
    other = logits.copy()
    other[0, 2, 0, 0, 0] = 4.01
    report = compare(
        lambda _: {"logits": logits}, lambda _: {"logits": other}, images(1)[0], kind="logits", tolerance=0.1
    )
    assert (report.label_flips, report.near_tie_flips, report.passed) == (1, 1, True)


def test_regions_overlap_and_are_judged_one_by_one() -> None:
    logits = np.full((1, 2, 1, 1, 4), 3.0, np.float32)
    logits[0, :, 0, 0, 3] = 4.0
    other = logits.copy()
    logits[0, 1, 0, 0, 0] = -3.0
    report = compare(
        lambda _: {"logits": logits}, lambda _: {"logits": other}, images(1)[0], kind="regions", tolerance=9.0
    )
    assert (report.label_flips, report.near_tie_flips, report.voxels) == (1, 0, 4)
    assert report.dice == pytest.approx(2 * 3 / (3 + 4))


def test_features_are_judged_by_the_worst_cosine() -> None:
    expected = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    found = np.array([[3.0, 0.0], [2.0, 2.0]], np.float32)
    report = compare(lambda _: {"f": expected}, lambda _: {"f": found}, images(1)[0], kind="features")
    assert report.cosine_distance == pytest.approx(1 - np.sqrt(0.5), rel=1e-6)
    assert not report.passed
    scaled = compare(lambda _: {"f": expected}, lambda _: {"f": 5 * expected}, images(1)[0], kind="features")
    assert scaled.cosine_distance == pytest.approx(0, abs=1e-15)
    assert scaled.passed


def test_a_tiny_cosine_distance_is_not_lost_to_rounding() -> None:
    vector = np.random.default_rng(1).normal(size=(1, 768))
    turned = vector + 1e-9 * np.random.default_rng(2).normal(size=vector.shape)
    report = compare(lambda _: {"f": vector}, lambda _: {"f": turned}, images(1)[0], kind="features")
    assert report.cosine_distance == pytest.approx(0.5e-18, rel=0.2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("whose", ["reference", "candidate"])
def test_one_number_that_is_none_fails_whoever_gives_it(value: float, whose: str) -> None:
    def broken(image: np.ndarray) -> dict[str, np.ndarray]:
        logits = image.copy()
        logits.flat[11] = value
        return {"logits": logits}

    def sound(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": image}

    pair = (broken, sound) if whose == "reference" else (sound, broken)
    with pytest.raises(NonFiniteOutputError, match=whose):
        compare(*pair, *images(), kind="logits", tolerance=1e9)


@pytest.mark.parametrize(
    "blank",
    [
        np.zeros_like,
        lambda image: np.broadcast_to(
            np.array([7.0, 3.0, -2.0], np.float32).reshape(1, 3, 1, 1, 1), image.shape
        ),
        lambda image: 1e-6 * image,
    ],
    ids=["zero", "one value for each label", "hardly anything"],
)
@pytest.mark.parametrize("kind", ["values", "logits"])
def test_an_all_black_candidate_has_its_own_error(
    blank: Callable[[np.ndarray], np.ndarray], kind: OutputKind
) -> None:
    with pytest.raises(BlankOutputError, match="one and the same logits"):
        compare(
            lambda image: {"logits": image},
            lambda image: {"logits": blank(image)},
            *images(),
            kind=kind,
            tolerance=1e9,
        )


def test_background_alone_is_blank_even_if_the_logits_vary() -> None:
    def black(image: np.ndarray) -> dict[str, np.ndarray]:
        logits = image.copy()
        logits[:, 0] += 100
        return {"logits": logits}

    with pytest.raises(BlankOutputError, match="background alone"):
        compare(lambda image: {"logits": image}, black, *images(), kind="logits", tolerance=1e9)


def test_an_empty_reference_makes_no_blank_candidate() -> None:
    def empty(image: np.ndarray) -> dict[str, np.ndarray]:
        logits = image.copy()
        logits[:, 0] += 100
        return {"logits": logits}

    report = compare(empty, empty, *images(), kind="logits")
    assert (report.passed, report.dice) == (True, 1.0)


def test_one_vector_for_all_cases_is_blank_and_one_case_is_judged_by_itself() -> None:
    def same(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": np.ones((len(image), 5), np.float32) * np.arange(5, dtype=np.float32)}

    def own(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"features": image.reshape(len(image), -1)[:, :5]}

    with pytest.raises(BlankOutputError, match="one and the same features"):
        compare(own, same, *images(), kind="features", tolerance=2.0)
    assert not compare(own, same, *images(1), kind="features").passed
    with pytest.raises(BlankOutputError):
        compare(own, lambda x: {"features": np.zeros((1, 5), np.float32)}, *images(1), kind="features")


def test_other_names_shapes_or_no_input_are_refused() -> None:
    with pytest.raises(ParityError, match="candidate gives z, reference y"):
        compare(lambda x: {"y": x}, lambda x: {"z": x}, *images())
    with pytest.raises(ParityError, match="has the shape"):
        compare(lambda x: {"y": x}, lambda x: {"y": x[..., :1]}, *images())
    with pytest.raises(ParityError, match="at least one input"):
        compare(lambda x: {"y": x}, lambda x: {"y": x})


def test_half_precision_outputs_are_subtracted_without_overflow() -> None:
    values = np.array([[60000.0, -60000.0]], np.float32)
    comparison = OutputComparison("torch", "fp16")
    comparison.add({"y": values}, {"y": -values.astype(np.float16)})
    report = comparison.report(tolerance=1.0, measured_on="numbers")
    assert report.max_abs == pytest.approx(120000, rel=1e-3)
    assert not report.passed


def test_progress_counts_calls_and_a_named_session_answers_as_its_own() -> None:
    seen: list[int] = []
    session = NamedSession(Session(lambda x: {"y": x}, "library"), "library, fp32")
    report = compare_sessions(
        session,
        session,
        [{"image": value} for value in images(3)],
        tolerance=1e-9,
        measured_on="numbers",
        on_progress=seen.append,
    )
    assert (seen, report.reference, report.max_abs) == ([1, 2, 3], "library, fp32", 0.0)


def test_the_torch_session_is_a_session() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
    from engine.errors import BackendError, ModelError, ModelInputError
    from engine.manifest import TensorSpec
    from export.parity.torch_session import TorchSession

    class Twice(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch may be absent
        def forward(self, image: Any) -> Any:
            return {"sum": image + image, "half": image / 2}

    take = (TensorSpec(name="image", dtype="float32", shape=("batch", 3)),)
    give = tuple(TensorSpec(name=n, dtype="float32", shape=("batch", 3)) for n in ("sum", "half"))
    image = np.ones((2, 3), np.float32)
    with TorchSession(Twice(), take, give) as session:
        assert session.backend.startswith("torch 2.")
        assert (session.inputs, session.outputs) == (take, give)
        found = session.run({"image": image})
        np.testing.assert_array_equal(found["sum"], 2 * image)
        with pytest.raises(ModelInputError, match="must be float32"):
            session.run({"image": image.astype(np.float64)})
    with pytest.raises(BackendError, match="closed"):
        session.run({"image": image})
    with pytest.raises(ModelError, match="the network gives sum, half, not sum"):
        TorchSession(Twice(), take, give[:1]).run({"image": image})
