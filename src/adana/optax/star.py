"""ADana with clipped momentum (DanaMK4), on each parameter's own time (DanaStar), and both together."""

from __future__ import annotations

from typing import Any

import optax

from adana.optax.engine import Decay, Form, LearningRate, Mask, bare, optimizer

__all__ = [
    "dana_mk4",
    "scale_by_dana_mk4",
    "dana_star",
    "scale_by_dana_star",
    "dana_star_mk4",
    "scale_by_dana_star_mk4",
]


def dana_mk4(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    cooldown: float | None = None,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: Form = "paper",
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """ADana whose momentum term is clipped by its signal-to-noise ratio: less sensitive to kappa.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.
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
        clip_snr: bound on the clipped factor, > 0.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in updates, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
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

    Source: Algorithm 10 and Section N.2. In torch: :class:`adana.DanaMK4`.

    Chosen where the paper prints two things: the text of Section 4 replaces the momentum by its clipped form; here the
    unclipped ``mfac`` stays beside it, as Algorithm 10 has it. ``t^(1-kappa)`` is Algorithm 10's; Algorithm 1 has
    ``(1+t)^(1-kappa)``. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import dana_mk4
        >>> optimizer = dana_mk4(1e-3, total_steps=1000)
    """
    return optimizer("dana_mk4", locals())


def scale_by_dana_mk4(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    damping_scale: float = 1.0,
    cooldown: float | None = None,
    eps: float = 1e-8,
    form: Form = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_mk4`, without learning rate and decay.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.

    Args:
        total_steps: horizon T in updates; ``cooldown`` needs it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        clip_snr: bound on the clipped factor, > 0.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 10 and Section N.2.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_mk4
        >>> optimizer = optax.chain(scale_by_dana_mk4(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("dana_mk4", locals())


def dana_star(
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
    eps: float = 1e-8,
    form: Form = "paper",
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """ADana on each parameter's effective time, for gradients that are mostly absent.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.
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
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in updates, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
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

    Source: Algorithm 9 and Section N.1. In torch: :class:`adana.DanaStar`.

    Chosen where the paper prints two things: tau is averaged by ``delta/(delta + t)``, as in Algorithm 9; equation (95)
    has ``delta/(t + 1)``, which starts above 1. ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import dana_star
        >>> optimizer = dana_star(1e-3, total_steps=1000)
    """
    return optimizer("dana_star", locals())


def scale_by_dana_star(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    cooldown: float | None = None,
    eps: float = 1e-8,
    form: Form = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_star`, without learning rate and decay.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.

    Args:
        total_steps: horizon T in updates; ``cooldown`` needs it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 9 and Section N.1.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_star
        >>> optimizer = optax.chain(scale_by_dana_star(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("dana_star", locals())


def dana_star_mk4(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    cooldown: float | None = None,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: Form = "paper",
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """DanaStar and DanaMK4 together: effective time and clipped momentum.

    With ``tau~`` and ``t_eff`` of :func:`dana_star`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.
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
        clip_snr: bound on the clipped factor, > 0.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in updates, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
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

    Source: Algorithm 11. In torch: :class:`adana.DanaStarMK4`.

    Chosen where the paper prints two things: tau is averaged by ``delta/(delta + t)``, as in Algorithm 11 and not in
    equation (95), and the unclipped ``mfac`` stays, as Algorithm 11 has it and the text of Section 4 does not.
    ``docs/choices.md`` lists every such place.

    Example:
        >>> from adana.optax import dana_star_mk4
        >>> optimizer = dana_star_mk4(1e-3, total_steps=1000)
    """
    return optimizer("dana_star_mk4", locals())


def scale_by_dana_star_mk4(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    damping_scale: float = 1.0,
    cooldown: float | None = None,
    eps: float = 1e-8,
    form: Form = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_star_mk4`, without learning rate and decay.

    With ``tau~`` and ``t_eff`` of :func:`dana_star`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.

    Args:
        total_steps: horizon T in updates; ``cooldown`` needs it.
        kappa: spectral dimension, >= 0; 0.85 was best at every scale in the paper.
        delta: log-time constant, > 0.
        damping_scale: alpha~, > 0; 1 is for 65,536 tokens per batch.
        clip_snr: bound on the clipped factor, > 0.
        cooldown: part of the run at its end, in (0, 1), over which the momentum's clock runs back from t to a tenth of
            it, and with it memory and alpha; ``total_steps`` is needed. Default: none. A definition of our own.
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: Algorithm 11.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_star_mk4
        >>> optimizer = optax.chain(scale_by_dana_star_mk4(), optax.scale_by_learning_rate(1e-3))
    """
    return bare("dana_star_mk4", locals())
