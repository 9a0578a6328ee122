"""A reader of pickles that holds no way to call anything they name.

It is a small stack machine over the opcodes of :mod:`pickletools`: containers, strings, numbers, and
the few constructors by which NumPy scalars and arrays are written, each replaced by code of our own.
The names a pickle gives are compared with a list and never imported.
"""

from __future__ import annotations

import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import UnreadableFileError, UntrustedPickleError

_MARK = object()
_PLAIN_DTYPE = re.compile(r"^[biufcSU]\d{1,4}$")
_NAMES = {
    "collections OrderedDict": "ordered_dict",
    "_codecs encode": "encode",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "builtins set": "set",
    "builtins frozenset": "set",
    "__builtin__ set": "set",
} | {
    f"numpy.{core}.{name}": kind
    for core in ("core", "_core")
    for name, kind in (
        ("multiarray scalar", "scalar"),
        ("multiarray _reconstruct", "empty_array"),
        ("numeric _frombuffer", "array_from_buffer"),
    )
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}


class _Name:
    """A global that the pickle names: its name only, never the object."""

    def __init__(self, written: str) -> None:
        self.written = written


class DType:
    """A NumPy dtype while it is being read: plain numbers and strings only.

    Parameters
    ----------
    code : object
        As NumPy pickles it (``f8``).
    *_ : object
        Alignment and copy, without meaning here.

    Raises
    ------
    UnreadableFileError
        If it is anything else.
    """

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.match(code):
            raise UnreadableFileError(f"the pickle holds an array of dtype {code!r}; only numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order; anything structured is refused."""
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise UnreadableFileError("the pickle holds a structured array; only plain arrays are read")
        self.dtype = self.dtype.newbyteorder(order)


class EmptyArray:
    """What ``_reconstruct`` returns: an array that waits for its state.

    Parameters
    ----------
    *_ : object
        Class, shape and dtype, which the state repeats.
    """

    def __init__(self, *_: object) -> None:
        self.memo_keys: list[int] = []
        self.array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """(version, shape, dtype, Fortran order, bytes) to an array."""
        _, shape, dtype, fortran, content = state
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def read_pickle(content: bytes, where: str) -> Any:
    """Read a pickle that holds data only.

    Parameters
    ----------
    content : bytes
        Pickle of protocol 0 to 5.
    where : str
        The file, for messages.

    Returns
    -------
    object
        Containers, strings, numbers and NumPy arrays; NumPy scalars become Python numbers.

    Raises
    ------
    UntrustedPickleError
        If the pickle names anything but the constructors of NumPy data and standard containers, or
        uses an opcode that only code needs. Nothing of it has been called.
    UnreadableFileError
        If it is damaged or holds something that is not data.
    """
    if content.startswith(b"PK"):
        raise UnreadableFileError(f"{where} is a zip archive, not a plain pickle")
    try:
        return _Machine(where).run(content)
    except (UntrustedPickleError, UnreadableFileError):
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise UnreadableFileError(f"{where} is not a complete pickle ({error}); copy it again") from error
    except (RecursionError, MemoryError) as error:
        raise UnreadableFileError(f"{where} is a pickle too deep or too large to read") from error


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(content):
            name = opcode.name
            if name in _LITERALS:
                self.stack.append(argument)
            elif name == "STOP":
                return self._result()
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise UntrustedPickleError(
                    f"{self.where} uses the pickle opcode {name}, which plain data never need; do not load "
                    "this file anywhere and ask its author for a clean one"
                )
        raise ValueError("it ends without STOP")

    def items(self) -> list[Any]:
        """Pop down to the last mark."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                popped = self.stack[position + 1 :]
                del self.stack[position:]
                return popped
        raise ValueError("a mark is missing")

    def pop(self, count: int) -> list[Any]:
        """Pop a fixed number, in the order pushed."""
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        popped = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return popped

    def name(self, written: str) -> None:
        """Push a global's name if it is on the list."""
        if written not in _NAMES:
            raise UntrustedPickleError(
                f"{self.where} would import and call {written.replace(' ', '.')} when loaded; nothing was "
                "called. Do not load this file anywhere; ask its author for a clean one"
            )
        self.stack.append(_Name(written))

    def call(self, _: object = None) -> None:
        """REDUCE and NEWOBJ: our own constructor in place of the one named."""
        named, arguments = self.pop(2)
        if not isinstance(named, _Name) or not isinstance(arguments, tuple):
            raise UntrustedPickleError(f"{self.where} would call something that is not a constructor of data")
        self.stack.append(_CONSTRUCTORS[_NAMES[named.written]](*arguments))

    def build(self, _: object = None) -> None:
        """BUILD: the state of a dtype or an array, of nothing else."""
        target, state = self.pop(2)
        if not isinstance(target, DType | EmptyArray) or not isinstance(state, tuple):
            raise UntrustedPickleError(f"{self.where} would change the state of an object that is not data")
        if isinstance(target, DType):
            target.__setstate__(state)
            self.stack.append(target)
            return
        target.__setstate__(state)
        self.memo.update(dict.fromkeys(target.memo_keys, target.array))
        self.stack.append(target.array)

    def _result(self) -> Any:
        (result,) = self.stack
        _refuse_unfinished(result, set())
        return result


def _remember(machine: _Machine, key: int | None) -> None:
    """PUT and MEMOIZE."""
    top = machine.stack[-1]
    key = len(machine.memo) if key is None else key
    machine.memo[key] = top
    if isinstance(top, EmptyArray):
        top.memo_keys.append(key)


def _recall(machine: _Machine, key: int) -> None:
    """GET."""
    machine.stack.append(machine.memo[int(key)])


def _extend(machine: _Machine, parts: list[Any]) -> None:
    """APPEND and APPENDS."""
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise TypeError("something that is no list is appended to")
    target.extend(parts)


def _update(machine: _Machine, parts: list[Any]) -> None:
    """SETITEM and SETITEMS."""
    target = machine.stack[-1]
    if not isinstance(target, dict):
        raise TypeError("something that is no dictionary gets items")
    target.update(zip(map(_key, parts[::2]), parts[1::2], strict=True))


def _new_dict(machine: _Machine, _: object) -> None:
    """DICT of protocol 0."""
    parts = machine.items()
    machine.stack.append({})
    _update(machine, parts)


def _add(machine: _Machine, parts: list[Any]) -> None:
    """ADDITEMS."""
    target = machine.stack[-1]
    if not isinstance(target, set):
        raise TypeError("something that is no set gets members")
    target.update(map(_key, parts))


def _key(part: Any) -> Any:
    """A key or member that is one word or number: hashing a tree of shared tuples may never end."""
    if not isinstance(part, str | bytes | int | float | None):
        raise TypeError(f"a {type(part).__name__} as a key")
    return part


def _stack_name(machine: _Machine, _: object) -> None:
    """STACK_GLOBAL."""
    module, name = machine.pop(2)
    machine.name(f"{module} {name}")


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.items().clear(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "LIST": lambda machine, _: machine.stack.append(machine.items()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.pop(3))),
    "FROZENSET": lambda machine, _: machine.stack.append(frozenset(map(_key, machine.items()))),
    "DICT": _new_dict,
    "APPEND": lambda machine, _: _extend(machine, machine.pop(1)),
    "APPENDS": lambda machine, _: _extend(machine, machine.items()),
    "SETITEM": lambda machine, _: _update(machine, machine.pop(2)),
    "SETITEMS": lambda machine, _: _update(machine, machine.items()),
    "ADDITEMS": lambda machine, _: _add(machine, machine.items()),
    "GLOBAL": lambda machine, written: machine.name(written),
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "MEMOIZE": lambda machine, _: _remember(machine, None),
    "PUT": _remember,
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "GET": _recall,
    "BINGET": _recall,
    "LONG_BINGET": _recall,
}


