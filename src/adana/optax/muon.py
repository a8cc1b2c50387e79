"""Muon for JAX: matrices orthogonalised, everything else by any of the family, under one count."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from adana import catalog
from adana.optax import amcs, baselines, log_time, star
from adana.optax.engine import (
    Damping,
    Decay,
    LeafRule,
    LearningRate,
    Mask,
    descent,
    leaf_rule,
    rule_options,
    transformation,
)
from adana.optax.masks import broadcast, is_function, static

__all__ = ["muon", "scale_by_muon"]

_ELEMENTWISE = (log_time, star, baselines, amcs)


def _fallbacks() -> dict[str, Callable[..., Any]]:
    """The elementwise optimizers of this package, by name."""
    names = dict.fromkeys(entry.optax for entry in catalog.OPTIMIZERS.values() if entry.optax and entry.elementwise)
    return {name: getattr(module, name) for name in names for module in _ELEMENTWISE if hasattr(module, name)}


TWO_AXES = "two axes"
"""Default of ``weight_dimension_numbers``. None is refused: it is what a function returns for a number, which is how
``optax.inject_hyperparams`` calls one that is not named in ``static_args``."""


def _is_spec(x: Any) -> bool:
    return x is None or isinstance(x, MuonDimensionNumbers)


def _specs(weight_dimension_numbers: Any, tree: Any) -> list[MuonDimensionNumbers | None]:
    """The matrix axes of each leaf, ``None`` for leaves that are not matrices."""
    if _is_default(weight_dimension_numbers):
        leaves = jax.tree.leaves(tree, is_leaf=lambda x: x is None)
        return [MuonDimensionNumbers() if getattr(x, "ndim", 0) == 2 else None for x in leaves]
    function = is_function(weight_dimension_numbers)
    specs = broadcast(weight_dimension_numbers(tree) if function else weight_dimension_numbers, tree, is_leaf=_is_spec)
    for spec in specs:
        if not _is_spec(spec):
            raise ValueError(f"weight_dimension_numbers must be made of MuonDimensionNumbers and None, got {spec!r}")
    return specs


def _is_default(weight_dimension_numbers: Any) -> bool:
    return isinstance(weight_dimension_numbers, str) and weight_dimension_numbers == TWO_AXES


def _check_specs(weight_dimension_numbers: Any) -> None:
    if weight_dimension_numbers is None:
        raise ValueError(
            "weight_dimension_numbers=None names no matrices. Leave it out to take every leaf of two axes. If it is a "
            f"function: {static('weight_dimension_numbers', 'muon')}"
        )


def _refuse_complex(tree: Any) -> None:
    if any(jnp.issubdtype(jnp.result_type(x), jnp.complexfloating) for x in jax.tree.leaves(tree)):
        raise ValueError("Muon does not take complex parameters: orthogonalisation is defined here for real matrices")


def _assigner(
    matrix: LeafRule, other: LeafRule | None, weight_dimension_numbers: Any, name: str = "muon"
) -> Callable[[Any], list[LeafRule]]:
    def assign(tree: Any) -> list[LeafRule]:
        _refuse_complex(tree)
        found = []
        for spec in _specs(weight_dimension_numbers, tree):
            if spec is None and other is None:
                raise ValueError(f"scale_by_{name} takes matrices only: mask the others (optax.masked), or use {name}")
            found.append(matrix._replace(matrix=spec) if spec is not None else other)
        return found  # type: ignore[return-value]

    return assign


def _fallback_rule(fallback: Any, function: str, shared: dict[str, Any], lr_factor: Any) -> LeafRule:
    """The rule for everything that is no matrix: its own options first, then those it shares with the function's."""
    chosen: dict[str, Any] = {}
    if isinstance(fallback, functools.partial):
        if fallback.args:
            raise ValueError(f"a partial fallback takes keywords only, got {fallback!r}")
        chosen, fallback = dict(fallback.keywords), fallback.func
    name = fallback if isinstance(fallback, str) else getattr(fallback, "__name__", "")
    fallbacks = _fallbacks()
    if name not in fallbacks or fallback not in (name, fallbacks[name]):
        known = ", ".join(fallbacks)
        raise ValueError(
            f"fallback must be an elementwise optimizer of adana.optax ({known}), got {fallback!r}; under "
            "optax.inject_hyperparams name it in static_args"
        )
    entry = catalog.of_optax(name)
    own = {key: one.default for key, one in entry.options.items() if key not in entry.fixed_but_for_decay()}
    unknown = sorted(set(chosen) - set(own))
    if unknown:
        raise ValueError(
            f"{name} has no option {', '.join(unknown)} of its own here: learning rate, mask and mu_dtype "
            "are Muon's (see fallback_learning_rate)"
        )
    of_matrices = catalog.of_optax(function)
    common = catalog.shared_options(entry.options, of_matrices.options) - set(of_matrices.apart)
    merged = own | {key: shared[key] for key in common} | chosen | entry.fixed_but_for_decay()
    if entry.decay is None:  # where Muon's other leaves decay, the fallback's do not
        merged |= {key: shared[key] for key in ("weight_decay_offset", "decay")} | {"weight_decay": 0.0}
    return leaf_rule(entry.rule, merged)._replace(lr_factor=lr_factor)


