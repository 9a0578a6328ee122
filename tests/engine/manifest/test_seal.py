"""The seal of a bundle: no bit of a manifest changes without a word."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BundleIntegrityError, ManifestError
from engine.manifest import (
    SEAL_FILE,
    SealedManifest,
    load_bundle,
    manifest_text,
    read_manifest,
    read_sealed_manifest,
)
from engine.response.features import LungFeatureModel
from engine.risk.model import SurvivalModel
from engine.segmentation import open_segmenter
from export.bundle.sealing import seal_bundle
from service.pipeline.bundles import installed_bundles
from tests.support.segmentation_models import manifest as segmentation_manifest

MODELS = Path(__file__).parents[3] / "models"
SHIPPED = sorted(path.parent for path in MODELS.glob("*/*/manifest.json"))
RISK = MODELS / "deepsurv-demo" / "1.0.0"
ZONE = MODELS / "zone-demo" / "1.0.0"


def copied(folder: Path, into: Path) -> Path:
    return Path(shutil.copytree(folder, into / folder.parent.name / folder.name))


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the manifest in a way that leaves it valid, and the seal as it was."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.parent.name)
def test_the_bundles_that_ship_are_sealed_and_say_so_in_their_cards(folder: Path) -> None:
    sealed = read_sealed_manifest(folder)
    text = (folder / "manifest.json").read_bytes()
    assert sealed.sha256 == hashlib.sha256(text).hexdigest() == load_bundle(folder).identity.manifest_sha256
    assert f"Manifest: SHA-256 {sealed.sha256}" in (folder / "MODEL_CARD.md").read_text()
    # What is in memory has the digest that it gets when it is written.
    assert SealedManifest.of(sealed.manifest) == sealed
    assert manifest_text(sealed.manifest) == text


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_seal_is_what_sha256sum_checks(tmp_path: Path) -> None:
    command = ["sha256sum", "--check", "--strict", SEAL_FILE]
    folder = copied(RISK, tmp_path)
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0
    edit(folder, lambda content: content.update(description="another"))
    assert subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode != 0


@settings(max_examples=60, deadline=None)
@given(
    folder=st.sampled_from(SHIPPED),
    position=st.integers(0, 10**9),
    bit=st.integers(0, 7),
    name=st.sampled_from(["manifest.json", "MODEL_CARD.md", SEAL_FILE]),
)
def test_any_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, position: int, bit: int, name: str
) -> None:
    damaged = copied(folder, tmp_path_factory.mktemp("flip"))
    content = bytearray((damaged / name).read_bytes())
    content[position % len(content)] ^= 1 << bit
    (damaged / name).write_bytes(content)
    with pytest.raises(BundleIntegrityError):
        load_bundle(damaged)
    if name == "manifest.json":
        with pytest.raises(BundleIntegrityError, match="install the bundle again"):
            read_manifest(damaged)


def mean_of_fibrinogen(content: Any) -> None:
    content["survival"]["covariates"][1]["mean"] += 1e-6


def last_hazard(content: Any) -> None:
    content["survival"]["baseline"]["cumulative_hazard"][0][-1] += 1e-9


def calibration(content: Any) -> None:
    content["survival"]["calibration"]["slope_applied"] = 1.0001


def labels(content: Any) -> None:
    names = content["segmentation"]["labels"]
    names["zone"], names["core"] = names["core"], names["zone"]


def spacing(content: Any) -> None:
    content["segmentation"]["spacing_mm"][0] += 0.5


def window(content: Any) -> None:
    content["segmentation"]["channels"][0]["mean"] += 1.0


@pytest.mark.parametrize("change", [mean_of_fibrinogen, last_hazard, calibration], ids=lambda c: c.__name__)
def test_a_risk_model_with_another_number_is_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    folder = copied(RISK, tmp_path)
    edit(folder, change)
    with pytest.raises(BundleIntegrityError, match=r"manifest\.json has SHA-256"):
        SurvivalModel.load(folder)
    with pytest.raises(BundleIntegrityError):
        installed_bundles(tmp_path)


@pytest.mark.parametrize("change", [labels, spacing, window], ids=lambda c: c.__name__)
def test_a_segmenter_with_another_number_is_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    folder = copied(ZONE, tmp_path)
    edit(folder, change)
    with pytest.raises(BundleIntegrityError, match=r"manifest\.json has SHA-256"):
        open_segmenter(folder, "onnxruntime")
    with pytest.raises(BundleIntegrityError):
        LungFeatureModel.load(folder)


def test_a_bundle_without_a_seal_is_refused_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    folder = copied(RISK, tmp_path)
    (folder / SEAL_FILE).unlink()
    with pytest.raises(BundleIntegrityError, match=f"coldspot-export seal {folder}"):
        load_bundle(folder)
    with pytest.raises(BundleIntegrityError, match=SEAL_FILE):
        installed_bundles(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0" * 64,
        f"{'0' * 64}  model.onnx\n",
        f"{'0' * 64}  MODEL_CARD.md\n",
        f"{'0' * 63}  manifest.json\n",
        f"{'F' * 64}  manifest.json\n",
        f"{'0' * 64}  ../manifest.json\n",
        f"{'0' * 64}  manifest.json\n\n",
        f"{'0' * 64}  manifest.json\n{'1' * 64}  manifest.json\n",
        f"{'0' * 64}  manifest.json é\n",
    ],
)
def test_a_seal_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = copied(RISK, tmp_path)
    (folder / SEAL_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(BundleIntegrityError, match=SEAL_FILE):
        read_manifest(folder)


def test_a_card_that_the_seal_does_not_name_is_refused(tmp_path: Path) -> None:
    folder = copied(RISK, tmp_path)
    first, _ = (folder / SEAL_FILE).read_text().splitlines()
    (folder / SEAL_FILE).write_text(f"{first}\n")
    with pytest.raises(BundleIntegrityError, match=r"MODEL_CARD\.md is listed neither"):
        load_bundle(folder)


class TestSealing:
    def test_a_bundle_from_before_seals_is_sealed_once(self, tmp_path: Path) -> None:
        folder = copied(RISK, tmp_path)
        before = (folder / SEAL_FILE).read_bytes()
        (folder / SEAL_FILE).unlink()
        assert seal_bundle(folder) == read_sealed_manifest(RISK)
        assert seal_bundle(folder) == read_sealed_manifest(RISK)
        assert (folder / SEAL_FILE).read_bytes() == before

    def test_a_bundle_without_a_card_is_sealed_too(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"network")
        files = {"model.onnx": hashlib.sha256(b"network").hexdigest()}
        (tmp_path / "manifest.json").write_text(json.dumps(segmentation_manifest(files=files)))
        assert seal_bundle(tmp_path).sha256 == load_bundle(tmp_path).identity.manifest_sha256

    def test_a_seal_is_never_replaced(self, tmp_path: Path) -> None:
        folder = copied(RISK, tmp_path)
        edit(folder, mean_of_fibrinogen)
        before = (folder / SEAL_FILE).read_bytes()
        with pytest.raises(BundleIntegrityError):
            seal_bundle(folder)
        assert (folder / SEAL_FILE).read_bytes() == before

    def test_damage_is_not_sealed(self, tmp_path: Path) -> None:
        folder = copied(RISK, tmp_path)
        (folder / SEAL_FILE).unlink()
        (folder / "model.onnx").write_bytes(b"another")
        with pytest.raises(BundleIntegrityError, match=r"model\.onnx has SHA-256"):
            seal_bundle(folder)
        assert not (folder / SEAL_FILE).exists()

    def test_what_is_no_bundle_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="cannot be read"):
            seal_bundle(tmp_path)
        (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(ManifestError, match="export the bundle again"):
            seal_bundle(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
