"""The binary layout of NIfTI headers: nifti1.h (Cox et al. 2004) and nifti2.h (2011)."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from engine.errors import InvalidGeometryError, UnreadableFileError

_HEADER_SIZES: Final = (348, 540)

NIFTI_HEADER_BYTES: Final = max(_HEADER_SIZES)
"""No header is longer."""


def _layout(offsets: dict[str, tuple[str, int]], itemsize: int) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": list(offsets),
            "formats": [kind for kind, _ in offsets.values()],
            "offsets": [offset for _, offset in offsets.values()],
            "itemsize": itemsize,
        }
    )


_NIFTI1: Final = _layout(
    {
        "sizeof_hdr": ("i4", 0),
        "dim": ("8i2", 40),
        "intent_code": ("i2", 68),
        "datatype": ("i2", 70),
        "bitpix": ("i2", 72),
        "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108),
        "scl_slope": ("f4", 112),
        "scl_inter": ("f4", 116),
        "xyzt_units": ("u1", 123),
        "qform_code": ("i2", 252),
        "sform_code": ("i2", 254),
        "quatern": ("3f4", 256),
        "qoffset": ("3f4", 268),
        "srow": ("(3,4)f4", 280),
        "magic": ("S4", 344),
    },
    348,
)
_NIFTI2: Final = _layout(
    {
        "sizeof_hdr": ("i4", 0),
        "magic": ("S8", 4),
        "datatype": ("i2", 12),
        "bitpix": ("i2", 14),
        "dim": ("8i8", 16),
        "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168),
        "scl_slope": ("f8", 176),
        "scl_inter": ("f8", 184),
        "qform_code": ("i4", 344),
        "sform_code": ("i4", 348),
        "quatern": ("3f8", 352),
        "qoffset": ("3f8", 376),
        "srow": ("(3,4)f8", 400),
        "xyzt_units": ("i4", 500),
        "intent_code": ("i4", 504),
    },
    540,
)
_MAGICS: Final = {
    (348, False): b"n+1",
    (348, True): b"ni1",
    (540, False): b"n+2\0\r\n\x1a\n",
    (540, True): b"ni2\0\r\n\x1a\n",
}

_STORED_TYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""NIfTI ``datatype`` codes of one real number a voxel."""


def nifti_fields(content: bytes, name: str, *, is_pair: bool) -> tuple[Any, str]:
    """The fields of a header and its byte order, which its size field tells.

    Parameters
    ----------
    content : bytes
        The first ``NIFTI_HEADER_BYTES`` of the file, or all of it.
    name : str
        Of the file, for messages.
    is_pair : bool
        Whether its name says that header and voxels are two files.

    Raises
    ------
    UnreadableFileError
        If it is no NIfTI, Analyze 7.5 included, or not what its name says.
    """
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        size = int(np.frombuffer(content, f"{order}i4", 1)[0]) if len(content) >= 4 else 0
        if size not in _HEADER_SIZES or len(content) < size:
            continue
        layout = (_NIFTI1 if size == 348 else _NIFTI2).newbyteorder(order)
        fields = np.frombuffer(content, layout, 1)[0]
        expected = _MAGICS[size, is_pair]
        if fields["magic"] == expected.rstrip(b"\0"):
            return fields, order
        if fields["magic"] in {magic.rstrip(b"\0") for magic in _MAGICS.values()}:
            raise UnreadableFileError(
                f"{name} has the header of a {'single file' if is_pair else 'pair of .hdr and .img'}, which its name "
                "is not; export it again as .nii.gz"
            )
        raise UnreadableFileError(
            f"{name} is Analyze 7.5 or damaged, not NIfTI: nothing in it says which side is left; "
            "export it as NIfTI (.nii.gz)"
        )
    raise UnreadableFileError(f"{name} is not a NIfTI file, or its header is cut off; export it again")


def voxel_type(fields: Any, order: str, name: str) -> np.dtype[Any]:
    """The type of a voxel, with its byte order.

    Raises
    ------
    InvalidGeometryError
        If it is not one real number.
    UnreadableFileError
        If two fields contradict each other.
    """
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code not in _STORED_TYPES:
        raise InvalidGeometryError(
            f"{name} has voxels of NIfTI datatype {code}, not of one real number; export a CT or a mask"
        )
    stored_type = np.dtype(order + _STORED_TYPES[code])
    if bits != 8 * stored_type.itemsize:
        raise UnreadableFileError(
            f"{name} contradicts itself: datatype {code} has {8 * stored_type.itemsize} bits, bitpix says {bits}; "
            "export it again"
        )
    return stored_type
