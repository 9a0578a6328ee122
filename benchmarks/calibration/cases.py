"""The simulated procedures of the calibration study: each drawn from its own seed, made, kept and read back."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.calibration.keeping import keep, load
from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.files.image_file import read_ct_image, read_mask_image
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.phantoms.chest import Chest, chest_of_ct, procedural_chest, random_place
from engine.phantoms.free_deformation import DeformationKind
from engine.phantoms.procedure import CHEST_BEYOND_SCAN_MM, Course, PhantomProcedure, run_course
from engine.phantoms.thorax import lung_depth_mm
from engine.phantoms.tumor import LobulatedTumor, SmoothedMask, TumorShape, random_tumor
from engine.volume import CtVolume, LabelMask

Source = Literal["phantom", "real_own_nodule", "real_inserted", "real_thick"]
SOURCES: Final[tuple[Source, ...]] = ("phantom", "real_own_nodule", "real_inserted", "real_thick")
SOURCE_SHARES: Final = (0.5, 0.09, 0.36, 0.05)
DEFORMATIONS: Final[tuple[DeformationKind, ...]] = ("stiff", "smooth", "sliding")

CLASSES_MM: Final = ((3.0, 7.0), (-3.0, 3.0), (3.0, 7.0), (7.0, 10.5))
"""The margin is asked for in these ranges by turns: half of the cases in the first, where it matters."""

SIZE_MM: Final = 112.0
MAX_TUMOR_ML: Final = 10.0
MIN_TUMOR_ML: Final = 0.3
PLEURAL_SHARE: Final = 0.2
"""Of the cases outside the middle class: the tumor lies at the pleura, which ends every margin there."""

CLEAR_MM: Final = 2.0
"""Lung beyond the asked margin, where the pleura is not to end it."""

FROM_EDGE_MM: Final = 40.0
RIGHT_OF_X_MM: Final = -30.0
APART_MM: Final = 22.0
"""A tumor put into a real CT keeps this distance from the edge of the CT and from the CT's own nodule."""


@dataclass(frozen=True)
class CaseDescription:
    """All random choices of one case."""

    number: int
    seed: int
    source: Source
    requested_margin_mm: float
    deformation: DeformationKind
    greatest_bend_mm: float
    slide_mm: float
    contraction: float
    noise_hu: float
    pleural: bool
    real_shape: bool
    tumor_volume_ml: float
    planning_spacing_zyx_mm: Vector3
    verification_spacing_zyx_mm: Vector3


def describe_case(seed: int, number: int, *, real: bool) -> CaseDescription:
    """Draw a case; every draw is made whatever its use, so that cases of one number differ little."""
    rng = np.random.default_rng([seed, number, 0])
    low, high = CLASSES_MM[number % len(CLASSES_MM)]
    margin = float(rng.uniform(low, high))
    source = SOURCES[int(rng.choice(len(SOURCES), p=SOURCE_SHARES))]
    deformation = DEFORMATIONS[int(rng.choice(len(DEFORMATIONS)))]
    bend, slide, contraction = rng.uniform(3.0, 10.0), rng.uniform(3.0, 10.0), rng.uniform(0.0, 0.2)
    noise = rng.uniform(8.0, 30.0)
    in_middle = (low, high) == CLASSES_MM[0]
    pleural = bool(rng.random() < PLEURAL_SHARE) and not in_middle
    real_shape = bool(rng.random() < 0.5)
    volume = float(np.clip(np.exp(rng.normal(0.2, 0.9)), MIN_TUMOR_ML, MAX_TUMOR_ML))
    thin, in_plane = rng.uniform(0.8, 1.25, 2), rng.uniform(0.65, 0.85, 2)
    slice_mm = float(rng.choice([5.0, 2.5, thin[1]], p=[0.08, 0.14, 0.78]))
    if source != "phantom" and not real:
        source = "phantom"
    if source == "real_thick":
        slice_mm = 5.0
    return CaseDescription(
        number=number,
        seed=seed,
        source=source,
        requested_margin_mm=margin,
        deformation=deformation,
        greatest_bend_mm=float(bend),
        slide_mm=float(slide),
        contraction=float(contraction),
        noise_hu=float(noise),
        pleural=pleural,
        real_shape=real_shape,
        tumor_volume_ml=volume,
        planning_spacing_zyx_mm=(float(thin[0]), float(in_plane[0]), float(in_plane[0])),
        verification_spacing_zyx_mm=(slice_mm, float(in_plane[1]), float(in_plane[1])),
    )