def optimizer(name: str, arguments: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The optimizer that a function of this name makes of its arguments."""
    options = rule_options(name, arguments)
    learning_rate, peak_learning_rate = arguments["learning_rate"], arguments["peak_learning_rate"]
    fallback_learning_rate = arguments["fallback_learning_rate"]
    _check_specs(arguments["weight_dimension_numbers"])
    down = descent(learning_rate, peak_learning_rate, options, arguments["mask"])
    if fallback_learning_rate is None:
        lr_factor = None
    elif down.peak is None:
        raise ValueError("fallback_learning_rate follows the schedule of learning_rate: pass peak_learning_rate")
    else:
        lr_factor = fallback_learning_rate / down.peak
    matrix = leaf_rule(catalog.of_optax(name).rule, options)
    other = _fallback_rule(arguments["fallback"], name, options, lr_factor)
    assign = _assigner(matrix, other, arguments["weight_dimension_numbers"])
    return transformation([matrix, other], assign=assign, mu_dtype=arguments["mu_dtype"], down=down)


def bare(name: str, arguments: dict[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The bare rule of the function of this name, from the arguments of its ``scale_by_*``."""
    options, specs = rule_options(name, arguments), arguments["weight_dimension_numbers"]
    _check_specs(specs)
    matrix = leaf_rule(catalog.of_optax(name).rule, options)
    return transformation([matrix], assign=_assigner(matrix, None, specs, name), mu_dtype=arguments["mu_dtype"])


def muon(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    momentum: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    rms: float = 0.2,
    log_time: bool = False,
    weight_dimension_numbers: Any = TWO_AXES,
    fallback: str | Callable[..., Any] = "adamw",
    fallback_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Momentum orthogonalised by Newton-Schulz on hidden matrices; a fallback on everything else.

    ``M' = mu M + G``, ``M~ = G + mu M'`` (``nesterov``), ``O = NewtonSchulz(M~ / (|M~|_F + eps))``,
    ``W' = (1 - gamma lambda) W - gamma lr rms sqrt(max(A, B)) O`` for ``W`` of shape (A, B).
    With ``log_time``: ``M' = beta(t) M + (1-beta(t)) G`` and ``M~ = G + alpha(t) M'``.

    Newton-Schulz runs in the leaf's own precision, at least float32, with JAX's default matmul precision.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        momentum: mu, in [0, 1).
        ns_steps: Newton-Schulz iterations, >= 1; under ``optax.inject_hyperparams`` named in ``static_args``.
        nesterov: mix the gradient into the momentum before orthogonalising.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        log_time: momentum in log time with damping, in place of ``momentum`` and ``nesterov``.
        weight_dimension_numbers: which leaves are hidden matrices, and along which axes, as for
            ``optax.contrib.muon``: a tree (or prefix) of ``optax.contrib.MuonDimensionNumbers``, ``None`` for leaves
            that are none, or a function of the parameters that makes one. Default: every leaf of two axes, so name
            embeddings and the output head. Under ``optax.inject_hyperparams`` a function must be named in
            ``static_args``.
        fallback: optimizer of this module for the other leaves, by name or itself, or a ``functools.partial`` of
            one that sets its own options, such as ``partial(adamw, betas=(0.9, 0.95))`` (which under
            ``inject_hyperparams`` must be named in ``static_args``).
        fallback_learning_rate: its peak; it follows the same schedule. Default: the same learning rate.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: as in :func:`adana`, for ``log_time`` alone.
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in updates, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        eps: added to the root of the second moment.
        mask: which parameters decay. ``"matrices"``: hidden matrices and the head, as :func:`decay_mask` finds them.
            None: all, as in Optax. Or a tree of bools, a prefix of the parameters' tree, or a function of the
            parameters; under ``optax.inject_hyperparams`` a function must be named in ``static_args``.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range; decay is on without what its schedule needs; in ``update``, decay is on
            and ``params`` is None.

    Source: Algorithm 5 and Section D.4; log time is the conjecture of the paper's conclusion. In torch:
    :class:`adana.Muon`.

    Example:
        >>> import jax.numpy as jnp
        >>> from optax.contrib import MuonDimensionNumbers
        >>> from adana.optax import muon
        >>> params = {"embedding": jnp.ones((9, 4)), "hidden": jnp.ones((4, 4)), "norm": jnp.ones(4)}
        >>> matrices = {"embedding": None, "hidden": MuonDimensionNumbers(), "norm": None}
        >>> optimizer = muon(1e-3, total_steps=1000, weight_dimension_numbers=matrices)
        >>> state = optimizer.init(params)
        >>> [name for name, nu in state.nu.items() if isinstance(nu, jnp.ndarray)]  # AdamW's, not Muon's
        ['embedding', 'norm']
    """
    return optimizer("muon", locals())


def scale_by_muon(
    *,
    total_steps: float | None = None,
    momentum: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    rms: float = 0.2,
    log_time: bool = False,
    weight_dimension_numbers: Any = TWO_AXES,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of :func:`muon` for trees of matrices, without learning rate and decay.

    ``rms sqrt(max(A, B)) NewtonSchulz(M~ / (|M~|_F + eps))`` with ``M~`` of :func:`muon`.

    Args:
        total_steps: horizon T in updates; ``damping="linear"`` needs it.
        momentum: mu, in [0, 1).
        ns_steps: Newton-Schulz iterations, >= 1; under ``optax.inject_hyperparams`` named in ``static_args``.
        nesterov: mix the gradient into the momentum before orthogonalising.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        log_time: momentum in log time with damping, in place of ``momentum`` and ``nesterov``.
        weight_dimension_numbers: which leaves are hidden matrices, and along which axes, as for
            ``optax.contrib.muon``: a tree (or prefix) of ``optax.contrib.MuonDimensionNumbers``, ``None`` for leaves
            that are none, or a function of the parameters that makes one. Default: every leaf of two axes, so name
            embeddings and the output head. Under ``optax.inject_hyperparams`` a function must be named in
            ``static_args``.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: as in :func:`adana`, for ``log_time`` alone.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range, or a leaf is no matrix.

    Source: Algorithm 5 and Section D.4.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_muon
        >>> optimizer = optax.chain(scale_by_muon(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("muon", locals())
