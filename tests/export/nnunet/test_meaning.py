"""What labels and channels mean is asked for, never guessed."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: make setup-export")

from engine.errors import SourceModelError
from engine.manifest import Channel, Purpose
from export.nnunet.meaning import channels_named, labels_with_meaning
from tests.support.stub_networks import section

BLEEDING = {"background": 0, "zone": 1, "core": 2, "hemorrhage": 3}
OWN = {"background": 0, "ablation": 1, "necrosis": 2, "vessel": 3}


@pytest.mark.parametrize(
    ("labels", "purpose", "meanings", "names", "roles"),
    [
        (
            BLEEDING,
            "ablation_zone",
            {"hemorrhage": "ignore"},
            BLEEDING,
            {"zone": ("zone",), "core": ("core",)},
        ),
        (BLEEDING, "ablation_zone", {3: "ignore"}, BLEEDING, {"zone": ("zone",), "core": ("core",)}),
        (
            BLEEDING,
            "ablation_zone",
            {1: "zone", 2: "core", 3: "hemorrhage"},
            BLEEDING,
            {"zone": ("zone",), "core": ("core",)},
        ),
        (
            BLEEDING,
            "ablation_zone",
            {"hemorrhage": "zone"},
            BLEEDING,
            {"zone": ("hemorrhage", "zone"), "core": ("core",)},
        ),
        (
            OWN,
            "ablation_zone",
            {"ablation": "zone", "necrosis": "core", "vessel": "ignore"},
            OWN,
            {"zone": ("ablation",), "core": ("necrosis",)},
        ),
        (
            OWN,
            "ablation_zone",
            {1: "zone", 2: "core", 3: "blood"},
            {"background": 0, "zone": 1, "core": 2, "blood": 3},
            {"zone": ("zone",), "core": ("core",)},
        ),
        (
            {"background": 0, "solid": 1, "halo": 2, "cyst": 3},
            "tumor",
            {"solid": "tumor", "halo": "tumor", "cyst": "ignore"},
            {"background": 0, "solid": 1, "halo": 2, "cyst": 3},
            {"tumor": ("solid", "halo")},
        ),
        ({"background": 0, "nodule": 1}, "tumor", {}, {"background": 0, "nodule": 1}, {"tumor": ("nodule",)}),
        (OWN, "other", {3: "zone"}, {"background": 0, "ablation": 1, "necrosis": 2, "zone": 3}, {}),
    ],
)
def test_labels_get_names_and_roles(
    labels: dict[str, int], purpose: Purpose, meanings: Any, names: dict[str, int], roles: dict[str, Any]
) -> None:
    found = labels_with_meaning(section(labels=labels), purpose, meanings, "model")
    assert found == (names, roles)


@pytest.mark.parametrize(
    ("labels", "purpose", "meanings", "message"),
    [
        (BLEEDING, "ablation_zone", {}, "what hemorrhage means.*--label hemorrhage=zone|core|ignore"),
        (OWN, "ablation_zone", {}, "what ablation, necrosis, vessel means"),
        ({"background": 0, "ablation": 1}, "ablation_zone", {}, "--label ablation="),
        (OWN, "ablation_zone", {"vessel": "ignore"}, "what ablation, necrosis means"),
        (OWN, "ablation_zone", {1: "core", 2: "core", 3: "ignore"}, "no label means zone"),
        ({"background": 0, "tumor": 1, "vessel": 2}, "tumor", {}, "what vessel means"),
        ({"background": 0, "tumor": 1}, "tumor", {"tumor": "ignore"}, "no label means tumor"),
        (BLEEDING, "ablation_zone", {4: "zone"}, r"has no label \[4\]"),
        (BLEEDING, "ablation_zone", {"zone": "core", "blood": "ignore"}, r"has no label \[blood\]"),
        (BLEEDING, "other", {3: "zone"}, "one name"),
    ],
)
def test_a_label_without_a_meaning_is_asked_for(
    labels: dict[str, int], purpose: Purpose, meanings: Any, message: str
) -> None:
    with pytest.raises(SourceModelError, match=message):
        labels_with_meaning(section(labels=labels), purpose, meanings, "model")


def test_channels_are_named_by_number_or_by_their_own_name() -> None:
    it = section(channels=tuple(Channel(name=name, scheme="none") for name in ("CT", "CT", "noNorm")))
    named = channels_named(
        it, {0: "verification_ct", 1: "planning_ct_warped", "noNorm": "tumor_distance_mm"}, "model"
    )
    assert [channel.name for channel in named] == [
        "verification_ct",
        "planning_ct_warped",
        "tumor_distance_mm",
    ]
    unknown: tuple[int | str, ...] = ("CT", 3, "MR")
    for channel in unknown:
        with pytest.raises(SourceModelError, match="give its number"):
            channels_named(it, {channel: "verification_ct"}, "model")
