"""NIfTI, MetaImage and NRRD written field by field, so that a test can state, contradict or leave out any of them.

Nothing here is shared with the readers: layouts are packed by `struct`, from nifti1.h and nifti2.h.
"""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024}
MET_TYPES = {
    "u1": "UCHAR",
    "i2": "SHORT",
    "i4": "INT",
    "f4": "FLOAT",
    "f8": "DOUBLE",
    "i1": "CHAR",
    "u2": "USHORT",
}
NRRD_TYPES = {
    "u1": "uchar",
    "i2": "short",
    "i4": "int",
    "f4": "float",
    "f8": "double",
    "i1": "int8",
    "u2": "uint16",
}


def ct_voxels(shape_zyx: tuple[int, int, int] = (4, 5, 6), seed: int = 0) -> npt.NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1024, 2000, shape_zyx).astype("<i2")


def nifti(
    voxels: npt.NDArray[Any], *, version: int = 1, order: str = "<", pair: bool = False, **fields: Any
) -> bytes:
    """A header, and the voxels behind it unless they are in a file of their own.

    Fields are those of the header; `affine` (4, 4) in RAS sets pixdim and the sform, with code 1.
    """
    shape = voxels.shape[::-1]
    affine = np.asarray(fields.pop("affine", np.diag([1.0, 1.0, 1.0, 1.0])), dtype=float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    size = 348 if version == 1 else 540
    given: dict[str, Any] = {
        "dim": [3, *shape, 1, 1, 1, 1],
        "datatype": CODES[voxels.dtype.str[1:]],
        "bitpix": 8 * voxels.dtype.itemsize,
        "pixdim": [1.0, *spacing, 0.0, 0.0, 0.0, 0.0],
        "vox_offset": 0 if pair else size + 4,
        "scl_slope": 1.0,
        "scl_inter": 0.0,
        "xyzt_units": 2,
        "qform_code": 0,
        "sform_code": 1,
        "quatern": [0.0, 0.0, 0.0],
        "qoffset": [0.0, 0.0, 0.0],
        "srow": affine[:3],
        "intent_code": 0,
        "magic": None,
    }
    unknown = set(fields) - set(given)
    assert not unknown, unknown
    given |= fields
    header = _nifti1(given, order, pair) if version == 1 else _nifti2(given, order, pair)
    stored = voxels.astype(np.dtype(order + voxels.dtype.str[1:])).tobytes()
    return header if pair else header + b"\0" * 4 + stored


def _nifti1(given: Mapping[str, Any], order: str, pair: bool) -> bytes:
    magic = given["magic"] if given["magic"] is not None else (b"ni1" if pair else b"n+1")
    return b"".join(
        [
            struct.pack(order + "i", 348),
            b"\0" * 36,
            struct.pack(order + "8h", *given["dim"]),
            b"\0" * 12,
            struct.pack(order + "hhhh", given["intent_code"], given["datatype"], given["bitpix"], 0),
            struct.pack(order + "8f", *given["pixdim"]),
            struct.pack(order + "fff", given["vox_offset"], given["scl_slope"], given["scl_inter"]),
            struct.pack(order + "hbB", 0, 0, given["xyzt_units"]),
            b"\0" * 128,
            struct.pack(order + "hh", given["qform_code"], given["sform_code"]),
            struct.pack(order + "6f", *given["quatern"], *given["qoffset"]),
            struct.pack(order + "12f", *np.ravel(given["srow"])),
            b"\0" * 16,
            struct.pack("4s", magic),
        ]
    )


def _nifti2(given: Mapping[str, Any], order: str, pair: bool) -> bytes:
    magic = given["magic"] if given["magic"] is not None else (b"ni2" if pair else b"n+2") + b"\0\r\n\x1a\n"
    return b"".join(
        [
            struct.pack(order + "i8s", 540, magic),
            struct.pack(order + "hh", given["datatype"], given["bitpix"]),
            struct.pack(order + "8q", *given["dim"]),
            b"\0" * 24,
            struct.pack(order + "8d", *given["pixdim"]),
            struct.pack(order + "qdd", int(given["vox_offset"]), given["scl_slope"], given["scl_inter"]),
            b"\0" * 152,
            struct.pack(order + "ii", given["qform_code"], given["sform_code"]),
            struct.pack(order + "6d", *given["quatern"], *given["qoffset"]),
            struct.pack(order + "12d", *np.ravel(given["srow"])),
            struct.pack(order + "iii", 0, given["xyzt_units"], given["intent_code"]),
            b"\0" * 32,
        ]
    )


def metaimage(voxels: npt.NDArray[Any], *, compressed: bool = False, **fields: Any) -> bytes:
    """An .mha; a field that is None is left out."""
    content = zlib.compress(voxels.tobytes(), 1) if compressed else voxels.tobytes()
    given: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": str(voxels.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        "CompressedDataSize": str(len(content)) if compressed else None,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": " ".join(map(str, voxels.shape[::-1])),
        "ElementType": "MET_" + MET_TYPES[voxels.dtype.str[1:]],
    }
    given |= fields
    where = given.pop("ElementDataFile", None) or "LOCAL"
    lines = [f"{key} = {value}" for key, value in given.items() if value is not None]
    header = "\n".join([*lines, f"ElementDataFile = {where}", ""]).encode()
    return header + (content if where == "LOCAL" else b"")


def nrrd(voxels: npt.NDArray[Any], *, encoding: str = "raw", **fields: Any) -> bytes:
    """An .nrrd; a field that is None is left out, `_` in a name is a space."""
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress}
    given: dict[str, str | None] = {
        "type": NRRD_TYPES[voxels.dtype.str[1:]],
        "dimension": str(voxels.ndim),
        "sizes": " ".join(map(str, voxels.shape[::-1])),
        "endian": "little",
        "encoding": encoding,
        "space": "left-posterior-superior",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "space origin": "(0,0,0)",
    }
    given |= {key.replace("_", " "): value for key, value in fields.items()}
    header = "".join(f"{key}: {value}\n" for key, value in given.items() if value is not None)
    content = b"" if given.get("data file") else packers.get(encoding, bytes)(voxels.tobytes())
    return b"NRRD0004\n# comment\n" + header.encode() + b"key:=value\n\n" + content


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
    return path


def quaternion(rotation: npt.ArrayLike) -> tuple[Sequence[float], float]:
    """The qform (b, c, d) and qfac of orthonormal columns (3, 3) in RAS; eigenvector of Bar-Itzhack's matrix (2000)."""
    columns = np.array(rotation, dtype=float)
    qfac = 1.0 if np.linalg.det(columns) > 0 else -1.0
    columns[:, 2] *= qfac
    (xx, yx, zx), (xy, yy, zy), (xz, yz, zz) = columns
    # Lower triangle of a symmetric matrix whose principal eigenvector is (x, y, z, w).
    k = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [yx + xy, yy - xx - zz, 0, 0],
            [zx + xz, zy + yz, zz - xx - yy, 0],
            [yz - zy, zx - xz, xy - yx, xx + yy + zz],
        ]
    )
    values, vectors = np.linalg.eigh(k)
    x, y, z, w = vectors[:, values.argmax()]
    sign = -1.0 if w < 0 else 1.0
    return [sign * x, sign * y, sign * z], qfac
