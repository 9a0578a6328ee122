"""The best chain of existing tools for what Coldspot does after the verification CT has arrived, on crops.

SimpleITK cuts and resamples, nnunetv2 prepares the network's input and brings its logits back, OpenVINO computes
the network, elastix registers and warps the tumor, edt grows it, PyRadiomics measures the zone, ONNX Runtime gives
the risk. Each step is what its library's documentation says, without steps that nobody would wait for (whole volumes,
images written). The chain has no uncertainty, no cold spots and no refusals: it does less than Coldspot.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from benchmarks.end_to_end.network_peer import NetworkPeer, Steps
from benchmarks.end_to_end.own import AblationCase
from benchmarks.machine import NOT_INSTALLED, version
from benchmarks.registration.peers import (
    MASKED_AROUND_ZONE_MM,
    WINDOW_HU,
    elastix_transform,
    itk_image,
    load_elastix,
    sitk_image,
)
from benchmarks.segmentation.standard_bundle import DEMO_RISK, demo_survival
from benchmarks.threads import THREADS
from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import MODEL_FILE, load_bundle
from engine.manifest.signature import RadiomicsSettings
from engine.manifest.survival import SurvivalSection
from engine.segmentation import Box, Segmenter
from engine.volume import CtVolume, LabelMask
from tests.support.radiomics_zones import SIGNATURE_FEATURES

DISTRIBUTIONS: Final = {
    "SimpleITK": "SimpleITK",
    "nnunetv2": "nnunetv2",
    "openvino": "openvino",
    "itk-elastix": "itk",
    "edt": "edt",
    "pyradiomics-bhklab": "radiomics",
    "onnxruntime": "onnxruntime",
}
"""Distribution and module of every tool of the chain."""

REPLACED_BY: Final = "the network's labels are computed by both sides and replaced by the supplied mask"
EDGE_MM: Final = 128.0
ITERATIONS: Final = 150
"""Of the B-spline; 50 are faster and warp the tumor worse."""

GROWTH_MM: Final = 5.0
GRID_MM: Final = 1.0
RADIOMICS_ROOM_MM: Final = 30.0
"""Left around the zone before PyRadiomics resamples: more than its filters and splines see."""


@dataclass(frozen=True, eq=False)
class ChainAnswer:
    """What the chain finds, and what each step took."""

    steps_s: dict[str, float]
    labels: npt.NDArray[np.uint8]
    tcr: float
    features: dict[str, float]
    risks: tuple[float, ...]


def missing_tools() -> list[str]:
    """Tools of the chain that are not installed here."""
    return [name for name in DISTRIBUTIONS if version(name) == NOT_INSTALLED]


class PeerChain:
    """The chain, with all work done that can precede the verification CT.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask
    network : NetworkPeer
    survival : SurvivalSection
        Standardization, baseline and horizons of the risk model.
    model_bytes : bytes
        Its network.
    features : sequence of str
        PyRadiomics' names of the signature.
    iterations : int
        Of the B-spline, on each level.
    """

    def __init__(
        self,
        planning: CtVolume,
        tumor: LabelMask,
        network: NetworkPeer,
        *,
        survival: SurvivalSection,
        model_bytes: bytes,
        features: Sequence[str],
        iterations: int = ITERATIONS,
    ) -> None:
        load_elastix()
        self._iterations = iterations
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
        self._itk, self._edt = importlib.import_module("itk"), importlib.import_module("edt")
        self._network, self._survival, self._features = network, survival, tuple(features)
        self._risk = importlib.import_module("onnxruntime").InferenceSession(
            model_bytes, providers=["CPUExecutionProvider"]
        )
        self._extractor = _extractor(features)
        grid = self._grid(planning.geometry, _center_lps_mm(tumor))
        self._moving = self._masses(_resampled(planning.voxels_hu, planning.geometry, grid), grid)
        self._tumor = itk_image(
            self._itk, _resampled(tumor.voxels.view(np.uint8), tumor.geometry, grid, nearest=True), grid
        )

    def assess(self, verification: CtVolume, zone: LabelMask, context: VoxelBox) -> ChainAnswer:
        """Segment (the labels are not used further), register, warp, grow, count, measure, predict."""
        steps = Steps()
        labels = self._network.segment(verification, context, steps)
        with steps.timed("crop, resample"):
            grid = self._grid(verification.geometry, _center_lps_mm(zone))
            fixed = _resampled(verification.voxels_hu, verification.geometry, grid)
            covered = _resampled(zone.voxels.view(np.uint8), zone.geometry, grid, nearest=True).view(np.bool_)
        with steps.timed("registration"):
            transform = self._transform(fixed, covered, grid)
        with steps.timed("warp tumor"):
            tumor = self._warped(transform)
        with steps.timed("coverage"):
            distance = self._edt.edt(~tumor, anisotropy=grid.spacing_zyx_mm, parallel=THREADS)
            target = distance <= GROWTH_MM
            tcr = np.count_nonzero(target & covered) / np.count_nonzero(target)
        with steps.timed("radiomics"):
            features = self._measured(verification, zone)
        with steps.timed("risk"):
            risks = self._risks(complete=tcr == 1.0)
        return ChainAnswer(steps.durations_s, labels, tcr, features, risks)

    def _grid(self, ct: VolumeGeometry, center: npt.NDArray[np.float64]) -> VolumeGeometry:
        """1 mm over the part of a cube about a point that the CT shows."""
        corners, half = ct.corners_lps_mm(), EDGE_MM / 2
        low, high = (
            np.maximum(corners.min(axis=0), center - half),
            np.minimum(corners.max(axis=0), center + half),
        )
        return ct.around(low, high, GRID_MM)

    def _masses(self, hu: npt.NDArray[Any], grid: VolumeGeometry) -> Any:
        """Windowed HU from zero, as an ITK image: centers of gravity need masses."""
        return itk_image(self._itk, np.clip(hu, *WINDOW_HU).astype(np.float32) - WINDOW_HU[0], grid)

    def _transform(
        self, fixed: npt.NDArray[Any], covered: npt.NDArray[np.bool_], grid: VolumeGeometry
    ) -> Any:
        away = self._edt.edt(~covered, anisotropy=grid.spacing_zyx_mm, parallel=THREADS)
        evidence = itk_image(self._itk, (away > MASKED_AROUND_ZONE_MM).astype(np.uint8), grid)
        return elastix_transform(
            self._itk, self._masses(fixed, grid), self._moving, evidence, self._iterations
        )

    def _warped(self, transform: Any) -> npt.NDArray[np.bool_]:
        """The planning tumor where the registration puts it, on the verification grid."""
        for number in range(transform.GetNumberOfParameterMaps()):
            transform.SetParameter(number, "FinalBSplineInterpolationOrder", ["0"])
        with tempfile.TemporaryDirectory() as folder:
            warped = self._itk.transformix_filter(
                self._tumor, transform, log_to_console=False, output_directory=folder
            )
        return np.asarray(self._itk.array_from_image(warped)) > 0

    def _measured(self, ct: CtVolume, zone: LabelMask) -> dict[str, float]:
        """The signature's features; normalized by the whole CT, everything else on a crop."""
        settings = RadiomicsSettings()
        mean, sd = float(ct.voxels_hu.mean()), float(ct.voxels_hu.std(ddof=1))
        crop = _around(zone, RADIOMICS_ROOM_MM)
        normalized = (ct.voxels_hu[crop] - mean) / sd * settings.normalize_scale
        geometry = ct.geometry.crop(
            VoxelBox.between([part.start for part in crop], [part.stop for part in crop])
        )
        image = sitk_image(np.ascontiguousarray(normalized), geometry)
        mask = sitk_image(np.ascontiguousarray(zone.voxels[crop]).view(np.uint8), geometry)
        measured = self._extractor.execute(image, mask)
        return {name: float(measured[name]) for name in self._features}

    def _risks(self, *, complete: bool) -> tuple[float, ...]:
        """Mean risk of the members at each horizon, for a man with the mean of every other covariate."""
        covariates = {"sex": 1.0, "complete_coverage": float(complete)}
        row = [(covariates.get(c.name, c.mean) - c.mean) / c.sd for c in self._survival.covariates]
        inputs = {self._risk.get_inputs()[0].name: np.array([row], dtype=np.float32)}
        log_risk = np.asarray(self._risk.run(["log_risk"], inputs)[0], dtype=np.float64)[0]
        months = np.array(self._survival.baseline.months)
        hazard = np.array(self._survival.baseline.cumulative_hazard)
        steps = [
            int(np.searchsorted(months, month, side="right")) - 1 for month in self._survival.horizons_months
        ]
        risks = 1 - np.exp(-hazard[:, steps] * np.exp(log_risk)[:, None])
        return tuple(float(risk) for risk in risks.mean(axis=0))


