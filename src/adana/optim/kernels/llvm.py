"""Machine code for the host's processor from a traced rule, by LLVM: vectors by construction, no compiler to install.

The code is written vector by vector rather than left to an optimizer to vectorise, and without any fast-math
licence: every operation rounds as the rule's own, so a kernel gives the loop's numbers bit for bit. The one
exception is a power in float32, which is a polynomial here (see :func:`_power`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from adana.optim.kernels.trace import Graph, Node, Storage

__all__ = ["Kernel", "compiled", "converts_float16"]

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_REAL = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
STORED = {**_REAL, "bfloat16": _I16, "float16": ir.HalfType()}
_BYTES = {_REAL["float64"]: 8, _REAL["float32"]: 4, _I16: 2, ir.HalfType(): 2}


class Kernel(NamedTuple):
    """A compiled kernel: call ``run(addresses, ends, rows, numbers, tensors, first, last)``, all of it addresses
    and counts, to update the elements ``first`` to ``last`` of the tensors laid end to end.

    ``addresses``: int64, (tensors, arrays), in the order of ``arrays``; ``ends``: int64, (tensors + 1,), where
    each tensor starts and the last one ends; ``rows``: int64, (tensors,), which row of ``numbers`` is a
    tensor's; ``numbers``: ``real``, (rows, uniforms of the graph).
    """

    run: Callable[..., None]
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
    prototype = ctypes.CFUNCTYPE(None, *([ctypes.c_int64] * 7))
    return Kernel(prototype(engine.get_function_address("kernel")), tuple(n for n, _ in storage.arrays), engine)


def _emit(module: ir.Module, graph: Graph, storage: Storage) -> None:
    """``for tensor: for element: load, compute, store``, with the tensor's numbers read before its elements."""
    real = _REAL[storage.real]
    width = _register_bytes() // (8 if storage.real == "float64" else 4)
    uniforms = graph.uniforms()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64] * 7), name="kernel")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    addresses, ends, rows, numbers, tensors, first, last = function.args

    def word(table: ir.Value, index: ir.Value) -> ir.Value:
        return b.load(b.gep(b.inttoptr(table, _I64.as_pointer()), [index]))

    with _loop(b, ir.Constant(_I64, 0), tensors, 1) as tensor:
        begin, end = word(ends, tensor), word(ends, b.add(tensor, ir.Constant(_I64, 1)))
        start = b.sub(_larger(b, first, begin), begin)
        stop = b.sub(_smaller(b, last, end), begin)
        with b.if_then(b.icmp_signed("<", start, stop)):
            row = b.mul(word(rows, tensor), ir.Constant(_I64, len(uniforms)))
            numbers_at = b.gep(b.inttoptr(numbers, real.as_pointer()), [row])
            given = {
                node.index: b.load(b.gep(numbers_at, [ir.Constant(_I64, k)]), name=_name(node))
                for k, node in enumerate(uniforms)
            }
            arrays: dict[str, tuple[ir.Value, str]] = {}
            for k, (name, stored) in enumerate(storage.arrays):
                slot = b.add(b.mul(tensor, ir.Constant(_I64, len(storage.arrays))), ir.Constant(_I64, k))
                arrays[name] = (b.inttoptr(word(addresses, slot), STORED[stored].as_pointer()), stored)
            whole = b.sub(stop, b.srem(b.sub(stop, start), ir.Constant(_I64, width)))
            for lanes, lower, upper in ((width, start, whole), (1, whole, stop)):
                kind = _Kind(b, real, lanes)
                wide = {index: kind.splat(x) for index, x in given.items()}
                with _loop(b, lower, upper, lanes) as i:
                    values = {name: _load(kind, at, stored, i) for name, (at, stored) in arrays.items()}
                    for name, x in _computed(kind, graph, values, wide).items():
                        at, stored = arrays[name]
                        _store(kind, at, stored, i, x)
    b.ret_void()


def _name(node: Node) -> str:
    return node.value if node.op == "scalar" else node.op


@contextlib.contextmanager
def _loop(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int) -> Iterator[ir.Value]:
    """``for i in range(start, stop, step)``, yielding ``i``."""
    before = b.block
    head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(_I64)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", i, stop), body, done)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, ir.Constant(_I64, step)), b.block)
    b.branch(head)
    b.position_at_end(done)