def _refuse_unfinished(value: Any, seen: set[int]) -> None:
    """Refuse a name or a half-built array that was left in the data."""
    if isinstance(value, _Name | DType | EmptyArray) or value is _MARK:
        raise ValueError("it holds a constructor in place of data")
    if isinstance(value, dict | list | tuple | set) and id(value) not in seen:
        seen.add(id(value))
        for part in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
            _refuse_unfinished(part, seen)


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    """Copy an array out of bytes whose size must be exactly that of its shape."""
    raw = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, DType):
        raise TypeError("an array without bytes")
    size = tuple(int(n) for n in shape)
    if any(n < 0 for n in size):
        raise ValueError(f"an array of the shape {size}")
    flat = np.frombuffer(raw, dtype.dtype)
    return flat.reshape(size, order="F" if order == "F" else "C").copy()


def read_scalar(dtype: Any, content: Any) -> Any:
    """One NumPy scalar as a Python number.

    Parameters
    ----------
    dtype : DType
    content : bytes
        Exactly one number.

    Raises
    ------
    ValueError
        If the bytes are not those of one number.
    """
    return _array(content, dtype, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _refused_array(*_: object) -> Any:
    raise ValueError("an array that is made by its class")


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "ordered_dict": lambda items=(): OrderedDict((_key(key), value) for key, value in items),
    "encode": _encode,
    "dtype": DType,
    "scalar": read_scalar,
    "empty_array": EmptyArray,
    "array_from_buffer": _array,
    "ndarray": _refused_array,
    "set": lambda items=(): set(map(_key, items)),
}
