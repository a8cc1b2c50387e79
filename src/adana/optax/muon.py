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
from adana.docstrings import documented
from adana.optax import family
from adana.optax.engine import Kind, broadcast, descent, plain_kind, rule_options, transformation
from adana.optax.family import ARGUMENTS, LearningRate, Mask

__all__ = ["muon", "scale_by_muon"]


def _fallbacks() -> dict[str, Callable[..., Any]]:
    """The elementwise optimizers of this package, by name."""
    names = dict.fromkeys(entry.optax for entry in catalog.OPTIMIZERS.values() if entry.optax and entry.elementwise)
    return {name: getattr(family, name) for name in names}


_TEXTS = ARGUMENTS | {
    "muon": """\
        momentum: mu, in [0, 1).
        ns_steps: Newton-Schulz iterations, >= 1 (``static_args`` under ``inject_hyperparams``).
        nesterov: mix the gradient into the momentum before orthogonalising.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        log_time: momentum in log time with damping, in place of ``momentum`` and ``nesterov``.""",
    "matrices": """\
        weight_dimension_numbers: which leaves are hidden matrices, and along which axes, as Optax's own Muon
            takes it: a tree (or prefix) of ``optax.contrib.MuonDimensionNumbers``, ``None`` for leaves that
            are none, or a function of the parameters that makes one. Default: every leaf of two axes.
            Embeddings and the output head have two axes and want ``None``.""",
}


def _is_spec(x: Any) -> bool:
    return x is None or isinstance(x, MuonDimensionNumbers)


def _specs(weight_dimension_numbers: Any, tree: Any) -> list[MuonDimensionNumbers | None]:
    """The matrix axes of each leaf, ``None`` for leaves that are not matrices."""
    if weight_dimension_numbers is None:
        leaves = jax.tree.leaves(tree, is_leaf=lambda x: x is None)
        return [MuonDimensionNumbers() if getattr(x, "ndim", 0) == 2 else None for x in leaves]
    specs = weight_dimension_numbers(tree) if callable(weight_dimension_numbers) else weight_dimension_numbers
    return broadcast(specs, tree, is_leaf=_is_spec)


def _refuse_complex(tree: Any) -> None:
    if any(jnp.issubdtype(jnp.result_type(x), jnp.complexfloating) for x in jax.tree.leaves(tree)):
        raise ValueError("Muon does not take complex parameters: orthogonalisation is defined here for real matrices")


def _assigner(matrix: Kind, other: Kind | None, weight_dimension_numbers: Any) -> Callable[[Any], list[Kind]]:
    def assign(tree: Any) -> list[Kind]:
        _refuse_complex(tree)
        kinds = []
        for spec in _specs(weight_dimension_numbers, tree):
            if spec is None and other is None:
                raise ValueError("scale_by_muon takes matrices only: mask the others (optax.masked), or use muon")
            kinds.append(matrix._replace(matrix=spec) if spec is not None else other)
        return kinds  # type: ignore[return-value]

    return assign


def _fallback_kind(fallback: Any, shared: dict[str, Any], lr_factor: Any) -> Kind:
    """The kind for everything that is no matrix: its own options first, then those it shares with Muon."""
    chosen: dict[str, Any] = {}
    if isinstance(fallback, functools.partial):
        if fallback.args:
            raise ValueError(f"a partial fallback takes keywords only, got {fallback!r}")
        chosen, fallback = dict(fallback.keywords), fallback.func
    name = fallback if isinstance(fallback, str) else getattr(fallback, "__name__", None)
    fallbacks = _fallbacks()
    if name not in fallbacks or fallback not in (name, fallbacks[name]):
        known = ", ".join(fallbacks)
        raise ValueError(f"fallback must be an elementwise optimizer of adana.optax ({known}), got {fallback!r}")
    entry = catalog.of_optax(name)
    own = {key: one.default for key, one in entry.options.items() if key not in entry.fixed_but_for_decay()}
    unknown = sorted(set(chosen) - set(own))
    if unknown:
        raise ValueError(
            f"{name} has no option {', '.join(unknown)} of its own here: learning rate, mask and mu_dtype "
            "are Muon's (see fallback_learning_rate)"
        )
    common = catalog.shared_options(entry.options, catalog.of_optax("muon").options)
    merged = own | {key: shared[key] for key in common} | chosen | entry.fixed_but_for_decay()
    if entry.decay is None:  # where Muon's other leaves decay, the fallback's do not
        merged |= {key: shared[key] for key in ("weight_decay_offset", "decay")} | {"weight_decay": 0.0}
    return plain_kind(entry.rule, merged)._replace(lr_factor=lr_factor)


