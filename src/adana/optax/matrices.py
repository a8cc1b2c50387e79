"""A rule over the matrices of a leaf, along any axes and on any mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from optax.contrib import MuonDimensionNumbers

from adana import rules

__all__ = ["per_matrix"]

Direction = Callable[..., tuple[Any, dict[str, Any]]]


def per_matrix(rule: rules.Rule, axes: MuonDimensionNumbers) -> Direction:
    """The rule over every matrix of a leaf: axes that are neither input nor output are a batch of matrices.

    Args:
        rule: over one matrix.
        axes: of the leaf that are a matrix's inputs and outputs.
    """

    def positions(which: int | Sequence[int], ndim: int) -> tuple[int, ...]:
        return tuple(axis % ndim for axis in ((which,) if isinstance(which, int) else which))

    def direction(xp: Any, g: Any, state: dict[str, Any], s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        rows, columns = positions(axes.reduction_axis, g.ndim), positions(axes.output_axis, g.ndim)
        if set(rows) & set(columns):
            raise ValueError(f"an axis cannot be both input and output of a matrix, got {axes!r} for {g.shape}")
        batch = tuple(axis for axis in range(g.ndim) if axis not in rows + columns)
        order = batch + rows + columns
        moved = tuple(g.shape[axis] for axis in order)

        def size(some: Sequence[int]) -> int:
            return int(np.prod([g.shape[axis] for axis in some], dtype=np.int64))

        def matrices(x: Any) -> Any:
            return x.transpose(order).reshape(size(batch), size(rows), size(columns))

        def back(x: Any) -> Any:
            return x.reshape(moved).transpose(np.argsort(order))

        def one(g: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return rule.direction(xp, g, state, s)

        if g.ndim == 2 and order == (0, 1):  # a batch of one would only hide the matrix from XLA
            return one(g, state)
        u, new = jax.vmap(one)(matrices(g), {name: matrices(x) for name, x in state.items()})
        return back(u), {name: back(x) for name, x in new.items()}

    return _on_explicit_meshes(direction)


def _on_explicit_meshes(direction: Direction) -> Direction:
    """``direction`` also for leaves on a mesh with explicit axes, where the compiler is left to partition it.

    There JAX refuses products over a sharded axis and most reshapes, for nothing says how the result is laid out.
    The update is laid out as the gradient, the state as it was.
    """

    def run(xp: Any, g: Any, state: dict[str, Any], s: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        layout = _explicit_sharding(g) or next(filter(None, map(_explicit_sharding, state.values())), None)
        if layout is None:
            return direction(xp, g, state, s)
        layouts = {name: _explicit_sharding(x) or layout for name, x in state.items()}
        arrays = {name: x for name, x in s.items() if isinstance(x, jax.Array)}
        rest = {name: x for name, x in s.items() if name not in arrays}

        def automatic(g: Any, state: dict[str, Any], arrays: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return direction(xp, g, state, {**rest, **arrays})

        found: tuple[Any, dict[str, Any]] = jax.sharding.auto_axes(automatic, out_sharding=(layout, layouts))(
            g, state, arrays
        )
        return found

    return run


def _explicit_sharding(x: Any) -> Any:
    """Sharding of an array on a mesh with explicit axes; None for any other, and where JAX has no such axes yet."""
    kind = getattr(getattr(jax.sharding, "AxisType", None), "Explicit", None)
    if kind is None or not hasattr(jax.sharding, "auto_axes"):
        return None
    sharding = jax.typeof(x).sharding
    return sharding if kind in (sharding.mesh.axis_types or ()) else None
