"""The registration methods that Coldspot's is compared with, each from files' voxels to a displacement field in LPS mm.

Every one starts from a rigid alignment, as it would in practice: the headers of the scans do not align them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import ndimage

from benchmarks.threads import THREADS
from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.resampling import resample
from engine.registration.field import DisplacementField
from engine.volume import CtVolume, LabelMask

WINDOW_HU: Final = (-1000.0, 200.0)
MASKED_AROUND_ZONE_MM: Final = 4.0
LESION_SPACING_MM: Final = 1.0
LUNG_SPACING_MM: Final = 2.5
ELASTIX_FIELD_SPACING_MM: Final = 2.0
ELASTIX_LEVELS: Final = 4
DEMONS_SCHEDULE: Final = ((4, 100), (2, 50), (1, 25))
"""Shrink factor and iterations of each level."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Input of a method: fixed (after the ablation) and moving (planning) CT, and the zone to leave out."""

    fixed: CtVolume
    moving: CtVolume
    zone: LabelMask | None
    tumor: LabelMask | None

    @property
    def spacing_mm(self) -> float:
        """Isotropic spacing for methods that need one: fine around a lesion, coarser for whole lungs."""
        return LESION_SPACING_MM if self.zone is not None else LUNG_SPACING_MM

    @property
    def grid(self) -> VolumeGeometry:
        """Isotropic grid over the fixed CT."""
        corners = self.fixed.geometry.corners_lps_mm()
        return self.fixed.geometry.around(corners.min(axis=0), corners.max(axis=0), self.spacing_mm)


@dataclass(frozen=True)
class Peer:
    """A method, the package that has it, and how it is set."""

    name: str
    package: str
    settings: str
    register: Callable[[Pair], DisplacementField]
    load: Callable[[], object] = lambda: None
    """Imports what it needs, before the clock starts."""

    @property
    def version(self) -> str | None:
        """Installed version, None where the package is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def elastix(pair: Pair, iterations: int = 150) -> DisplacementField:
    """Rigid, then B-spline of 10 mm; the zone and 4 mm around it are masked out of the metric."""
    itk = importlib.import_module("itk")
    # Centers of gravity need masses, so air is zero.
    fixed, moving = (itk_image(itk, windowed(ct) - WINDOW_HU[0], ct.geometry) for ct in _both(pair))
    evidence = None if pair.zone is None else _beyond_zone(pair.zone).astype(np.uint8)
    mask = None if evidence is None else itk_image(itk, evidence, pair.fixed.geometry)
    transform = elastix_transform(itk, fixed, moving, mask, iterations)
    corners = pair.fixed.geometry.corners_lps_mm()
    grid = pair.fixed.geometry.around(corners.min(axis=0), corners.max(axis=0), ELASTIX_FIELD_SPACING_MM)
    for number in range(transform.GetNumberOfParameterMaps()):
        transform.SetParameter(number, "Size", [str(n) for n in grid.shape_zyx[::-1]])
        transform.SetParameter(number, "Spacing", [str(s) for s in grid.spacing_zyx_mm])
        transform.SetParameter(number, "Origin", [repr(v) for v in grid.origin_lps_mm])
        transform.SetParameter(number, "Index", ["0", "0", "0"])
        transform.SetParameter(number, "Direction", [str(v) for v in np.eye(3).ravel()])
    with tempfile.TemporaryDirectory() as folder:  # it writes the field to a file as well, wherever it runs
        field = itk.transformix_deformation_field(moving, transform, output_directory=folder)
    return DisplacementField(np.asarray(itk.array_from_image(field), dtype=np.float32), grid)


def elastix_transform(itk: Any, fixed: Any, moving: Any, mask: Any = None, iterations: int = 150) -> Any:
    """What elastix finds between two ITK images of masses: moving from fixed, ready for transformix."""
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(THREADS)
    settings = itk.ParameterObject.New()
    rigid = settings.GetDefaultParameterMap("rigid", ELASTIX_LEVELS)
    rigid["WriteResultImage"] = ["false"]  # nobody asked for the warped image: it would only take time
    rigid["AutomaticTransformInitialization"] = ["true"]
    rigid["AutomaticTransformInitializationMethod"] = ["CenterOfGravity"]
    settings.AddParameterMap(rigid)
    spline = settings.GetDefaultParameterMap("bspline", ELASTIX_LEVELS, 10.0)
    spline["WriteResultImage"] = ["false"]
    spline["Metric"] = ["AdvancedMattesMutualInformation", "TransformBendingEnergyPenalty"]
    spline["Metric0Weight"], spline["Metric1Weight"] = ["1.0"], ["0.05"]
    spline["MaximumNumberOfIterations"] = [str(iterations)]
    settings.AddParameterMap(spline)
    masks = {} if mask is None else {"fixed_mask": mask}
    # Told number_of_threads as well, itk-elastix 0.25.4 crashes at its second stage.
    _, transform = itk.elastix_registration_method(
        fixed, moving, parameter_object=settings, log_to_console=False, **masks
    )
    return transform


def convexadam(pair: Pair) -> DisplacementField:
    """MIND features, coupled convex optimization, Adam; the package's defaults, nothing masked."""
    torch = importlib.import_module("torch")
    method = importlib.import_module("convexAdam.convex_adam_MIND")
    torch.set_num_threads(THREADS)
    grid, start = pair.grid, rigid_start(pair)
    with contextlib.redirect_stdout(io.StringIO()):
        shift = method.convex_adam_pt(
            _on_grid(pair.fixed, grid, RigidTransform.identity()),
            _on_grid(pair.moving, grid, start),
            dtype=torch.float32,
            device=torch.device("cpu"),
        )
    return _composed(grid, start, shift[..., ::-1] * pair.spacing_mm)


