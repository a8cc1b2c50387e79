"""Machine code for the host's processor from a traced rule, by LLVM: vectors by construction, no compiler to install.

The code is written vector by vector rather than left to an optimizer to vectorise, and without any fast-math
licence: every operation rounds as the rule's own, so a kernel gives the loop's numbers bit for bit. The one
exception is a power in float32, which is a polynomial here (see :mod:`adana.optim.kernels.operations`).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from adana.optim.formats import BLOCK
from adana.optim.kernels import formats
from adana.optim.kernels.operations import computed
from adana.optim.kernels.trace import PARAMETER, Graph, Node, Storage
from adana.optim.kernels.vectors import (
    I32,
    I64,
    REAL,
    STORED,
    Kind,
    larger,
    load,
    loop,
    smaller,
    store,
    to_float32,
    to_real,
)
from adana.optim.randomness import COMPENSATION
from adana.optim.storage import MAGNITUDES, scale_name

__all__ = ["PLACES", "Kernel", "compiled", "converts_float16"]

KEYS = 4  # words of a tensor's place: the keys of two random sequences,
PLACES = KEYS + 2  # then the number of its first element and the length of its rows
# Memory is asked for so many elements before they are needed. The processor's own look-ahead stops at every page
# of 4 KiB and starts anew with each of the five to nine streams of a rule.
AHEAD = 512
Body = Callable[[ir.Value], None]


class Kernel(NamedTuple):
    """A compiled kernel: call ``run(addresses, ends, rows, numbers, places, tensors, first, last)``, all of it
    addresses and counts, to update the elements ``first`` to ``last`` of the tensors laid end to end; where
    averages are codes, their blocks.

    ``addresses``: int64, (tensors, arrays), in the order of ``arrays``; ``ends``: int64, (tensors + 1,), where
    each tensor starts and the last one ends; ``rows``: int64, (tensors,), which row of ``numbers`` is a
    tensor's; ``numbers``: ``real``, (rows, uniforms of the graph); ``places``: int64, (tensors, ``PLACES``),
    the keys of both random sequences, the number of the first element, and the length of a row. Only kernels
    that round look into it.

    ``share`` is the address of ``void share(int64 *work)`` for threads that another library keeps. All are given the
    same work, take ranges from it in turns, and return when there are no more: the ranges taken so far (0), how many
    there are, the first six arguments of ``run``, then where each range starts and stops.
    """

    run: Callable[..., None]
    share: int
    arrays: tuple[str, ...]
    keep: Any  # the code lives as long as its engine


def _machine() -> llvm.TargetMachine:
    """One for each engine, which takes it over."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features().flatten(), opt=3, jit=True, codemodel="jitdefault"
    )


@functools.cache
def _features() -> Any:
    return llvm.get_host_cpu_features()


def converts_float16() -> bool:
    """Whether the processor converts float16 itself; elsewhere LLVM would call a function nobody provides."""
    return bool(_features().get("f16c") or _features().get("fullfp16") or "fp-armv8" in _features())


def _register_bytes() -> int:
    for feature, size in (("avx512f", 64), ("avx", 32)):
        if _features().get(feature):
            return size
    return 16


# The lock of functools.cache would do for one thread; a second one asking meanwhile would compile the same again.
@functools.cache
def compiled(graph: Graph, storage: Storage) -> Kernel:
    """The kernel of a traced rule for arrays stored so; made once a process, in some ten milliseconds."""
    module = ir.Module()
    _emit(module, graph, storage)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, _machine())
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE(None, *([ctypes.c_int64] * 8))
    run, share = (engine.get_function_address(name) for name in ("kernel", "share"))
    return Kernel(prototype(run), share, tuple(n for n, _ in storage.arrays), engine)


