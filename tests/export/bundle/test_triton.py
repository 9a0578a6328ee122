"""The Triton model repository: its layout, and every config.pbtxt parsed as ``inference.ModelConfig``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from engine.errors import BundleIntegrityError, InvalidRequestError
from engine.manifest import SealedManifest, load_bundle
from engine.runtime.onnx_interface import read_interface
from engine.runtime.onnx_session import OnnxSession
from export.bundle import triton
from export.bundle.triton import export_triton, render_config
from tests.support.bundle_seals import sealed_anew
from tests.support.networks import Graph, unet_3d

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "models" / "deepsurv-demo" / "1.0.0"
NAME = "deepsurv-demo-fp32"

INT, STRING, ENUM, MESSAGE = 3, 9, 14, 11
OPTIONAL, REPEATED = 1, 3

MESSAGES: dict[str, dict[str, tuple[int, int, str]]] = {
    "ModelInput": {
        "name": (STRING, OPTIONAL, ""),
        "data_type": (ENUM, OPTIONAL, "DataType"),
        "dims": (INT, REPEATED, ""),
    },
    "ModelOutput": {
        "name": (STRING, OPTIONAL, ""),
        "data_type": (ENUM, OPTIONAL, "DataType"),
        "dims": (INT, REPEATED, ""),
    },
    "Latest": {"num_versions": (INT, OPTIONAL, "")},
    "ModelVersionPolicy": {"latest": (MESSAGE, OPTIONAL, "Latest")},
    "ModelInstanceGroup": {"count": (INT, OPTIONAL, ""), "kind": (ENUM, OPTIONAL, "Kind")},
    "ModelQueuePolicy": {
        "timeout_action": (ENUM, OPTIONAL, "TimeoutAction"),
        "max_queue_size": (INT, OPTIONAL, ""),
    },
    "ModelDynamicBatching": {"default_queue_policy": (MESSAGE, OPTIONAL, "ModelQueuePolicy")},
    "ModelConfig": {
        "name": (STRING, OPTIONAL, ""),
        "backend": (STRING, OPTIONAL, ""),
        "default_model_filename": (STRING, OPTIONAL, ""),
        "max_batch_size": (INT, OPTIONAL, ""),
        "input": (MESSAGE, REPEATED, "ModelInput"),
        "output": (MESSAGE, REPEATED, "ModelOutput"),
        "version_policy": (MESSAGE, OPTIONAL, "ModelVersionPolicy"),
        "instance_group": (MESSAGE, REPEATED, "ModelInstanceGroup"),
        "dynamic_batching": (MESSAGE, OPTIONAL, "ModelDynamicBatching"),
    },
}
"""The fields of Triton's model_config.proto that are written, by name; anything else does not parse."""

ENUMS = {
    "DataType": [
        "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_INT32 TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64",
    ],
    "Kind": ["KIND_AUTO KIND_GPU KIND_CPU KIND_MODEL"],
    "TimeoutAction": ["REJECT DELAY"],
}


@pytest.fixture(scope="module")
def model_config() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference")
    for name, (words,) in ENUMS.items():
        kind = file.enum_type.add(name=name)
        for number, word in enumerate(words.split()):
            kind.value.add(name=word, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, (field_type, label, type_name)) in enumerate(fields.items(), start=1):
            message.field.add(
                name=field,
                number=number,
                type=field_type,
                label=label,
                type_name=f".inference.{type_name}" if type_name else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def test_the_repository_of_the_demo_risk_model(tmp_path: Path, model_config: Any) -> None:
    out = export_triton(BUNDLE, tmp_path / "repository")
    assert {path.name for path in out.iterdir()} == {NAME, "README.md"}
    assert {path.name for path in (out / NAME).iterdir()} == {"config.pbtxt", "1000000"}
    network = (out / NAME / "1000000" / "model.onnx").read_bytes()
    assert network == load_bundle(BUNDLE).model_bytes
    manifest = json.loads((out / NAME / "1000000" / "manifest.json").read_text())
    assert manifest == json.loads((BUNDLE / "manifest.json").read_text())
    config = text_format.Parse((out / NAME / "config.pbtxt").read_text(), model_config())
    assert config.name == NAME
    assert config.max_batch_size == 1024
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("covariates", [3])]
    assert [(tensor.name, list(tensor.dims)) for tensor in config.output] == [
        ("log_risk", [20]),
        ("attention", [20, 3]),
        ("effective_signal", [20, 3]),
    ]
    readme = (out / "README.md").read_text()
    assert "preprocessing and postprocessing are not included" in readme
    assert "never loaded into a Triton server" in readme


