"""Where voxels are: grids, boxes of voxels and rigid transforms, apart from the voxels.

Arrays are indexed (z, y, x): slice, row, column. Positions are LPS (left, posterior, superior
increase) in mm, as DICOM has them (PS3.3 C.7.6.2.1.1). A voxel's position is its center.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array, read_only
from engine.errors import InvalidGeometryError

DIRECTION_TOLERANCE = 1e-3
"""Largest deviation from orthonormal unit axes that is taken for header rounding."""

SAME_GRID_TOLERANCE_MM = 0.05
"""Two grids are one when no corner differs by more: a tenth of the finest CT voxel."""

Vector3 = tuple[float, float, float]
Index3 = tuple[int, int, int]


@dataclass(frozen=True)
class VoxelBox:
    """A box of voxels in an array.

    Parameters
    ----------
    start_zyx, stop_zyx : tuple of int
        First index and exclusive last index along each array axis.
    """

    start_zyx: Index3
    stop_zyx: Index3

    @classmethod
    def between(cls, start_zyx: npt.ArrayLike, stop_zyx: npt.ArrayLike) -> VoxelBox:
        """The box between two corners (3,) of any integer type; the stop is exclusive."""
        return cls(index3(start_zyx), index3(stop_zyx))

    @classmethod
    def placed(cls, start_zyx: npt.ArrayLike, shape_zyx: npt.ArrayLike) -> VoxelBox:
        """The box of a shape (3,) that begins at an index (3,)."""
        return cls(index3(start_zyx), index3(np.add(start_zyx, shape_zyx)))

    @classmethod
    def whole(cls, shape_zyx: Index3) -> VoxelBox:
        """All of an array."""
        return cls((0, 0, 0), shape_zyx)

    @property
    def shape_zyx(self) -> Index3:
        """Number of voxels along each axis."""
        return index3(np.subtract(self.stop_zyx, self.start_zyx))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into its array."""
        a, b, c = (slice(start, stop) for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return a, b, c

    def padded(self, voxels: npt.ArrayLike) -> VoxelBox:
        """The box with so many voxels more on every side, for all axes or for each; it may leave the array."""
        return VoxelBox.between(np.subtract(self.start_zyx, voxels), np.add(self.stop_zyx, voxels))

    def clipped(self, shape_zyx: Index3) -> VoxelBox:
        """The part of the box that lies in an array of a shape."""
        return VoxelBox.between(np.clip(self.start_zyx, 0, shape_zyx), np.clip(self.stop_zyx, 0, shape_zyx))

    def moved(self, offset_zyx: npt.ArrayLike) -> VoxelBox:
        """The box moved by so many voxels along each axis."""
        return VoxelBox.between(np.add(self.start_zyx, offset_zyx), np.add(self.stop_zyx, offset_zyx))

    def within(self, outer: VoxelBox) -> VoxelBox:
        """The same voxels, counted from the start of ``outer``."""
        return self.moved(np.negative(outer.start_zyx))


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """A rotation and a translation from one patient frame to another.

    Names say both frames, the target first: ``planning_from_verification`` maps positions of the verification CT
    to the planning CT, and ``a_from_b @ b_from_c`` maps from c to a.

    Parameters
    ----------
    matrix : ndarray, (4, 4)
        Homogeneous, LPS mm to LPS mm; kept as a read-only copy.

    Raises
    ------
    InvalidGeometryError
        If the matrix is not 4x4, not finite, or does more than rotate and translate.
    """

    matrix: Float64Array

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise InvalidGeometryError(
                f"a rigid transform needs a finite 4x4 matrix, not one of shape {matrix.shape}"
            )
        rotation = matrix[:3, :3]
        if (
            not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0))
            or np.abs(rotation @ rotation.T - np.eye(3)).max() > DIRECTION_TOLERANCE
            or np.linalg.det(rotation) < 0.0
        ):
            raise InvalidGeometryError(
                "the matrix scales, shears, mirrors or projects; a rigid one only rotates and translates"
            )
        object.__setattr__(self, "matrix", read_only(matrix))

    @classmethod
    def identity(cls) -> RigidTransform:
        """The transform between two frames that coincide."""
        return cls(np.eye(4))

    @classmethod
    def from_translation(cls, translation_lps_mm: npt.ArrayLike) -> RigidTransform:
        """A shift (3,) without rotation."""
        matrix = np.eye(4)
        matrix[:3, 3] = translation_lps_mm
        return cls(matrix)

    @classmethod
    def from_rotation(cls, rotation: npt.ArrayLike, translation_lps_mm: npt.ArrayLike) -> RigidTransform:
        """A rotation (3, 3) about the origin, then a shift (3,)."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, translation_lps_mm
        return cls(matrix)

    @property
    def rotation(self) -> Float64Array:
        """Rotation matrix, (3, 3)."""
        return self.matrix[:3, :3]

    @property
    def translation_mm(self) -> Float64Array:
        """Where the origin of the source frame goes, (3,) LPS mm."""
        return self.matrix[:3, 3]

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation, 0 to 180."""
        turned = np.abs(np.linalg.svd(self.rotation - self.rotation.T)[1]).max() / 2.0  # sine of the angle
        return float(np.rad2deg(np.arctan2(turned, 0.5 * (np.trace(self.rotation) - 1.0))))

    @property
    def inverse(self) -> RigidTransform:
        """The transform back."""
        return RigidTransform(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def apply(self, points_lps_mm: npt.ArrayLike) -> Float64Array:
        """Map positions (..., 3) of the source frame to the target frame, LPS mm."""
        return apply_affine(self.matrix, points_lps_mm)

    def __matmul__(self, first: RigidTransform) -> RigidTransform:
        """The transform that applies ``first`` and then this one."""
        return RigidTransform(self.matrix @ first.matrix)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RigidTransform) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash(self.matrix.tobytes())


