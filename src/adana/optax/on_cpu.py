"""A rule as XLA's CPU backend runs it fastest: one pass over memory for every array that is written, and none besides.

That backend has no kernel of several outputs. A value that two outputs share, a bounded gradient or a root, becomes an
array of its own, as large as the parameter; a power is computed one element at a time. So the rule is first recorded
as expressions, and each output is then computed from the gradient, the old state and outputs that are stored already:

* What outputs would share is computed for each of them. Numbers that the compiler cannot know to be equal, one for
  each output, keep it from storing them once.
* A power is ``exp(exponent log(base))``, and a quotient of arrays a product with a reciprocal: both are vectorised, and
  neither is stored where two operations read it.
* The reciprocal of an array is computed for each operation that reads it, with such a number of its own as numerator.

Results differ from the rule's own by rounding, so this is for float32 alone.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from adana import rules

__all__ = ["applies", "run"]

Leaf = Callable[[Any, Any, Mapping[str, Any]], tuple[Any, dict[str, Any]]]


def applies(rule: rules.Rule, dtype: Any, stored: Mapping[str, Any], count: Any) -> bool:
    """Whether a leaf is updated this way: inside ``jit`` on the CPU, with arithmetic and state in float32.

    Args:
        rule: of the leaf.
        dtype: of the arithmetic.
        stored: the state.
        count: updates done; an array outside ``jit``, where every operation is a program of its own.
    """
    traced = isinstance(count, jax.core.Tracer) and jax.default_backend() == "cpu"
    return traced and rule.elementwise and {dtype, *(x.dtype for x in stored.values())} == {jnp.dtype(jnp.float32)}


def run(leaf: Leaf, g: Any, stored: Mapping[str, Any], largest: float, count: Any) -> tuple[Any, dict[str, Any]]:
    """What ``leaf(jnp, rules.bounded(jnp, g, largest), stored)`` returns, up to rounding.

    Args:
        leaf: maps an array namespace, a gradient and a state to an update and the new state, element by element.
        g: gradient, float32.
        stored: state by name, float32.
        largest: bound on the gradient.
        count: updates done, >= 0, traced.
    """
    gradient, before = _Expression(), {name: _Expression() for name in stored}
    update, new = leaf(_Namespace, gradient, before)
    known = {before[name]: x for name, x in stored.items()}
    done: dict[_Expression, Any] = {}
    # The update goes last: it reads the new state, so that the old one may be overwritten by then.
    for turn, output in enumerate([*new.values(), update]):
        certain = count >= -turn  # true of every count, another for each output, and not known to the compiler
        one, bound = jnp.where(certain, 1.0, 0.0), jnp.where(certain, largest, 0.0)
        inputs = known | {x: one * value for x, value in done.items()}
        uses = itertools.count(1)

        def fresh(turn: int = turn, uses: Any = uses) -> Any:
            return jnp.where(count >= -turn - 100 * next(uses), 1.0, 0.0)

        done[output] = output.value({**inputs, gradient: rules.bounded(jnp, g, bound), _ONE: fresh})
    return done[update], {name: done[x] for name, x in new.items()}


class _Expression:
    """An operation on expressions, arrays and numbers, to be computed when all inputs are known."""

    def __init__(self, operation: Callable[..., Any] | None = None, *operands: Any) -> None:
        self._operation, self._operands = operation, operands

    def value(self, known: dict[_Expression, Any]) -> Any:
        """Its array, given those of some expressions; ``known`` receives all that are computed on the way."""
        if self._operation is _reciprocal:  # not kept: XLA would store it for all that read it
            return known[_ONE]() / self._operands[0].value(known)
        if self not in known:
            assert self._operation is not None, "an input without a value"
            known[self] = self._operation(
                *(x.value(known) if isinstance(x, _Expression) else x for x in self._operands)
            )
        return known[self]

    def __add__(self, other: Any) -> _Expression:
        return _Expression(operator.add, self, other)

    def __radd__(self, other: Any) -> _Expression:
        return _Expression(operator.add, other, self)

    def __sub__(self, other: Any) -> _Expression:
        return _Expression(operator.sub, self, other)

    def __rsub__(self, other: Any) -> _Expression:
        return _Expression(operator.sub, other, self)

    def __mul__(self, other: Any) -> _Expression:
        return _Expression(operator.mul, self, other)

    def __rmul__(self, other: Any) -> _Expression:
        return _Expression(operator.mul, other, self)

    def __truediv__(self, other: Any) -> _Expression:
        return _Expression(_quotient, self, other)

    def __rtruediv__(self, other: Any) -> _Expression:
        one = isinstance(other, (int, float)) and other == 1
        return _Expression(_reciprocal, self) if one else _Expression(_quotient, other, self)

    def __pow__(self, exponent: Any) -> _Expression:
        return _Expression(_power, self, exponent)

    def __lt__(self, other: Any) -> _Expression:
        return _Expression(operator.lt, self, other)

    def __gt__(self, other: Any) -> _Expression:
        return _Expression(operator.gt, self, other)


_ONE = _Expression()
"""What makes a number that is 1 and that the compiler knows nothing of."""


class _Namespace:
    """What rules ask of an array namespace, for expressions."""

    @staticmethod
    def where(condition: Any, yes: Any, no: Any) -> _Expression:
        return _Expression(jnp.where, condition, yes, no)

    @staticmethod
    def sqrt(x: Any) -> _Expression:
        return _Expression(jnp.sqrt, x)

    @staticmethod
    def abs(x: Any) -> _Expression:
        return _Expression(jnp.abs, x)

    @staticmethod
    def sign(x: Any) -> _Expression:
        return _Expression(jnp.sign, x)


def _quotient(a: Any, b: Any) -> Any:
    return a / b if jnp.ndim(b) == 0 else a * (1 / b)


def _reciprocal(x: Any) -> Any:
    raise AssertionError("computed where it is read")


def _power(base: Any, exponent: Any) -> Any:
    return jnp.exp(exponent * jnp.log(base))
