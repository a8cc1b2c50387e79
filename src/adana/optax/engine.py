"""A rule as an Optax gradient transformation: trees, dtypes and state around :mod:`adana.rules`.

The rule sees one leaf at a time as real arrays of at least float32. This file decodes leaves to that, runs the
rule, applies learning rate and decay, and stores the result in the dtypes of before.
"""

from __future__ import annotations

import functools
import math
import numbers
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adana import catalog, option_checks, rules, schedules
from adana.optax import masks, on_cpu
from adana.optax.matrices import per_matrix

__all__ = [
    "Damping",
    "Decay",
    "Form",
    "LearningRate",
    "LeafRule",
    "Mask",
    "ScaleByRuleState",
    "bare",
    "descent",
    "leaf_rule",
    "optimizer",
    "rule_options",
    "transformation",
]

Options = Mapping[str, Any]
Tree = Any

LearningRate = Any  # a number, a 0-d array, or a schedule: Callable[[count], number or 0-d array]
Mask = Any  # "matrices", None, a tree of bools (or a prefix of the parameters' tree), or a function that makes one
Decay = Literal["log", "constant"]
Damping = Literal["power", "linear", "nesterov"]
Form = Literal["paper", "released"]


# The rules' names for their buffers, and Optax's for the fields of a state.
_FIELDS = {
    "exp_avg": "mu",
    "momentum_buffer": "mu",
    "exp_avg_sq": "nu",
    "exp_avg_short": "mu_short",
    "tau": "tau",
}
_FIRST_MOMENTS = ("mu", "mu_short")


class ScaleByRuleState(NamedTuple):
    """State of every transformation of the family; a field that its rule does not keep is ``None``.

    Attributes:
        count: updates done, shape (), int32. Rule, decay and learning-rate schedule all read this one.
        mu: average of the gradients (Muon: momentum), shaped as the parameters.
        nu: average of the squared gradients.
        mu_short: the short average of ``beta3`` and AdEMAMix.
        tau: the Star rules' estimate of how often a parameter's gradient is there.
    """

    count: jax.Array  # type: ignore[assignment]  # in place of a tuple's own `count`
    mu: Tree
    nu: Tree = None
    mu_short: Tree = None
    tau: Tree = None


class LeafRule(NamedTuple):
    """How a leaf is updated: a rule, its options, and (Muon) which axes make its matrices."""

    rule: rules.Rule
    options: Options
    form: str = "paper"
    matrix: Any = None
    lr_factor: Any = None

    def fields(self) -> dict[str, str]:
        """Field of the state by the rule's own name of the buffer."""
        return {name: _FIELDS[name] for name in self.rule.state(self.options)}


class Descent(NamedTuple):
    """What turns a direction into an update: the learning rate now, and decay where there is any."""

    learning_rate: Any
    peak: Any
    decays: bool
    mask: Any


def leaf_rule(name: str, options: Options) -> LeafRule:
    """One rule on whole leaves; options are checked here.

    Raises:
        ValueError: a concrete option is out of its range.
    """
    form = options.get("form", "paper")
    option_checks.check(name, options, known)
    return LeafRule(rules.rule(name, form), options, form)


