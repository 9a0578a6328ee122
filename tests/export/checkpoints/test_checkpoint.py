"""Checkpoints of other people: data are read, code never runs."""

from __future__ import annotations

import ast
import os
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ColdspotError, UnreadableFileError, UntrustedPickleError
from export.checkpoints.pickle_reader import DType, read_pickle

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.checkpoints.checkpoint import read_pickle_file, read_torch_checkpoint  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import write_v1_folder, write_v2_folder  # noqa: E402 - it needs torch

PLANS = {
    "patch_size": np.array([16, 32, 32]),
    "spacing": np.array([2.5, 0.75, 0.75]),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "mean": np.float64(-480.25),
    "count": np.int64(7),
    "flag": np.bool_(True),
    "name": "nnUNetData",
    "nested": OrderedDict([(0, ("a", None, [1, 2.5, True])), (1, {"x": {1, 2}, "y": b"\x00\xff"})]),
    "large": 2**80,
}


class Hostile:
    """Runs a command when loaded by ``pickle``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


class Named:
    """Pickles as a call of any name."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.call = (module, name, arguments)


def stacked(call: Named, *, protocol: int = 2) -> bytes:
    """A pickle that calls a name, written by hand: the real thing need not exist here."""
    module, name, arguments = call.call
    inner = pickle.dumps(arguments, protocol=protocol)[2:-1]
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + inner + b"R."


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return bool(np.array_equal(found, expected)) and found.dtype == expected.dtype
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[k], v) for k, v in expected.items())
    return bool(found == expected)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_are_read(protocol: int) -> None:
    content = pickle.dumps(PLANS, protocol=protocol)
    found = read_pickle(content, "plans")
    assert same(found, PLANS)
    assert type(found["mean"]) is float
    assert type(found["flag"]) is bool


def test_names_of_numpy_1_and_2_are_read() -> None:
    content = pickle.dumps(PLANS, protocol=2)
    assert b"numpy._core" in content
    assert same(read_pickle(content.replace(b"numpy._core", b"numpy.core"), "plans"), PLANS)


def test_the_checkpoints_that_nnunet_writes_are_read(tmp_path: Path) -> None:
    first = write_v2_folder(tmp_path) / "fold_0" / "checkpoint_final.pth"
    checkpoint = read_torch_checkpoint(first)
    assert checkpoint["_best_ema"] == 0.625
    assert type(checkpoint["_best_ema"]) is float
    assert checkpoint["logging"]["dice_per_class_or_region"] == [[0.5, 0.75]]
    older = write_v1_folder(tmp_path) / "fold_0"
    assert "state_dict" in read_torch_checkpoint(older / "model_final_checkpoint.model")
    assert read_pickle_file(older / "model_final_checkpoint.model.pkl")["name"] == "nnUNetTrainerV2"


def nested_in_weights(marker: Path, path: Path) -> None:
    weights = OrderedDict(a=torch.zeros(2), b={"deep": [Hostile(marker)]})
    torch.save({"network_weights": weights}, path)


def in_an_object_array(marker: Path, path: Path) -> None:
    torch.save({"logging": np.array([Hostile(marker)], dtype=object)}, path)


def in_the_old_format(marker: Path, path: Path) -> None:
    torch.save({"a": Hostile(marker)}, path, _use_new_zipfile_serialization=False)


