"""The storage formats of :mod:`adana.optim.formats` in Triton: random bits, rounding, codes.

Every function here does what the one of the same name there does, if not always by the same operations; that file says
what a format means and why, and the tests hold the two together. What is compiled for plain storage holds nothing of
it: the branches are taken when a kernel is compiled. A program works on some blocks of elements, one after the other;
where codes are kept a block is one of theirs and a program one warp, so that a scale is a number and no warp waits for
another. ``place`` is a tensor's line of the table that :mod:`~adana.optim.kernels.gpu` calls places.
"""

from __future__ import annotations

import triton
import triton.language as tl

from adana.optim import formats, randomness
from adana.optim.kernels.triton_math import stored

__all__ = [
    "FIRST_SCALE", "blocks_of", "compensation_of", "elements", "length_of", "load", "load_magnitude", "load_parameter",
    "load_signed", "random_key", "random_words", "scales_of", "store_magnitude", "store_parameter", "store_signed",
]  # fmt: skip

# A line of places: where the parameter's random sequences start, the number of the tensor's first element, the
# length of a row, the address of the compensation, then those of the averages' scales.
START, FIRST_ELEMENT, LENGTH, COMPENSATION, FIRST_SCALE = (tl.constexpr(k) for k in range(5))

CODES = tl.constexpr(formats.BLOCK)
FIRST = tl.constexpr(randomness.FIRST)
SECOND = tl.constexpr(randomness.SECOND & 0xFFFFFFFF)
GOLDEN = tl.constexpr(randomness.GOLDEN)
BOTTOM = tl.constexpr(formats.BOTTOM)
KNEE = tl.constexpr(formats.KNEE)
LOW_CODES = tl.constexpr(formats.LOW_CODES)
ABOVE_KNEE = tl.constexpr(formats.ABOVE_KNEE)
LEVELS = tl.constexpr(float(formats.LEVELS))
SIGNED_UNIT = tl.constexpr(1.0 / formats.LEVELS**2)
LEAST_SCALE = tl.constexpr((127 - 67) << 23)
LEAST_SIGNED_SCALE = tl.constexpr(2.0**-126)
INFINITY = tl.constexpr(0x7F800000)
NOT_A_NUMBER = tl.constexpr(0x7FC00000)
ONE = tl.constexpr(0x3F800000)
SIGN = tl.constexpr(-(2**31))


# --- which elements, and their random bits --------------------------------------------------------------


@triton.jit
def length_of(place, coded: tl.constexpr, whole: tl.constexpr):  # type: ignore[no-untyped-def]
    """The length of a tensor's rows, where codes are kept; the result is not used elsewhere."""
    if coded:
        length = tl.load(place + LENGTH)
        return tl.multiple_of(length, 16) if whole else length
    else:
        return 0


