"""A rule of :mod:`adana.rules`, recorded once and replayed in place.

The rules are pure: every operation makes a new array. Over many small steps those temporaries, and the
small operations on scalars between them, cost more than the arithmetic. Here a rule runs once on
placeholders that write down what is done to them. Of what they wrote, operations on scalars alone run
for many steps at a time, and operations on arrays run step by step into a fixed set of buffers. The rule
itself is not copied: whatever it computes is what is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adana.rules import Rule, descend
from adana.theory.checks import Floats

__all__ = ["Replay"]


_SHORT = 1024  # parameters of one configuration


class _Placeholder:
    """Stands for an array (``is_array``) or for a scalar that changes from step to step."""

    def __init__(self, record: _Record, index: int, is_array: bool) -> None:
        self.record, self.index, self.is_array = record, index, is_array

    def __add__(self, other: Any) -> Any:
        return self.record.call(np.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self.record.call(np.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self.record.call(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.record.call(np.subtract, other, self)

    def __mul__(self, other: Any) -> Any:
        return self.record.call(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.record.call(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.record.call(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.record.call(np.divide, other, self)

    def __pow__(self, other: Any) -> Any:
        return self.record.call(np.power, self, other)

    def __rpow__(self, other: Any) -> Any:
        return self.record.call(np.power, other, self)

    def __gt__(self, other: Any) -> Any:
        return _Comparison(np.minimum, self, other)

    def __lt__(self, other: Any) -> Any:
        return _Comparison(np.maximum, self, other)


class _Comparison:
    """``x > bound`` or ``x < bound``, until ``where`` says what it is for."""

    def __init__(self, bounded: np.ufunc, x: Any, bound: Any) -> None:
        self.bounded, self.x, self.bound = bounded, x, bound


class _Zero:
    """Zero times an array: what a term switched off by its coefficient is replayed as."""

    def __add__(self, other: Any) -> Any:
        return other


def _is_number(x: Any, number: int) -> bool:
    return isinstance(x, (int, float)) and x == number


def _aligned(operands: list[Any]) -> list[Any]:
    """Steps against steps: tables that all configurations share get the missing axes behind the first."""
    rank = max(np.ndim(x) for x in operands)
    return [x.reshape(-1, *[1] * (rank - 1)) if 0 < np.ndim(x) < rank else x for x in operands]


class _Record:
    """The array namespace handed to a rule: it writes down instead of computing."""

    def __init__(self) -> None:
        self.calls: list[tuple[np.ufunc, tuple[Any, ...], _Placeholder]] = []
        self.count = 0

    def placeholder(self, is_array: bool) -> _Placeholder:
        self.count += 1
        return _Placeholder(self, self.count - 1, is_array)

    def call(self, function: np.ufunc, *arguments: Any) -> Any:
        if isinstance(arguments[-1], _Zero) and function in (np.add, np.subtract):
            return arguments[0]
        if function is np.divide and _is_number(arguments[1], 1):
            return arguments[0]
        if function is np.multiply:
            for one, other in (arguments, arguments[::-1]):
                if _is_number(other, 1):
                    return one
                if _is_number(other, 0):
                    return _Zero()
        result = self.placeholder(any(isinstance(a, _Placeholder) and a.is_array for a in arguments))
        self.calls.append((function, arguments, result))
        return result

    def sqrt(self, x: Any) -> Any:
        return self.call(np.sqrt, x)

    def abs(self, x: Any) -> Any:
        return self.call(np.absolute, x)

    def sign(self, x: Any) -> Any:
        return self.call(np.sign, x)

    def where(self, condition: _Comparison, yes: Any, no: Any) -> Any:
        # The rules use `where` to bound a value and keep NaN; NumPy's minimum and maximum do both in one pass.
        if condition.bound is not yes or condition.x is not no:
            raise NotImplementedError("only where(x > bound, bound, x) and where(x < bound, bound, x) are replayed")
        return self.call(condition.bounded, no, yes)


class Replay:
    """One rule over a stack of configurations, in place.

    Args:
        rule: from :func:`adana.rules.rule`.
        scalars: the rule's scalars by name, with ``lr`` and ``decay`` of :func:`adana.rules.descend`: a
            number where all configurations and steps share it, a column where each configuration has its own
            at every step, None where it changes.
        form: of :func:`adana.rules.descend`.
        parameters: the stack, written in place.
        gradient: where the caller puts the gradient before each step; never written to.
        state: the rule's buffers, written in place.

    A term whose coefficient is the number 0 is left out; the rule itself would turn an infinite gradient
    into NaN there.
    """

    def __init__(
        self,
        rule: Rule,
        scalars: Mapping[str, float | Floats | None],
        form: str,
        parameters: Floats,
        gradient: Floats,
        state: Mapping[str, Floats],
    ) -> None:
        record = _Record()
        given: dict[str, Any] = {}
        columns: dict[int, Floats] = {}
        for name, number in scalars.items():
            given[name] = number
            if number is None or isinstance(number, np.ndarray):
                given[name] = record.placeholder(is_array=number is not None)
            if isinstance(number, np.ndarray):
                column = number.astype(parameters.dtype)
                # Short rows broadcast a column several times slower than they read a full array from the cache.
                short = parameters[0, 0].size <= _SHORT
                columns[given[name].index] = np.broadcast_to(column, parameters.shape).copy() if short else column
        self._inputs = {name: given[name].index for name, number in scalars.items() if number is None}
        buffers = {"p": parameters, "g": gradient, **state}
        arrays = {name: record.placeholder(is_array=True) for name in buffers}
        old = {name: arrays[name] for name in state}
        lr, decay = given.pop("lr"), given.pop("decay")
        direction, new = rule.direction(record, arrays["g"], old, given)
        new = {**new, "p": descend(arrays["p"], direction, lr=lr, decay=decay, form=form)}

        self._scalar_calls = [call for call in record.calls if not call[2].is_array]
        self._slots: list[Any] = [None] * record.count
        for name, placeholder in arrays.items():
            self._slots[placeholder.index] = buffers[name]
        for index, column in columns.items():
            self._slots[index] = column
        self._dtype = parameters.dtype
        array_calls = [call for call in record.calls if call[2].is_array]
        self._steps: list[tuple[np.ufunc, tuple[int, ...], int]] = []
        self._constants: dict[Any, int] = {}
        self._assign(array_calls, arrays, new, parameters)
        used = {i for _, arguments, _ in self._steps for i in arguments}
        made = set(self._inputs.values()) | {call[2].index for call in self._scalar_calls}
        self._tables = sorted(used & made)
        self._rows: list[list[Any]] = []

    def _slot(self, argument: Any) -> int:
        if isinstance(argument, _Placeholder):
            return argument.index
        if argument not in self._constants:
            self._constants[argument] = len(self._slots)
            self._slots.append(self._dtype.type(argument))
        return self._constants[argument]

    def _assign(
        self,
        calls: Sequence[tuple[np.ufunc, tuple[Any, ...], _Placeholder]],
        arrays: Mapping[str, _Placeholder],
        new: Mapping[str, _Placeholder],
        like: Floats,
    ) -> None:
        """Give every result a buffer: its own old value's where that is no longer read, else a free one."""
        last: dict[int, int] = {}
        for position, (_, arguments, _) in enumerate(calls):
            last.update({a.index: position for a in arguments if isinstance(a, _Placeholder) and a.is_array})
        owner = {x.index: arrays[name].index for name, x in new.items()}
        free: list[Floats] = []
        late: list[tuple[int, int]] = []
        pooled: set[int] = set()
        # A new value read after its slot could be reused must stay: outputs are never freed.
        for position, (function, arguments, result) in enumerate(calls):
            inputs = tuple(self._slot(a) for a in arguments)
            for index in set(inputs) & pooled:
                if last.get(index) == position:
                    free.append(self._slots[index])
                    pooled.discard(index)
            home = owner.get(result.index)
            if home is not None and last.get(home, -1) <= position:
                self._slots[result.index] = self._slots[home]
            else:
                self._slots[result.index] = free.pop() if free else np.empty_like(like)
                if home is None:
                    pooled.add(result.index)
                else:
                    late.append((result.index, home))
            self._steps.append((function, inputs, result.index))
        self._steps += [(np.positive, (source,), home) for source, home in late]

    def prepare(self, tables: Mapping[str, Floats]) -> None:
        """Take the scalars of the coming steps.

        Args:
            tables: for every scalar that was None, an array whose first axis is the step and whose others, if
                any, broadcast against the parameters.
        """
        values: dict[int, Any] = {index: tables[name] for name, index in self._inputs.items()}
        for function, arguments, result in self._scalar_calls:
            operands = [values[a.index] if isinstance(a, _Placeholder) else a for a in arguments]
            values[result.index] = function(*_aligned(operands))
        self._rows = [list(values[index].astype(self._dtype)) for index in self._tables]

    def step(self, i: int) -> None:
        """Do the ``i``-th of the prepared steps."""
        slots = self._slots
        for index, rows in zip(self._tables, self._rows):
            slots[index] = rows[i]
        function: Callable[..., Any]
        for function, inputs, out in self._steps:
            if len(inputs) == 2:
                function(slots[inputs[0]], slots[inputs[1]], out=slots[out])
            else:
                function(slots[inputs[0]], out=slots[out])