@dataclass(frozen=True)
class VolumeGeometry:
    """The grid of a volume in patient coordinates.

    Parameters
    ----------
    shape_zyx : tuple of int
        Number of voxels along each array axis.
    spacing_zyx_mm : tuple of float
        Distance between voxel centers along each array axis, mm.
    directions_zyx_lps : tuple of three unit vectors
        LPS direction in which the index of each array axis increases; mutually orthogonal.
    origin_lps_mm : tuple of float
        LPS position of the center of voxel (0, 0, 0), mm.
    frame_of_reference_uid : str, optional
        DICOM Frame of Reference UID, empty where unknown.

    Raises
    ------
    InvalidGeometryError
        If a value is not finite, a spacing or a size is not positive, or the axes are not
        orthonormal.
    """

    shape_zyx: Index3
    spacing_zyx_mm: Vector3
    directions_zyx_lps: tuple[Vector3, Vector3, Vector3] = (
        (0.0, 0.0, 1.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0),
    )
    origin_lps_mm: Vector3 = (0.0, 0.0, 0.0)
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        numbers = np.array([*self.spacing_zyx_mm, *self.origin_lps_mm, *np.ravel(self.directions_zyx_lps)])
        if numbers.size != 15 or len(self.shape_zyx) != 3:
            raise InvalidGeometryError("a volume needs three axes; check the header for a 2D or 4D image")
        if not np.isfinite(numbers).all():
            raise InvalidGeometryError(
                "spacing, direction or origin is not a finite number; check the header"
            )
        if min(self.shape_zyx) < 1:
            raise InvalidGeometryError(f"a volume of {self.shape_zyx} voxels is empty")
        if min(self.spacing_zyx_mm) <= 0:
            raise InvalidGeometryError(f"voxel spacing {self.spacing_zyx_mm} mm must be positive")
        axes = np.array(self.directions_zyx_lps)
        if np.abs(axes @ axes.T - np.eye(3)).max() > DIRECTION_TOLERANCE:
            raise InvalidGeometryError(
                "the axes of the volume are not orthogonal unit vectors (a sheared or tilted "
                "acquisition); resample it to an orthogonal grid first"
            )

    @property
    def affine_lps_mm(self) -> Float64Array:
        """Homogeneous 4x4 matrix from a (z, y, x) index to an LPS position in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.directions_zyx_lps).T * np.array(self.spacing_zyx_mm)
        matrix[:3, 3] = self.origin_lps_mm
        return matrix

    @property
    def index_from_lps(self) -> Float64Array:
        """Homogeneous 4x4 matrix from an LPS position in mm to a (z, y, x) index."""
        return np.asarray(np.linalg.inv(self.affine_lps_mm), dtype=np.float64)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel, mL."""
        return float(np.prod(self.spacing_zyx_mm)) / 1000.0

    def to_lps(self, index_zyx: npt.ArrayLike) -> Float64Array:
        """Positions (..., 3) in LPS mm of indices (..., 3) in (z, y, x) order."""
        return apply_affine(self.affine_lps_mm, index_zyx)

    def to_index(self, position_lps_mm: npt.ArrayLike) -> Float64Array:
        """Fractional (z, y, x) indices (..., 3) of LPS positions (..., 3) in mm."""
        return apply_affine(self.index_from_lps, position_lps_mm)

    def contains(self, position_lps_mm: npt.ArrayLike) -> BoolArray:
        """Whether positions lie inside the outer faces of the volume's voxels."""
        index = self.to_index(position_lps_mm)
        inside = (index >= -0.5) & (index <= np.array(self.shape_zyx) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def corners_lps_mm(self) -> Float64Array:
        """The eight outermost voxel centers, (8, 3) LPS mm."""
        last = np.array(self.shape_zyx) - 1
        return self.to_lps(np.array(list(np.ndindex(2, 2, 2))) * last)

    def same_grid(self, other: VolumeGeometry) -> bool:
        """Whether both grids have the same voxels (frame of reference not compared)."""
        return self.shape_zyx == other.shape_zyx and bool(
            np.abs(self.corners_lps_mm() - other.corners_lps_mm()).max() <= SAME_GRID_TOLERANCE_MM
        )

    def crop(self, box: VoxelBox) -> VolumeGeometry:
        """The grid of ``voxels[box.slices]``."""
        x, y, z = (float(v) for v in self.to_lps(np.array(box.start_zyx, dtype=float)))
        return replace(self, shape_zyx=box.shape_zyx, origin_lps_mm=(x, y, z))

    def box_of(self, part: VolumeGeometry) -> VoxelBox:
        """Where a grid that was cropped from this one lies in it."""
        start = np.rint(self.to_index(part.origin_lps_mm))
        return VoxelBox.placed(start, part.shape_zyx)

    def around(
        self, low_lps_mm: npt.ArrayLike, high_lps_mm: npt.ArrayLike, spacing_mm: float
    ) -> VolumeGeometry:
        """An isotropic axis-aligned LPS grid in this frame of reference that covers a box.

        Parameters
        ----------
        low_lps_mm, high_lps_mm : array_like, (3,)
            Opposite corners of the box, LPS mm.
        spacing_mm : float
            Voxel spacing of the new grid along all axes.
        """
        low, high = np.asarray(low_lps_mm, dtype=float), np.asarray(high_lps_mm, dtype=float)
        size_xyz = np.ceil((high - low) / spacing_mm).astype(int) + 1
        shape = (int(size_xyz[2]), int(size_xyz[1]), int(size_xyz[0]))
        return VolumeGeometry(
            shape_zyx=shape,
            spacing_zyx_mm=(spacing_mm, spacing_mm, spacing_mm),
            origin_lps_mm=(float(low[0]), float(low[1]), float(low[2])),
            frame_of_reference_uid=self.frame_of_reference_uid,
        )


def apply_affine(matrix: npt.ArrayLike, points: npt.ArrayLike) -> Float64Array:
    """Map points (..., 3) by a homogeneous 4x4 (or 3x4) matrix."""
    m = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ m[:3, :3].T + m[:3, 3]


def index3(values: npt.ArrayLike) -> Index3:
    """Three plain integers from an array (3,)."""
    z, y, x = (int(v) for v in np.asarray(values))
    return z, y, x
