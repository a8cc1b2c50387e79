"""Muon in log time, for JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from adana.optax.engine import Damping, Decay, LearningRate, Mask
from adana.optax.muon import TWO_AXES, bare, optimizer

__all__ = ["log_muon", "scale_by_log_muon"]


def log_muon(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    gradient_term: bool = True,
    beta1: float | None = None,
    ns_steps: int = 5,
    rms: float = 0.2,
    weight_dimension_numbers: Any = TWO_AXES,
    fallback: str | Callable[..., Any] = "adamw",
    fallback_learning_rate: float | None = None,
    cooldown: float | None = None,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon in log time: damped Nesterov momentum whose memory grows, orthogonalised by Newton-Schulz.

    ``M' = beta M + (1-beta) G`` with ``beta(t) = t/(delta + t)``,
    ``M~ = G + alpha(t) M'`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``,
    ``O = NewtonSchulz(M~ / (|M~|_F + eps))``,
    ``W' = (1 - gamma lambda) W - gamma lr rms sqrt(max(A, B)) O`` for ``W`` of shape (A, B).
    The size of ``M~`` is lost in ``O``: alpha decides how the newest gradient and the past are mixed, and nothing else.

    Newton-Schulz runs in the leaf's own precision, at least float32, with JAX's default matmul precision.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa t``,
            ``"nesterov"`` for ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``G`` from ``M~`` (an ablation).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        ns_steps: Newton-Schulz iterations, >= 1; under ``optax.inject_hyperparams`` named in ``static_args``.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        weight_dimension_numbers: which leaves are hidden matrices, and along which axes, as for
            ``optax.contrib.muon``: a tree (or prefix) of ``optax.contrib.MuonDimensionNumbers``, ``None`` for leaves
            that are none, or a function of the parameters that makes one. Default: every leaf of two axes, so name
            embeddings and the output head. Under ``optax.inject_hyperparams`` a function must be named in
            ``static_args``.
        fallback: optimizer of this module for the other leaves, by name or itself, or a ``functools.partial`` of
            one that sets its own options, such as ``partial(adamw, betas=(0.9, 0.95))`` (which under
            ``inject_hyperparams`` must be named in ``static_args``). It shares the horizon, the decay and ``eps``, and
            has a ``kappa`` and a momentum of its own.
        fallback_learning_rate: its peak; it follows the same schedule. Default: the same learning rate.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
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

    Source: Algorithm 5 and Section D.4 for the orthogonalisation; log time is the conjecture of the paper's conclusion,
    and the mixture above is ours. In torch: :class:`adana.LogMuon`.

    Example:
        >>> import jax.numpy as jnp
        >>> from optax.contrib import MuonDimensionNumbers
        >>> from adana.optax import log_muon
        >>> params = {"embedding": jnp.ones((9, 4)), "hidden": jnp.ones((4, 4)), "norm": jnp.ones(4)}
        >>> matrices = {"embedding": None, "hidden": MuonDimensionNumbers(), "norm": None}
        >>> optimizer = log_muon(1e-3, total_steps=1000, weight_dimension_numbers=matrices)
        >>> state = optimizer.init(params)
        >>> [name for name, nu in state.nu.items() if isinstance(nu, jnp.ndarray)]  # AdamW's, not Muon's
        ['embedding', 'norm']
    """
    return optimizer("log_muon", locals())


def scale_by_log_muon(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    gradient_term: bool = True,
    beta1: float | None = None,
    cooldown: float | None = None,
    ns_steps: int = 5,
    rms: float = 0.2,
    weight_dimension_numbers: Any = TWO_AXES,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of :func:`log_muon` for trees of matrices, without learning rate and decay.

    ``rms sqrt(max(A, B)) NewtonSchulz(M~ / (|M~|_F + eps))`` with ``M~`` of :func:`log_muon`.

    Args:
        total_steps: horizon T in updates; ``damping="linear"`` and ``cooldown`` need it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa t``,
            ``"nesterov"`` for ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``G`` from ``M~`` (an ablation).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        ns_steps: Newton-Schulz iterations, >= 1; under ``optax.inject_hyperparams`` named in ``static_args``.
        rms: rho, the root mean square of an update of learning rate 1, > 0.
        weight_dimension_numbers: which leaves are hidden matrices, and along which axes, as for
            ``optax.contrib.muon``: a tree (or prefix) of ``optax.contrib.MuonDimensionNumbers``, ``None`` for leaves
            that are none, or a function of the parameters that makes one. Default: every leaf of two axes, so name
            embeddings and the output head. Under ``optax.inject_hyperparams`` a function must be named in
            ``static_args``.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range, or a leaf is no matrix.

    Source: Algorithm 5 and Section D.4; the mixture is ours.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_log_muon
        >>> optimizer = optax.chain(scale_by_log_muon(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("log_muon", locals())
