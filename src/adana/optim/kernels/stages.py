"""A graph cut into stages: short chains that a processor can run many of at once.

A processor works on as many elements at a time as fit its window of a few hundred instructions. The Star
rules chain two roots, four divisions and a power, so only two or three vectors fit and the units idle
waiting for one another. Each stage is a loop of its own over a block that stays in the nearest cache; what
a later stage needs is kept in a scratch block.
"""

from __future__ import annotations

from typing import NamedTuple

from adana.optim.kernels.trace import Graph, Node

__all__ = ["Stage", "cut"]

# Cycles until a result is there, roughly, on processors of the last ten years.
LATENCY = {"div": 12, "sqrt": 20, "pow": 70, "array": 5, "where": 2, "sign": 4, "gt": 3, "lt": 3, "abs": 1}
OTHERS = 4
# Cutting a chain shorter than WHOLE gains nothing, as measured; longer ones are cut to about PIECE.
WHOLE, PIECE = 120, 60


class Stage(NamedTuple):
    """What one loop does: take values from scratch, compute nodes, keep values in scratch, store outputs."""

    taken: tuple[int, ...]
    nodes: tuple[Node, ...]
    kept: tuple[int, ...]
    stored: tuple[str, ...]


def cut(graph: Graph) -> list[Stage]:
    """The stages of a graph, in order."""
    nodes = [node for node in graph.needed() if not node.uniform]
    starts: dict[int, int] = {}
    for node in nodes:
        starts[node.index] = max((starts[x.index] + _latency(x) for x in node.args if not x.uniform), default=0)
    length = max(starts[node.index] + _latency(node) for node in nodes)
    count = 1 if length <= WHOLE else round(length / PIECE)
    part = {index: min(count - 1, int(start * count / length)) for index, start in starts.items()}

    # What each part needs: arrays are read again and comparisons made again, the rest is kept in scratch.
    needs: list[dict[int, Node]] = [{} for _ in range(count)]

    def need(node: Node, where: int) -> None:
        if node.uniform or node.index in needs[where]:
            return
        needs[where][node.index] = node
        if part[node.index] == where or node.op in ("gt", "lt"):
            for x in node.args:
                need(x, where)

    for node in nodes:
        if node.op not in ("array", "gt", "lt"):
            need(node, part[node.index])
    # An array is written once nobody reads its old value any more.
    last_read: dict[str, int] = {}
    for where in range(count):
        for node in needs[where].values():
            if node.op == "array":
                last_read[node.value] = where
    stored: list[list[str]] = [[] for _ in range(count)]
    for name, node in graph.outputs.items():
        where = max(part[node.index], last_read.get(name, 0))
        stored[where].append(name)
        needs[where].setdefault(node.index, node)

    def crosses(node: Node, where: int) -> bool:
        return node.op not in ("array", "gt", "lt") and part[node.index] < where

    taken = [{i for i, node in needs[where].items() if crosses(node, where)} for where in range(count)]
    return [
        Stage(
            taken=tuple(sorted(taken[where])),
            nodes=tuple(node for i, node in sorted(needs[where].items()) if i not in taken[where]),
            kept=tuple(sorted(i for i in needs[where] if part[i] == where and any(i in t for t in taken[where + 1 :]))),
            stored=tuple(stored[where]),
        )
        for where in range(count)
    ]


def _latency(node: Node) -> int:
    return LATENCY.get(node.op, OTHERS)