class RealMaterial:
    """Real CTs, their nodules and nodule shapes, read once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def thin(self) -> tuple[CtVolume, LabelMask]:
        folder = self.root / "ct-lidc0314"
        tumor = read_mask_image(folder / "nodule_consensus50.nii.gz", "tumor")
        return read_ct_image(folder / "ct_right_lung.nii.gz"), tumor

    @cached_property
    def thick(self) -> tuple[CtVolume, LabelMask]:
        folder = self.root / "ct-pyradiomics-lung1"
        return read_ct_image(folder / "image.nii.gz"), read_mask_image(folder / "label.nii.gz", "tumor")

    @cached_property
    def thin_nodule(self) -> SmoothedMask:
        return SmoothedMask(self.thin[1])

    @cached_property
    def thick_nodule(self) -> SmoothedMask:
        return SmoothedMask(self.thick[1])

    @cached_property
    def thin_chest(self) -> Chest:
        return chest_of_ct(self.thin[0], self.thin_nodule.center_lps_mm)

    @cached_property
    def thick_chest(self) -> Chest:
        return chest_of_ct(self.thick[0], self.thick_nodule.center_lps_mm)

    def shape(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.bool_], Vector3]:
        """A real nodule's mask and voxel spacing: thin slices, and neither tiny nor huge."""
        folder = self.root / "shapes-lidc"
        rows = np.genfromtxt(
            folder / "index.csv", delimiter=",", names=True, dtype=None, encoding="utf-8", usecols=range(10)
        )
        fitting = np.flatnonzero(
            (rows["dz_mm"] <= 1.25)
            & (rows["volume_ml"] >= MIN_TUMOR_ML)
            & (rows["volume_ml"] <= MAX_TUMOR_ML)
        )
        row = rows[rng.choice(fitting)]
        shape = tuple(int(row[f"n{axis}"]) for axis in "zyx")
        with np.load(folder / "lidc_nodule_masks_250.npz") as packed:
            bits = np.unpackbits(packed[f"m{int(row['index']):03d}"])[: int(np.prod(shape))]
        spacing = (float(row["dz_mm"]), float(row["dy_mm"]), float(row["dx_mm"]))
        return bits.reshape(shape).astype(np.bool_), spacing


def real_material() -> RealMaterial | None:
    """The real CTs that ``COLDSPOT_DATA`` leads to, if it does."""
    root = os.environ.get("COLDSPOT_DATA")
    folder = Path(root) if root else None
    return RealMaterial(folder) if folder is not None and (folder / "ct-lidc0314").is_dir() else None


def make_case(description: CaseDescription, real: RealMaterial | None) -> PhantomProcedure:
    """Simulate a case; the same description gives the same voxels."""
    rng = np.random.default_rng([description.seed, description.number, 2])
    course = Course(
        minimal_margin_mm=description.requested_margin_mm,
        contraction=description.contraction,
        greatest_bend_mm=description.greatest_bend_mm,
        deformation=description.deformation,
        slide_mm=description.slide_mm,
        noise_hu=description.noise_hu,
        size_mm=SIZE_MM,
        planning_spacing_zyx_mm=description.planning_spacing_zyx_mm,
        verification_spacing_zyx_mm=description.verification_spacing_zyx_mm,
    )
    frame = f"2.25.{description.seed}{description.number:05d}"
    if description.source == "phantom":
        chest, tumor = _in_phantom(rng, description, real)
        return run_course(rng, chest, tumor, course, frame)
    if real is None:
        raise InvalidRequestError(f"case {description.number} needs a real CT; set COLDSPOT_DATA")
    if description.source == "real_thick":
        planning = _cropped(*real.thick, real.thick_nodule.center_lps_mm)
        return run_course(rng, real.thick_chest, real.thick_nodule, course, frame, planning=planning)
    if description.source == "real_own_nodule":
        planning = _cropped(*real.thin, real.thin_nodule.center_lps_mm)
        return run_course(rng, real.thin_chest, real.thin_nodule, course, frame, planning=planning)
    return run_course(rng, real.thin_chest, _inserted(rng, description, real), course, frame)


def _in_phantom(
    rng: np.random.Generator, description: CaseDescription, real: RealMaterial | None
) -> tuple[Chest, TumorShape]:
    """A tumor somewhere in the procedural lung, and the chest around it."""
    tumor = _tumor(rng, description, real)
    low, high = np.array([-135.0, -50.0, -70.0]), np.array([-45.0, 55.0, 70.0])
    center = random_place(rng, lung_depth_mm, low, high, _depth_range(description, tumor.max_radius_mm))
    tumor = _moved(tumor, center)
    return procedural_chest(rng, tumor.center_lps_mm, 0.5 * SIZE_MM + CHEST_BEYOND_SCAN_MM), tumor