def _larger(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _smaller(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


class _Kind:
    """A builder that works on so many lanes of one type at a time."""

    def __init__(self, b: ir.IRBuilder, real: ir.Type, lanes: int) -> None:
        self.b, self.real, self.lanes = b, real, lanes
        self.before = b.block  # where to put what does not change in the loop to come

    def type(self, scalar: ir.Type) -> ir.Type:
        return scalar if self.lanes == 1 else ir.VectorType(scalar, self.lanes)

    def constant(self, value: float, scalar: ir.Type | None = None) -> ir.Value:
        kind = self.type(self.real if scalar is None else scalar)
        return ir.Constant(kind, value if self.lanes == 1 else [value] * self.lanes)

    def splat(self, x: ir.Value) -> ir.Value:
        if self.lanes == 1:
            return x
        vector = self.type(x.type)
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(_I32, 0))
        lanes = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)

    def load(self, base: ir.Value, i: ir.Value) -> ir.Value:
        scalar = base.type.pointee
        at = self.b.bitcast(self.b.gep(base, [i]), self.type(scalar).as_pointer())
        return self.b.load(at, align=_BYTES[scalar])

    def store(self, x: ir.Value, base: ir.Value, i: ir.Value) -> None:
        scalar = base.type.pointee
        at = self.b.bitcast(self.b.gep(base, [i]), self.type(scalar).as_pointer())
        self.b.store(x, at, align=_BYTES[scalar])

    def call(self, name: str, *args: ir.Value) -> ir.Value:
        """An LLVM intrinsic, such as ``sqrt``, on values of one type."""
        kind = args[0].type
        lanes = f"v{self.lanes}" if self.lanes > 1 else ""
        scalar = kind.element if self.lanes > 1 else kind
        full = f"llvm.{name}.{lanes}{scalar.intrinsic_name}"
        module = self.b.module
        known = module.globals.get(full)
        function = known or ir.Function(module, ir.FunctionType(kind, [x.type for x in args]), name=full)
        return self.b.call(function, args)


def _load(kind: _Kind, base: ir.Value, stored: str, i: ir.Value) -> ir.Value:
    b = kind.b
    x = kind.load(base, i)
    narrow = kind.type(ir.FloatType())
    if stored == "bfloat16":
        x = b.bitcast(b.shl(b.zext(x, kind.type(_I32)), kind.constant(16, _I32)), narrow)
    elif stored == "float16":
        x = b.fpext(x, narrow)
    return _to_real(kind, x)


def _to_real(kind: _Kind, x: ir.Value) -> ir.Value:
    real = kind.type(kind.real)
    if x.type == real:
        return x
    # Only a gradient is ever wider than the arithmetic.
    return kind.b.fpext(x, real) if kind.real == _REAL["float64"] else kind.b.fptrunc(x, real)


def _store(kind: _Kind, base: ir.Value, stored: str, i: ir.Value, x: ir.Value) -> None:
    b = kind.b
    narrow = kind.type(ir.FloatType())
    if stored != "float64" and x.type != narrow:
        x = b.fptrunc(x, narrow)
    if stored == "bfloat16":
        x = _bfloat16_bits(kind, x)
    elif stored == "float16":
        x = b.fptrunc(x, kind.type(ir.HalfType()))
    kind.store(x, base, i)


def _bfloat16_bits(kind: _Kind, x: ir.Value) -> ir.Value:
    """Round to nearest, ties to even; NaN stays NaN."""
    b = kind.b
    bits = b.bitcast(x, kind.type(_I32))
    odd = b.and_(b.lshr(bits, kind.constant(16, _I32)), kind.constant(1, _I32))
    rounded = b.lshr(b.add(b.add(bits, kind.constant(0x7FFF, _I32)), odd), kind.constant(16, _I32))
    kept = b.select(b.fcmp_unordered("uno", x, x), kind.constant(0x7FC0, _I32), rounded)
    return b.trunc(kept, kind.type(_I16))


def _computed(
    kind: _Kind, graph: Graph, arrays: Mapping[str, ir.Value], given: Mapping[int, ir.Value]
) -> dict[str, ir.Value]:
    """The graph's outputs from its arrays and its uniform numbers."""
    values = dict(given)
    for node in graph.needed():
        if node.op == "array":
            values[node.index] = arrays[node.value]
        elif node.op == "constant":
            values[node.index] = kind.constant(node.value)
        elif not node.uniform:
            values[node.index] = _OPERATIONS[node.op](kind, *(values[x.index] for x in node.args))
    return {name: values[node.index] for name, node in graph.outputs.items()}


def _sign(kind: _Kind, x: ir.Value) -> ir.Value:
    """-1, 0 or 1, and 0 of NaN, as torch has it."""
    b, zero = kind.b, kind.constant(0.0)
    negative = b.select(b.fcmp_ordered("<", x, zero), kind.constant(-1.0), zero)
    return b.select(b.fcmp_ordered(">", x, zero), kind.constant(1.0), negative)


