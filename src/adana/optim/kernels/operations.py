"""The operations of a traced rule on vectors: every one rounds as the rule's own, but for a power in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llvmlite import ir

from adana.optim.kernels.trace import Graph
from adana.optim.kernels.vectors import I32, REAL, Kind

__all__ = ["computed"]


def computed(
    kind: Kind, graph: Graph, arrays: Mapping[str, ir.Value], given: Mapping[int, ir.Value]
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


def _sign(kind: Kind, x: ir.Value) -> ir.Value:
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


def _power(kind: Kind, x: ir.Value, y: ir.Value) -> ir.Value:
    """``x ** y`` for ``1 <= x < 2^126`` and ``-50 <= y <= 1``, the range of effective time.

    ``x = 2^k f`` with ``f`` about 1, so ``x^y = 2^n 2^(y k - n + y log2 f)``. ``y`` is split in two so that
    its high part times ``k`` is exact: rounding ``y log2 x`` as a whole would cost several last bits of a
    large ``x``. NaN need not come out as NaN: the same NaN reaches the update by every other factor as well.
    In float64 the C library's ``pow`` is called.
    """
    b = kind.b
    if kind.real == REAL["float64"]:
        return kind.call("pow", x, y)
    whole, real = kind.type(I32), kind.type(kind.real)
    exponent_bits = kind.constant(23, I32)

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
    k = b.ashr(b.sub(bits, kind.constant(SQRT_HALF_BITS, I32)), exponent_bits)
    t = b.fsub(b.bitcast(b.sub(bits, b.shl(k, exponent_bits)), real), kind.constant(1.0))
    k = b.sitofp(k, real)
    with b.goto_block(kind.before):
        y_high = b.bitcast(b.and_(b.bitcast(y, whole), kind.constant(0xFFFFF000, I32)), real)
        y_low = b.fsub(y, y_high)
    small = kind.call("fmuladd", b.fmul(y, t), polynomial(LOG2, t), b.fmul(y_low, k))
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
