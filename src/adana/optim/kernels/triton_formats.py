"""The storage formats of :mod:`adana.optim.storage` in Triton: random bits, rounding, codes.

Every function here is the one of the same name there, operation by operation; that file says what a format
means and why, and the tests hold the two together. What is compiled for plain storage holds nothing of it: the
branches are taken when a kernel is compiled. A program's elements are a run, or some blocks of codes as a matrix
of 256 columns; ``place`` is a tensor's line of the table that :mod:`~adana.optim.kernels.gpu` calls places.
"""

from __future__ import annotations

import triton
import triton.language as tl

from adana.optim import storage
from adana.optim.kernels.triton_math import quotient, root, stored

__all__ = [
    "FIRST_SCALE", "elements", "load_magnitude", "load_parameter", "load_signed", "random_words", "store_magnitude",
    "store_parameter", "store_signed",
]  # fmt: skip

# A line of places: where the parameter's random sequences start, the number of the tensor's first element, the
# length of a row, the address of the compensation, then those of the averages' scales.
START, FIRST_ELEMENT, LENGTH, COMPENSATION, FIRST_SCALE = (tl.constexpr(k) for k in range(5))

CODES = tl.constexpr(storage.BLOCK)
FIRST = tl.constexpr(storage.FIRST)
SECOND = tl.constexpr(storage.SECOND & 0xFFFFFFFF)
GOLDEN = tl.constexpr(storage.GOLDEN)
BOTTOM = tl.constexpr(storage.BOTTOM)
KNEE = tl.constexpr(storage.KNEE)
LOW_CODES = tl.constexpr(storage.LOW_CODES)
ABOVE_KNEE = tl.constexpr(storage.ABOVE_KNEE)
LEVELS = tl.constexpr(float(storage.LEVELS))
SIGNED_UNIT = tl.constexpr(1.0 / storage.LEVELS**2)
LEAST_SCALE = tl.constexpr(2.0**-67)
LEAST_SIGNED_SCALE = tl.constexpr(2.0**-126)
INFINITY = tl.constexpr(0x7F800000)
NOT_A_NUMBER = tl.constexpr(0x7FC00000)


# --- which elements, and their random bits --------------------------------------------------------------


