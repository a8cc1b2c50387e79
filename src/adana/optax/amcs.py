"""AMCS for JAX."""

from __future__ import annotations

from typing import Any

import optax

from adana.optax.engine import Decay, LearningRate, Mask, bare, optimizer

__all__ = ["amcs", "scale_by_amcs"]


def amcs(
    learning_rate: LearningRate,
    *,
    total_steps: float,
    peak_learning_rate: float | None = None,
    beta1: float = 0.95,
    beta2: float = 0.999,
    beta3: float = 0.9,
    weight_decay: float = 0.5,
    weight_decay_offset: float | None = None,
    decay: Decay = "log",
    eps: float = 1e-8,
    mask: Mask = "matrices",
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Adaptive momentum with component scaling: AdamW whose momentum goes over from a fast average to a slow one.

    ``m = a(t) m_fast^ + (1 - a(t)) m_slow^`` with ``a(t) = max(1 - t/T, 0)``, ``u = m / (sqrt(v^) + eps)``, all three
    averages bias-corrected; ``p' = p - gamma(t) (learning_rate u + lambda(t) p)``.

    The other half of AMCS are learning rates of 1.2 times for attention and 0.8 for embeddings: one of these for each
    under ``optax.multi_transform`` (``optax.partition``).

    Args:
        learning_rate: a number, or a schedule: a function of the number of updates done. An array or a traced
            value, as ``optax.inject_hyperparams`` makes them, counts as a schedule.
        total_steps: horizon T in updates, over which the fast average gives way to the slow.
        peak_learning_rate: the learning rate at which gamma(t) is 1. Default: ``learning_rate`` where that is a
            number; with a schedule and decay on, it must be given.
        beta1: coefficient of the slow average, in [0, 1).
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the fast average, in [0, 1).
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

    Source: "Adaptive Momentum with Component Scaling" (Aardvark, 2025). In torch: :class:`adana.AMCS`.

    Example:
        >>> from adana.optax import amcs
        >>> optimizer = amcs(1e-3, total_steps=1000)
    """
    return optimizer("amcs", locals())


def scale_by_amcs(
    *,
    total_steps: float,
    beta1: float = 0.95,
    beta2: float = 0.999,
    beta3: float = 0.9,
    eps: float = 1e-8,
    mu_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction ``u`` of :func:`amcs`, without learning rate and decay.

    ``m = a(t) m_fast^ + (1 - a(t)) m_slow^`` with ``a(t) = max(1 - t/T, 0)``, ``u = m / (sqrt(v^) + eps)``, all three
    averages bias-corrected.

    Args:
        total_steps: horizon T in updates, over which the fast average gives way to the slow.
        beta1: coefficient of the slow average, in [0, 1).
        beta2: second-moment coefficient, in [0, 1).
        beta3: coefficient of the fast average, in [0, 1).
        eps: added to the root of the second moment.
        mu_dtype: dtype of the first moments. Default: as for all state, that of the parameters, at least float32.

    Returns:
        A gradient transformation with a :class:`ScaleByRuleState`.

    Raises:
        ValueError: a value is out of range.

    Source: "Adaptive Momentum with Component Scaling" (Aardvark, 2025). In torch: :class:`adana.AMCS`.

    Example:
        >>> import optax
        >>> from adana.optax import scale_by_amcs
        >>> optimizer = optax.chain(scale_by_amcs(total_steps=1000), optax.scale_by_learning_rate(1e-3))
    """
    return bare("amcs", locals())