def test_what_the_configuration_says_is_what_the_network_takes(model_config: Any) -> None:
    content = unet_3d(width=2, patch=8)
    config = text_format.Parse(render_config("x", read_interface(content), 8), model_config())
    types = {"TYPE_FP32": np.float32}
    kinds = model_config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
    given = {
        tensor.name: np.zeros((config.max_batch_size, *tensor.dims), types[kinds[tensor.data_type].name])
        for tensor in config.input
    }
    with OnnxSession(content, threads=1) as session:
        found = session.run(given)
    assert {name: list(value.shape[1:]) for name, value in found.items()} == {
        tensor.name: list(tensor.dims) for tensor in config.output
    }
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 16


def test_a_fixed_batch_is_not_batched_by_the_server(model_config: Any) -> None:
    content = unet_3d(width=2, patch=8, batch=1)
    config = text_format.Parse(render_config("x", read_interface(content), 8), model_config())
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 1, 8, 8, 8]
    assert not config.HasField("dynamic_batching")


def test_other_free_axes_and_strange_names(model_config: Any) -> None:
    graph = Graph(seed=0)
    name = 'a "b" \\ é'
    graph.add("Relu", name, output="y")
    content = graph.model({name: ("batch", 1, "depth")}, {"y": ("batch", 1, "depth")})
    config = text_format.Parse(render_config("x", read_interface(content), 8), model_config())
    assert config.input[0].name == name
    assert list(config.input[0].dims) == [1, -1]


def test_the_grammar_is_strict(model_config: Any) -> None:
    with pytest.raises(text_format.ParseError):
        text_format.Parse('name: "x" no_such_field: 1', model_config())


def test_every_precision_and_member_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_config: Any
) -> None:
    names = {"fp32": ("model.onnx", "fold_1.onnx"), "fp16_mixed": ("a.onnx", "b.onnx")}
    real = load_bundle(BUNDLE)
    files = {**real.manifest.files, **dict.fromkeys(("fold_1.onnx", "a.onnx", "b.onnx"), "0" * 64)}
    manifest = real.manifest.model_copy(update={"variants": names, "files": files})
    contents = {
        name: unet_3d(width=number + 1, patch=8) for number, name in enumerate(sum(names.values(), ()))
    }
    bundle = type(real)(SealedManifest.of(manifest), real.folder, contents["model.onnx"], contents)
    monkeypatch.setattr(triton, "load_bundle", lambda _folder: bundle)
    out = export_triton(BUNDLE, tmp_path / "repository")
    for precision, members in names.items():
        for number, name in enumerate(members, start=1):
            folder = out / f"deepsurv-demo-{precision}-member{number}"
            assert (folder / "1000000" / "model.onnx").read_bytes() == contents[name]
            config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config())
            assert config.name == folder.name


class TestVersions:
    @pytest.fixture
    def bundles(self, tmp_path: Path) -> Any:
        def of_version(version: str) -> Path:
            folder = tmp_path / "models" / version
            shutil.copytree(BUNDLE, folder)
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["version"] = version
            (folder / "manifest.json").write_text(json.dumps(manifest))
            sealed_anew(folder)
            return folder

        return of_version

    def test_a_new_version_stands_beside_the_old_one(self, tmp_path: Path, bundles: Any) -> None:
        out = tmp_path / "repository"
        export_triton(BUNDLE, out)
        export_triton(bundles("1.10.2"), out)
        assert {path.name for path in (out / NAME).iterdir()} == {"config.pbtxt", "1000000", "1010002"}

    def test_a_version_never_changes(self, tmp_path: Path) -> None:
        out = export_triton(BUNDLE, tmp_path / "repository")
        network = out / NAME / "1000000" / "model.onnx"
        network.write_bytes(b"being served")
        with pytest.raises(InvalidRequestError, match="exists already"):
            export_triton(BUNDLE, out)
        assert network.read_bytes() == b"being served"

    def test_another_interface_needs_another_folder(self, tmp_path: Path, bundles: Any) -> None:
        out = export_triton(BUNDLE, tmp_path / "repository")
        (out / NAME / "config.pbtxt").write_text('name: "mine"')
        with pytest.raises(InvalidRequestError, match="another folder"):
            export_triton(bundles("2.0.0"), out)

    def test_a_version_triton_cannot_say(self, tmp_path: Path, bundles: Any) -> None:
        with pytest.raises(InvalidRequestError, match="999"):
            export_triton(bundles("1.1000.0"), tmp_path / "repository")

    def test_a_damaged_bundle_writes_nothing(self, tmp_path: Path, bundles: Any) -> None:
        folder = bundles("1.0.1")
        onnx.save(onnx.load(folder / "model.onnx"), folder / "model.onnx")
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
        with pytest.raises(BundleIntegrityError):
            export_triton(folder, tmp_path / "repository")
        assert not (tmp_path / "repository").exists()