@triton.jit
def elements(first, size, place, coded: tl.constexpr, whole: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Numbers of a program's elements and which of them there are; the same of its blocks of codes.

    ``first`` counts elements, a block of codes as 256 of them however short its row is.
    """
    if coded:
        length = tl.load(place + LENGTH)
        if whole:
            length = tl.multiple_of(length, 16)
        codes = first // CODES + tl.arange(0, block // CODES)
        blocks_of_row = (length + (CODES - 1)) // CODES
        row = codes // blocks_of_row
        column = ((codes - row * blocks_of_row) * CODES)[:, None] + tl.arange(0, CODES)[None, :]
        start = row * length
        at = start[:, None] + column
        return at, (column < length) & (at < size), codes, start < size
    else:
        at = first + tl.arange(0, block)
        inside = at < size
        return at, inside, at, inside


@triton.jit
def times(x, y):  # type: ignore[no-untyped-def]
    """Modulo 2^32, as it is meant: Triton's debugging mode would stop at a plain product."""
    return tl.mul(x, y, sanitize_overflow=False)


@triton.jit
def mix(word):  # type: ignore[no-untyped-def]
    word = times(word ^ (word >> 16), FIRST)
    word = times(word ^ (word >> 15), SECOND)
    return word ^ (word >> 16)


@triton.jit
def random_words(place, step, at, stream: tl.constexpr, rounded: tl.constexpr):  # type: ignore[no-untyped-def]
    """The 32 random bits of every element in one of a step's sequences; the key is made here from the step."""
    if rounded:
        start = tl.load(place + START).to(tl.uint32)
        first = mix(start ^ (2 * step.to(tl.int32) + stream).to(tl.uint32))
        second = mix(first ^ GOLDEN)
        x = (tl.load(place + FIRST_ELEMENT) + at).to(tl.uint32) ^ first
        x = times(x ^ (x >> 16), FIRST) ^ second
        x = times(x ^ (x >> 15), SECOND)
        return x ^ (x >> 16)
    else:
        return tl.zeros(at.shape, tl.uint32)


@triton.jit
def half(words, shift: tl.constexpr):  # type: ignore[no-untyped-def]
    return ((words >> shift) & 0xFFFF).to(tl.int32)


# --- formats --------------------------------------------------------------------------------------------


@triton.jit
def finite(bits_of_x):  # type: ignore[no-untyped-def]
    return (bits_of_x & 0x7FFFFFFF) < INFINITY


@triton.jit
def fraction(bits):  # type: ignore[no-untyped-def]
    """Random bits as a number between 0 and 1, neither of them."""
    return (bits.to(tl.float32) + 0.5) * 2.0**-16


@triton.jit
def round_bfloat16(x, bits):  # type: ignore[no-untyped-def]
    x = x.to(tl.float32)
    own = x.to(tl.uint32, bitcast=True)
    kept = tl.where(x == x, own, NOT_A_NUMBER)
    rounded = tl.where(finite(own), own + bits.to(tl.uint32), kept) >> 16
    return rounded.to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit
def round_float16(x, bits):  # type: ignore[no-untyped-def]
    x = x.to(tl.float32)
    own = x.to(tl.uint32, bitcast=True)
    rounded = ((own + (bits >> 3).to(tl.uint32)) & 0xFFFFE000).to(tl.float32, bitcast=True)
    subnormal = tl.floor(x * 2.0**24 + fraction(bits)) * 2.0**-24
    rounded = tl.where(tl.abs(x) < 2.0**-14, subnormal, rounded)
    return tl.where(finite(own), rounded, x).to(tl.float16)


@triton.jit
def largest(x, inside):  # type: ignore[no-untyped-def]
    """Of every row, as bits: not-a-number and infinity have the largest of all, so that no maximum hides them."""
    magnitudes = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return tl.max(tl.where(inside, magnitudes, 0), axis=1)


@triton.jit
def magnitude_scale(top):  # type: ignore[no-untyped-def]
    """The scale of a block and its inverse, a power of two as well, from the bits of its largest value."""
    power = (top & INFINITY).to(tl.float32, bitcast=True)
    power = tl.where(power < LEAST_SCALE, LEAST_SCALE, power)
    power = tl.where(top < INFINITY, power, float("nan"))
    return tl.where(top == 0, 0.0, power), tl.div_rn(1.0, tl.where(top == 0, 1.0, power))


@triton.jit
def encode_magnitude(x, inverse, bits):  # type: ignore[no-untyped-def]
    n = (x * inverse).to(tl.int32, bitcast=True) - BOTTOM
    n = tl.maximum(n, 1 << 15)
    fine = ((n + (bits >> 4)) >> 12) - ABOVE_KNEE
    coarse = (n + (bits >> 1)) >> 15
    code = tl.minimum(tl.where(n >= KNEE, fine, coarse), 0xFFFF)
    return tl.where(x == 0.0, 0, code).to(tl.int16)


@triton.jit
def decode_magnitude(codes, scale):  # type: ignore[no-untyped-def]
    code = codes.to(tl.int32) & 0xFFFF
    n = tl.where(code < LOW_CODES, code << 15, (code + ABOVE_KNEE) << 12) + BOTTOM
    return tl.where(code == 0, 0, n).to(tl.float32, bitcast=True) * scale


@triton.jit
def signed_scale(top):  # type: ignore[no-untyped-def]
    """The scale of a block and its inverse, 0 of 0, from the bits of its largest magnitude."""
    scale = top.to(tl.float32, bitcast=True) * SIGNED_UNIT
    scale = tl.where(scale < LEAST_SIGNED_SCALE, 0.0, scale)
    return scale, tl.where(scale == 0.0, 0.0, tl.div_rn(1.0, scale))


@triton.jit
def encode_signed(x, inverse, bits):  # type: ignore[no-untyped-def]
    q = tl.abs(x) * inverse
    below = tl.floor(tl.sqrt_rn(q))
    room = 2.0 * below + 1.0
    up = (q - below * below) + room * fraction(bits) >= room
    code = tl.where(up, below + 1.0, below)
    code = tl.where(code < LEVELS, code, LEVELS)  # not-a-number becomes a code, its scale stays one
    return tl.where(x < 0.0, -code, code).to(tl.int32).to(tl.int16)


@triton.jit
def decode_signed(codes, scale):  # type: ignore[no-untyped-def]
    c = codes.to(tl.float32)
    return c * tl.abs(c) * scale


# --- a parameter and its averages -----------------------------------------------------------------------


@triton.jit
def compensation_of(place, whole: tl.constexpr):  # type: ignore[no-untyped-def]
    address = tl.load(place + COMPENSATION).to(tl.pointer_type(tl.bfloat16))
    if whole:
        address = tl.multiple_of(address, 16)
    return address


@triton.jit
def scales_of(place, average: tl.constexpr):  # type: ignore[no-untyped-def]
    return tl.load(place + (FIRST_SCALE + average)).to(tl.pointer_type(tl.float32))


@triton.jit
def load_parameter(  # type: ignore[no-untyped-def]
    array, at, inside, place, real: tl.constexpr, rounding: tl.constexpr, whole: tl.constexpr
):
    """The parameter, with what its last rounding left over where that is kept."""
    x = tl.load(array + at, mask=inside, other=0).to(real)
    if rounding == "kahan":
        x += tl.load(compensation_of(place, whole) + at, mask=inside, other=0).to(real)
    return x


@triton.jit
def store_parameter(array, at, inside, x, place, words, rounding: tl.constexpr, whole: tl.constexpr):  # type: ignore[no-untyped-def]
    kind: tl.constexpr = array.dtype.element_ty
    if rounding == "stochastic":
        if kind == tl.bfloat16:
            tl.store(array + at, round_bfloat16(x, half(words, 0)), mask=inside)
        else:
            tl.store(array + at, round_float16(x, half(words, 0)), mask=inside)
    else:
        near = stored(x, kind)
        tl.store(array + at, near, mask=inside)
        if rounding == "kahan":
            left = round_bfloat16(x - near.to(x.dtype), half(words, 0))
            tl.store(compensation_of(place, whole) + at, left, mask=inside)


@triton.jit
def load_magnitude(array, at, inside, place, average: tl.constexpr, codes, present, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """An average that is never negative, from its codes where it is kept so."""
    x = tl.load(array + at, mask=inside, other=0)
    if array.dtype.element_ty == tl.int16:
        scale = tl.load(scales_of(place, average) + codes, mask=present, other=0.0)
        x = decode_magnitude(x, scale[:, None])
    return x.to(real)


@triton.jit
def store_plain(array, at, inside, x, bits, rounded: tl.constexpr):  # type: ignore[no-untyped-def]
    kind: tl.constexpr = array.dtype.element_ty
    if rounded and kind == tl.bfloat16:
        tl.store(array + at, round_bfloat16(x, bits), mask=inside)
    else:
        tl.store(array + at, stored(x, kind), mask=inside)


@triton.jit
def store_magnitude(  # type: ignore[no-untyped-def]
    array,
    at,
    inside,
    x,
    place,
    average: tl.constexpr,
    codes,
    present,
    words,
    shift: tl.constexpr,
    rounded: tl.constexpr,
):
    """Store it and give what will be read again."""
    if array.dtype.element_ty == tl.int16:
        x = x.to(tl.float32)
        scale, inverse = magnitude_scale(largest(x, inside))
        tl.store(scales_of(place, average) + codes, scale, mask=present)
        code = encode_magnitude(x, inverse[:, None], half(words, shift))
        tl.store(array + at, code, mask=inside)
        return decode_magnitude(code, scale[:, None])
    else:
        store_plain(array, at, inside, x, half(words, shift), rounded)
        return x


@triton.jit
def load_signed(array, at, inside, second, place, average: tl.constexpr, codes, present, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """An average from its codes, which are relative to the root of the second moment where there is one."""
    x = tl.load(array + at, mask=inside, other=0)
    if array.dtype.element_ty == tl.int16:
        scale = tl.load(scales_of(place, average) + codes, mask=present, other=0.0)
        x = decode_signed(x, scale[:, None])
        if second is not None:
            x *= root(second.to(tl.float32))
    return x.to(real)


@triton.jit
def store_signed(  # type: ignore[no-untyped-def]
    array, at, inside, x, second, place, average: tl.constexpr, codes, present, words, shift: tl.constexpr,
    rounded: tl.constexpr,
):  # fmt: skip
    """``second`` is what was stored of the second moment: without one nothing is kept of a first."""
    if array.dtype.element_ty == tl.int16:
        x = x.to(tl.float32)
        if second is not None:
            x = quotient(x, tl.where(second == 0.0, float("inf"), root(second)))
        scale, inverse = signed_scale(largest(x, inside))
        tl.store(scales_of(place, average) + codes, scale, mask=present)
        tl.store(array + at, encode_signed(x, inverse[:, None], half(words, shift)), mask=inside)
    else:
        store_plain(array, at, inside, x, half(words, shift), rounded)