def _inserted(rng: np.random.Generator, description: CaseDescription, real: RealMaterial) -> TumorShape:
    """A tumor somewhere in the lung of the thin real CT, apart from its own nodule."""
    chest, nodule = real.thin_chest, real.thin_nodule
    tumor = _tumor(rng, description, real)

    def depth_in_right_lung(points: Float64Array) -> Float64Array:
        # The CT was cut for its right lung; what it shows of the left one is a sliver at its edge.
        return np.where(points[..., 0] < RIGHT_OF_X_MM, chest.lung_depth_mm(points), -np.inf)

    room = np.array([0.0, 25.0, FROM_EDGE_MM])
    low, high = chest.low_lps_mm + room, chest.high_lps_mm - room
    for _ in range(100):
        center = random_place(
            rng, depth_in_right_lung, low, high, _depth_range(description, tumor.max_radius_mm)
        )
        if (
            np.linalg.norm(center - nodule.center_lps_mm)
            > tumor.max_radius_mm + nodule.max_radius_mm + APART_MM
        ):
            return _moved(tumor, center)
    raise InvalidRequestError(
        f"case {description.number}: no place in the real lung is apart from its own nodule"
    )


def _depth_range(description: CaseDescription, max_radius_mm: float) -> tuple[float, float]:
    """Depth of the tumor's center below the pleura."""
    if description.pleural:
        return 0.55 * max_radius_mm, 1.1 * max_radius_mm
    return max_radius_mm + max(description.requested_margin_mm, 0.0) + CLEAR_MM, np.inf


def _tumor(rng: np.random.Generator, description: CaseDescription, real: RealMaterial | None) -> TumorShape:
    """A lobulated tumor, or a real nodule's shape, around the origin."""
    lobulated = random_tumor(rng, (0.0, 0.0, 0.0), volume_ml=description.tumor_volume_ml)
    if real is None or not description.real_shape:
        return lobulated
    voxels, spacing = real.shape(rng)
    padded = np.pad(voxels, 3)
    return SmoothedMask(LabelMask(padded, VolumeGeometry(padded.shape, spacing), "tumor"))


def _moved(tumor: TumorShape, center_lps_mm: Float64Array) -> TumorShape:
    if isinstance(tumor, LobulatedTumor):
        return LobulatedTumor(center_lps_mm, tumor.radii_mm, tumor.rotation, tumor.bumps)
    if not isinstance(tumor, SmoothedMask):
        raise TypeError(f"a {type(tumor).__name__} cannot be moved")
    geometry = tumor.mask.geometry
    x, y, z = (float(v) for v in np.array(geometry.origin_lps_mm) + center_lps_mm - tumor.center_lps_mm)
    geometry = VolumeGeometry(geometry.shape_zyx, geometry.spacing_zyx_mm, origin_lps_mm=(x, y, z))
    return SmoothedMask(LabelMask(tumor.mask.voxels, geometry, "tumor"))


def _cropped(ct: CtVolume, tumor: LabelMask, center_lps_mm: Float64Array) -> tuple[CtVolume, LabelMask]:
    """The part of a real CT that a planning scan of this study would show."""
    index = ct.geometry.to_index(center_lps_mm)
    half = 0.5 * SIZE_MM / np.array(ct.geometry.spacing_zyx_mm)
    box = VoxelBox.between(np.rint(index - half), np.rint(index + half)).clipped(ct.geometry.shape_zyx)
    return ct.crop(box), tumor.crop(box)


def keep_case(folder: Path, description: CaseDescription, case: PhantomProcedure) -> None:
    """Write a case into a folder of its own."""
    keep(folder, case, {"description": asdict(description)})


def load_case(folder: Path) -> tuple[CaseDescription, PhantomProcedure]:
    """Read a case that :func:`keep_case` wrote."""
    case, content = load(folder)
    return description_of(content["description"]), case


def description_of(content: dict[str, Any]) -> CaseDescription:
    """Rebuild a description from its JSON."""
    for name in ("planning_spacing_zyx_mm", "verification_spacing_zyx_mm"):
        content = {**content, name: tuple(content[name])}
    return CaseDescription(**content)