def demons(pair: Pair) -> DisplacementField:
    """Fast symmetric forces demons on three levels, nothing masked."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    grid, start = pair.grid, rigid_start(pair)
    fixed = sitk_image(_on_grid(pair.fixed, grid, RigidTransform.identity()), grid)
    moving = sitk_image(_on_grid(pair.moving, grid, start), grid)
    initial: tuple[sitk.Image, ...] = ()
    for shrink, iterations in DEMONS_SCHEDULE:
        small_fixed, small_moving = (_shrunk(image, shrink) for image in (fixed, moving))
        method = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        method.SetNumberOfIterations(iterations)
        method.SetSmoothDisplacementField(True)
        method.SetStandardDeviations(1.5)
        resampled = (
            sitk.Resample(field, small_fixed, sitk.Transform(), sitk.sitkLinear) for field in initial
        )
        initial = (method.Execute(small_fixed, small_moving, *resampled),)
    (field,) = initial
    shift_mm = sitk.GetArrayFromImage(sitk.Resample(field, fixed, sitk.Transform(), sitk.sitkLinear))
    return _composed(grid, start, shift_mm)


def rigid_start(pair: Pair) -> RigidTransform:
    """Moving from fixed, by mutual information from the centers of mass; the zone is masked out."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(THREADS)
    fixed, moving = (sitk_image(windowed(ct) - WINDOW_HU[0], ct.geometry) for ct in _both(pair))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1, 1)
    if pair.zone is not None:
        evidence = _beyond_zone(pair.zone).astype(np.uint8)
        method.SetMetricFixedMask(sitk_image(evidence, pair.fixed.geometry))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 150)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
    method.SetInitialTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        ),
        inPlace=False,
    )
    transform = method.Execute(fixed, moving)
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - matrix[:3, 3]
    return RigidTransform(matrix)


def load_elastix() -> None:
    itk = importlib.import_module("itk")
    # ITK loads its parts when they are named.
    for name in (
        "ParameterObject",
        "elastix_registration_method",
        "transformix_deformation_field",
        "transformix_filter",
        "Image",
    ):
        getattr(itk, name)


PEERS: Final = (
    Peer(
        "elastix",
        "itk-elastix",
        "rigid, then B-spline 10 mm, mutual information, bending energy 0.05, 4 levels, 150 iterations, "
        f"zone and {MASKED_AROUND_ZONE_MM:g} mm around it masked out",
        elastix,
        load_elastix,
    ),
    Peer(
        "convexadam",
        "convexadam",
        "rigid start, isotropic, MIND, defaults, on the CPU",
        convexadam,
        lambda: importlib.import_module("convexAdam.convex_adam_MIND"),
    ),
    Peer(
        "demons",
        "SimpleITK",
        "rigid start, isotropic, fast symmetric forces demons, 3 levels of "
        + ", ".join(str(iterations) for _, iterations in DEMONS_SCHEDULE)
        + " iterations",
        demons,
    ),
)


def _both(pair: Pair) -> tuple[CtVolume, CtVolume]:
    return pair.fixed, pair.moving


def windowed(ct: CtVolume) -> Float32Array:
    return np.clip(ct.voxels_hu, *WINDOW_HU).astype(np.float32)


def _beyond_zone(zone: LabelMask) -> BoolArray:
    away = ndimage.distance_transform_edt(~zone.voxels, sampling=zone.geometry.spacing_zyx_mm)
    return np.asarray(away > MASKED_AROUND_ZONE_MM)


def _on_grid(ct: CtVolume, grid: VolumeGeometry, ct_from_grid: RigidTransform) -> Float32Array:
    """Windowed HU on a grid of the fixed frame."""
    hu = resample(
        windowed(ct),
        ct.geometry.index_from_lps @ ct_from_grid.matrix @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        fill=WINDOW_HU[0],
    )
    return np.asarray(hu, dtype=np.float32)


def _composed(grid: VolumeGeometry, start: RigidTransform, shift_mm: Float64Array) -> DisplacementField:
    """The rigid start after a displacement on the grid of the fixed frame."""
    points = grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1))
    displacement = start.apply(points + shift_mm) - points
    return DisplacementField(displacement.astype(np.float32), grid)


def sitk_image(voxels: npt.NDArray[Any], geometry: VolumeGeometry) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_lps_mm)
    image.SetDirection(np.array(geometry.directions_zyx_lps)[::-1].T.ravel().tolist())
    return image


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    if factor == 1:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(image, 0.5 * factor * image.GetSpacing()[0])
    smaller: sitk.Image = sitk.Shrink(smooth, [factor] * 3)
    return smaller


def itk_image(itk: Any, voxels: npt.NDArray[Any], geometry: VolumeGeometry) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(voxels))
    image.SetSpacing([float(s) for s in geometry.spacing_zyx_mm[::-1]])
    image.SetOrigin([float(v) for v in geometry.origin_lps_mm])
    image.SetDirection(itk.matrix_from_array(np.array(geometry.directions_zyx_lps)[::-1].T))
    return image
