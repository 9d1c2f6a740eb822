"""Reads a compiled program's text for what its cost model leaves out: collectives, trip counts of
loops, bytes moved to and from main memory.

Everything counts as often as it runs: a loop's body by the trip count; the compiler's own
`cost_analysis` counts it once (on CPU, and on v5e with jax 0.10.2).
"""

import collections
import dataclasses
import math
import re

import numpy as np

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip
# Other names of existing buffers, and constants: nothing is moved.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "opt-barrier", "partition-id", "replica-id", "iota", "domain",
    "add-dependency", "async-start",
}  # fmt: skip
BITS = {"pred": 8, "token": 0, "opaque": 0, "s4": 4, "u4": 4, "s2": 2, "u2": 2}

_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,<=]*)\](\{[^}]*\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r" ([a-z][a-z0-9\-]*)\(")
_CALLED = re.compile(
    r"\b(calls|body|condition|true_computation|false_computation|branch_computations|"
    r"called_computations|to_apply)=(\{[^}]*\}|%?[\w.\-]+)"
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: `shape` and `attributes` are text, `operands` names."""

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str
    root: bool


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a step.

    Attributes:
        kind: one of COLLECTIVES.
        bytes: of the whole array of a group: the operand of an all-reduce or reduce-scatter on a
            device, the result of an all-gather, a device's operand in the others.
        group: indices, in the mesh's order, of the devices of its first group; () for all of them.
        times: runs per step.
        where: the operation of the model that it came from.
        between: whether it is the part between TPU slices, through their hosts, of one that the
            compiler has split; then `bytes` is the shard of one device.
    """

    kind: str
    bytes: float
    group: tuple[int, ...]
    times: int
    where: str = ""
    between: bool = False


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled module.

    Attributes:
        computations: by name.
        entry: name of the entry computation.
        times: {computation: runs per step} of all that are reached, without those that are applied
            to elements.
        fused: names of the computations that are bodies of fusions.
        unknown_loops: loops whose trip counts could not be read; they count once.
        devices: over which it is partitioned.
    """

    computations: dict[str, tuple[Instruction, ...]]
    entry: str
    times: dict[str, int]
    fused: frozenset[str]
    unknown_loops: int
    devices: int

    def collectives(self) -> tuple[Collective, ...]:
        """Every collective once, however many parts the compiler has split it into."""
        collectives: dict[tuple, Collective] = {}
        for name, times in self.times.items():
            instructions = self.computations[name]
            shapes = {i.name: i.shape for i in instructions}
            for i in instructions:
                kind = _collective_kind(i)
                if kind is None:
                    continue
                # A fusion of an all-reduce and the slice that keeps the device's own shard.
                if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
                    kind = "reduce-scatter"
                new = self._collective(i, kind, shapes, times)
                # The parts of an asynchronous one share its channel.
                channel = re.search(r"channel_id=(\d+)", i.attributes)
                key = (kind, channel[1], new.between) if channel else (name, i.name)
                if key not in collectives or collectives[key].bytes < new.bytes:
                    collectives[key] = new
        return tuple(collectives.values())

    def _collective(self, i: Instruction, kind: str, shapes: dict, times: int) -> Collective:
        between = i.opcode == "send"
        group = () if between else group_of(i.attributes, self.devices)
        size = sum(shape_bytes(shapes.get(operand, "")) for operand in i.operands)
        if kind == "all-gather" and not between:
            size *= len(group) or self.devices
        where = re.search(r'op_name="([^"]*)"', i.attributes)
        return Collective(kind, size, group, times, where[1] if where else "", between)

    def bytes_moved(self, on_chip: tuple[int, ...] = ()) -> float:
        """Bytes that one device reads from and writes to main memory in a step.

        Every instruction, or fusion as a whole, reads its operands and writes its result; of a
        sliced array only the slice counts. Caches are ignored, so it is an upper bound where they
        help.

        Args:
            on_chip: memory spaces (`S(n)` in a layout) that are not main memory.
        """
        total = 0.0
        for name, times in self.times.items():
            if name not in self.fused:
                total += times * self._computation_bytes(name, on_chip)
        return total

    def _computation_bytes(self, name: str, on_chip: tuple[int, ...]) -> float:
        instructions = self.computations[name]
        shapes = {i.name: i.shape for i in instructions}
        total = 0.0
        for i in instructions:
            if i.opcode in FREE or i.opcode.endswith(("-done", "-update")):
                continue
            if i.opcode == "custom-call" and "AllocateBuffer" in i.attributes:
                continue
            if i.opcode == "fusion":
                total += self._fusion_bytes(i, shapes, on_chip)
            else:
                total += _plain_bytes(i, shapes, on_chip)
        return total

    def _fusion_bytes(self, fusion: Instruction, shapes: dict, on_chip: tuple[int, ...]) -> float:
        total = 0.0
        for index, operand in enumerate(fusion.operands):
            size = shape_bytes(shapes.get(operand, ""), on_chip)
            total += min(size, self._operand_reads(fusion, index, size)) if size else 0.0
        return total + self._written_bytes(fusion, on_chip)

    def _fused(self, fusion: Instruction) -> tuple[Instruction, ...]:
        called = [c for key, c in called_by(fusion) if key == "calls"]
        return self.computations.get(called[0], ()) if called else ()

    def _operand_reads(self, fusion: Instruction, index: int, size: float) -> float:
        """Bytes that a fusion reads of operand `index`, which has `size` of them."""
        body = self._fused(fusion)
        users = collections.defaultdict(list)
        for i in body:
            for position, operand in enumerate(i.operands):
                users[operand].append((i, position))
        number = re.compile(rf"{index}\b")
        parameters = (i for i in body if i.opcode == "parameter")
        parameter = next((i for i in parameters if number.match(i.attributes)), None)
        return self._value_reads(parameter.name, users, size) if parameter else size

    def _value_reads(self, name: str, users: dict, size: float) -> float:
        total = 0.0
        for user, index in users[name]:
            if user.opcode == "fusion":
                total += self._operand_reads(user, index, size)
            elif user.opcode in ("bitcast", "copy", "reshape") and users[user.name]:
                total += self._value_reads(user.name, users, size)
            elif index == 0 and user.opcode in ("dynamic-slice", "slice", "gather"):
                total += shape_bytes(user.shape)
            elif index == 0 and user.opcode == "dynamic-update-slice":
                continue  # written in place
            else:
                return size
        return total

    def _written_bytes(self, fusion: Instruction, on_chip: tuple[int, ...]) -> float:
        """Bytes of its results; of an operand updated in place, those of the update."""
        body = {i.name: i for i in self._fused(fusion)}
        root = next((i for i in body.values() if i.root), None)
        results = arrays_of(fusion.shape)
        if root is None:
            return shape_bytes(fusion.shape, on_chip)
        ends = root.operands if root.opcode == "tuple" else (root.name,)
        if len(ends) != len(results):  # a tuple within a tuple
            return shape_bytes(fusion.shape, on_chip)
        total = 0.0
        for name, result in zip(ends, results, strict=True):
            end = body.get(name)
            while end and end.opcode in ("bitcast", "copy") and end.operands[0] in body:
                end = body[end.operands[0]]
            if end and end.opcode == "dynamic-update-slice" and shape_bytes(result, on_chip):
                update = body.get(end.operands[1])
                total += shape_bytes(update.shape if update else result)
            else:
                total += shape_bytes(result, on_chip)
        return total


def _collective_kind(i: Instruction) -> str | None:
    """The kind of collective that an instruction begins; None: it begins none."""
    if i.opcode == "send":
        transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', i.attributes)
        kind = transfer[1].lower().replace("_", "-") if transfer else None
        return "collective-permute" if kind == "one-to-one" else kind
    kind = i.opcode.removesuffix("-start")
    return kind if kind in COLLECTIVES else None


def _plain_bytes(i: Instruction, shapes: dict, on_chip: tuple[int, ...]) -> float:
    sizes = [shape_bytes(shapes.get(operand, ""), on_chip) for operand in i.operands]
    result = shape_bytes(i.shape, on_chip)
    if i.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * result
    if i.opcode == "dynamic-update-slice":
        return 2 * sizes[1]
    if i.opcode == "slice-start":  # its shape holds the operand, then the slice
        piece = arrays_of(i.shape)[len(sizes)]
        return shape_bytes(piece) + shape_bytes(piece, on_chip)
    if i.opcode == "copy-start":  # its shape holds both ends
        return result
    if i.opcode.endswith("-start"):  # its shape holds its operands too, but for an all-reduce
        arrays = arrays_of(i.shape)
        results = arrays[len(sizes) : 2 * len(sizes)] or arrays
        return sum(sizes) + shape_bytes(" ".join(results), on_chip)
    return sum(sizes) + result


def shape_bytes(shape: str, excluded: tuple[int, ...] = ()) -> float:
    """Bytes of all arrays in a shape's text, except those in the memory spaces `excluded`."""
    total = 0.0
    for kind, sizes, layout in _ARRAY.findall(shape):
        space = re.search(r"S\((\d+)\)", layout)
        if space and int(space[1]) in excluded:
            continue
        digits = re.match(r"[a-z]+(\d+)", kind)
        bits = BITS.get(kind, int(digits[1]) if digits else 0)
        numbers = [int(word.lstrip("<=")) for word in sizes.split(",") if word]
        total += math.prod(numbers) * bits / 8
    return total


def arrays_of(shape: str) -> list[str]:
    """The arrays of a shape's text, each with its layout."""
    return [array[0] for array in _ARRAY.finditer(shape)]


def called_by(i: Instruction) -> list[tuple[str, str]]:
    """(attribute, computation) of every computation that an instruction calls."""
    return [
        (key, name.strip().lstrip("%"))
        for key, names in _CALLED.findall(i.attributes)
        for name in names.strip("{}").split(",")
    ]


def group_of(attributes: str, devices: int) -> tuple[int, ...]:
    """The first group of `replica_groups`, in any of its four notations; () for all devices.

    {{0,1},{2,3}}; [2,4]<=[8] and [2,4]<=[4,2]T(1,0), rows of a transposed iota; and
    mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}, the devices along axes of a mesh.
    """
    pairs = re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", attributes)
    if pairs:
        return int(pairs[1]), int(pairs[2])
    start = attributes.find("replica_groups=")
    text = attributes[start + len("replica_groups=") :] if start >= 0 else ""
    if listed := re.match(r"\{\{([\d,]*)\}", text):
        return tuple(int(word) for word in listed[1].split(",") if word)
    if cut := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, sizes, order = (_numbers(word) for word in cut.groups())
        return tuple(_ordered(sizes, order).reshape(shape)[0].tolist())
    if named := re.match(r"mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? ?\{([^}]*)\}", text):
        axes = {k: int(n) for k, n in re.findall(r"'([^']*)'=(\d+)", named[1])}
        ids = np.arange(math.prod(axes.values()))
        if named[2] and (cut := re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", named[2])):
            ids = _ordered(_numbers(cut[1]), _numbers(cut[2])).reshape(-1)
        group_axes = re.findall(r"'([^']*)'", named[3])
        along = tuple(slice(None) if axis in group_axes else 0 for axis in axes)
        return tuple(ids.reshape(tuple(axes.values()))[along].reshape(-1).tolist())
    return tuple(range(devices))


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",")) if text else ()