def rule_options(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a function's arguments that are options of its rule, and those that its name decides.

    Args:
        name: of the function.
        arguments: its keywords, learning rate and mask among them.
    """
    entry = catalog.of_optax(name)
    given = {key: arguments[key] for key in entry.options if key in arguments}
    return given | entry.fixed_but_for_decay()


def optimizer(name: str, arguments: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The optimizer that an elementwise function of this name makes of its arguments."""
    options = rule_options(name, arguments)
    one = leaf_rule(catalog.of_optax(name).rule, options)
    down = descent(arguments["learning_rate"], arguments.get("peak_learning_rate"), options, arguments.get("mask"))
    return transformation([one], mu_dtype=arguments["mu_dtype"], down=down)


def bare(name: str, arguments: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The bare rule of the function of this name, from the arguments of its ``scale_by_*``."""
    one = leaf_rule(catalog.of_optax(name).rule, rule_options(name, arguments))
    return transformation([one], mu_dtype=arguments["mu_dtype"])


def known(value: Any) -> float | None:
    """A hyper-parameter as a Python number: ``None`` for a traced one, NaN (never in range) for what is none."""
    if isinstance(value, jax.core.Tracer):
        return None
    if isinstance(value, (jax.Array, np.ndarray)):
        return float(value.item()) if value.size == 1 else None
    return float(value) if isinstance(value, numbers.Real) else math.nan


def _warn_of_low_precision(mu_dtype: Any, options: Options) -> None:
    """Say that an average whose newest weight falls as delta/(delta + t) stands still in 16 bits."""
    in_log_time = "delta" in options and options.get("log_time", True)  # Muon has a delta that it may not use
    if mu_dtype is not None and in_log_time and jnp.finfo(mu_dtype).bits < 32:
        name = jnp.dtype(mu_dtype).name
        warnings.warn(
            f"mu_dtype={name} with a log-time average: once delta/(delta + t) is under half a step of {name} (t of a "
            "few thousand), mu stands still. Keep mu_dtype=None (float32).",
            stacklevel=5,
        )


def descent(
    learning_rate: Any,
    peak_learning_rate: Any,
    options: Options,
    mask: Any = None,
) -> Descent:
    """Check learning rate and decay together.

    Raises:
        ValueError: a number out of range, no mask, or decay on and the peak of a schedule (or array) not given.
    """
    masks.check(mask)
    peak = peak_learning_rate
    is_number = isinstance(learning_rate, numbers.Real)
    if is_number:
        option_checks.number("learning_rate", learning_rate, known, least=0.0)
    elif not callable(learning_rate) and not isinstance(learning_rate, (jax.Array, np.ndarray)):
        raise ValueError(f"learning_rate must be a number, an array or a schedule, got {learning_rate!r}")
    if peak is not None:
        option_checks.number("peak_learning_rate", peak, known, above=0.0)
    omega = options.get("weight_decay", 0)
    decays = known(omega) != 0
    if "decay" in options:
        option_checks.check_decay(
            schedules.Decay.of(options),
            known,
            lambda kind, message: warnings.warn(message, stacklevel=6),
            peak=peak if peak is not None else learning_rate if is_number else None,
        )
    if decays and peak is None:
        if not is_number:
            raise ValueError(
                "weight decay is scaled by gamma(t) = learning_rate/peak_learning_rate, and the peak of a schedule or "
                "an array cannot be read from it: pass peak_learning_rate (its highest value), or weight_decay=0"
            )
        if learning_rate == 0:
            raise ValueError(
                "learning_rate=0 cannot serve as the peak that scales weight decay: pass peak_learning_rate, or "
                "weight_decay=0"
            )
    return Descent(learning_rate, learning_rate if peak is None and is_number else peak, decays, mask)


def _absent(x: Any) -> bool:
    return x is None


def _state_dtype(p: Any, field: str, mu_dtype: Any) -> Any:
    if mu_dtype is not None and field in _FIRST_MOMENTS:
        complex_of = {jnp.dtype(jnp.float64): jnp.complex128}
        if jnp.iscomplexobj(p) and not jnp.issubdtype(mu_dtype, jnp.complexfloating):
            return complex_of.get(jnp.dtype(mu_dtype), jnp.complex64)
        return jnp.dtype(mu_dtype)
    return jnp.promote_types(jnp.result_type(p), jnp.float32)


def _real_dtype(*arrays: Any) -> Any:
    """The dtype a rule runs in: at least float32, wide enough for all that goes into it."""
    dtype = jnp.dtype(jnp.float32)
    for x in arrays:
        dtype = jnp.promote_types(dtype, jnp.finfo(x.dtype).dtype)
    return dtype


def _decode(x: Any, dtype: Any) -> Any:
    """As real numbers; a complex leaf becomes pairs, as torch's optimizers see it."""
    if jnp.iscomplexobj(x):
        x = jnp.stack([x.real, x.imag], axis=-1)
    return x.astype(dtype)


def _encode(x: Any, dtype: Any) -> Any:
    if jnp.issubdtype(dtype, jnp.complexfloating):
        x = jax.lax.complex(x[..., 0], x[..., 1])
    return x.astype(dtype)


def _as_dtype(s: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Arrays among the numbers in the leaf's dtype: a float64 schedule must not widen a float32 update."""
    return {
        name: x if isinstance(x, (float, int)) and not isinstance(x, np.generic) else jnp.asarray(x, dtype)
        for name, x in s.items()
    }


def transformation(
    leaf_rules: Sequence[LeafRule],
    *,
    assign: Callable[[Tree], list[LeafRule]] | None = None,
    mu_dtype: Any = None,
    down: Descent | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Rules as a gradient transformation; with ``down``, learning rate and decay as well.

    Args:
        leaf_rules: all that a leaf may be updated by.
        assign: the rule of each leaf of a tree (``None`` counts as a leaf); default: the first for all.
        mu_dtype: dtype of the first moments; ``None`` for that of the others: at least float32.
        down: turns directions into updates; ``None`` returns the directions.
    """
    fields_kept = {field for one in leaf_rules for field in one.fields().values()}
    for one in leaf_rules:
        _warn_of_low_precision(mu_dtype, one.options)

    def rules_of(tree: Tree, count: int) -> list[LeafRule]:
        return assign(tree) if assign is not None else [leaf_rules[0]] * count

    def init(params: optax.Params) -> ScaleByRuleState:
        treedef: Any
        leaves, treedef = jax.tree.flatten(params, is_leaf=_absent)
        of_leaf = rules_of(params, len(leaves))

        def buffer(p: Any, one: LeafRule, field: str) -> Any:
            if p is None:
                return None
            if field not in one.fields().values():
                return optax.MaskedNode()
            return jnp.zeros_like(p, dtype=_state_dtype(p, field, mu_dtype))

        return ScaleByRuleState(
            count=jnp.zeros([], jnp.int32),
            **{
                field: jax.tree.unflatten(treedef, [buffer(p, one, field) for p, one in zip(leaves, of_leaf)])
                for field in ScaleByRuleState._fields
                if field in fields_kept
            },
        )

    def update(
        updates: optax.Updates, state: ScaleByRuleState, params: optax.Params | None = None, **_: Any
    ) -> tuple[optax.Updates, ScaleByRuleState]:
        if down is not None and down.decays and params is None:
            raise ValueError("weight decay needs the parameters: call update(updates, state, params)")
        treedef: Any
        grads, treedef = jax.tree.flatten(updates, is_leaf=_absent)
        of_leaf = rules_of(updates, len(grads))
        old = {field: treedef.flatten_up_to(getattr(state, field)) for field in sorted(fields_kept)}
        new: dict[str, list[Any]] = {field: list(values) for field, values in old.items()}
        p_leaves = [None] * len(grads) if params is None else treedef.flatten_up_to(params)
        decayed = [False] * len(grads)
        if down is not None and down.decays:
            decayed = masks.decayed(down.mask, params, updates)

        t = state.count.astype(jnp.result_type(float))
        numbers_at: dict[Any, dict[str, Any]] = {}

        def scalars(one: LeafRule, dtype: Any) -> dict[str, Any]:
            key = (id(one), dtype)
            if key not in numbers_at:
                s = dict(one.rule.scalars(t, one.options))
                if down is not None:
                    s |= _descent_scalars(down, one, state.count, t)
                numbers_at[key] = _as_dtype(s, dtype)
            return numbers_at[key]

        out: list[Any] = []
        for i, (g, p, one) in enumerate(zip(grads, p_leaves, of_leaf)):
            if g is None:
                out.append(None)
                continue
            g = jnp.asarray(g)
            fields = one.fields()
            stored = {name: old[field][i] for name, field in fields.items()}
            dtype = _real_dtype(g, *stored.values(), *([] if p is None else [jnp.asarray(p)]))
            s = scalars(one, dtype)
            # Complex averages are stored as two real numbers of half the size.
            largest = rules.largest_gradient(jnp.finfo(x.dtype).dtype.name for x in stored.values())
            leaf = functools.partial(_on_leaf, one, s, down, _decode(jnp.asarray(p), dtype) if decayed[i] else None)
            decoded = {name: _decode(x, dtype) for name, x in stored.items()}
            if on_cpu.applies(one.rule, dtype, stored, state.count):
                u, after = on_cpu.run(leaf, _decode(g, dtype), decoded, largest, state.count)
            else:
                u, after = leaf(jnp, rules.bounded(jnp, _decode(g, dtype), largest), decoded)
            out.append(_encode(u, g.dtype))
            for name, field in fields.items():
                new[field][i] = _encode(after[name], stored[name].dtype)

        return jax.tree.unflatten(treedef, out), state._replace(
            count=optax.safe_increment(state.count),
            **{field: jax.tree.unflatten(treedef, values) for field, values in new.items()},
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _on_leaf(
    one: LeafRule, s: Mapping[str, Any], down: Descent | None, p: Any, xp: Any, g: Any, state: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The update of a leaf, or its direction alone, and its new state; ``p`` where it decays."""
    direction = one.rule.direction if one.matrix is None else per_matrix(one.rule, one.matrix)
    u, after = direction(xp, g, state, s)
    return (u if down is None else _descend(u, p, s, one.form)), after


def _descent_scalars(down: Descent, one: LeafRule, count: jax.Array, t: jax.Array) -> dict[str, Any]:
    lr = down.learning_rate(count) if callable(down.learning_rate) else down.learning_rate
    s = {"lr": lr if one.lr_factor is None else lr * one.lr_factor}
    if down.decays:
        gamma = schedules.at_most(lr / down.peak, 1.0)
        s["decay"] = gamma * schedules.Decay.of(one.options).at(rules.decay_clock(t, one.form))
    return s


def _descend(u: Any, p: Any, s: Mapping[str, Any], form: str) -> Any:
    """What to add to the parameter: the change that :func:`adana.rules.descend` makes, without ``p - p``."""
    change = -s["lr"] * u
    if p is None:
        return change
    if form == "released":
        change = change * (1 - s["decay"])
    return change - s["decay"] * p