def swapped_data_pickle(marker: Path, path: Path) -> None:
    """A good archive whose data.pkl was replaced."""
    torch.save({"a": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(path, "w") as bad:
        for name, content in members.items():
            hostile = pickle.dumps(Hostile(marker), protocol=2)
            bad.writestr(name, hostile if name.endswith("data.pkl") else content)


def a_whole_module(marker: Path, path: Path) -> None:
    torch.save({"a": torch.nn.Linear(1, 1), "b": Hostile(marker)}, path)


def a_plain_pickle(marker: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps({"network_weights": Hostile(marker)}))


@pytest.mark.parametrize(
    "write",
    [nested_in_weights, in_the_old_format, swapped_data_pickle, a_whole_module, a_plain_pickle],
)
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    tmp_path: Path, write: Callable[[Path, Path], None]
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "checkpoint.pth"
    write(marker, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UntrustedPickleError, match=r"checkpoint\.pth") as refused:
            read_torch_checkpoint(path)
    assert "ask its author" in str(refused.value)
    assert not marker.exists()


def test_the_refusal_names_what_would_have_run(tmp_path: Path) -> None:
    nested_in_weights(tmp_path / "ran", tmp_path / "checkpoint.pth")
    with pytest.raises(UntrustedPickleError, match=r"(posix|nt)\.system"):
        read_torch_checkpoint(tmp_path / "checkpoint.pth")


def test_an_array_of_objects_is_refused_before_its_objects_are_made(tmp_path: Path) -> None:
    in_an_object_array(tmp_path / "ran", tmp_path / "checkpoint.pth")
    with pytest.raises(ColdspotError):
        read_torch_checkpoint(tmp_path / "checkpoint.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_plan_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps(PLANS | {"plans_per_stage": {0: Hostile(marker)}}, protocol=protocol))
    with pytest.raises(UntrustedPickleError, match="system"):
        read_pickle_file(path)
    assert not marker.exists()


LOOKALIKES = [
    Named("builtins", "eval", "1"),
    Named("builtins", "getattr", "a", "b"),
    Named("numpy", "load", "x"),
    Named("numpy", "ndarray.__class__", 1),
    Named("numpy.testing._private.utils", "runstring", "x", {}),
    Named("numpy.core.multiarray", "scalar.__call__", 1),
    Named("numpy.core.multiarray", "fromfile", "/etc/passwd"),
    Named("torch", "load", "x"),
    Named("torch._utils", "_rebuild_tensor_v2", 1),
    Named("torch.hub", "load", "x"),
    Named("collections", "OrderedDict.__init__", ()),
    Named("_codecs", "lookup", "x"),
    Named("os", "system", "true"),
]


@pytest.mark.parametrize("call", LOOKALIKES, ids=lambda call: ".".join(call.call[:2]))
def test_names_that_look_like_data_are_refused(call: Named) -> None:
    with pytest.raises(UntrustedPickleError, match="would import and call"):
        read_pickle(stacked(call), "plans")


HOSTILE_OPCODES = {
    "instance": b"(ios\nsystem\n.",
    "object": b"(cos\nsystem\nS'true'\no.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pabc\n.",
    "attributes_of_a_dict": b"\x80\x02}}b.",
    "attributes_of_a_name": b"\x80\x02c_codecs\nencode\n}b.",
    "calls_a_dict": b"\x80\x02})R.",
}


@pytest.mark.parametrize("content", HOSTILE_OPCODES.values(), ids=HOSTILE_OPCODES.keys())
def test_opcodes_that_only_code_needs_are_refused(content: bytes) -> None:
    with pytest.raises(UntrustedPickleError):
        read_pickle(content, "plans")


STRUCTURED_DTYPE = b"\x80\x02cnumpy\ndtype\nU\x02f8\x89\x88\x87R(K\x03U\x01|NU\x01aq\x00}K\x10K\x01K\x3ftb."

DAMAGED = {
    "empty": b"",
    "no_end": b"\x80\x02]",
    "no_stack": b"\x80\x02R.",
    "no_mark": b"\x80\x02}u.",
    "only_a_name": b"\x80\x02c_codecs\nencode\n.",
    "name_in_a_list": b"\x80\x02]c_codecs\nencode\na.",
    "array_without_state": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",
    "list_as_a_key": b"\x80\x02}]K\x01s.",
    "structured_dtype": STRUCTURED_DTYPE,
    "object_array": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01\x85"
        b"cnumpy\ndtype\nU\x02O8\x89\x88\x87R\x89]K\x01atb."
    ),
    "object_dtype": b"\x80\x02cnumpy\ndtype\nU\x01O\x89\x88\x87R.",
    "unknown_memo": b"\x80\x02h\x05.",
    "two_results": b"\x80\x02K\x01K\x02.",
    "tree_of_shared_tuples_as_a_key": b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x01s.",
    "ten_thousand_lists": b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".",
    "zip": b"PK\x03\x04",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_pickle_is_one_typed_error(content: bytes) -> None:
    with pytest.raises((UnreadableFileError, UntrustedPickleError)):
        read_pickle(content, "plans")


def test_a_dtype_with_fields_or_objects_is_refused_where_it_is_named() -> None:
    """NumPy's own ``__setstate__`` would believe the flags of such a dtype."""
    with pytest.raises(UnreadableFileError, match="structured array"):
        DType("f8").__setstate__((3, "|", None, ("a",), {}, 16, 1, 63))
    with pytest.raises(UnreadableFileError, match="only numbers are read"):
        DType("O8")
    for code in ("f8", "<i4", "V8", "f8,i4", "M8[ns]", 8):
        if code == "f8":
            assert DType(code).dtype == np.float64
        else:
            with pytest.raises(UnreadableFileError):
                DType(code)


@pytest.mark.parametrize("claim", [(4,), (1 << 40,), (-1,), (2, 2)])
def test_an_array_of_another_size_than_its_bytes_is_refused(claim: tuple[int, ...]) -> None:
    content = pickle.dumps(np.arange(3.0), protocol=2)
    shape = pickle.dumps((3,), protocol=2)[2:-1].split(b"q")[0]
    changed = content.replace(shape, pickle.dumps(claim, protocol=2)[2:-1].split(b"q")[0], 1)
    assert changed != content
    with pytest.raises(UnreadableFileError):
        read_pickle(changed, "plans")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 5))
def test_any_changed_byte_gives_data_or_a_typed_error(place: int, value: int, protocol: int) -> None:
    content = bytearray(pickle.dumps(PLANS, protocol=protocol))
    content[place % len(content)] = value
    try:
        read_pickle(bytes(content), "plans")
    except (UnreadableFileError, UntrustedPickleError) as error:
        assert "plans" in str(error) or "pickle" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_checkpoint_is_unreadable(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"a": torch.zeros(3)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises((UnreadableFileError, UntrustedPickleError), match=r"checkpoint\.pth"):
        read_torch_checkpoint(path)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    for read in (read_torch_checkpoint, read_pickle_file):
        with pytest.raises(UnreadableFileError, match="cannot be read"):
            read(tmp_path / "none.pth")


def test_nothing_in_the_workshop_loads_a_pickle_the_unsafe_way() -> None:
    """Every ``load`` and every ``weights_only`` in export/ and engine/ is looked at."""
    root = Path(__file__).parents[3]
    for path in [*(root / "export").rglob("*.py"), *(root / "engine").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load"}, path
            if called == "torch.load":
                safe = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert safe.get("weights_only") == "True", path
            allows = [k for k in node.keywords if k.arg == "allow_pickle"]
            assert all(ast.unparse(k.value) == "False" for k in allows), path


def test_the_opcodes_are_those_of_this_python() -> None:
    """A new opcode of a later Python is refused, not ignored: the reader knows none but its own."""
    known = {opcode.name for opcode in pickletools.opcodes}
    from export.checkpoints import pickle_reader

    assert set(pickle_reader._ACTIONS) | pickle_reader._LITERALS <= known
