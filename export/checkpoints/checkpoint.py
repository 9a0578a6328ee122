"""Third-party checkpoints and pickles: weights and plain data, nothing that runs.

PyTorch files are read by ``torch.load(weights_only=True)`` with NumPy scalars added (nnU-Net's
checkpoints hold them), as values of our own and never through NumPy's constructors, whose
``__setstate__`` trusts its input. Plain pickles (nnU-Net v1) go through :mod:`export.checkpoints.pickle_reader`.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from engine.errors import UnreadableFileError, UntrustedPickleError
from export.checkpoints.pickle_reader import DType, EmptyArray, read_pickle, read_scalar

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_INSTRUCTION = "Do not load this file anywhere; ask its author for a checkpoint with weights only"


def read_torch_checkpoint(path: Path) -> Any:
    """Read a file written by ``torch.save``, tensors on the CPU.

    Parameters
    ----------
    path : Path
        ``checkpoint_final.pth`` (nnU-Net v2), ``*.model`` (v1), ``*.pth.tar``.

    Returns
    -------
    object
        What was saved; NumPy scalars become Python numbers.

    Raises
    ------
    UntrustedPickleError
        If the file names anything to be called besides what tensors and NumPy scalars need. Nothing of
        it has been called.
    UnreadableFileError
        If it is missing, damaged or no checkpoint.
    """
    content = _bytes(path)
    allowed: list[Any] = [(DType, "numpy.dtype"), (EmptyArray, "numpy.ndarray")]
    for core in ("core", "_core"):
        allowed.append((read_scalar, f"numpy.{core}.multiarray.scalar"))
        allowed.append((EmptyArray, f"numpy.{core}.multiarray._reconstruct"))
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = _GLOBAL.search(str(error))
        fault = f"would import {forbidden[1]} when loaded" if forbidden else "holds more than weights"
        raise UntrustedPickleError(f"{path} {fault}; nothing was called. {_INSTRUCTION}") from error
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{path}: {error}") from error
    except (RuntimeError, ValueError, TypeError, EOFError, KeyError, IndexError, AttributeError) as error:
        message = f"{path} is not a complete PyTorch checkpoint ({_first_line(error)}); copy it again"
        raise UnreadableFileError(message) from error


def read_pickle_file(path: Path) -> Any:
    """Read a plain pickle that holds data only, such as ``plans.pkl`` of nnU-Net v1.

    Raises
    ------
    UntrustedPickleError
        If it names anything to be called besides constructors of NumPy data.
    UnreadableFileError
        If it is missing or damaged.
    """
    return read_pickle(_bytes(path), str(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read ({error.strerror})") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
