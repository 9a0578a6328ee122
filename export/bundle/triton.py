"""A bundle as a model repository of the Triton Inference Server, for sites that outgrow one box.

Layout and ``config.pbtxt``: Triton's documentation, *Model Repository* and *Model Configuration*.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from engine.manifest import MANIFEST_FILE, load_bundle, manifest_text
from engine.runtime.onnx_interface import read_interface

if TYPE_CHECKING:
    from engine.manifest import Bundle, Precision, TensorSpec
    from engine.runtime.onnx_interface import OnnxInterface

MODEL: Final = "model.onnx"
_CONFIG: Final = "config.pbtxt"
README: Final = "README.md"

_MAX_BATCH: Final = {"segmentation": 8, "features": 8, "survival": 1024}
"""Patches are large and rows of covariates small."""

_MAX_QUEUE: Final = 16
"""Requests that may wait; more are refused at once, as the appliance does."""

_TYPES: Final = {
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "float16": "TYPE_FP16",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}

_EXPLANATION: Final = """\
# Networks of Coldspot for the Triton Inference Server

Written by `coldspot-export triton`. One folder for each network: `<bundle>-<precision>`, with `-member<n>` where
a bundle is an ensemble (the folds of nnU-Net). The version folder is the bundle's version: 1.2.3 is 1002003.

    tritonserver --model-repository=<this folder>

**Networks only: preprocessing and postprocessing are not included.** What `engine.segmentation`, `engine.risk.model`
and their like do around a network is missing here: reading and checking CT, resampling, normalization of HU,
sliding window, mirroring, averaging of the members, argmax, resampling back, and every refusal. How it has to be
done stands in the `manifest.json` beside each network. There is no Triton ensemble either: the members are averaged
by the client. A client that does not reproduce all of it gets wrong numbers without a warning.

Not a medical device. These files were never loaded into a Triton server by this project; the syntax of every
`config.pbtxt` is tested. TensorRT plans are not included: they belong to one device and version.
"""


def export_triton(bundle: Path, out: Path) -> Path:
    """Write every precision and ensemble member of a bundle into a Triton model repository.

    Parameters
    ----------
    bundle : Path
        Folder ``models/<id>/<version>``; every file is checked against its hash first.
    out : Path
        The model repository; made if it does not exist. Other models, and other versions of this one, stay.

    Returns
    -------
    Path
        The model repository.

    Raises
    ------
    ManifestError, BundleIntegrityError
        If the bundle must not be used.
    InvalidRequestError
        If this version exists already, or another version of the model has other inputs or outputs.
    """
    loaded = load_bundle(bundle)
    networks = [
        (_name(loaded, precision, number), model_bytes)
        for precision in loaded.manifest.variants
        for number, model_bytes in enumerate(loaded.variant(precision), start=1)
    ]
    version = _version(loaded.manifest.version)
    manifest = manifest_text(loaded.manifest)
    configs = {
        name: render_config(name, read_interface(content), _MAX_BATCH[loaded.manifest.kind])
        for name, content in networks
    }
    for name, config in configs.items():
        _require_room(out / name, version, config)
    for name, content in networks:
        _write_version(out / name, version, configs[name], {MODEL: content, MANIFEST_FILE: manifest})
    (out / README).write_text(_EXPLANATION, encoding="utf-8")
    return out


def render_config(name: str, interface: OnnxInterface, max_batch: int) -> str:
    """Return a ``config.pbtxt`` (protobuf text of ``inference.ModelConfig``).

    Parameters
    ----------
    name : str
        Of the model, which is also its folder's.
    interface : OnnxInterface
    max_batch : int
        Used where the first axis of every input and output is free; else the server does not batch.
    """
    specs = (*interface.inputs, *interface.outputs)
    batched = all(spec.shape and isinstance(spec.shape[0], str) for spec in specs)
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f'default_model_filename: "{MODEL}"',
        f"max_batch_size: {max_batch if batched else 0}",
        *_tensors("input", interface.inputs, batched),
        *_tensors("output", interface.outputs, batched),
        "version_policy { latest { num_versions: 1 } }",
        "instance_group [ { count: 1 kind: KIND_AUTO } ]",
    ]
    if batched:
        lines += [
            "dynamic_batching {",
            f"  default_queue_policy {{ timeout_action: REJECT max_queue_size: {_MAX_QUEUE} }}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _tensors(kind: str, specs: tuple[TensorSpec, ...], batched: bool) -> list[str]:
    """Inputs or outputs; the batch axis is not listed, any other free axis is -1."""
    lines = [f"{kind} ["]
    for number, spec in enumerate(specs, start=1):
        sizes = ("-1" if isinstance(size, str) else str(size) for size in spec.shape[int(batched) :])
        comma = "," if number < len(specs) else ""
        shape = ", ".join(sizes)
        lines.append(
            f"  {{ name: {_quoted(spec.name)} data_type: {_TYPES[spec.dtype]} dims: [ {shape} ] }}{comma}"
        )
    return [*lines, "]"]


def _quoted(text: str) -> str:
    """A string of protobuf text, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _name(bundle: Bundle, precision: Precision, number: int) -> str:
    member = f"-member{number}" if len(bundle.manifest.variants[precision]) > 1 else ""
    return f"{bundle.manifest.id}-{precision}{member}"


def _version(version: str) -> str:
    """Triton's versions are whole numbers, and the largest is served."""
    major, minor, patch = (int(part) for part in version.split("."))
    if minor > 999 or patch > 999:
        raise InvalidRequestError(f"version {version} has a part above 999, which Triton's folder cannot say")
    return str(major * 1_000_000 + minor * 1000 + patch)


def _require_room(folder: Path, version: str, config: str) -> None:
    """Refuse to change what a server may be serving."""
    if (folder / version).exists():
        raise InvalidRequestError(f"{folder / version} exists already; remove it, or export a new version")
    path = folder / _CONFIG
    if folder.exists() and (not path.is_file() or path.read_text(encoding="utf-8") != config):
        raise InvalidRequestError(f"{path} is not what this version needs; export into another folder")


def _write_version(folder: Path, version: str, config: str, contents: dict[str, bytes]) -> None:
    """Write one version folder, moved into place whole: a server may be looking."""
    new = not folder.exists()
    base = folder.parent if new else folder
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=base) as unfinished:
        complete = Path(unfinished) / folder.name
        (complete / version).mkdir(parents=True)
        for name, content in contents.items():
            (complete / version / name).write_bytes(content)
        (complete / _CONFIG).write_text(config, encoding="utf-8")
        shutil.move(complete if new else complete / version, folder if new else folder / version)
