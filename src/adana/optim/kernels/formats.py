"""The storage formats of :mod:`adana.optim.formats` on vectors: random bits, rounding, codes.

Every function here is the one of the same name there, operation by operation; that file says what a format
means and why, and the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from adana.optim import formats, randomness
from adana.optim.kernels.vectors import I16, I32, REAL, Kind, to_float32

__all__ = [
    "Random", "decode_magnitude", "decode_signed", "encode_magnitude", "encode_signed", "magnitude_scale",
    "root_or_infinity", "signed_scale", "store_rounded",
]  # fmt: skip

FLOAT = REAL["float32"]
_INFINITY_BITS = 0x7F800000


class Random:
    """The random bits of consecutive elements.

    Args:
        kind: how many at a time.
        keys: int64, the two words of the first sequence and those of the second.
        first: int64, the number of element 0.
    """

    def __init__(self, kind: Kind, keys: Sequence[ir.Value], first: ir.Value) -> None:
        self.kind = kind
        self.keys = [kind.splat(kind.b.trunc(word, I32)) for word in keys]
        self.first = kind.splat(kind.b.trunc(first, I32))
        if kind.lanes > 1:
            self.first = kind.b.add(self.first, ir.Constant(kind.type(I32), list(range(kind.lanes))))

    def at(self, i: ir.Value) -> Callable[[str], ir.Value]:
        """For the elements from ``i`` on: 16 bits, as int32, for rounding what has a name."""
        kind, b = self.kind, self.kind.b
        words: dict[int, ir.Value] = {}

        def shifted(x: ir.Value, by: int) -> ir.Value:
            return b.xor(x, b.lshr(x, kind.constant(by, I32)))

        def word(stream: int) -> ir.Value:
            first, second = self.keys[2 * stream : 2 * stream + 2]
            x = b.add(self.first, kind.splat(b.trunc(i, I32)))
            x = b.mul(shifted(b.xor(x, first), 16), kind.constant(randomness.FIRST, I32))
            x = b.mul(shifted(b.xor(x, second), 15), kind.constant(randomness.SECOND, I32))
            return shifted(x, 16)

        def bits(name: str) -> ir.Value:
            stream, shift = randomness.LANES[name]
            if stream not in words:
                words[stream] = word(stream)
            if shift:
                return b.lshr(words[stream], kind.constant(shift, I32))
            return b.and_(words[stream], kind.constant(0xFFFF, I32))

        return bits


def store_rounded(
    kind: Kind, base: ir.Value, stored: str, i: ir.Value, x: ir.Value, bits: ir.Value, signed: bool = True
) -> None:
    """Store as bfloat16 or float16, rounded by the random ``bits``."""
    x = to_float32(kind, x)
    kind.store(_bfloat16(kind, x, bits) if stored == "bfloat16" else _float16(kind, x, bits, signed), base, i)


def _finite(kind: Kind, bits_of_x: ir.Value) -> ir.Value:
    magnitude = kind.b.and_(bits_of_x, kind.constant(0x7FFFFFFF, I32))
    return kind.b.icmp_signed("<", magnitude, kind.constant(_INFINITY_BITS, I32))


def _bfloat16(kind: Kind, x: ir.Value, bits: ir.Value) -> ir.Value:
    b = kind.b
    own = b.bitcast(x, kind.type(I32))
    sixteen = kind.constant(16, I32)
    kept = b.select(b.fcmp_unordered("uno", x, x), kind.constant(0x7FC0, I32), b.lshr(own, sixteen))
    return b.trunc(b.select(_finite(kind, own), b.lshr(b.add(own, bits), sixteen), kept), kind.type(I16))


def _float16(kind: Kind, x: ir.Value, bits: ir.Value, signed: bool) -> ir.Value:
    b = kind.b
    size = kind.call("fabs", x) if signed else x
    least = kind.constant(2.0**-14, FLOAT)
    lift = b.select(b.fcmp_ordered("<", size, least), least, kind.constant(0.0, FLOAT))
    lifted = b.bitcast(b.fadd(size, lift), kind.type(I32))
    rounded = b.and_(b.add(lifted, b.lshr(bits, kind.constant(3, I32))), kind.constant(-0x2000, I32))
    rounded = b.fsub(b.bitcast(rounded, x.type), lift)
    rounded = kind.call("copysign", rounded, x) if signed else rounded
    # Infinity stays what it is whatever is added.
    return b.fptrunc(b.select(b.fcmp_unordered("uno", x, x), x, rounded), kind.type(ir.HalfType()))


def _fraction(kind: Kind, bits: ir.Value) -> ir.Value:
    """Random bits as a number between 0 and 1, neither of them."""
    half = kind.b.fadd(kind.b.sitofp(bits, kind.type(FLOAT)), kind.constant(0.5, FLOAT))
    return kind.b.fmul(half, kind.constant(2.0**-16, FLOAT))


def magnitude_scale(b: ir.IRBuilder, top: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The scale of a block and its inverse, a power of two as well, from the bits of its largest value."""

    def number(x: float) -> ir.Value:
        return ir.Constant(FLOAT, x)

    power = b.bitcast(b.and_(top, ir.Constant(I32, _INFINITY_BITS)), FLOAT)
    power = b.select(b.fcmp_ordered("<", power, number(2.0**-67)), number(2.0**-67), power)
    finite = b.icmp_signed("<", top, ir.Constant(I32, _INFINITY_BITS))
    power = b.select(finite, power, number(math.nan))
    empty = b.icmp_signed("==", top, ir.Constant(I32, 0))
    return b.select(empty, number(0.0), power), b.fdiv(number(1.0), b.select(empty, number(1.0), power))