class Chain:
    """The chain as a contender against Coldspot.

    Parameters
    ----------
    source : Path
        nnU-Net's folder of the network.
    bundle : Path
        The network exported.
    segmenter : Segmenter
        Coldspot's own of the same network, for the crop of one patch and to compare labels.
    """

    def __init__(self, source: Path, bundle: Path, segmenter: Segmenter) -> None:
        self._survival, self._risk_bytes = demo_survival(), load_bundle(DEMO_RISK).model_bytes
        self._segmenter, self._network = segmenter, NetworkPeer(source, bundle / MODEL_FILE)
        self._own_labels: dict[str, npt.NDArray[np.uint8]] = {}

    def warm(self, case: AblationCase) -> dict[str, Any]:
        """A run that loads and tunes everything, with a registration that ends early."""
        return self.assess(case, iterations=5)

    def assess(self, case: AblationCase, iterations: int = ITERATIONS) -> dict[str, Any]:
        """One run, timed from the voxels in memory; what needs the planning CT alone is done before."""
        case = case.as_new()
        chain = PeerChain(
            case.planning,
            case.tumor,
            self._network,
            survival=self._survival,
            model_bytes=self._risk_bytes,
            features=SIGNATURE_FEATURES,
            iterations=iterations,
        )
        x, y, z = (float(v) for v in _center_lps_mm(case.zone))
        # Less the half voxels that stand out: one patch and not two.
        box = Box.around((x, y, z), (EDGE_MM - max(case.verification.geometry.spacing_zyx_mm)) / 2)
        region, context = self._segmenter.crops(case.verification.geometry, box)
        if case.name not in self._own_labels:
            self._own_labels[case.name] = self._segmenter.segment(case.verification, around=box).labels
        started = time.perf_counter()
        answer = chain.assess(case.verification, case.zone, context)
        total_s = time.perf_counter() - started
        network_s = sum(s for name, s in answer.steps_s.items() if name.startswith("network"))
        chain_labels = answer.labels[region.within(context).slices]
        return {
            "total_s": total_s,
            "network_s": network_s,
            "without_network_s": total_s - network_s,
            "steps_s": answer.steps_s,
            "tcr": answer.tcr,
            "features": answer.features,
            "labels_differ_share": float((chain_labels != self._own_labels[case.name]).mean()),
        }


