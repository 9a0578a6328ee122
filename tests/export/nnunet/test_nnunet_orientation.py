"""The axes of a network's training images are never guessed where TotalSegmentator may have turned them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SourceModelError
from engine.manifest import load_bundle

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.bundle import export_nnunet, network_graph, read_model_folder  # noqa: E402 - it needs torch
from export.nnunet.orientation import known_orientation  # noqa: E402 - likewise
from tests.support.nnunet.folders import write_v1_folder, write_v2_folder, zipped  # noqa: E402 - likewise

OF_TOTALSEGMENTATOR = [
    ("Dataset297_TotalSegmentator_total_3mm_1559subj", "nnUNetTrainer_4000epochs_NoMirroring"),
    ("Dataset913_lung_nodules", "nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring"),
    ("Dataset300_body_6mm_1559subj", "nnUNetTrainer"),
    ("Dataset008_HepaticVessel", "nnUNetTrainer"),
    ("Dataset570_ct_liver_segments", "nnUNetTrainer"),
    ("Dataset117_lung_airways_arteries_veins_282subj", "nnUNetTrainerSkeletonRecall"),
    ("Dataset615_MAXIMUS", "nnUNetTrainer"),
    ("Dataset850_TotalSegMRI_part1_organs_1088subj", "nnUNetTrainer_2000epochs_NoMirroring"),
    ("Task258_lung_vessels_248subj", "nnUNetTrainerV2"),
    ("Task251_TotalSegmentator_part1_organs_1139subj", "nnUNetTrainerV2_ep4000_nomirror"),
    # Not known when this was written, but made as its others are.
    ("Dataset999_spleen_77subj", "nnUNetTrainer"),
    ("Dataset999_Renamed", "nnUNetTrainer_DASegOrd0_NoMirroring"),
    ("Dataset999_Renamed", "nnUNetTrainer_onlyMirror01"),
]
OF_OTHERS = [
    ("Dataset501_Zone", "nnUNetTrainer"),
    ("Dataset001_BrainTumour", "nnUNetTrainer"),
    ("Dataset999_Random", "nnUNetTrainer_250epochs"),
    ("Task900_LungLesions", "nnUNetTrainerV2"),
    ("Dataset5013_Zone", "nnUNetTrainer"),
    ("Dataset501_subjective", "nnUNetTrainer"),
]


@pytest.mark.parametrize(("name", "trainer"), OF_TOTALSEGMENTATOR)
def test_a_model_of_totalsegmentator_is_not_guessed(name: str, trainer: str) -> None:
    with pytest.raises(SourceModelError, match=r"--orientation ras .* --orientation as_stored"):
        known_orientation(None, names=[name], trainer=trainer, where="model.zip")
    for asked in ("as_stored", "ras"):
        assert known_orientation(asked, names=[name], trainer=trainer, where="model.zip")[0] == asked


@pytest.mark.parametrize(("name", "trainer"), OF_OTHERS)
def test_a_model_of_nnunet_is_given_images_as_they_are_stored(name: str, trainer: str) -> None:
    orientation, why = known_orientation(None, names=[name], trainer=trainer, where="model.zip")
    assert orientation == "as_stored"
    assert "nothing in the folder points to TotalSegmentator" in why


@given(
    st.text("abcNo_ ", max_size=12),
    st.sampled_from([913, 8, 256, 305, 957]),
    st.sampled_from(["Dataset", "Task"]),
)
def test_a_known_number_is_found_whatever_is_behind_it(rest: str, number: int, word: str) -> None:
    with pytest.raises(SourceModelError, match="number of one of its data sets"):
        known_orientation(None, names=[f"{word}{number:03d}_{rest}"], trainer="nnUNetTrainer", where="m")


@pytest.mark.parametrize("place", ["plans", "folder", "archive"])
def test_it_is_recognised_by_the_name_of_its_data_set_its_folder_or_its_archive(
    tmp_path: Path, place: str
) -> None:
    root = write_v2_folder(
        tmp_path / "u", dataset="Dataset913_lung_nodules" if place == "plans" else "Dataset999_A"
    )
    if place != "archive":
        root.parent.rename(tmp_path / "u" / ("Dataset913_lung_nodules" if place == "folder" else "model"))
    name = "Dataset913_lung_nodules.zip" if place == "archive" else "model.zip"
    with pytest.raises(SourceModelError, match="Dataset913_lung_nodules"):
        read_model_folder(zipped(tmp_path / "u", tmp_path / name))


@pytest.mark.parametrize("write", [write_v2_folder, write_v1_folder])
def test_a_zip_that_is_laid_out_as_totalsegmentators_is_asked_about(tmp_path: Path, write: Any) -> None:
    root = write(tmp_path / "u")
    with pytest.raises(SourceModelError, match=r"fold 0 alone.*--orientation"):
        read_model_folder(zipped(tmp_path / "u", tmp_path / "model.zip"))
    assert (
        read_model_folder(tmp_path / "model.zip", orientation="as_stored").section.orientation == "as_stored"
    )
    for path in (
        root,
        zipped(root, tmp_path / "without_data_set.zip"),
        zipped(write(tmp_path / "five", folds=range(3)).parents[1], tmp_path / "ensemble.zip"),
    ):
        assert read_model_folder(path).section.orientation == "as_stored"


def test_the_zip_of_totalsegmentator_is_read(tmp_path: Path) -> None:
    trainer = "nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring"
    write_v2_folder(tmp_path / "u", dataset="Dataset913_lung_nodules", trainer=trainer, mirror_axes=None)
    archive = zipped(tmp_path / "u", tmp_path / "Dataset913_lung_nodules.zip")
    for path in (archive, tmp_path / "u"):
        with pytest.raises(SourceModelError, match="--orientation"):
            read_model_folder(path)
    from_zip, from_folder = (read_model_folder(path, orientation="ras") for path in (archive, tmp_path / "u"))
    assert from_zip.section == from_folder.section
    assert from_zip.section.orientation == "ras"
    assert from_zip.name == "Dataset913_lung_nodules"
    assert network_graph(from_zip, 0) == network_graph(from_folder, 0)


@pytest.mark.parametrize(
    ("write", "asked", "line", "why"),
    [
        (write_v2_folder, None, "as they are stored", "nothing in the folder points to TotalSegmentator"),
        (write_v2_folder, "ras", "closest RAS axes", "as was asked for (--orientation ras)"),
        (write_v1_folder, "as_stored", "as they are stored", "as was asked for (--orientation as_stored)"),
        (write_v1_folder, "lps", "closest LPS axes", "as was asked for (--orientation lps)"),
    ],
)
def test_the_card_says_which_axes_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, asked: Any, line: str, why: str
) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    bundle = export_nnunet(
        write(tmp_path),
        tmp_path / "bundle",
        licence="none: random weights",
        provenance="a test",
        orientation=asked,
        precisions=("fp32",),
    )
    card = (bundle / "MODEL_CARD.md").read_text()
    assert load_bundle(bundle).manifest.segmentation.orientation == (asked or "as_stored")  # type: ignore[union-attr]  # it has one
    (axes,) = [text for text in card.splitlines() if text.startswith("- Axes of the image:")]
    assert line in axes
    assert card.count(why) == 1
    assert "nnU-Net's own figures (validation, leaderboards) include it" in card
