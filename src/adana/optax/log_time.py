"""Averages in log time, as AdamW has them in linear time: ADana, and its two undamped relatives."""

from __future__ import annotations

from typing import Any

import optax

from adana.optax.engine import Damping, Decay, Form, LearningRate, Mask, bare, optimizer

__all__ = ["adana", "scale_by_adana", "log_adamw", "scale_by_log_adamw", "log_nadamw", "scale_by_log_nadamw"]


def adana(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    cooldown: float | None = None,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    damping_scale: float = 1.0,
    damping: Damping = "power",
    gradient_term: bool = True,
    beta1: float | None = None,
    beta2: float | None = None,
    beta3: float | None = None,
    eps: float = 1e-8,
    eps_root: float | None = None,
    form: Form = "paper",
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adaptive damped Nesterov acceleration: AdamW in logarithmic time.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

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
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in updates, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
        eps: added to the root of the second moment.
        eps_root: added to the second moment under its root (an ablation, as Algorithm 1 prints it with ``eps=0``).
            Default: nothing.
        mask: which parameters decay. ``"matrices"``: hidden matrices and the head, as :func:`decay_mask` finds them.
            None: all, as in Optax. Or a tree of bools, a prefix of the parameters' tree, or a function of the
            parameters; under ``optax.inject_hyperparams`` a function must be named in ``static_args``.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range; decay is on without what its schedule needs; in ``update``, decay is on
            and ``params`` is None.

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations. In torch: :class:`adana.ADana`.

    Chosen where the paper prints two things: Algorithm 1 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as equation
    (1) and the authors' code. Linear damping is Table 9's; other places print ``1 + t`` or ``delta + t`` for ``t``.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from adana.optax import adana
        >>> params = jnp.ones(3)
        >>> optimizer = adana(0.1, total_steps=100)
        >>> state = optimizer.init(params)
        >>> grads = jax.grad(lambda p: (p**2).sum())(params)
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = optax.apply_updates(params, updates)
        >>> [round(float(p), 4) for p in params]  # u = (g + m')/sqrt(v') = 2 at first; a vector does not decay
        [0.8, 0.8, 0.8]
    """
    return optimizer("adana", locals())


def scale_by_adana(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    gradient_term: bool = True,
    beta1: float | None = None,
    beta2: float | None = None,
    beta3: float | None = None,
    cooldown: float | None = None,
    eps: float = 1e-8,
    eps_root: float | None = None,
    form: Form = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`adana`, without learning rate and decay.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``.

    Args:
        total_steps: horizon T in updates; ``damping="linear"`` and ``cooldown`` need it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa t``,
            ``"nesterov"`` for ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta1: a constant momentum coefficient with bias correction instead of log time (an ablation).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
        eps: added to the root of the second moment.
        eps_root: added to the second moment under its root (an ablation, as Algorithm 1 prints it with ``eps=0``).
            Default: nothing.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_adana
        >>> optimizer = optax.chain(scale_by_adana(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("adana", locals())


def log_adamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    delta: float = 8.0,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdamW with both averages in log time and no gradient term: unstable; kept for comparison.

    ``u = m' / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        delta: log-time constant, > 0.
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

    Source: Algorithm 3. In torch: :class:`adana.LogAdamW`.

    Chosen where the paper prints two things: Algorithm 3 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as in every
    rule of the family. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import log_adamw
        >>> optimizer = log_adamw(1e-3, total_steps=1000)
    """
    return optimizer("log_adamw", locals())


def scale_by_log_adamw(
    *,
    delta: float = 8.0,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`log_adamw`, without learning rate and decay.

    ``u = m' / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.

    Args:
        delta: log-time constant, > 0.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_log_adamw
        >>> optimizer = optax.chain(scale_by_log_adamw(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("log_adamw", locals())


def log_nadamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    delta: float = 8.0,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """NAdamW in log time, undamped: unstable with noisy gradients; kept for comparison.

    ``u = (g + (delta + t)/delta m') / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        delta: log-time constant, > 0.
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

    Source: Algorithm 4. In torch: :class:`adana.LogNAdamW`.

    Chosen where the paper prints two things: Algorithm 4 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as in every
    rule of the family. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import log_nadamw
        >>> optimizer = log_nadamw(1e-3, total_steps=1000)
    """
    return optimizer("log_nadamw", locals())


def scale_by_log_nadamw(
    *,
    delta: float = 8.0,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`log_nadamw`, without learning rate and decay.

    ``u = (g + (delta + t)/delta m') / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.

    Args:
        delta: log-time constant, > 0.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 4.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_log_nadamw
        >>> optimizer = optax.chain(scale_by_log_nadamw(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("log_nadamw", locals())