def _extractor(features: Sequence[str]) -> Any:
    """PyRadiomics set to compute only the named features, in every image type they need."""
    settings = RadiomicsSettings()
    importlib.import_module("radiomics").setVerbosity(60)
    extractor = importlib.import_module("radiomics.featureextractor").RadiomicsFeatureExtractor(
        normalize=False,
        resampledPixelSpacing=[settings.spacing_mm] * 3,
        interpolator=settings.interpolator,
        padDistance=settings.pad_voxels,
        binWidth=settings.bin_width,
        voxelArrayShift=settings.voxel_array_shift,
        additionalInfo=False,
    )
    names_by_class: dict[str, list[str]] = {}
    for name in features:
        _, feature_class, feature = name.split("_")
        names_by_class.setdefault(feature_class, []).append(feature)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(**names_by_class)
    if any(name.startswith("wavelet") for name in features):
        extractor.enableImageTypeByName("Wavelet")
    return extractor


def _resampled(
    voxels: npt.NDArray[Any], geometry: VolumeGeometry, grid: VolumeGeometry, *, nearest: bool = False
) -> npt.NDArray[Any]:
    onto = sitk.Image(list(grid.shape_zyx[::-1]), sitk.sitkUInt8)
    onto.SetSpacing(grid.spacing_zyx_mm[::-1])
    onto.SetOrigin(grid.origin_lps_mm)
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    outside = 0 if nearest else WINDOW_HU[0]
    image = sitk_image(np.ascontiguousarray(voxels), geometry)
    resampled = sitk.Resample(image, onto, sitk.Transform(), interpolator, outside, image.GetPixelID())
    return np.asarray(sitk.GetArrayFromImage(resampled))


def _center_lps_mm(mask: LabelMask) -> npt.NDArray[np.float64]:
    """Center of the box around a structure, where a user would click."""
    box = _around(mask, 0.0)
    middle = [(part.start + part.stop - 1) / 2 for part in box]
    return np.asarray(mask.geometry.to_lps(np.array(middle)))


def _around(mask: LabelMask, room_mm: float) -> tuple[slice, slice, slice]:
    """Box of a mask with room on all sides, by NumPy."""
    slices = []
    for axis, (size, step) in enumerate(zip(mask.voxels.shape, mask.geometry.spacing_zyx_mm, strict=True)):
        occupied = np.flatnonzero(mask.voxels.any(axis=tuple(other for other in range(3) if other != axis)))
        room_voxels = int(np.ceil(room_mm / step))
        slices.append(
            slice(max(0, int(occupied[0]) - room_voxels), min(size, int(occupied[-1]) + 1 + room_voxels))
        )
    return slices[0], slices[1], slices[2]
