"""Pickles of tensors, read as data: nothing is imported, looked up or called.

A pickle is a program for a stack machine. This machine knows the instructions that dicts of tensors
are made of, and a few names to apply, which it takes to be descriptions: those that torch has had
for a tensor over a storage, and `OrderedDict`. Beside its tensors a checkpoint of a training run
has settings and counters, whose classes are known by name and whose objects are `FOREIGN`, without
content. Whatever else a file requests ends the reading with an error.
"""

import dataclasses
import io
import pickletools
from typing import Any

MOST_BYTES = 1 << 23  # of a pickle; the description of one tensor takes about a hundred
MOST_AXES = 64  # numpy's

TENSOR = ("torch._utils", "_rebuild_tensor_v2")
PARAMETER = ("torch._utils", "_rebuild_parameter")
ORDERED = ("collections", "OrderedDict")
# As the first versions of torch wrote.
OLD_TENSOR = ("torch._utils", "_rebuild_tensor")
OLD_PARAMETER = ("torch.nn.parameter", "Parameter")
OLD_SIZE = ("torch", "Size")
ALLOWED = (TENSOR, PARAMETER, ORDERED, OLD_TENSOR, OLD_PARAMETER, OLD_SIZE)
# By torch's names; a storage says its dtype by its class.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

# Of settings and counters in training checkpoints; by module, None being all of its names and of
# the modules below it.
BUILTINS = {
    "bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range",
    "set", "slice", "str", "tuple",
}  # fmt: skip
SETTINGS: dict[str, set[str] | None] = {
    "builtins": BUILTINS,
    "__builtin__": BUILTINS | {"long", "unicode"},
    "collections": {"defaultdict", "Counter"},
    "typing": {"Any"},
    "argparse": {"Namespace"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
    "copy_reg": {"_reconstructor"},
    "copyreg": {"_reconstructor"},
    "_codecs": {"encode"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
    "torch": {"device", "float32", "float16", "bfloat16", "float64", "int64", "Generator"},
    "omegaconf": None,
    "pytorch_lightning": None,
    "lightning": None,
    "lightning_fabric": None,
}

PUSHED = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING",
    "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MARK = object()
FOREIGN = object()  # something of `SETTINGS`


class Refused(Exception):
    """Something in a pickle that no dict of tensors has, described in the text."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A name of Python's that the file mentions."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat array of numbers: its key in the file, numpy dtype and length."""

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; `offset` and `strides` are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(eq=False)
class Parameter:
    """A parameter of old files, which make it first and fill in its tensor afterwards."""

    tensor: Tensor | None = None


def read_pickle(stream: io.BufferedIOBase, storages: dict[str, Storage] | None = None) -> Any:
    """What one pickle describes: numbers, texts, tuples, lists and dicts, over `Tensor`s.

    Args:
        stream: left at the end of the pickle.
        storages: takes up all that it mentions, by their keys.

    Raises:
        Refused: it asks for something else.
        Exception: it is damaged, in one of many ways.
    """
    machine = _Machine({} if storages is None else storages)
    for instruction, argument, _ in pickletools.genops(stream):
        if instruction.name == "STOP":
            return machine.pop()
        machine.run(instruction.name, argument)
    raise Refused("a pickle without an end")


class _Machine:
    def __init__(self, storages: dict[str, Storage]) -> None:
        self.storages = storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        mark = len(self.stack) - 1
        while self.stack[mark] is not MARK:  # IndexError below the bottom
            mark -= 1
            if mark < 0:
                raise Refused("a mark that is not there")
        values = self.stack[mark + 1 :]
        del self.stack[mark:]
        return values

    def run(self, name: str, argument: Any) -> None:
        push = self.stack.append
        if name in PUSHED:
            push(argument)
        elif name in CONSTANTS:
            push(CONSTANTS[name])
        elif name in EMPTY:
            push(EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif name == "MARK":
            push(MARK)
        elif name == "TUPLE":
            push(tuple(self.since_mark()))
        elif name in SIZES:
            push(tuple(self.pop() for _ in range(SIZES[name]))[::-1])
        elif name == "GLOBAL":
            push(_name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            push(_name(module, attribute))
        elif name not in ("PROTO", "FRAME"):
            self._combine(name)

    def _combine(self, name: str) -> None:
        if name == "APPEND":
            self._extend([self.pop()])
        elif name in ("APPENDS", "ADDITEMS"):
            self._extend(self.since_mark())
        elif name == "SETITEM":
            value, key = self.pop(), self.pop()
            self._set([key, value])
        elif name == "SETITEMS":
            self._set(self.since_mark())
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.pop(), self.pop()
            self.stack.append(_call(function, _checked(tuple, arguments)))
        elif name == "FROZENSET":
            self.stack.append(self.since_mark())
        elif name == "BINPERSID":
            storage = _storage(*_checked(tuple, self.pop()))
            self.storages[storage.key] = storage
            self.stack.append(storage)
        elif name == "BUILD":
            state = self.pop()
            if type(self.stack[-1]) is Parameter:
                _fill(self.stack[-1], _checked(tuple, state))
            elif self.stack[-1] is not FOREIGN:  # attributes, such as `_metadata`
                _checked(dict, self.stack[-1])
        else:
            raise Refused(f"the instruction {name}")

    def _extend(self, values: list[Any]) -> None:
        if self.stack[-1] is not FOREIGN:
            _checked(list, self.stack[-1]).extend(values)

    def _set(self, values: list[Any]) -> None:
        if self.stack[-1] is FOREIGN:
            return
        target = _checked(dict, self.stack[-1])
        for key, value in zip(values[::2], values[1::2], strict=True):
            if key is not FOREIGN:  # a class, of whose objects the value says something
                target[_key(key)] = value


def _checked(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise Refused(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _key(key: Any) -> Any:
    if type(key) not in (str, int):
        raise Refused(f"a key of type {type(key).__name__}")
    return key


def _name(module: Any, name: Any) -> Any:
    if type(module) is not str or type(name) is not str:
        raise Refused("a name that is no text")
    if (module, name) in ALLOWED or (module in ("torch", "torch.storage") and name in STORAGES):
        return Name(module, name)
    if _is_of_settings(module, name):
        return FOREIGN
    raise Refused(f"{module}.{name}")


def _is_of_settings(module: str, name: str) -> bool:
    if module in SETTINGS and SETTINGS[module] is not None:
        return name in SETTINGS[module]
    return SETTINGS.get(module.split(".")[0], set()) is None


def _call(function: Any, arguments: tuple) -> Any:
    """What a function of the file would return for `arguments`."""
    if function is FOREIGN:
        return FOREIGN
    name = (_checked(Name, function).module, function.name)
    if name == ORDERED and len(arguments) <= 1:  # Python 2 gives it its pairs at once
        pairs = _checked(list, arguments[0]) if arguments else []
        result = {_key(key): value for key, value in pairs}
        pairs.clear()  # or one list could be copied without end
        return result
    if name == PARAMETER:
        return _checked(Tensor, arguments[0])
    if name == OLD_PARAMETER:
        return Parameter(_checked(Tensor, arguments[0]) if arguments else None)
    if name == OLD_SIZE:
        return _checked(tuple, arguments[0])
    if name in (TENSOR, OLD_TENSOR):
        storage, offset, shape, strides = arguments[:4]
        if not len(_checked(tuple, shape)) == len(_checked(tuple, strides)) <= MOST_AXES:
            raise Refused(f"a tensor of {len(shape)} sizes and {len(strides)} strides")
        if any(type(n) is not int or not 0 <= n < 1 << 63 for n in (offset, *shape, *strides)):
            raise Refused("a tensor whose sizes, strides or offset are no whole numbers from 0 on")
        return Tensor(_checked(Storage, storage), offset, shape, strides)
    raise Refused(f"a call of {function.module}.{function.name}")


def _fill(parameter: Parameter, state: tuple) -> None:
    """From (tensor, gradient, hooks, requires_grad, volatile), or from the last three alone."""
    if len(state) == 5:
        parameter.tensor = _checked(Tensor, state[0])
    elif len(state) != 3:
        raise Refused(f"a parameter of {len(state)} parts")


def _storage(*pid: Any) -> Storage:
    """Of ("storage", class, key, device, count), and None behind it in the older format."""
    if len(pid) not in (5, 6) or pid[0] != "storage" or (len(pid) == 6 and pid[5] is not None):
        raise Refused("a reference to something that is no storage")
    _, kind, key, _, count = pid[:5]
    if _checked(Name, kind).name not in STORAGES or type(count) is not int or count < 0:
        raise Refused("a storage of an unknown kind")
    return Storage(str(_key(key)), STORAGES[kind.name], count)