@documented(_TEXTS)
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
    weight_dimension_numbers: Any = None,
    fallback: str | Callable[..., Any] = "adamw",
    fallback_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: str = "power",
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Momentum orthogonalised by Newton-Schulz on hidden matrices; a fallback on everything else.

    ``M' = mu M + G``, ``M~ = G + mu M'`` (``nesterov``), ``O = NewtonSchulz(M~ / (|M~|_F + eps))``,
    ``W' = (1 - gamma lambda) W - gamma lr rms sqrt(max(A, B)) O`` for ``W`` of shape (A, B).
    With ``log_time``: ``M' = beta(t) M + (1-beta(t)) G`` and ``M~ = G + alpha(t) M'``.

    Newton-Schulz runs in the leaf's own precision, at least float32, with JAX's default matmul precision.

    Args:
        {learning_rate}
        {muon}
        {matrices}
        fallback: optimizer of this module for the other leaves, by name or itself, or a ``functools.partial`` of
            one that sets its own options, such as ``partial(adamw, betas=(0.9, 0.95))`` (which under
            ``inject_hyperparams`` must be named in ``static_args``).
        fallback_learning_rate: its peak; it follows the same schedule. Default: the same learning rate.
        {log_time}
        {damping_scale}
        damping: as in :func:`adana` (``log_time`` only).
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

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
    options = rule_options("muon", locals())
    down = descent(learning_rate, peak_learning_rate, options, mask)
    if fallback_learning_rate is None:
        lr_factor = None
    elif down.peak is None:
        raise ValueError("fallback_learning_rate follows the schedule of learning_rate: pass peak_learning_rate")
    else:
        lr_factor = fallback_learning_rate / down.peak
    matrix = plain_kind("muon", options)
    other = _fallback_kind(fallback, options, lr_factor)
    assign = _assigner(matrix, other, weight_dimension_numbers)
    return transformation([matrix, other], assign=assign, mu_dtype=mu_dtype, down=down)


@documented(_TEXTS)
def scale_by_muon(
    *,
    total_steps: float | None = None,
    momentum: float = 0.95,
    ns_steps: int = 5,
    nesterov: bool = True,
    rms: float = 0.2,
    log_time: bool = False,
    weight_dimension_numbers: Any = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: str = "power",
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of :func:`muon` for trees of matrices, without learning rate and decay.

    ``rms sqrt(max(A, B)) NewtonSchulz(M~ / (|M~|_F + eps))`` with ``M~`` of :func:`muon`.

    Args:
        total_steps: horizon T in steps (``log_time`` with ``damping="linear"`` only).
        {muon}
        {matrices}
        {log_time}
        {damping_scale}
        damping: as in :func:`adana` (``log_time`` only).
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range; a leaf is no matrix.

    Source: Algorithm 5 and Section D.4.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_muon
        >>> optimizer = optax.chain(scale_by_muon(), optax.scale_by_learning_rate(1e-3))
    """
    matrix = plain_kind("muon", rule_options("muon", locals()))
    return transformation([matrix], assign=_assigner(matrix, None, weight_dimension_numbers), mu_dtype=mu_dtype)