def _emit(module: ir.Module, graph: Graph, storage: Storage) -> None:
    """``for tensor: for element: load, compute, store``, with the tensor's numbers read before its elements."""
    real = REAL[storage.real]
    uniforms = graph.uniforms
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 8), name="kernel")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    addresses, ends, rows, numbers, places, tensors, first, last = function.args

    def word(table: ir.Value, index: ir.Value) -> ir.Value:
        return b.load(b.gep(b.inttoptr(table, I64.as_pointer()), [index]))

    scratch = _Scratch(b, graph, storage) if storage.coded else None
    with loop(b, ir.Constant(I64, 0), tensors, 1) as tensor:
        begin, end = word(ends, tensor), word(ends, b.add(tensor, ir.Constant(I64, 1)))
        start = b.sub(larger(b, first, begin), begin)
        stop = b.sub(smaller(b, last, end), begin)
        with b.if_then(b.icmp_signed("<", start, stop)):
            row = b.mul(word(rows, tensor), ir.Constant(I64, len(uniforms)))
            numbers_at = b.gep(b.inttoptr(numbers, real.as_pointer()), [row])
            given = {
                node.index: b.load(b.gep(numbers_at, [ir.Constant(I64, k)]), name=_name(node))
                for k, node in enumerate(uniforms)
            }
            arrays: dict[str, tuple[ir.Value, str]] = {}
            for k, (name, stored) in enumerate(storage.arrays):
                slot = b.add(b.mul(tensor, ir.Constant(I64, len(storage.arrays))), ir.Constant(I64, k))
                arrays[name] = (b.inttoptr(word(addresses, slot), STORED[stored].as_pointer()), stored)
            place: list[ir.Value] = []
            if storage.rounded:
                slot = b.mul(tensor, ir.Constant(I64, PLACES))
                place = [word(places, b.add(slot, ir.Constant(I64, k))) for k in range(PLACES)]
            tensor_of = _Tensor(b, graph, storage, given, arrays, place)
            if scratch:
                _over_blocks(tensor_of, scratch, start, stop)
            else:
                _over_elements(tensor_of, start, stop)
    b.ret_void()
    _emit_share(module, function)


