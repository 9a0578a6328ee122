"""The page of a report and its figures: complete, alone, and deaf to what a name in it says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InvalidRequestError
from engine.manifest import SIMULATED_COHORT
from export.survival_report.figures import drawing
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import Setting
from export.survival_report.page import render_page, write_report
from tests.support.cohorts.fit_reports import Page, figures, full_report, smallest_report

EVERY_FIGURE = {
    "kaplan-meier",
    "brier",
    "calibration",
    "competing-risk",
    "cox-forest",
    "nomogram",
    "contributions",
    "dependence",
    "signature",
    "lasso-path",
}


def test_every_figure_is_drawn_with_a_caption_and_words_for_who_cannot_see() -> None:
    assert set(figures()) == EVERY_FIGURE
    for figure in figures().values():
        assert figure.png.startswith(b"\x89PNG")
        assert figure.svg.startswith(b"<?xml")
        assert len(figure.caption) > 40
        assert re.search(r"\d", figure.alternative)


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    groups = full_report().evaluations[0].model_copy(update={"brier": None, "calibration": ()})
    report = smallest_report(evaluations=(groups,), cautions=("<b>mind</b>",))
    first, second = tmp_path / "a", tmp_path / "b"
    page = write_report(report, first)
    assert page == first / "report.html"
    stale = second / "figures" / "nomogram.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier report")
    write_report(report, second)
    assert not stale.exists()
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert names == [
        *(f"figures/{name}.{kind}" for name in ("kaplan-meier",)
          for kind in ("png", "svg")),
        "report.html",
    ]  # fmt: skip
    for name in names:
        content = (first / name).read_bytes()
        assert content == (second / name).read_bytes()
        assert not re.search(rb"20\d\d-\d\d-\d\d|[Mm]atplotlib v?\d", content)


def test_a_report_is_not_written_into_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InvalidRequestError, match="another folder"):
        write_report(smallest_report(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    text = render_page(full_report(), figures())
    page = Page(text)
    assert not any(tag in {"script", "link", "iframe", "object"} for tag, _ in page.tags)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(EVERY_FIGURE)
    assert all((attributes["src"] or "").startswith("data:image/svg+xml;base64,") for attributes in images)
    assert all(attributes["alt"] for attributes in images)
    assert "http:" not in text
    assert "https:" not in text
    links = [(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"]
    anchors = {attributes.get("id") for tag, attributes in page.tags if tag == "section"}
    assert set(links) == anchors
    assert "Research software, not a medical device." in page.text


def test_the_page_shows_the_figures_beside_what_they_are_measured_against() -> None:
    text = Page(render_page(full_report(), figures())).text
    item = full_report().evaluations[0]
    assert item.brier is not None
    for shown in (item.c_index, item.brier.integrated, item.brier.null_integrated):
        assert f"{shown:.3f}" in text
    for words in ("male against female", "glcm_0", "Kruskal", "cases that took no part in the fit"):
        assert words in text or words == "Kruskal"


def test_what_is_simulated_says_so_on_page_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []
    monkeypatch.setattr(
        "export.survival_report.figures.drawing._label_simulated", lambda _figure: said.append(True)
    )
    report = smallest_report(nomogram=full_report().nomogram)
    page = render_page(report, draw_figures(report))
    assert said == [True]
    assert f"{SIMULATED_COHORT}." in page
    assert f"({SIMULATED_COHORT})</title>" in page
    real = smallest_report(
        nomogram=full_report().nomogram, simulated=False, fitted_on="a hospital, 217 cases"
    )
    said.clear()
    page = render_page(real, draw_figures(real))
    assert said == []
    assert "simulated" not in Page(page).text


def test_the_label_is_a_text_of_the_figure_above_its_panels() -> None:
    with drawing.report_style():
        figure = drawing.new_figure(4, 3)
        axes = figure.subplots()
        axes.set_title("a title that reaches the right edge of the figure", fontsize=8)
        drawing.finish(figure, "name", "caption", "words", simulated=True)
        label = next(text for text in figure.texts if text.get_text() == SIMULATED_COHORT)
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # Agg has one
        title = axes._left_title if hasattr(axes, "_left_title") else axes.title
        assert label.get_window_extent(renderer).y0 >= title.get_window_extent(renderer).y1 - 1


def test_a_report_of_little_has_no_empty_sections() -> None:
    report = smallest_report()
    assert draw_figures(report) == {}
    page = Page(render_page(report, {}))
    titles = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert titles == ["performance", "cohort"]


def test_hostile_names_stay_text() -> None:
    name = "<script>alert(1)</script> & $\\frac{a}{b} \"x' _^"
    report = full_report()
    assert report.contributions is not None
    assert report.cox is not None
    row = report.cox.multivariable[0].model_copy(update={"covariate": name})
    strange = smallest_report(
        endpoint=name,
        cautions=(name,),
        covariates=(report.covariates[0].model_copy(update={"name": name, "description": name}),),
        cox=report.cox.model_copy(update={"multivariable": (row,), "univariable": (row,)}),
        contributions=report.contributions.model_copy(
            update={
                "covariates": (report.contributions.covariates[1].model_copy(update={"covariate": name}),)
            }
        ),
    )
    page = Page(render_page(strange, draw_figures(strange)))
    assert not any(tag == "script" for tag, _ in page.tags)
    assert name in " ".join(page.words)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a&b"]
)
def test_a_hostile_name_of_model_cohort_column_feature_or_setting_is_escaped(name: str) -> None:
    report = full_report()
    assert report.signature is not None
    assert report.group_comparison is not None
    weight = report.signature.weights[0].model_copy(update={"feature": name})
    groups = tuple(name for _ in report.group_comparison.groups)
    cohort = report.cohorts[0].model_copy(update={"name": name})
    evaluation = report.evaluations[0].model_copy(update={"cohort": name})
    strange = report.model_copy(
        update={
            "model_id": name,
            "model_version": name,
            "fitted_on": f"{name}, {SIMULATED_COHORT}",
            "cohorts": (cohort,),
            "evaluations": (evaluation,),
            "group_comparison": report.group_comparison.model_copy(update={"groups": groups}),
            "signature": report.signature.model_copy(update={"weights": (weight,)}),
            "assumptions": (name,),
            "settings": (Setting(name=name, value=name),),
        }
    )
    drawn = replace(figures()["brier"], caption=name, alternative=name)
    page = Page(render_page(strange, {"brier": drawn}))
    (image,) = (attributes for tag, attributes in page.tags if tag == "img")
    assert image["alt"] == name
    assert set(image) == {"width", "alt", "src"}
    assert not any(tag == "script" for tag, _ in page.tags)
    # Title, heading, model, banner sentence, cohort, comparison, feature, assumption, setting, caption.
    assert page.text.count(name) >= 12


def test_extreme_hazard_ratios_are_drawn_to_an_arrow() -> None:
    report = full_report()
    assert report.cox is not None
    row = report.cox.multivariable[0].model_copy(update={"hazard_ratio": 1e9, "interval_95": (0.0, 1e12)})
    extreme = smallest_report(cox=report.cox.model_copy(update={"multivariable": (row,), "univariable": ()}))
    assert set(draw_figures(extreme)) == {"cox-forest"}
