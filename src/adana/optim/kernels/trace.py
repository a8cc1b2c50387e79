"""A rule as a graph: what the fused kernels are made from.

The functions of :mod:`adana.rules` are called once with symbols in place of arrays and numbers; what they do
to them is written down. Emitters turn the graph into LLVM (:mod:`adana.optim.kernels.cpu`) and into Triton
(:mod:`adana.optim.kernels.generate`), so a kernel cannot differ from its rule by an operation.

A *uniform* node depends on scalars only, so it is the same for every element of a parameter: it is computed
once a step, in float64, and rounded where it meets an array, as torch does with Python numbers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from adana import rules

__all__ = ["GRADIENT", "PARAMETER", "Graph", "Node", "Storage", "trace"]

PARAMETER = "p"
GRADIENT = "g"


class Node:
    """One operation of a graph, applied to earlier nodes. Arithmetic on nodes adds nodes."""

    __slots__ = ("args", "graph", "index", "op", "uniform", "value")

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], value: Any, index: int) -> None:
        self.graph, self.op, self.args, self.value, self.index = graph, op, args, value, index
        self.uniform: bool = op in ("scalar", "constant") or (op != "array" and all(x.uniform for x in args))

    def _binary(self, op: str, other: Any, swapped: bool = False) -> Node:
        x = self.graph.node_of(other)
        return self.graph.add(op, x, self) if swapped else self.graph.add(op, self, x)

    def __add__(self, other: Any) -> Node:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Node:
        return self._binary("add", other, swapped=True)

    def __sub__(self, other: Any) -> Node:
        return self._binary("sub", other)

    def __rsub__(self, other: Any) -> Node:
        return self._binary("sub", other, swapped=True)

    def __mul__(self, other: Any) -> Node:
        return self._binary("mul", other)

    def __rmul__(self, other: Any) -> Node:
        return self._binary("mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Node:
        return self._binary("div", other)

    def __rtruediv__(self, other: Any) -> Node:
        return self._binary("div", other, swapped=True)

    def __pow__(self, other: Any) -> Node:
        return self._binary("pow", other)

    def __gt__(self, other: Any) -> Node:
        return self._binary("gt", other)

    def __lt__(self, other: Any) -> Node:
        return self._binary("lt", other)

    def __bool__(self) -> bool:
        raise TypeError("a rule must not branch on an array's values: use xp.where")


class Graph:
    """The nodes of one rule in the order they were made, and what it gives."""

    def __init__(self) -> None:
        self.direction = ""  # the name of the rule's function
        self.nodes: list[Node] = []
        self.outputs: dict[str, Node] = {}
        self._known: dict[Any, Node] = {}

    def add(self, op: str, *args: Node, value: Any = None) -> Node:
        """The node of this operation: an earlier one where there is one."""
        if op in ("mul", "div") and args[1].value == 1.0:
            return args[0]
        if op == "mul" and args[0].value == 1.0:
            return args[1]
        key = (op, *(x.index for x in args), value)
        if key not in self._known:
            self._known[key] = Node(self, op, args, value, len(self.nodes))
            self.nodes.append(self._known[key])
        return self._known[key]

    def node_of(self, x: Any) -> Node:
        return x if isinstance(x, Node) else self.add("constant", value=float(x))

    # What rules call on their array namespace.

    def abs(self, x: Node) -> Node:
        return self.add("abs", x)

    def sqrt(self, x: Node) -> Node:
        return self.add("sqrt", x)

    def sign(self, x: Node) -> Node:
        return self.add("sign", x)

    def where(self, condition: Node, yes: Any, no: Any) -> Node:
        return self.add("where", condition, self.node_of(yes), self.node_of(no))

    # What emitters ask.

    def needed(self) -> list[Node]:
        """The nodes that the outputs depend on, in order."""
        wanted: set[int] = set()
        stack = list(self.outputs.values())
        while stack:
            node = stack.pop()
            if node.index not in wanted:
                wanted.add(node.index)
                stack.extend(node.args)
        return [node for node in self.nodes if node.index in wanted]

    @functools.cached_property
    def uniforms(self) -> list[Node]:
        """The uniform nodes, constants apart, that an operation on arrays takes: what a kernel is given."""
        taken = {x.index: x for node in self.needed() if not node.uniform for x in node.args if x.uniform}
        return [taken[index] for index in sorted(taken) if taken[index].op != "constant"]

    def numbers(self, scalars: Mapping[str, Any]) -> list[Any]:
        """The values of :attr:`uniforms` from those of the scalars."""
        values: dict[int, Any] = {}

        def value(node: Node) -> Any:
            if node.index not in values:
                if node.op == "scalar":
                    values[node.index] = scalars[node.value]
                elif node.op == "constant":
                    values[node.index] = node.value
                else:
                    values[node.index] = _ON_NUMBERS[node.op](*map(value, node.args))
            return values[node.index]

        return [value(node) for node in self.uniforms]


class Storage(NamedTuple):
    """Dtypes by name: what the arithmetic runs in, and what every array of a graph is stored in.

    ``rounding`` is how the parameter is rounded, one of ``storage.PARAM_ROUNDINGS``. Averages in bfloat16 and
    codes always take random bits where anything does.
    """

    real: str
    arrays: tuple[tuple[str, str], ...]
    rounding: str = "nearest"
    rounded: bool = False

    @property
    def coded(self) -> tuple[str, ...]:
        """The averages that are codes: all or none."""
        return tuple(name for name, stored in self.arrays if stored == "int16")


_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
}


def trace(
    direction: Callable[..., Any], buffers: tuple[str, ...], scalars: tuple[str, ...], ones: frozenset[str], form: str
) -> Graph:
    """The graph of one whole step of a rule: gradient, state and parameter to new state and parameter.

    Args:
        direction: the rule's function of ``(xp, g, state, scalars)``.
        buffers: names of its state.
        scalars: names of its numbers, ``lr`` and ``decay`` not among them.
        ones: those that are always 1 (such as a bias correction that is not there): they cost nothing.
        form: how the parameter descends, one of ``rules.FORMS``.

    Returns:
        A graph whose inputs are arrays named ``"p"``, ``"g"`` and as the buffers, and whose outputs are
        ``"p"`` and the buffers. The gradient is multiplied by the scalar ``"ascent"``, -1 to
        maximize, and kept within the scalar ``"largest"``.

    >>> graph = trace(rules.dana, ("exp_avg",), ("weight", "momentum"), frozenset(), "paper")
    >>> sorted(graph.outputs), len(graph.uniforms)
    (['exp_avg', 'p'], 8)
    """
    graph = Graph()
    graph.direction = direction.__name__
    numbers = {name: graph.add("scalar", value=name) for name in (*scalars, "lr", "decay", "ascent", "largest")}
    for name in ones:
        numbers[name] = graph.node_of(1.0)
    g = rules.bounded(graph, numbers["ascent"] * graph.add("array", value=GRADIENT), numbers["largest"])
    p = graph.add("array", value=PARAMETER)
    state = {name: graph.add("array", value=name) for name in buffers}
    u, new = direction(graph, g, state, numbers)
    graph.outputs = {PARAMETER: rules.descend(p, u, lr=numbers["lr"], decay=numbers["decay"], form=form), **new}
    return graph