def _emit_share(module: ir.Module, kernel: ir.Function) -> None:
    """``while ((k = work[0]++) < work[1]) kernel(work[2], ..., work[7], work[8 + 2k], work[9 + 2k])``."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64]), name="share")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    take, go, end = (function.append_basic_block(name) for name in ("take", "go", "end"))
    work = b.inttoptr(function.args[0], I64.as_pointer())

    def word(index: ir.Value | int) -> ir.Value:
        return b.load(b.gep(work, [ir.Constant(I64, index) if isinstance(index, int) else index]))

    b.branch(take)
    b.position_at_end(take)
    k = b.atomic_rmw("add", work, ir.Constant(I64, 1), "seq_cst")
    b.cbranch(b.icmp_signed("<", k, word(1)), go, end)
    b.position_at_end(go)
    start = b.add(b.mul(k, ir.Constant(I64, 2)), ir.Constant(I64, 8))
    b.call(kernel, [*(word(index) for index in range(2, 8)), word(start), word(b.add(start, ir.Constant(I64, 1)))])
    b.branch(take)
    b.position_at_end(end)
    b.ret_void()


def _name(node: Node) -> str:
    return node.value if node.op == "scalar" else node.op


class _Tensor(NamedTuple):
    """What the code of one tensor is written from: its numbers, its arrays and where its elements stand."""

    b: ir.IRBuilder
    graph: Graph
    storage: Storage
    given: Mapping[int, ir.Value]
    arrays: Mapping[str, tuple[ir.Value, str]]
    place: list[ir.Value]

    @property
    def real(self) -> ir.Type:
        return REAL[self.storage.real]

    def spread(self, start: ir.Value, stop: ir.Value, prepare: Callable[[Kind], Body]) -> None:
        """Many at a time, then what is left one by one; ``prepare`` writes what does not change in the loop."""
        b = self.b
        width = _lanes(self.graph, self.storage)
        whole = b.sub(stop, b.srem(b.sub(stop, start), ir.Constant(I64, width)))
        for lanes, lower, upper in ((width, start, whole), (1, whole, stop)):
            kind = Kind(b, self.real, lanes)
            body = prepare(kind)
            with loop(b, lower, upper, lanes) as i:
                body(i)

    def prefetch(self, kind: Kind, i: ir.Value) -> None:
        if kind.lanes > 1:
            ahead = self.b.add(i, ir.Constant(I64, AHEAD))
            for at, _ in self.arrays.values():
                kind.prefetch(at, ahead)

    def random(self, kind: Kind, offset: ir.Value | None = None) -> formats.Random:
        """The random bits of the elements from ``offset`` on."""
        first = self.place[KEYS]
        return formats.Random(kind, self.place[:KEYS], first if offset is None else self.b.add(first, offset))


def _lanes(graph: Graph, storage: Storage) -> int:
    """How many elements are worked on side by side: two vectors, or four.

    A power, or codes, make the chain of operations that wait for one another longer than a processor looks ahead:
    four chains written in turns keep it busy (eight would spend on registers what they gain).
    """
    vector = _register_bytes() // (8 if storage.real == "float64" else 4)
    return vector * (4 if storage.coded or any(node.op == "pow" for node in graph.needed()) else 2)


def _over_elements(tensor: _Tensor, start: ir.Value, stop: ir.Value) -> None:
    def prepare(kind: Kind) -> Body:
        wide = {index: kind.splat(x) for index, x in tensor.given.items()}
        random = tensor.random(kind) if tensor.storage.rounded else None

        def body(i: ir.Value) -> None:
            tensor.prefetch(kind, i)
            bits = random.at(i) if random else None
            values = {name: load(kind, at, stored, i) for name, (at, stored) in tensor.arrays.items()}
            outputs = _outputs(tensor, kind, values, wide)
            _store_parameter(tensor, kind, i, outputs.pop(PARAMETER), bits)
            for name, x in outputs.items():
                at, stored = tensor.arrays[name]
                if bits and stored in ("bfloat16", "float16"):
                    formats.store_rounded(kind, at, stored, i, x, bits(name), signed=name not in MAGNITUDES)
                else:
                    store(kind, at, stored, i, x)

        return body

    tensor.spread(start, stop, prepare)


def _outputs(
    tensor: _Tensor, kind: Kind, values: dict[str, ir.Value], wide: Mapping[int, ir.Value]
) -> dict[str, ir.Value]:
    if COMPENSATION in values:
        values[PARAMETER] = kind.b.fadd(values[PARAMETER], values[COMPENSATION])
    return computed(kind, tensor.graph, values, wide)


def _store_parameter(
    tensor: _Tensor, kind: Kind, i: ir.Value, x: ir.Value, bits: Callable[[str], ir.Value] | None
) -> None:
    at, stored = tensor.arrays[PARAMETER]
    if bits and tensor.storage.rounding == "stochastic":
        formats.store_rounded(kind, at, stored, i, x, bits("parameter"))
        return
    store(kind, at, stored, i, x)
    if bits and tensor.storage.rounding == "kahan":
        left = kind.b.fsub(x, load(kind, at, stored, i))
        formats.store_rounded(kind, tensor.arrays[COMPENSATION][0], "bfloat16", i, left, bits(COMPENSATION))


class _Scratch:
    """Memory for one block of every average between the passes over it, and for the largest bits of each."""

    def __init__(self, b: ir.IRBuilder, graph: Graph, storage: Storage) -> None:
        self.b, self.lanes = b, _lanes(graph, storage)
        self.values, self._peaks = {}, {}
        for name in storage.coded:
            values = b.alloca(ir.ArrayType(REAL["float32"], BLOCK), name=name)
            values.align = 64
            zero = ir.Constant(I64, 0)
            self.values[name] = b.gep(values, [zero, zero])
            self._peaks[name] = b.alloca(ir.VectorType(I32, self.lanes), name=f"{name}_peak")
        bits = b.alloca(ir.ArrayType(I32, BLOCK), name="bits")
        bits.align = 64
        self.bits = b.gep(bits, [ir.Constant(I64, 0), ir.Constant(I64, 0)])

    def forget(self) -> None:
        for peak in self._peaks.values():
            self.b.store(ir.Constant(peak.type.pointee, [0] * self.lanes), peak)

    def raise_to(self, kind: Kind, name: str, x: ir.Value) -> None:
        """Not-a-number and infinity have the largest bits of all, so that no maximum hides them."""
        b = kind.b
        bits = b.and_(b.bitcast(x, kind.type(I32)), kind.constant(0x7FFFFFFF, I32))
        at = b.bitcast(self._peaks[name], kind.type(I32).as_pointer())
        known = b.load(at)
        b.store(b.select(b.icmp_unsigned(">", bits, known), bits, known), at)

    def peak(self, name: str) -> ir.Value:
        at = self._peaks[name]
        full = f"llvm.vector.reduce.umax.v{self.lanes}i32"
        known = self.b.module.globals.get(full)
        function = known or ir.Function(self.b.module, ir.FunctionType(I32, [at.type.pointee]), name=full)
        return self.b.call(function, [self.b.load(at)])


def _over_blocks(tensor: _Tensor, scratch: _Scratch, start: ir.Value, stop: ir.Value) -> None:
    """A block at a time: decode and compute into ``scratch``, encode magnitudes, then signed averages beside them.

    The second moment is encoded before the averages that are stored relative to its root.
    """
    b = tensor.b
    length, size_of_block = tensor.place[KEYS + 1], ir.Constant(I64, BLOCK)
    blocks_of_row = b.sdiv(b.add(length, ir.Constant(I64, BLOCK - 1)), size_of_block)
    with loop(b, start, stop, 1) as block:
        row = b.sdiv(block, blocks_of_row)
        column = b.mul(b.sub(block, b.mul(row, blocks_of_row)), size_of_block)
        size = smaller(b, size_of_block, b.sub(length, column))
        offset = b.add(b.mul(row, length), column)
        scales = {name: b.gep(tensor.arrays[scale_name(name)][0], [block]) for name in tensor.storage.coded}
        arrays = {
            name: (b.gep(at, [offset]), stored)
            for name, (at, stored) in tensor.arrays.items()
            if not name.endswith("_scale")
        }
        _encode_block(tensor._replace(arrays=arrays), scratch, scales, offset, size)


def _encode_block(
    tensor: _Tensor, scratch: _Scratch, scales: Mapping[str, ir.Value], offset: ir.Value, size: ir.Value
) -> None:
    b, coded, zero = tensor.b, tensor.storage.coded, ir.Constant(I64, 0)
    magnitudes = [name for name in coded if name in MAGNITUDES]
    signed = [name for name in coded if name not in MAGNITUDES]
    relative = "exp_avg_sq" in coded
    scratch.forget()
    old = {name: b.load(at) for name, at in scales.items()}

    def compute(kind: Kind) -> Body:
        wide = {index: kind.splat(x) for index, x in tensor.given.items()}
        scale = {name: kind.splat(x) for name, x in old.items()}
        random = tensor.random(kind, offset)

        def body(i: ir.Value) -> None:
            tensor.prefetch(kind, i)
            values, root = {}, None
            for name in (*magnitudes, *signed):
                codes = kind.load(tensor.arrays[name][0], i)
                if name in MAGNITUDES:
                    x = formats.decode_magnitude(kind, codes, scale[name])
                    if name == "exp_avg_sq":
                        root = kind.call("sqrt", x)
                else:
                    x = formats.decode_signed(kind, codes, scale[name])
                    x = b.fmul(x, root) if root is not None else x
                values[name] = to_real(kind, x)
            for name, (at, stored) in tensor.arrays.items():
                if name not in coded:
                    values[name] = load(kind, at, stored, i)
            outputs = _outputs(tensor, kind, values, wide)
            _store_parameter(tensor, kind, i, outputs.pop(PARAMETER), random.at(i))
            for name, x in outputs.items():
                x = to_float32(kind, x)
                kind.store(x, scratch.values[name], i)
                if name in magnitudes or not relative:
                    scratch.raise_to(kind, name, x)

        return body

    tensor.spread(zero, size, compute)

    new = {name: formats.magnitude_scale(b, scratch.peak(name)) for name in magnitudes}
    for name, (scale, _) in new.items():
        b.store(scale, scales[name])

    def encode_magnitudes(kind: Kind) -> Body:
        by = {name: (kind.splat(scale), kind.splat(inverse)) for name, (scale, inverse) in new.items()}
        random = tensor.random(kind, offset)

        def body(i: ir.Value) -> None:
            bits = random.at(i)
            for name in magnitudes:
                scale, inverse = by[name]
                codes = formats.encode_magnitude(kind, kind.load(scratch.values[name], i), inverse, bits(name))
                kind.store(codes, tensor.arrays[name][0], i)
                if name == "exp_avg_sq":
                    kind.store(bits("exp_avg"), scratch.bits, i)  # half of a word that is at hand
                    root = formats.root_or_infinity(kind, formats.decode_magnitude(kind, codes, scale))
                    for other in signed:
                        ratio = b.fdiv(kind.load(scratch.values[other], i), root)
                        kind.store(ratio, scratch.values[other], i)
                        scratch.raise_to(kind, other, ratio)

        return body

    if magnitudes:
        tensor.spread(zero, size, encode_magnitudes)

    new = {name: formats.signed_scale(b, scratch.peak(name)) for name in signed}
    for name, (scale, _) in new.items():
        b.store(scale, scales[name])

    def encode_signed(kind: Kind) -> Body:
        by = {name: kind.splat(inverse) for name, (_, inverse) in new.items()}
        random = tensor.random(kind, offset)

        def body(i: ir.Value) -> None:
            bits = random.at(i)
            for name in signed:
                noise = kind.load(scratch.bits, i) if relative and name == "exp_avg" else bits(name)
                codes = formats.encode_signed(kind, kind.load(scratch.values[name], i), by[name], noise)
                kind.store(codes, tensor.arrays[name][0], i)

        return body

    tensor.spread(zero, size, encode_signed)
