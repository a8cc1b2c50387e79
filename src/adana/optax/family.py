"""The elementwise optimizers for JAX: each bare rule, and the optimizer made from it.

Every optimizer here uses the paper's independent decay: ``p' = p - gamma(t) (lr u + lambda(t) p)`` with
``gamma(t) = learning_rate(t)/peak_learning_rate`` and ``weight_decay`` the paper's omega. Optax's own ``adamw``
multiplies decay by the learning rate instead: what is 0.1 there is ``0.1 * learning_rate * total_steps`` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax

from adana import catalog
from adana.docstrings import documented
from adana.optax.engine import descent, plain_kind, rule_options, transformation

__all__ = [
    "adamw",
    "adana",
    "ademamix",
    "dana",
    "dana_mk4",
    "dana_star",
    "dana_star_mk4",
    "log_adamw",
    "log_nadamw",
    "nadamw",
    "scale_by_adamw",
    "scale_by_adana",
    "scale_by_ademamix",
    "scale_by_dana",
    "scale_by_dana_mk4",
    "scale_by_dana_star",
    "scale_by_dana_star_mk4",
    "scale_by_log_adamw",
    "scale_by_log_nadamw",
    "scale_by_nadamw",
]

LearningRate = Any  # a number, a 0-d array, or a schedule: Callable[[count], number or 0-d array]
Mask = Any  # a tree of bools (or a prefix of the parameters' tree), or a function of the parameters that makes one

ARGUMENTS = {
    "learning_rate": """\
        learning_rate: a number, or a schedule from the 0-based count to one. An array or a traced value, as
            ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in optimizer steps. Needed by the default weight decay.
        peak_learning_rate: what gamma(t) is measured by. Default: ``learning_rate`` where that is a number;
            a schedule with decay on must say it.""",
    "log_time": """\
        kappa: spectral dimension, >= 0; the paper's best is 0.85 at every scale it tried.
        delta: log-time constant, > 0.""",
    "damping_scale": """\
        damping_scale: alpha-tilde, > 0; 1 at 65,536 tokens a batch.""",
    "decay": """\
        weight_decay: omega, >= 0; independent of the learning rate. 0 turns decay off.
        weight_decay_offset: t0 in steps, > 0; default T/10.
        decay: ``"log"`` for omega/(t0 + t), ``"constant"`` for omega/T.""",
    "common": """\
        eps: added to the root of the second moment.
        mask: which parameters decay: a tree of bools, a prefix of the parameters' tree, or a function of the
            parameters. Default: all. (Under ``inject_hyperparams`` a function must be named in ``static_args``;
            with low-precision parameters pass it ``hyperparam_dtype=jnp.float32`` as well.)
        mu_dtype: dtype of the first moments. Default, as for all state: float64 for float64 parameters, else
            float32, whatever the parameters' own dtype.""",
    "bare": """\
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments; default as for all state: at least float32.""",
    "form": """\
        form: ``"paper"`` as printed, or ``"released"`` as the authors' code computes it.""",
    "returns": """\
        A gradient transformation with a :class:`ScaleByRuleState`.""",
    "raises": """\
        ValueError: a concrete value is out of range; decay is on without what its schedule needs; in ``update``,
            decay is on and ``params`` is None.""",
}


