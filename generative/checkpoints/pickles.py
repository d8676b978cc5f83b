"""Read pickles without running anything in them.

A pickle is a program for a stack machine. `pickletools.genops` splits it into opcodes without acting on them;
the machine here knows the opcodes that hold data, and looks up every global in an allow-list that maps names
to our own constructors. Nothing is imported, no attribute of a named object is read, and no object but ours
is ever called.

A name outside of the list ends the reading with `unsafe_pickle`, even if the pickle would never call it.
"""

import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from generative.checkpoints.errors import CheckpointError

MAX_OPCODES = 2_000_000  # the largest StyleGAN2 files have about 50,000

Constructor = Callable[..., Any]
PersistentLoad = Callable[[object], object]


class Inert:
    """Stands for an instance of a class that we never import: its name, arguments and state."""

    def __init__(self, name: str, args: tuple[object, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: object = None


class InertDict(dict[Any, Any]):
    """Stands for an instance of a dict subclass. `state` is what its attributes would have been."""

    state: object = None


@dataclass(frozen=True)
class Global:
    """An allowed name. Calling it means calling `make` with the arguments from the pickle."""

    name: str
    make: Constructor


@dataclass(frozen=True)
class Mark:
    """Where a list, dict or tuple begins on the stack."""


@dataclass
class Machine:
    """The state of one pickle that is being read."""

    allowed: Mapping[str, Constructor]
    persistent_load: PersistentLoad | None
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, Mark):
            raise CheckpointError("malformed", "broken pickle: a mark where a value should be")
        return value

    def top(self, kind: type) -> Any:
        """The value on the stack that an opcode fills, which must be of this type."""
        if not isinstance(self.stack[-1], kind):
            raise CheckpointError("unsafe_pickle", f"the pickle changes what is not a {kind.__name__}")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        values = []
        while not isinstance(value := self.stack.pop(), Mark):
            values.append(value)
        return values[::-1]

    def find(self, module: object, name: object) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("unsafe_pickle", "the pickle names a global by something else than text")
        full = f"{module}.{name}"
        if full not in self.allowed:
            raise CheckpointError(
                "unsafe_pickle", f"the pickle asks for {full[:100]!r}, outside its allow-list"
            )
        return Global(full, self.allowed[full])


def read_pickle(
    stream: BinaryIO, allowed: Mapping[str, Constructor], persistent_load: PersistentLoad | None = None
) -> Any:
    """Read one pickle from the stream's position, and leave the stream just after it.

    Args:
        allowed: full name of a global -> what to call in its place. Called with the positional arguments in
            the pickle; its result may be an `Inert` or `InertDict`, which take the state that BUILD sets.
        persistent_load: persistent id -> value. Without it such ids are refused.

    Raises:
        CheckpointError: `unsafe_pickle`, `malformed`, `truncated`, `too_large`, or what a constructor raises.
    """
    machine = Machine(allowed, persistent_load)
    try:
        with warnings.catch_warnings():  # of odd escapes in text
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count > MAX_OPCODES:
                    raise CheckpointError("too_large", f"the pickle has more than {MAX_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return machine.pop()
                _step(machine, opcode.name, argument)
    except CheckpointError:
        raise
    except (ValueError, struct.error) as error:
        raise CheckpointError(
            "malformed" if stream.read(1) else "truncated", f"broken pickle: {str(error)[:200]}"
        ) from None
    except (IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError("malformed", f"broken pickle: {type(error).__name__}") from None
    raise CheckpointError("truncated", "the pickle has no end")


def _step(machine: Machine, opcode: str, argument: Any) -> None:
    if opcode in _LITERALS:
        machine.stack.append(argument)
    elif opcode in _CONSTANTS:
        machine.stack.append(_CONSTANTS[opcode]())
    elif opcode in _ACTIONS:
        _ACTIONS[opcode](machine, argument)
    elif opcode not in ("PROTO", "FRAME"):
        raise CheckpointError("unsafe_pickle", f"the pickle uses {opcode}, which its format never needs")


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def build(machine: Machine, _argument: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(values[::-1]))

    return build


def _append(machine: Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _add(machine: Machine, values: list[Any]) -> None:
    machine.top(set).update(_key(value) for value in values)


def _set_items(machine: Machine, values: list[Any]) -> None:
    target = machine.top(dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
        target[_key(key)] = value


def _key(value: Any) -> Any:
    """Only plain values may be keys: the hash of nested tuples can take exponential time."""
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    raise CheckpointError("malformed", f"broken pickle: a key of type {type(value).__name__}")


def _new_dict(machine: Machine, values: list[Any]) -> None:
    machine.stack.append({})
    _set_items(machine, values)


def _memoize(machine: Machine, _argument: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _put(machine: Machine, index: Any) -> None:
    machine.memo[index] = machine.stack[-1]


def _pop(machine: Machine, _argument: Any) -> None:
    machine.stack.pop()


def _get(machine: Machine, index: Any) -> None:
    machine.stack.append(machine.memo[index])


def _global(machine: Machine, argument: Any) -> None:
    machine.stack.append(machine.find(*argument.split(" ", 1)))


def _stack_global(machine: Machine, _argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.find(module, name))


def _call(machine: Machine, _argument: Any) -> None:
    args, function = machine.pop(), machine.pop()
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise CheckpointError("unsafe_pickle", "the pickle calls what is not a known name")
    machine.stack.append(function.make(*args))


def _build(machine: Machine, _argument: Any) -> None:
    state, target = machine.pop(), machine.stack[-1]
    if not isinstance(target, Inert | InertDict) or target.state is not None:
        raise CheckpointError("unsafe_pickle", "the pickle sets the state of a plain value")
    target.state = state


def _persistent(machine: Machine, key: object) -> None:
    if machine.persistent_load is None:
        raise CheckpointError("unsafe_pickle", "the pickle uses persistent ids, which its format never needs")
    machine.stack.append(machine.persistent_load(key))


def _with_marked(act: Callable[[Machine, list[Any]], None]) -> Callable[[Machine, Any], None]:
    return lambda machine, _argument: act(machine, machine.pop_to_mark())


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
    "SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": Mark,
}

_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _with_marked(lambda machine, values: machine.stack.append(tuple(values))),
    "LIST": _with_marked(lambda machine, values: machine.stack.append(values)),
    "DICT": _with_marked(_new_dict),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": _with_marked(_append),
    "ADDITEMS": _with_marked(_add),
    "SETITEM": lambda machine, _: _set_items(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": _with_marked(_set_items),
    "POP": _pop,
    "POP_MARK": _with_marked(lambda machine, values: None),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": lambda machine, _: _persistent(machine, machine.pop()),
}