@triton.jit
def blocks_of(  # type: ignore[no-untyped-def]
    first, size, coded: tl.constexpr, even: tl.constexpr, block: tl.constexpr, most: tl.constexpr
):
    """How many blocks a program works on: those that there are, or all where it takes a division to know."""
    if most == 1 or (coded and not even):
        return most
    else:
        return tl.minimum((size - first + (block - 1)) // block, most).to(tl.int32)


@triton.jit
def elements(  # type: ignore[no-untyped-def]
    first, part, size, length, widest: tl.constexpr, coded: tl.constexpr, whole: tl.constexpr, even: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Where the elements of a program's block start, how far from there they are, and which of them there are.

    The same of its codes' scale follows: which it is, and whether there is one. A plain True, where all are there,
    leaves no mask in what is compiled. ``first`` counts a program's elements, a block of codes as 256 of them however
    short its row is. A thread takes 16 bytes of the ``widest`` array at a time and as many elements of the others:
    Triton would give it 16 bytes of each, and pass elements from thread to thread before it stores the wider ones.
    """
    beyond = tl.max_contiguous(tl.arange(0, block), 128 // widest.primitive_bitwidth)
    start = first + part * block
    if coded and even:
        return start, beyond, True, start // CODES, True
    elif coded:
        codes = (start // CODES).to(tl.int32)
        blocks_of_row = ((length + (CODES - 1)) // CODES).to(tl.int32)
        row = codes // blocks_of_row
        column = (codes - row * blocks_of_row) * CODES
        start = row * length
        present = start < size
        count = tl.where(present, tl.minimum(length - column, CODES), 0).to(tl.int32)
        if whole:
            count = tl.multiple_of(count, 16)
        return start + column, beyond, beyond < count, codes, present
    else:
        count = tl.minimum(size - start, block).to(tl.int32)
        if whole:
            count = tl.multiple_of(count, 16)
        return start, beyond, beyond < count, start, True


@triton.jit
def _times(x, y):  # type: ignore[no-untyped-def]
    """Modulo 2^32, as it is meant: Triton's debugging mode would stop at a plain product."""
    return tl.mul(x, y, sanitize_overflow=False)


@triton.jit
def _plain_times(x, y):  # type: ignore[no-untyped-def]
    return x * y


times = _times if hasattr(tl, "mul") else _plain_times  # Triton before 3.6 has no mul


@triton.jit
def mix(word):  # type: ignore[no-untyped-def]
    word = times(word ^ (word >> 16), FIRST)
    word = times(word ^ (word >> 15), SECOND)
    return word ^ (word >> 16)


@triton.jit
def random_key(place, step, stream: tl.constexpr, rounded: tl.constexpr):  # type: ignore[no-untyped-def]
    """The two words that one of a step's sequences is made with, and the number of a tensor's first element."""
    if rounded:
        start = tl.load(place + START).to(tl.uint32)
        first = mix(start ^ (2 * step.to(tl.int32) + stream).to(tl.uint32))
        return first, mix(first ^ GOLDEN), tl.load(place + FIRST_ELEMENT).to(tl.uint32)
    else:
        return 0, 0, 0


@triton.jit
def random_words(first, second, number, beyond, rounded: tl.constexpr, even: tl.constexpr):  # type: ignore[no-untyped-def]
    """The 32 random bits of the elements from a ``number`` on; ``first`` and ``second`` are the key.

    A xor may be taken apart: where a block starts at a multiple of its length, which is at most 2^16, all of it
    shares the upper half of the first step, and what does not depend on an element is computed once.
    """
    if rounded:
        number = number.to(tl.uint32)
        beyond = beyond.to(tl.uint32)
        if even:
            x = number ^ first
            x = (x ^ (x >> 16)) ^ beyond
        else:
            x = tl.add(number, beyond, sanitize_overflow=False) ^ first
            x = x ^ (x >> 16)
        x = times(x, FIRST)
        x = times((second ^ (second >> 15)) ^ x ^ (x >> 15), SECOND)
        return x ^ (x >> 16)
    else:
        return tl.zeros(beyond.shape, tl.uint32)


@triton.jit
def half(words, shift: tl.constexpr):  # type: ignore[no-untyped-def]
    return ((words >> shift) & 0xFFFF).to(tl.int32)


# --- formats --------------------------------------------------------------------------------------------


@triton.jit
def finite(bits_of_x):  # type: ignore[no-untyped-def]
    return (bits_of_x & 0x7FFFFFFF) < INFINITY


@triton.jit
def above_one(bits):  # type: ignore[no-untyped-def]
    """1 with random bits behind the point: sooner made than their conversion."""
    return ((bits << 7) | ONE).to(tl.float32, bitcast=True)


@triton.jit
def fraction(bits):  # type: ignore[no-untyped-def]
    """Random bits as a number between 0 and 1, neither of them."""
    return above_one(bits) - (1.0 - 2.0**-17)


@triton.jit
def round_bfloat16(x, bits):  # type: ignore[no-untyped-def]
    """Infinity stays what it is whatever is added, and what arithmetic makes of not-a-number where nothing is."""
    x = x.to(tl.float32)
    own = x.to(tl.uint32, bitcast=True)
    rounded = tl.where(x == x, own + bits.to(tl.uint32), own) >> 16
    return rounded.to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit
def round_float16(x, bits):  # type: ignore[no-untyped-def]
    x = x.to(tl.float32)
    size = tl.abs(x)
    lift = tl.where(size < 2.0**-14, 2.0**-14, 0.0)
    rounded = ((size + lift).to(tl.uint32, bitcast=True) + (bits >> 3).to(tl.uint32)) & 0xFFFFE000
    rounded = rounded.to(tl.float32, bitcast=True) - lift
    own = x.to(tl.uint32, bitcast=True)
    signed = (rounded.to(tl.uint32, bitcast=True) | (own & 0x80000000)).to(tl.float32, bitcast=True)
    return tl.where(x == x, signed, x).to(tl.float16)


@triton.jit
def largest(x, inside):  # type: ignore[no-untyped-def]
    """Of a block without a sign, as bits: not-a-number and infinity have more than all, so no maximum hides them."""
    bits = x.to(tl.uint32, bitcast=True)
    return tl.max(tl.where(inside, bits, 0))


@triton.jit
def magnitude_scale(top):  # type: ignore[no-untyped-def]
    """The scale of a block and its inverse, a power of two as well, from the bits of its largest value."""
    power = tl.maximum(top & INFINITY, LEAST_SCALE)
    scale = tl.where(top < INFINITY, power, NOT_A_NUMBER)
    inverse = (254 << 23) - tl.minimum(power, (254 << 23) - (1 << 22))  # 2^-127 lies below the normal numbers
    return tl.where(top == 0, 0, scale).to(tl.float32, bitcast=True), inverse.to(tl.float32, bitcast=True)


@triton.jit
def encode_magnitude(x, inverse, bits):  # type: ignore[no-untyped-def]
    """The code of what is not zero."""
    n = tl.maximum((x * inverse).to(tl.int32, bitcast=True) - BOTTOM, 1 << 15)
    fine = ((n + (bits >> 4)) >> 12) - ABOVE_KNEE
    coarse = (n + (bits >> 1)) >> 15
    return tl.minimum(tl.maximum(fine, coarse), 0xFFFF)  # from the knee on the fine one is the larger


@triton.jit
def unscaled_magnitude(code):  # type: ignore[no-untyped-def]
    """What a code stands for but for its scale, and for zero."""
    code = code.to(tl.uint32)
    fine = (code << 12) + ((ABOVE_KNEE << 12) + BOTTOM)
    coarse = (code << 15) + BOTTOM
    return tl.minimum(fine, coarse).to(tl.float32, bitcast=True)  # below the knee the coarse one is the smaller


@triton.jit
def decode_magnitude(codes, scale):  # type: ignore[no-untyped-def]
    code = codes.to(tl.uint16, bitcast=True)
    return tl.where(code == 0, 0.0, unscaled_magnitude(code)) * scale


@triton.jit
def signed_scale(top):  # type: ignore[no-untyped-def]
    """The scale of a block and its inverse, 0 of 0, from the bits of its largest magnitude."""
    scale = top.to(tl.float32, bitcast=True) * SIGNED_UNIT
    none = scale < LEAST_SIGNED_SCALE
    return tl.where(none, 0.0, scale), tl.where(none, 0.0, 1.0 / scale)


@triton.jit
def encode_signed(x, inverse, bits):  # type: ignore[no-untyped-def]
    """The loop's code by one rounding of one root.

    With a fraction f the loop takes c + 1 in place of c from c^2 + (2 c + 1) (1 - f) on, which is
    (c + 1 - f)^2 + f (1 - f): it is the integer part of sqrt(q - f (1 - f)) + f, or, with f = 1/2 + h, the integer
    nearest to sqrt(q - 1/4 + h^2) + h.
    """
    h = above_one(bits) - (1.5 - 2.0**-17)
    q = tl.abs(x) * inverse
    code = tl.sqrt(tl.maximum((q - 0.25) + h * h, 0.0)) + h
    code = tl.minimum(code, LEVELS).to(tl.int32, bitcast=True) ^ (x.to(tl.int32, bitcast=True) & SIGN)
    # The integer nearest to it is then in the lower half of its bits.
    return (code.to(tl.float32, bitcast=True) + 1.5 * 2.0**23).to(tl.int32, bitcast=True).to(tl.int16)


@triton.jit
def decode_signed(codes, scale):  # type: ignore[no-untyped-def]
    c = codes.to(tl.float32)
    return c * tl.abs(c) * scale


# --- a parameter and its averages -----------------------------------------------------------------------


@triton.jit
def compensation_of(place, rounding: tl.constexpr, whole: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where what rounding leaves over of the parameter is kept; where nothing is, no address of bfloat16 numbers."""
    if rounding == "kahan":
        address = tl.load(place + COMPENSATION).to(tl.pointer_type(tl.bfloat16))
        return tl.multiple_of(address, 16) if whole else address
    else:
        return place


@triton.jit
def scales_of(place, average: tl.constexpr, coded: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where an average's scales are; it has none but where it is kept as codes."""
    if coded:
        return tl.load(place + (FIRST_SCALE + average)).to(tl.pointer_type(tl.float32))
    else:
        return place


@triton.jit
def load(array, at, inside):  # type: ignore[no-untyped-def]
    return tl.load(array + at, mask=inside, other=0)


@triton.jit
def load_parameter(array, compensation, start, at, inside, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """The parameter, with what its last rounding left over where that is kept."""
    x = load(array + start, at, inside).to(real)
    if compensation.dtype.element_ty == tl.bfloat16:
        x += load(compensation + start, at, inside).to(real)
    return x


@triton.jit
def store_parameter(array, compensation, start, at, inside, x, words, rounding: tl.constexpr):  # type: ignore[no-untyped-def]
    kind: tl.constexpr = array.dtype.element_ty
    array += start
    if rounding == "stochastic":
        if kind == tl.bfloat16:
            tl.store(array + at, round_bfloat16(x, half(words, 0)), mask=inside)
        else:
            tl.store(array + at, round_float16(x, half(words, 0)), mask=inside)
    else:
        near = stored(x, kind)
        tl.store(array + at, near, mask=inside)
        if compensation.dtype.element_ty == tl.bfloat16:
            left = round_bfloat16(x - near.to(x.dtype), half(words, 0))
            tl.store(compensation + start + at, left, mask=inside)


@triton.jit
def load_magnitude(array, scales, start, at, inside, codes, present, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """An average that is never negative, from its codes where it is kept so."""
    x = load(array + start, at, inside)
    if array.dtype.element_ty == tl.int16:
        x = decode_magnitude(x, load(scales, codes, present))
    return x.to(real)


@triton.jit
def store_plain(array, at, inside, x, bits, rounded: tl.constexpr):  # type: ignore[no-untyped-def]
    kind: tl.constexpr = array.dtype.element_ty
    if rounded and kind == tl.bfloat16:
        tl.store(array + at, round_bfloat16(x, bits), mask=inside)
    elif rounded and kind == tl.float16:
        tl.store(array + at, round_float16(x, bits), mask=inside)
    else:
        tl.store(array + at, stored(x, kind), mask=inside)


@triton.jit
def store_magnitude(  # type: ignore[no-untyped-def]
    array, scales, start, at, inside, codes, present, x, words, shift: tl.constexpr, rounded: tl.constexpr
):
    """Store it and give what is read again of codes, infinity in the place of zero."""
    if array.dtype.element_ty == tl.int16:
        x = x.to(tl.float32)
        scale, inverse = magnitude_scale(largest(x, inside))
        tl.store(scales + codes, scale, mask=present)
        code = encode_magnitude(x, inverse, half(words, shift))
        tl.store(array + start + at, tl.where(x == 0.0, 0, code).to(tl.int16), mask=inside)
        return tl.where(x == 0.0, float("inf"), unscaled_magnitude(code) * scale)
    else:
        store_plain(array + start, at, inside, x, half(words, shift), rounded)
        return x


@triton.jit
def load_signed(array, scales, start, at, inside, codes, present, second, real: tl.constexpr):  # type: ignore[no-untyped-def]
    """An average from its codes, which are relative to the root of the second moment where there is one.

    Here and where it is stored a GPU's quick root serves, good to a last bit or two: a code's step is far wider.
    """
    x = load(array + start, at, inside)
    if array.dtype.element_ty == tl.int16:
        x = decode_signed(x, load(scales, codes, present))
        if second is not None:
            x *= tl.sqrt(second.to(tl.float32))
    return x.to(real)


@triton.jit
def store_signed(  # type: ignore[no-untyped-def]
    array, scales, start, at, inside, codes, present, x, second, words, shift: tl.constexpr, rounded: tl.constexpr
):
    """``second`` is what :func:`store_magnitude` gave for the second moment: without one nothing is kept of a first."""
    if array.dtype.element_ty == tl.int16:
        x = x.to(tl.float32)
        if second is not None:
            x *= tl.rsqrt(second)
        scale, inverse = signed_scale(largest(tl.abs(x), inside))
        tl.store(scales + codes, scale, mask=present)
        tl.store(array + start + at, encode_signed(x, inverse, half(words, shift)), mask=inside)
    else:
        store_plain(array + start, at, inside, x, half(words, shift), rounded)