def _ordered(sizes: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose(order) if order else numbers


def parse(text: str) -> Program:
    """Reads `compiled.as_text()`.

    Raises:
        ValueError: no entry computation in it.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line[:1] not in (" ", "\t", "}"):
            head = _COMPUTATION.match(line)
            current = computations.setdefault(head[2], []) if head else None
            entry = head[2] if head and head[1] else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            current.append(_instruction(*match.groups()))
    if not entry:
        raise ValueError("this is not the text of a compiled program")
    done = {name: tuple(lines) for name, lines in computations.items()}
    times, unknown = _times(done, entry)
    fusions = (i for lines in done.values() for i in lines if i.opcode == "fusion")
    fused = frozenset(name for i in fusions for key, name in called_by(i) if key == "calls")
    parts = re.search(r"num_partitions=(\d+)", text[:20_000])
    return Program(done, entry, times, fused, unknown, int(parts[1]) if parts else 1)


def _instruction(root: str | None, name: str, rest: str) -> Instruction:
    opcode = _OPCODE.search(rest)
    if opcode is None:
        return Instruction(name, "", rest, (), "", bool(root))
    start, depth, end = opcode.end(), 1, opcode.end()
    while depth and end < len(rest):
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    arguments = rest[start : end - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
    # A parameter's number and a constant's value are written in place of operands.
    attributes = rest[end:] if operands else f"{arguments}{rest[end:]}"
    return Instruction(name, opcode[1], rest[: opcode.start()], operands, attributes, bool(root))


def _times(computations: dict, entry: str) -> tuple[dict[str, int], int]:
    """How often each computation runs, and the number of loops of unknown trip count."""
    times: dict[str, int] = collections.Counter()
    unknown = 0

    def visit(name: str, runs: int) -> None:
        nonlocal unknown
        times[name] += runs
        for i in computations.get(name, ()):
            if i.opcode.endswith(("-done", "-update")):
                continue
            trips = 1
            if i.opcode == "while":
                trips = trip_count(i, computations)
                unknown += trips is None
                trips = trips or 1
            for key, called in called_by(i):
                # to_apply is applied to elements, except in a call, whose body it is.
                if called in computations and (key != "to_apply" or i.opcode == "call"):
                    visit(called, runs * trips)

    visit(entry, 1)
    return dict(times), unknown


def trip_count(loop: Instruction, computations: dict) -> int | None:
    """Of a while loop: the compiler's, or the only integer in its condition (the loops of
    `lax.scan` and `fori_loop` count up from 0); None: neither.
    """
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes):
        return int(known[1])
    condition = next((c for key, c in called_by(loop) if key == "condition"), "")
    limits = {
        int(value[0])
        for i in computations.get(condition, ())
        if i.opcode == "constant" and re.match(r"[su]\d+\[\]", i.shape)
        if (value := re.match(r"-?\d+", i.attributes))
    }
    return limits.pop() if len(limits) == 1 else None
