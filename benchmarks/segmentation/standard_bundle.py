"""Model bundles of the end-to-end benchmark, made once and kept: the standard network, and a risk with a signature.

    python -m benchmarks.segmentation.standard_bundle FOLDER

Random weights cost what trained ones cost: nnU-Net's default 3D U-Net of 31 million, at 1 mm: 128 mm are one patch.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from engine.manifest import SEAL_FILE, Normal, manifest_text, read_manifest
from engine.manifest.signature import RadiomicsSettings, SignatureFeature, SignatureSection
from engine.manifest.survival import SurvivalSection
from engine.radiomics import EXTRACTOR
from export.bundle.sealing import seal_bundle
from tests.support.radiomics_zones import SIGNATURE_FEATURES

ROOT: Final = Path(__file__).parents[2]
NETWORK: Final = "standard-1mm"
RISK: Final = "deepsurv-demo-signature"
DEMO_RISK: Final = ROOT / "models" / "deepsurv-demo" / "1.0.0"
DEMO_ZONE: Final = ROOT / "models" / "zone-demo" / "1.0.0"
RADSCORE: Final = 3.0


def standard_network(cache: Path) -> tuple[Path, Path]:
    """nnU-Net's own folder of the standard network and its bundle, below ``cache``; exported once, in a minute."""
    folder = cache / NETWORK
    if not folder.exists():
        print(f"exporting the network of 31 million weights to {folder}, once", file=sys.stderr)
        # In a process of its own: what the export holds in memory stays there.
        command = [sys.executable, "-m", "benchmarks.segmentation.standard_bundle", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    (source,) = folder.glob("model/*/*__nnUNetPlans__3d_fullres")
    return source, folder / "bundle"


def demo_survival() -> SurvivalSection:
    """Standardization, baseline and horizons of the demo's risk model."""
    section = read_manifest(DEMO_RISK).survival
    if section is None:
        raise SystemExit(f"{DEMO_RISK} is no risk model")
    return section


def risk_with_signature(cache: Path) -> Path:
    """The demo risk model with a Radscore of eleven features in the place of fibrinogen; their weights are zero."""
    manifest, survival = read_manifest(DEMO_RISK), demo_survival()
    sex, fibrinogen, coverage = survival.covariates
    radscore: dict[str, Any] = {"name": "radscore", "distribution": Normal(mean=RADSCORE, sd=0.5)}
    section = survival.model_copy(
        update={
            "uses_radscore": True,
            "covariates": (sex, fibrinogen.model_copy(update=radscore), coverage),
            "signature": signature(),
        }
    )
    folder = cache / RISK / "1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SEAL_FILE).unlink(missing_ok=True)  # of an earlier run
    for name in manifest.files:
        shutil.copyfile(DEMO_RISK / name, folder / name)
    written = manifest.model_copy(update={"id": RISK, "survival": section})
    (folder / "manifest.json").write_bytes(manifest_text(written))
    seal_bundle(folder)
    return folder


def signature() -> SignatureSection:
    """A signature whose Radscore is ``RADSCORE`` whatever its features are."""
    features = (
        SignatureFeature(name=name, coefficient=0.0, mean=0.0, sd=1.0, reference_low=-1e9, reference_high=1e9)
        for name in SIGNATURE_FEATURES
    )
    return SignatureSection(
        settings=RadiomicsSettings(), extractor=EXTRACTOR, features=tuple(features), intercept=RADSCORE
    )


def main() -> None:
    """Export the standard network into the folder of the command line."""
    from benchmarks.segmentation.__main__ import STANDARD, write_model

    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        write_model(Path(name) / "made", {**STANDARD, "spacing": (1.0, 1.0, 1.0)}, [])
        (Path(name) / "made").rename(target)


if __name__ == "__main__":
    main()
