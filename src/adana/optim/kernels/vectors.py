"""Loops and vectors in LLVM's language: what all kernels for the CPU are written with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llvmlite import ir

__all__ = [
    "BYTES",
    "I16",
    "I32",
    "I64",
    "REAL",
    "STORED",
    "Kind",
    "bfloat16_bits",
    "larger",
    "load",
    "loop",
    "smaller",
    "store",
    "to_float32",
    "to_real",
]

I16, I32, I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
REAL = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
STORED = {**REAL, "bfloat16": I16, "float16": ir.HalfType(), "int16": I16}
BYTES = {REAL["float64"]: 8, REAL["float32"]: 4, I32: 4, I16: 2, ir.HalfType(): 2}
LINE = 64  # bytes that memory is fetched by


@contextlib.contextmanager
def loop(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int) -> Iterator[ir.Value]:
    """``for i in range(start, stop, step)``, yielding ``i``."""
    before = b.block
    head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", i, stop), body, done)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, ir.Constant(I64, step)), b.block)
    b.branch(head)
    b.position_at_end(done)


def larger(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed(">", x, y), x, y)


def smaller(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


class Kind:
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
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(I32, 0))
        lanes = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)

    def load(self, base: ir.Value, i: ir.Value) -> ir.Value:
        scalar = base.type.pointee
        at = self.b.bitcast(self.b.gep(base, [i]), self.type(scalar).as_pointer())
        return self.b.load(at, align=BYTES[scalar])

    def store(self, x: ir.Value, base: ir.Value, i: ir.Value) -> None:
        scalar = base.type.pointee
        at = self.b.bitcast(self.b.gep(base, [i]), self.type(scalar).as_pointer())
        self.b.store(x, at, align=BYTES[scalar])

    def prefetch(self, base: ir.Value, i: ir.Value) -> None:
        """Ask for the memory of the elements from ``i`` on, which may lie beyond the end of what ``base`` points to."""
        scalar = base.type.pointee
        address = ir.IntType(8).as_pointer()
        function = _function(self.b.module, "llvm.prefetch.p0", ir.VoidType(), [address, I32, I32, I32])
        to_read, keep, data = (ir.Constant(I32, k) for k in (0, 3, 1))
        for lane in range(0, self.lanes, LINE // BYTES[scalar]):
            at = self.b.gep(base, [self.b.add(i, ir.Constant(I64, lane))])
            self.b.call(function, [self.b.bitcast(at, address), to_read, keep, data])

    def call(self, name: str, *args: ir.Value) -> ir.Value:
        """An LLVM intrinsic, such as ``sqrt``, on values of one type."""
        kind = args[0].type
        lanes = f"v{self.lanes}" if self.lanes > 1 else ""
        scalar = kind.element if self.lanes > 1 else kind
        full = f"llvm.{name}.{lanes}{scalar.intrinsic_name}"
        return self.b.call(_function(self.b.module, full, kind, [x.type for x in args]), args)


def _function(module: ir.Module, name: str, returns: ir.Type, takes: list[ir.Type]) -> ir.Function:
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(returns, takes), name=name)


def load(kind: Kind, base: ir.Value, stored: str, i: ir.Value) -> ir.Value:
    b = kind.b
    x = kind.load(base, i)
    narrow = kind.type(ir.FloatType())
    if stored == "bfloat16":
        x = b.bitcast(b.shl(b.zext(x, kind.type(I32)), kind.constant(16, I32)), narrow)
    elif stored == "float16":
        x = b.fpext(x, narrow)
    return to_real(kind, x)


def to_real(kind: Kind, x: ir.Value) -> ir.Value:
    real = kind.type(kind.real)
    if x.type == real:
        return x
    # Only a gradient is ever wider than the arithmetic.
    return kind.b.fpext(x, real) if kind.real == REAL["float64"] else kind.b.fptrunc(x, real)


def to_float32(kind: Kind, x: ir.Value) -> ir.Value:
    narrow = kind.type(REAL["float32"])
    return x if x.type == narrow else kind.b.fptrunc(x, narrow)


def store(kind: Kind, base: ir.Value, stored: str, i: ir.Value, x: ir.Value) -> None:
    b = kind.b
    if stored != "float64":
        x = to_float32(kind, x)
    if stored == "bfloat16":
        x = bfloat16_bits(kind, x)
    elif stored == "float16":
        x = b.fptrunc(x, kind.type(ir.HalfType()))
    kind.store(x, base, i)


def bfloat16_bits(kind: Kind, x: ir.Value) -> ir.Value:
    """Round to nearest, ties to even; NaN stays NaN."""
    b = kind.b
    bits = b.bitcast(x, kind.type(I32))
    odd = b.and_(b.lshr(bits, kind.constant(16, I32)), kind.constant(1, I32))
    rounded = b.lshr(b.add(b.add(bits, kind.constant(0x7FFF, I32)), odd), kind.constant(16, I32))
    kept = b.select(b.fcmp_unordered("uno", x, x), kind.constant(0x7FC0, I32), rounded)
    return b.trunc(kept, kind.type(I16))
