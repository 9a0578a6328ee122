"""Write names.json: the names and parameters that each TensorRT has, read from its Python bindings.

    python tests/support/devices/tensorrt_api/record_names.py

Needs a package registry and a C compiler. The bindings are wheels of about 1 MB; they import over three empty
stand-ins for NVIDIA's libraries, so nothing of NVIDIA's is installed and nothing can be run. TensorRT-RTX is
read where it is installed. Only names are kept.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

NAMES = Path(__file__).with_name("names.json")

WHEELS = {
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6
    "10.7.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu13-bindings",  # JetPack 7.0
    "10.16.1.11": "tensorrt-cu13-bindings",  # JetPack 7.2
    "11.4.0.106": "tensorrt-cu13-bindings",
}
RTX = "tensorrt_rtx_bindings"

CLASSES = [
    "Builder",
    "BuilderFlag",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DataType",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorIOMode",
]

STAND_INS = {
    "nvinfer": (
        "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL "
        "getBuilderPluginRegistry getPluginRegistry"
    ),
    "nvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getNvOnnxParserVersion"
    ),
    "nvinfer_plugin": "initLibNvInferPlugins",
}


def names_of(api: Any) -> dict[str, dict[str, list[str] | None]]:
    """Members by class; for a method the parameters of each overload, else None."""
    return {
        name: {member: overloads(getattr(api, name), member) for member in members(getattr(api, name))}
        for name in CLASSES
        if hasattr(api, name)
    }


def members(kind: type) -> list[str]:
    return sorted(name for name in dir(kind) if not name.startswith("_"))


def overloads(kind: type, member: str) -> list[str] | None:
    """Parameters without self and types, ``name`` or ``name=``, from the first lines of a docstring."""
    text = getattr(kind, member).__doc__
    if not callable(getattr(kind, member)) or not text:
        return None
    found = re.findall(rf"^(?:\d+\. )?{member}\((self: .*)\) -> ", text, flags=re.MULTILINE)
    return [", ".join(parameter(part) for part in split(line)[1:]) for line in found] or None


def split(parameters: str) -> list[str]:
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def parameter(text: str) -> str:
    return text.split(":", maxsplit=1)[0].strip() + ("=" if " = " in text else "")


def record_here(module: str) -> None:
    """Print the names of a module that can be imported."""
    json.dump(names_of(importlib.import_module(module)), sys.stdout)


def record(package: str, version: str, folder: Path) -> dict[str, Any]:
    """Names of a wheel that is not installed."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, f"{package}=={version}"], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    major = version.split(".", maxsplit=1)[0]
    for library, functions in STAND_INS.items():
        source = folder / f"{library}.c"
        source.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in functions.split()))
        name = f"lib{library}.so.{major}"
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source], check=True
        )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    command = [sys.executable, __file__, "tensorrt_bindings"]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout))


def main() -> None:
    recorded: dict[str, Any] = {}
    for version, package in WHEELS.items():
        with tempfile.TemporaryDirectory() as folder:
            recorded[f"tensorrt {version}"] = record(package, version, Path(folder))
    api = importlib.import_module(RTX)
    recorded[f"tensorrt-rtx {api.__version__}"] = names_of(api)
    NAMES.write_text(written(recorded), encoding="utf-8")


def written(recorded: dict[str, Any]) -> str:
    """JSON with a line for each class, so that a difference between two versions can be read."""
    versions = []
    for version, classes in sorted(recorded.items()):
        lines = (f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(classes.items()))
        versions.append(f" {json.dumps(version)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(versions) + "\n}\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        record_here(sys.argv[1])
    else:
        main()