def _optimizer(name: str, arguments: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The optimizer that a function of this name makes of its arguments."""
    options = rule_options(name, arguments)
    kind = plain_kind(catalog.of_optax(name).rule, options)
    down = descent(arguments["learning_rate"], arguments.get("peak_learning_rate"), options, arguments.get("mask"))
    return transformation([kind], mu_dtype=arguments["mu_dtype"], down=down)


def _rule(name: str, arguments: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    """The bare rule of the function of this name."""
    kind = plain_kind(catalog.of_optax(name).rule, rule_options(name, arguments))
    return transformation([kind], mu_dtype=arguments["mu_dtype"])


@documented(ARGUMENTS)
def adana(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    damping_scale: float = 1.0,
    damping: str = "power",
    gradient_term: bool = True,
    beta2: float | None = None,
    beta3: float | None = None,
    eps: float = 1e-8,
    form: str = "paper",
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adaptive damped Nesterov acceleration: AdamW in logarithmic time.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        {log_time}
        {damping_scale}
        damping: ``"power"`` as above, ``"linear"`` for ``damping_scale T^-kappa t``, ``"nesterov"`` for
            ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        {decay}
        {form}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations. In torch: :class:`adana.ADana`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from adana.optax import adana
        >>> params = jnp.ones(3)
        >>> optimizer = adana(0.1, total_steps=100)
        >>> state = optimizer.init(params)
        >>> grads = jax.grad(lambda p: (p**2).sum())(params)
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = optax.apply_updates(params, updates)
        >>> [round(float(p), 4) for p in params]  # u = (g + m')/sqrt(v') = 2 at first, and lambda(0) = 4/10
        [0.4, 0.4, 0.4]
    """
    return _optimizer("adana", locals())


@documented(ARGUMENTS)
def scale_by_adana(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: str = "power",
    gradient_term: bool = True,
    beta2: float | None = None,
    beta3: float | None = None,
    eps: float = 1e-8,
    form: str = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`adana`, without learning rate and decay.

    ``m' = beta m + (1-beta) g``, ``v' = beta v + (1-beta) g^2`` with ``beta(t) = t/(delta + t)``,
    ``u = (g + alpha(t) m') / (sqrt(v') + eps)`` with ``alpha(t) = damping_scale (1+t)^(1-kappa)``.

    Args:
        total_steps: horizon T in steps (``damping="linear"`` only).
        {log_time}
        {damping_scale}
        damping: ``"power"`` as above, ``"linear"`` for ``damping_scale T^-kappa t``, ``"nesterov"`` for
            ``(delta + t)/delta`` (unstable; an ablation).
        gradient_term: False drops ``g`` from ``u`` (unstable; an ablation, Figure 3).
        beta2: a constant second-moment coefficient with bias correction instead of log time (ADANA 3).
        beta3: replaces ``g`` in ``u`` by its bias-corrected short average (ADANA 7).
        {form}
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 1; Algorithm 12 and Table 9 for the ablations.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_adana
        >>> optimizer = optax.chain(scale_by_adana(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("adana", locals())


@documented(ARGUMENTS)
def dana_mk4(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """ADana whose momentum term is clipped by its signal-to-noise ratio: forgiving about kappa.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        {log_time}
        {damping_scale}
        clip_snr: bound on the clipped factor, > 0.
        {decay}
        {form}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 10 and Section N.2. In torch: :class:`adana.DanaMK4`.

    Example:
        >>> from adana.optax import dana_mk4
        >>> optimizer = dana_mk4(1e-3, total_steps=1000)
    """
    return _optimizer("dana_mk4", locals())


@documented(ARGUMENTS)
def scale_by_dana_mk4(
    *,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_mk4`, without learning rate and decay.

    ``norm = 1/(sqrt(v') + eps)``, ``mfac = |m'| norm``, ``afac = min(damping_scale t^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (afac + mfac)``.

    Args:
        {log_time}
        {damping_scale}
        clip_snr: bound on the clipped factor, > 0.
        {form}
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 10 and Section N.2.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_mk4
        >>> optimizer = optax.chain(scale_by_dana_mk4(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("dana_mk4", locals())


@documented(ARGUMENTS)
def dana_star(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """ADana on each parameter's effective time, for gradients that are mostly absent.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        {log_time}
        {damping_scale}
        {decay}
        {form}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 9 and Section N.1. In torch: :class:`adana.DanaStar`.

    Example:
        >>> from adana.optax import dana_star
        >>> optimizer = dana_star(1e-3, total_steps=1000)
    """
    return _optimizer("dana_star", locals())


@documented(ARGUMENTS)
def scale_by_dana_star(
    *,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_star`, without learning rate and decay.

    ``tau' = beta tau + (1-beta) |g|/(|g| + sqrt(v') + eps)``, ``t_eff = max(t tau', 1)``,
    ``c = min(tau', 1/2)``, ``tau~ = max(c/(1-c), 1/(1+t))``,
    ``u = sqrt(tau~) (g + damping_scale (1 + t_eff)^(1-kappa) m') / (sqrt(v') + eps)``.

    Args:
        {log_time}
        {damping_scale}
        {form}
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 9 and Section N.1.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_star
        >>> optimizer = optax.chain(scale_by_dana_star(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("dana_star", locals())


@documented(ARGUMENTS)
def dana_star_mk4(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """DanaStar and DanaMK4 together: effective time and clipped momentum.

    With ``tau~`` and ``t_eff`` of :func:`dana_star`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        {log_time}
        {damping_scale}
        clip_snr: bound on the clipped factor, > 0.
        {decay}
        {form}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 11. In torch: :class:`adana.DanaStarMK4`.

    Example:
        >>> from adana.optax import dana_star_mk4
        >>> optimizer = dana_star_mk4(1e-3, total_steps=1000)
    """
    return _optimizer("dana_star_mk4", locals())


@documented(ARGUMENTS)
def scale_by_dana_star_mk4(
    *,
    kappa: float = 0.85,
    delta: float = 8.0,
    clip_snr: float = 2.0,
    damping_scale: float = 1.0,
    eps: float = 1e-8,
    form: str = "paper",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana_star_mk4`, without learning rate and decay.

    With ``tau~`` and ``t_eff`` of :func:`dana_star`: ``norm = sqrt(tau~)/(sqrt(v') + eps)``,
    ``mfac = |m'| norm / tau~``, ``afac = min(damping_scale t_eff^(1-kappa) mfac, clip_snr)``,
    ``u = g norm + sign(m') (tau~ afac + |m'| norm)``.

    Args:
        {log_time}
        {damping_scale}
        clip_snr: bound on the clipped factor, > 0.
        {form}
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 11.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana_star_mk4
        >>> optimizer = optax.chain(scale_by_dana_star_mk4(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("dana_star_mk4", locals())


@documented(ARGUMENTS)
def log_adamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    delta: float = 8.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdamW with both averages in log time and no gradient term: unstable; kept to show why.

    ``u = m' / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        delta: log-time constant, > 0.
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 3. In torch: :class:`adana.LogAdamW`.

    Example:
        >>> from adana.optax import log_adamw
        >>> optimizer = log_adamw(1e-3, total_steps=1000)
    """
    return _optimizer("log_adamw", locals())


@documented(ARGUMENTS)
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
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_log_adamw
        >>> optimizer = optax.chain(scale_by_log_adamw(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("log_adamw", locals())


@documented(ARGUMENTS)
def log_nadamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    delta: float = 8.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """NAdamW in log time, undamped: unstable with noisy gradients; kept to show why.

    ``u = (g + (delta + t)/delta m') / (sqrt(v') + eps)`` with ``m'``, ``v'`` of :func:`adana`.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        delta: log-time constant, > 0.
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 4. In torch: :class:`adana.LogNAdamW`.

    Example:
        >>> from adana.optax import log_nadamw
        >>> optimizer = log_nadamw(1e-3, total_steps=1000)
    """
    return _optimizer("log_nadamw", locals())


@documented(ARGUMENTS)
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
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 4.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_log_nadamw
        >>> optimizer = optax.chain(scale_by_log_nadamw(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("log_nadamw", locals())


@documented(ARGUMENTS)
def adamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    nesterov: bool = False,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdamW with independent decay, constant or in log time: the family's baseline.

    ``u = m^ / (sqrt(v^) + eps)``, with ``nesterov`` ``u = (m^ + g) / (sqrt(v^) + eps)``; ``m^``, ``v^``
    bias-corrected.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        betas: coefficients of the two averages, each in [0, 1).
        nesterov: NAdamW as the paper has it (add the gradient to the corrected average).
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 2 and Section 3. In torch: :class:`adana.AdamW`.

    Example:
        >>> from adana.optax import adamw
        >>> optimizer = adamw(1e-3, total_steps=1000)
    """
    return _optimizer("adamw", locals())


@documented(ARGUMENTS)
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
        nesterov: NAdamW as the paper has it (add the gradient to the corrected average).
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 2 and Section 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_adamw
        >>> optimizer = optax.chain(scale_by_adamw(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("adamw", locals())


@documented(ARGUMENTS)
def nadamw(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    peak_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """NAdamW as the paper has it: :func:`adamw` with ``nesterov=True``.

    ``u = (m^ + g) / (sqrt(v^) + eps)``, ``m^``, ``v^`` bias-corrected.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        betas: coefficients of the two averages, each in [0, 1).
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Section 3. In torch: :class:`adana.AdamW`.

    Example:
        >>> from adana.optax import nadamw
        >>> optimizer = nadamw(1e-3, total_steps=1000)
    """
    return _optimizer("nadamw", locals())


@documented(ARGUMENTS)
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
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Section 3.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_nadamw
        >>> optimizer = optax.chain(scale_by_nadamw(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("nadamw", locals())


@documented(ARGUMENTS)
def ademamix(
    learning_rate: LearningRate,
    *,
    total_steps: float,
    peak_learning_rate: float | None = None,
    beta2: float = 0.999,
    beta3: float = 0.9,
    kappa: float = 0.85,
    delta: float = 8.0,
    weight_decay: float = 4.0,
    weight_decay_offset: float | None = None,
    decay: str = "log",
    eps: float = 1e-8,
    mask: Mask = None,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """AdEMAMix with the paper's warm-ups, which make it mirror ADana's schedules.

    ``u = (m3^ + alpha(t) m1) / (sqrt(v^) + eps)``: ``m3`` a short average (``beta3``) and ``v`` (``beta2``)
    bias-corrected, ``m1`` a long one with ``beta1(t)`` warmed up to ``1 - delta/T`` and not corrected,
    ``alpha(t) = min(t/T, 1) T^(1-kappa)``.
    ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    Args:
        {learning_rate}
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        {log_time}
        {decay}
        {common}

    Returns:
        {returns}

    Raises:
        {raises}

    Source: Algorithm 6 and Section J. In torch: :class:`adana.AdEMAMix`.

    Example:
        >>> from adana.optax import ademamix
        >>> optimizer = ademamix(1e-3, total_steps=1000)
    """
    return _optimizer("ademamix", locals())


@documented(ARGUMENTS)
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
        total_steps: horizon T in optimizer steps, above ``delta``.
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the short average, in (0, 1).
        {log_time}
        {bare}

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithm 6 and Section J.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_ademamix
        >>> optimizer = optax.chain(scale_by_ademamix(total_steps=1000), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("ademamix", locals())


@documented(ARGUMENTS)
def dana(
    learning_rate: LearningRate,
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: str = "power",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Damped Nesterov acceleration without a second moment and without decay: SGD's relative.

    ``m' = beta m + (1-beta) g``, ``u = g + alpha(t) m'``. The damping decides: ``"power"`` (DANA-decaying),
    ``"linear"`` for ``damping_scale T^-kappa (1+t)`` (DANA-constant), ``"nesterov"`` for ``(delta+t)/delta``
    (Algorithm 7, diverges with noisy gradients).
    ``p' = p - learning_rate u``.

    Args:
        learning_rate: a number, or a schedule from the 0-based count to one.
        total_steps: horizon T in steps (``"linear"`` only).
        {log_time}
        {damping_scale}
        damping: one of ``"power"``, ``"linear"``, ``"nesterov"``.
        mu_dtype: dtype of the average; default: at least float32.

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithms 7 and 8. In torch: :class:`adana.Dana`.

    Example:
        >>> from adana.optax import dana
        >>> optimizer = dana(1e-3)
    """
    return _optimizer("dana", locals())


@documented(ARGUMENTS)
def scale_by_dana(
    *,
    total_steps: float | None = None,
    kappa: float = 0.85,
    delta: float = 8.0,
    damping_scale: float = 1.0,
    damping: str = "power",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`dana`, without learning rate and decay.

    ``m' = beta m + (1-beta) g``, ``u = g + alpha(t) m'``. The damping decides: ``"power"`` (DANA-decaying),
    ``"linear"`` for ``damping_scale T^-kappa (1+t)`` (DANA-constant), ``"nesterov"`` for ``(delta+t)/delta``
    (Algorithm 7, diverges with noisy gradients).

    Args:
        total_steps: horizon T in steps (``damping="linear"`` only).
        {log_time}
        {damping_scale}
        damping: one of ``"power"``, ``"linear"``, ``"nesterov"``.
        mu_dtype: dtype of the average; default: at least float32.

    Returns:
        {returns}

    Raises:
        ValueError: a concrete value is out of range.

    Source: Algorithms 7 and 8.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_dana
        >>> optimizer = optax.chain(scale_by_dana(), optax.scale_by_learning_rate(1e-3))
    """
    return _rule("dana", locals())
