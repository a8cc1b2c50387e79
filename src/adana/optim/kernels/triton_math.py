"""The operations of a traced rule in Triton: every one rounds as the rule's own, but for a power in float32.

Triton's own root and division are a GPU's quick ones in float32, good to a last bit or two.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["power", "quotient", "root", "sign", "stored"]


@triton.jit
def root(x):  # type: ignore[no-untyped-def]
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)
    else:
        return tl.sqrt(x)


@triton.jit
def quotient(x, y):  # type: ignore[no-untyped-def]
    if y.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit
def sign(x):  # type: ignore[no-untyped-def]
    """-1, 0 or 1, and 0 of NaN, as torch has it."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def power(x, y):  # type: ignore[no-untyped-def]
    """``x ** y`` for ``x >= 1``, ``-50 <= y <= 1``; in float32 as :func:`adana.optim.kernels.operations._power` has it.

    A GPU's own logarithm is good to 2^-22 of the argument's exponent only: seven last bits at ``y = 1``.
    """
    if x.dtype == tl.float64:
        return tl.exp2(y * tl.log2(x))
    else:
        bits = x.to(tl.int32, bitcast=True)
        exponent = (bits - 0x3F3504F3) >> 23
        t = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
        k = exponent.to(tl.float32)
        log2 = -0.14574295282363892
        log2 = log2 * t + 0.2368897795677185
        log2 = log2 * t - 0.2500692903995514
        log2 = log2 * t + 0.2867075502872467
        log2 = log2 * t - 0.36008718609809875
        log2 = log2 * t + 0.48093944787979126
        log2 = log2 * t - 0.7213571667671204
        log2 = log2 * t + 1.4426947832107544
        # The upper 12 bits of the significand: times k they are exact.
        y_high = (y.to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)
        small = (y - y_high) * k + y * (t * log2)
        large = y_high * k
        n = tl.floor(large + small + 0.5)
        part = (large - n) + small
        exp2 = 0.0001534580806037411
        exp2 = exp2 * part + 0.0013399930903688073
        exp2 = exp2 * part + 0.009618489071726799
        exp2 = exp2 * part + 0.05550328642129898
        exp2 = exp2 * part + 0.24022646248340607
        exp2 = exp2 * part + 0.6931471824645996
        exp2 = exp2 * part + 1.0
        scale = (tl.maximum(n, -127.0).to(tl.int32) + 127) << 23
        return exp2 * scale.to(tl.float32, bitcast=True)


@triton.jit
def stored(x, kind: tl.constexpr):  # type: ignore[no-untyped-def]
    """``x`` as a tensor of that dtype holds it, rounded to nearest; Triton's interpreter would cut bfloat16 off."""
    if kind == tl.bfloat16:
        bits = x.to(tl.float32).to(tl.int32, bitcast=True)
        rounded = tl.where(x == x, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, 0x7FC0)
        return rounded.to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        return x.to(kind)
