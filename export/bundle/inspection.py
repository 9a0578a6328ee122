"""Description of a bundle, and whether it is intact, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import ManifestError
from engine.manifest import MANIFEST_FILE, SEAL_FILE, Bundle, load_bundle
from engine.risk.model import SurvivalModel
from engine.runtime.onnx_interface import read_interface


def describe_bundle(folder: Path) -> dict[str, Any]:
    """Check a bundle as the engine does and describe it.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.

    Returns
    -------
    dict
        ``manifest`` as it is written, its ``manifest_sha256``, ``files`` with bytes and SHA-256, ``tensors`` of every
        network, and ``checked``: what was checked, in words.

    Raises
    ------
    ManifestError, BundleIntegrityError
    ModelError
        If a network is no ONNX model, keeps tensors elsewhere, or (survival) does not reproduce its
        reference outputs.
    """
    bundle = load_bundle(folder)
    checked = [
        f"{MANIFEST_FILE} has the SHA-256 of {SEAL_FILE}",
        f"every file has the SHA-256 of {MANIFEST_FILE} or {SEAL_FILE}, and there is no other",
    ]
    tensors = _tensors(bundle)
    checked.append("every network is one self-contained ONNX model with the tensors of the manifest")
    if bundle.manifest.survival is not None:
        model = SurvivalModel.load(folder)
        checked.append(f"the reference outputs are reproduced on {model.backend}")
    elif bundle.manifest.parity_reports:
        checked.append("all parity reports were passed where they were measured; `parity` measures again")
    return {
        "folder": str(folder),
        "manifest": bundle.manifest.model_dump(mode="json"),
        "manifest_sha256": bundle.sealed.sha256,
        "files": {
            name: {"bytes": len(content), "sha256": bundle.manifest.files[name]}
            for name, content in sorted(bundle.contents.items())
        },
        "tensors": tensors,
        "checked": checked,
    }


def _tensors(bundle: Bundle) -> dict[str, dict[str, list[str]]]:
    """Inputs and outputs by file; every variant must have those of the manifest."""
    tensors: dict[str, dict[str, list[str]]] = {}
    for precision, names in bundle.manifest.variants.items():
        for name in names:
            interface = read_interface(bundle.contents[name])
            if (interface.inputs, interface.outputs) != (bundle.manifest.inputs, bundle.manifest.outputs):
                raise ManifestError(
                    f"{bundle.folder / name} ({precision}) takes and gives other tensors than the manifest says; "
                    "export again"
                )
            tensors[name] = {
                "inputs": [_tensor_text(spec.name, spec.dtype, spec.shape) for spec in interface.inputs],
                "outputs": [_tensor_text(spec.name, spec.dtype, spec.shape) for spec in interface.outputs],
            }
    return tensors


def _tensor_text(name: str, dtype: str, shape: tuple[int | str, ...]) -> str:
    return f"{name} {dtype} ({', '.join(str(size) for size in shape)})"