# log2(1 + x)/x on [sqrt(1/2) - 1, sqrt(2) - 1] to 2^-24 of log2, and 2^x on [-1/2, 1/2] to 2^-29: minimax
# polynomials (iterated weighted least squares on Chebyshev nodes), coefficients rounded to float32.
LOG2 = (
    1.4426947832107544, -0.7213571667671204, 0.48093944787979126, -0.36008718609809875, 0.2867075502872467,
    -0.2500692903995514, 0.2368897795677185, -0.14574295282363892,
)  # fmt: skip
EXP2 = (
    1.0, 0.6931471824645996, 0.24022646248340607, 0.05550328642129898, 0.009618489071726799,
    0.0013399930903688073, 0.0001534580806037411,
)  # fmt: skip
SQRT_HALF_BITS = 0x3F3504F3
ROUND_TO_WHOLE = 12582912.0  # 1.5 * 2^23: adding and subtracting it rounds a small float32 to a whole number


def _power(kind: _Kind, x: ir.Value, y: ir.Value) -> ir.Value:
    """``x ** y`` for ``1 <= x < 2^126`` and ``-50 <= y <= 1``, the range of effective time.

    ``x = 2^k f`` with ``f`` about 1, so ``x^y = 2^n 2^(y k - n + y log2 f)``. ``y`` is split in two so that
    its high part times ``k`` is exact: rounding ``y log2 x`` as a whole would cost several last bits of a
    large ``x``. NaN need not come out as NaN: the same NaN reaches the update by every other factor as well.
    In float64 the C library's ``pow`` is called.
    """
    b = kind.b
    if kind.real == _REAL["float64"]:
        return kind.call("pow", x, y)
    whole, real = kind.type(_I32), kind.type(kind.real)
    exponent_bits = kind.constant(23, _I32)

    def polynomial(coefficients: Sequence[float], at: ir.Value) -> ir.Value:
        """Even and odd terms apart: half as long a chain for one operation more."""
        square = b.fmul(at, at)
        halves = []
        for part in (coefficients[::2], coefficients[1::2]):
            total = kind.constant(part[-1])
            for c in part[-2::-1]:
                total = kind.call("fmuladd", total, square, kind.constant(c))
            halves.append(total)
        return kind.call("fmuladd", halves[1], at, halves[0])

    bits = b.bitcast(x, whole)
    k = b.ashr(b.sub(bits, kind.constant(SQRT_HALF_BITS, _I32)), exponent_bits)
    t = b.fsub(b.bitcast(b.sub(bits, b.shl(k, exponent_bits)), real), kind.constant(1.0))
    k = b.sitofp(k, real)
    with b.goto_block(kind.before):
        y_high = b.bitcast(b.and_(b.bitcast(y, whole), kind.constant(0xFFFFF000, _I32)), real)
        y_low = b.fsub(y, y_high)
    small = kind.call("fmuladd", y_low, k, b.fmul(b.fmul(y, t), polynomial(LOG2, t)))
    large = b.fmul(y_high, k)
    # The exponent must not wrap around: below 2^-100 the result stays there.
    large = b.select(b.fcmp_ordered("<", large, kind.constant(-100.0)), kind.constant(-100.0), large)
    shifted = b.fadd(b.fadd(large, small), kind.constant(ROUND_TO_WHOLE))
    part = b.fadd(b.fsub(large, b.fsub(shifted, kind.constant(ROUND_TO_WHOLE))), small)
    # The last bits of `shifted` are n: added to the exponent they multiply by 2^n.
    n = b.shl(b.bitcast(shifted, whole), exponent_bits)
    return b.bitcast(b.add(b.bitcast(polynomial(EXP2, part), whole), n), real)


_OPERATIONS: dict[str, Callable[..., ir.Value]] = {
    "add": lambda kind, x, y: kind.b.fadd(x, y),
    "sub": lambda kind, x, y: kind.b.fsub(x, y),
    "mul": lambda kind, x, y: kind.b.fmul(x, y),
    "div": lambda kind, x, y: kind.b.fdiv(x, y),
    "gt": lambda kind, x, y: kind.b.fcmp_ordered(">", x, y),
    "lt": lambda kind, x, y: kind.b.fcmp_ordered("<", x, y),
    "where": lambda kind, condition, yes, no: kind.b.select(condition, yes, no),
    "abs": lambda kind, x: kind.call("fabs", x),
    "sqrt": lambda kind, x: kind.call("sqrt", x),
    "sign": _sign,
    "pow": _power,
}