def encode_magnitude(kind: Kind, x: ir.Value, inverse: ir.Value, bits: ir.Value) -> ir.Value:
    """Codes (int16) of non-negative float32."""
    b = kind.b

    def whole(value: int) -> ir.Value:
        return kind.constant(value, I32)

    n = b.sub(b.bitcast(b.fmul(x, inverse), kind.type(I32)), whole(formats.BOTTOM))
    n = b.select(b.icmp_signed(">", n, whole(1 << 15)), n, whole(1 << 15))
    fine = b.sub(b.ashr(b.add(n, b.lshr(bits, whole(4))), whole(12)), whole(formats.ABOVE_KNEE))
    coarse = b.ashr(b.add(n, b.lshr(bits, whole(1))), whole(15))
    code = b.select(b.icmp_signed(">=", n, whole(formats.KNEE)), fine, coarse)
    code = b.select(b.icmp_signed("<", code, whole(0xFFFF)), code, whole(0xFFFF))
    code = b.select(b.fcmp_ordered("==", x, kind.constant(0.0, FLOAT)), whole(0), code)
    return b.trunc(code, kind.type(I16))


def decode_magnitude(kind: Kind, codes: ir.Value, scale: ir.Value) -> ir.Value:
    """The float32 values of :func:`encode_magnitude`."""
    b = kind.b

    def whole(value: int) -> ir.Value:
        return kind.constant(value, I32)

    code = b.zext(codes, kind.type(I32))
    fine = b.shl(b.add(code, whole(formats.ABOVE_KNEE)), whole(12))
    low = b.icmp_signed("<", code, whole(formats.LOW_CODES))
    n = b.add(b.select(low, b.shl(code, whole(15)), fine), whole(formats.BOTTOM))
    n = b.select(b.icmp_signed("==", code, whole(0)), whole(0), n)
    return b.fmul(b.bitcast(n, kind.type(FLOAT)), scale)


def root_or_infinity(kind: Kind, x: ir.Value) -> ir.Value:
    """What signed averages are divided by: without a second moment nothing is kept of a first."""
    root = kind.call("sqrt", x)
    zero = kind.b.fcmp_ordered("==", root, kind.constant(0.0, FLOAT))
    return kind.b.select(zero, kind.constant(math.inf, FLOAT), root)


def signed_scale(b: ir.IRBuilder, top: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The scale of a block and its inverse, 0 of 0, from the bits of its largest magnitude."""
    zero = ir.Constant(FLOAT, 0.0)
    scale = b.fmul(b.bitcast(top, FLOAT), ir.Constant(FLOAT, 1.0 / formats.LEVELS**2))
    scale = b.select(b.fcmp_ordered("<", scale, ir.Constant(FLOAT, 2.0**-126)), zero, scale)
    return scale, b.select(b.fcmp_ordered("==", scale, zero), zero, b.fdiv(ir.Constant(FLOAT, 1.0), scale))


def encode_signed(kind: Kind, x: ir.Value, inverse: ir.Value, bits: ir.Value) -> ir.Value:
    """Codes (int16) of float32."""
    b = kind.b
    levels = kind.constant(float(formats.LEVELS), FLOAT)
    q = b.fmul(kind.call("fabs", x), inverse)
    below = kind.call("floor", kind.call("sqrt", q))
    room = b.fadd(b.fmul(kind.constant(2.0, FLOAT), below), kind.constant(1.0, FLOAT))
    reached = b.fadd(b.fsub(q, b.fmul(below, below)), b.fmul(room, _fraction(kind, bits)))
    up = b.fcmp_ordered(">=", reached, room)
    code = b.select(up, b.fadd(below, kind.constant(1.0, FLOAT)), below)
    code = b.select(b.fcmp_ordered("<", code, levels), code, levels)  # not-a-number becomes a code, its scale stays one
    code = b.fptosi(code, kind.type(I32))
    negative = b.fcmp_ordered("<", x, kind.constant(0.0, FLOAT))
    return b.trunc(b.select(negative, b.neg(code), code), kind.type(I16))


def decode_signed(kind: Kind, codes: ir.Value, scale: ir.Value) -> ir.Value:
    """The float32 values of :func:`encode_signed`."""
    b = kind.b
    c = b.sitofp(codes, kind.type(FLOAT))
    return b.fmul(b.fmul(c, kind.call("fabs", c)), scale)
