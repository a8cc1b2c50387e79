"""What the family is compared with, under its own decay: AdamW, NAdamW, AdEMAMix, and DANA without a second moment."""

from __future__ import annotations

from typing import Any

import optax

from adana.optax.engine import Damping, Decay, LearningRate, Mask, bare, optimizer

__all__ = [
    "adamw",
    "scale_by_adamw",
    "nadamw",
    "scale_by_nadamw",
    "ademamix",
    "scale_by_ademamix",
    "dana",
    "scale_by_dana",
]


def adamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    nesterov: bool = False,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdamW with independent decay, constant or in log time: the family's baseline.

    ``u = m^ / (sqrt(v^) + eps)``, with ``nesterov`` ``u = (m^ + g) / (sqrt(v^) + eps)``; ``m^``, ``v^``
    bias-corrected.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        betas: coefficients of the two averages, each in [0, 1).
        nesterov: NAdamW as in the paper: the gradient is added to the corrected average.
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

    Source: Algorithm 2 and Section 3. In torch: :class:`adana.AdamW`.

    Chosen where the paper prints two things: Algorithm 2 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as Section 3
    and ``torch.optim.AdamW``. Of beta2 the paper has three values, .99, .999 and .95; the default is torch's.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import adamw
        >>> optimizer = adamw(1e-3, total_steps=1000)
    """
    return optimizer("adamw", locals())


def scale_by_adamw(
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    nesterov: bool = False,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`adamw`, without learning rate and decay.

    ``u = m^ / (sqrt(v^) + eps)``, with ``nesterov`` ``u = (m^ + g) / (sqrt(v^) + eps)``; ``m^``, ``v^``
    bias-corrected.

    Args:
        betas: coefficients of the two averages, each in [0, 1).
        nesterov: NAdamW as in the paper: the gradient is added to the corrected average.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 2 and Section 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_adamw
        >>> optimizer = optax.chain(scale_by_adamw(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("adamw", locals())


def nadamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """NAdamW as in the paper: :func:`adamw` with ``nesterov=True``.

    ``u = (m^ + g) / (sqrt(v^) + eps)``, ``m^``, ``v^`` bias-corrected.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        betas: coefficients of the two averages, each in [0, 1).
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

    Source: Section 3. In torch: :class:`adana.AdamW`.

    Chosen where the paper prints two things: Algorithm 2 prints ``sqrt(v + eps)``; here ``sqrt(v) + eps``, as Section 3
    and ``torch.optim.AdamW``. Of beta2 the paper has three values, .99, .999 and .95; the default is torch's.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import nadamw
        >>> optimizer = nadamw(1e-3, total_steps=1000)
    """
    return optimizer("nadamw", locals())


def scale_by_nadamw(
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`nadamw`, without learning rate and decay.

    ``u = (m^ + g) / (sqrt(v^) + eps)``, ``m^``, ``v^`` bias-corrected.

    Args:
        betas: coefficients of the two averages, each in [0, 1).
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Section 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_nadamw
        >>> optimizer = optax.chain(scale_by_nadamw(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("nadamw", locals())


def ademamix(
    learning_rate: LearningRate,
    *,
    total_steps: float,
    peak_learning_rate: float | None = None,
    beta2: float = 0.999,
    beta3: float = 0.9,
    kappa: float = 0.85,
    delta: float = 8.0,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdEMAMix with the paper's warm-ups, which follow ADana's schedules.

    ``u = (m3^ + alpha(t) m1) / (sqrt(v^) + eps)``: ``m3`` a short average (``beta3``) and ``v`` (``beta2``)
    bias-corrected, ``m1`` a long one with ``beta1(t)`` warmed up to ``1 - delta/T`` and not corrected,
    ``alpha(t) = min(t/T, 1) T^(1-kappa)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; the default weight decay needs it.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
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

    Source: Algorithm 6 and Section J. In torch: :class:`adana.AdEMAMix`.

    Chosen where the paper prints two things: Algorithm 6 prints ``sqrt(v + eps)`` and a decay that would grow the
    weights; here ``sqrt(v) + eps``, and the decay shrinks them. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import ademamix
        >>> optimizer = ademamix(1e-3, total_steps=1000)
    """
    return optimizer("ademamix", locals())


def scale_by_ademamix(
    *,
    total_steps: float,
    beta2: float = 0.999,
    beta3: float = 0.9,
    kappa: float = 0.85,
    delta: float = 8.0,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`ademamix`, without learning rate and decay.

    ``u = (m3^ + alpha(t) m1) / (sqrt(v^) + eps)``: ``m3`` a short average (``beta3``) and ``v`` (``beta2``)
    bias-corrected, ``m1`` a long one with ``beta1(t)`` warmed up to ``1 - delta/T`` and not corrected,
    ``alpha(t) = min(t/T, 1) T^(1-kappa)``.

    Args:
        total_steps: horizon T in updates, above ``delta``.
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 6 and Section J.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_ademamix
        >>> optimizer = optax.chain(scale_by_ademamix(total_steps=1000), optax.scale_by_learning_rate(1e-3))
    """
    return bare("ademamix", locals())


def dana(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Damped Nesterov acceleration without a second moment and without decay.

    ``m' = beta m + (1-beta) g``, ``u = g + alpha(t) m'`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``. The paper
    calls it DANA-decaying; with ``damping="linear"`` it is DANA-constant.
    ``p' = p - learning_rate u``.

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates; ``damping="linear"`` needs it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa (1 + t)``,
            ``"nesterov"`` for ``(delta + t)/delta`` (unstable; an ablation).
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithms 7 and 8. In torch: :class:`adana.Dana`.

    Chosen where the paper prints two things: linear damping is Algorithm 8's ``1 + t``; :func:`adana` has Table 9's
    ``t``. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import dana
        >>> optimizer = dana(1e-3)
    """
    return optimizer("dana", locals())


def scale_by_dana(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: Damping = "power",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana`, without learning rate and decay.

    ``m' = beta m + (1-beta) g``, ``u = g + alpha(t) m'`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``. The paper
    calls it DANA-decaying; with ``damping="linear"`` it is DANA-constant.

    Args:
        total_steps: horizon T in updates; ``damping="linear"`` needs it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        damping: ``"power"`` for alpha(t) as above, ``"linear"`` for ``damping_scale T^-kappa (1 + t)``,
            ``"nesterov"`` for ``(delta + t)/delta`` (unstable; an ablation).
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithms 7 and 8.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana
        >>> optimizer = optax.chain(scale_by_dana(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("dana", locals())
