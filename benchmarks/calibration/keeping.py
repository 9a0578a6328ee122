"""Simulated procedures on disk: scans, packed masks and truth, a folder each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.geometry import RigidTransform, VolumeGeometry
from engine.phantoms.procedure import PhantomProcedure
from engine.phantoms.truth import PhantomTruth, TrueCoverage, TrueRegion
from engine.volume import Acquisition, CtVolume, LabelMask

CONTENT: Final = "case.json"


def keep(folder: Path, case: PhantomProcedure, described: Mapping[str, Any]) -> None:
    """Write a case into a folder of its own; ``case.json`` last, so that half a case is none.

    Parameters
    ----------
    folder : Path
    case : PhantomProcedure
    described : mapping
        Goes into ``case.json`` beside the truth and the geometries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "planning.npy", case.planning.voxels_hu)
    np.save(folder / "verification.npy", case.verification.voxels_hu)
    masks = {"tumor": case.tumor, "zone": case.zone, "core": case.core}
    packed: dict[str, Any] = {name: np.packbits(mask.voxels) for name, mask in masks.items()}
    np.savez_compressed(folder / "masks.npz", **packed)
    content = {
        **described,
        "truth": case.truth.to_json(),
        "target_lps_mm": case.target_lps_mm,
        "planning_geometry": asdict(case.planning.geometry),
        "verification_geometry": asdict(case.verification.geometry),
        "slice_thickness_mm": [
            case.planning.acquisition.slice_thickness_mm,
            case.verification.acquisition.slice_thickness_mm,
        ],
    }
    unfinished = folder / f"{CONTENT}.part"
    unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    unfinished.replace(folder / CONTENT)


def load(folder: Path) -> tuple[PhantomProcedure, dict[str, Any]]:
    """Read a case that :func:`keep` wrote, and all of its ``case.json``."""
    content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
    planning_geometry, verification_geometry = (
        _geometry(content["planning_geometry"]),
        _geometry(content["verification_geometry"]),
    )
    thickness = content["slice_thickness_mm"]
    with np.load(folder / "masks.npz") as masks:
        tumor = _mask(masks["tumor"], planning_geometry, "tumor")
        zone = _mask(masks["zone"], verification_geometry, "ablation zone")
        core = _mask(masks["core"], verification_geometry, "ablation core")
    planning = CtVolume(
        np.load(folder / "planning.npy"), planning_geometry, Acquisition(slice_thickness_mm=thickness[0])
    )
    verification = CtVolume(
        np.load(folder / "verification.npy"),
        verification_geometry,
        Acquisition(slice_thickness_mm=thickness[1]),
    )
    x, y, z = content["target_lps_mm"]
    truth = _truth(content["truth"])
    return PhantomProcedure(planning, tumor, verification, zone, core, (x, y, z), truth), content


def _geometry(content: dict[str, Any]) -> VolumeGeometry:
    a, b, c = (tuple(axis) for axis in content["directions_zyx_lps"])
    return VolumeGeometry(
        tuple(content["shape_zyx"]),
        tuple(content["spacing_zyx_mm"]),
        (a, b, c),
        tuple(content["origin_lps_mm"]),
        content["frame_of_reference_uid"],
    )


def _mask(packed: npt.NDArray[np.uint8], geometry: VolumeGeometry, name: str) -> LabelMask:
    voxels = np.unpackbits(packed)[: int(np.prod(geometry.shape_zyx))]
    return LabelMask(voxels.reshape(geometry.shape_zyx).astype(np.bool_), geometry, name)


def _truth(content: dict[str, Any]) -> PhantomTruth:
    return PhantomTruth(
        **{
            **content,
            "lung_clipped": TrueCoverage(**content["lung_clipped"]),
            "core": TrueCoverage(**content["core"]),
            "uncovered": tuple(
                TrueRegion(region["volume_ml"], tuple(region["centroid_lps_mm"]))
                for region in content["uncovered"]
            ),
            "planning_from_verification": RigidTransform(np.array(content["planning_from_verification"])),
        }
    )
