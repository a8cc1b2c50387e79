"""The paper's schedules, as pure functions of the step.

Every function takes the 0-based step ``t`` (updates already done) as a Python number, a NumPy array,
a torch tensor or a JAX array, and answers in kind. Nothing here imports an array library: the array
brings its own. Callers who want float64 schedules pass a float64 step, as the torch optimizers do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

__all__ = [
    "DAMPINGS",
    "DECAYS",
    "DampingName",
    "Decay",
    "DecayName",
    "ademamix_alpha",
    "ademamix_beta1",
    "ademamix_weight",
    "alpha",
    "amcs_share",
    "at_least",
    "at_most",
    "average_weight",
    "beta",
    "bias_correction",
    "cooled",
    "decay_formula",
    "decay_offset",
    "gamma",
    "lambda_",
    "where",
    "wsd",
]

DampingName = Literal["power", "linear", "nesterov"]
DecayName = Literal["log", "constant"]
DAMPINGS: tuple[str, ...] = get_args(DampingName)
DECAYS: tuple[str, ...] = get_args(DecayName)

Number = Any  # a Python number, or a NumPy, torch or JAX array of any shape


class _PythonNumbers:
    """What the schedules need of an array namespace, for plain Python numbers."""

    cos = staticmethod(math.cos)
    exp = staticmethod(math.exp)
    expm1 = staticmethod(math.expm1)
    log = staticmethod(math.log)
    log1p = staticmethod(math.log1p)

    @staticmethod
    def where(condition: bool, yes: Number, no: Number) -> Number:
        return yes if condition else no


def _namespace(x: Number) -> Any:
    if type(x) in (float, int, bool):  # not isinstance: NumPy's float64 is a float and must stay NumPy's
        return _PythonNumbers
    for base in type(x).__mro__:
        library = base.__module__.partition(".")[0]
        if library in ("torch", "numpy"):  # NumPy below 2 and torch do not name their own namespace
            return sys.modules[library]
    return x.__array_namespace__()


def at_most(x: Number, bound: Number) -> Number:
    """``min(x, bound)`` for numbers and arrays alike."""
    return where(x > bound, bound, x)


def at_least(step: Number, bound: Number) -> Number:
    """``max(t, bound)`` for numbers and arrays alike."""
    return where(step < bound, bound, step)


def where(condition: Any, yes: Number, no: Number) -> Number:
    """``yes if condition else no``, element by element where the condition is an array."""
    return _namespace(condition).where(condition, yes, no)


def beta(step: Number, delta: float = 8.0) -> Number:
    """Log-time averaging coefficient: ``beta(t) = 1 - delta/(delta + t) = t/(delta + t)``.

    Args:
        step: t, updates already done (0-based).
        delta: log-time constant; the average remembers about the last ``t/delta`` steps.

    Source: Section 3.1.1 and Algorithm 1.

    >>> beta(0), beta(8), round(beta(792), 2)
    (0.0, 0.5, 0.99)
    """
    return step / (delta + step)


def average_weight(step: Number, delta: float = 8.0) -> Number:
    """Weight of the newest gradient, ``1 - beta(t) = delta/(delta + t)``, without cancellation.

    >>> average_weight(0), average_weight(8)
    (1.0, 0.5)
    """
    return delta / (delta + step)


def alpha(
    step: Number,
    *,
    kappa: float = 0.85,
    damping_scale: float = 1.0,
    damping: str = "power",
    delta: float = 8.0,
    total_steps: float | None = None,
) -> Number:
    """Damped Nesterov coefficient of the momentum term.

    ``"power"``: ``damping_scale * (1 + t)^(1 - kappa)`` (Algorithm 1);
    ``"linear"``: ``damping_scale * T^-kappa * t`` (Table 9, ADANA 2);
    ``"nesterov"``: ``(delta + t)/delta`` (Algorithms 4 and 7; undamped, unstable with noisy gradients).

    Args:
        step: t, updates already done (0-based).
        kappa: spectral dimension.
        damping_scale: the paper's alpha-tilde, 1 at 65,536 tokens per batch.
        damping: one of ``DAMPINGS``.
        delta: log-time constant (``"nesterov"`` only).
        total_steps: horizon T in optimizer steps (``"linear"`` only).

    Raises:
        ValueError: unknown damping, or ``"linear"`` without ``total_steps``.

    >>> alpha(0), round(alpha(9999), 3)
    (1.0, 3.981)
    """
    if damping == "power":
        return damping_scale * (1 + step) ** (1 - kappa)
    if damping == "linear":
        if total_steps is None:
            raise ValueError("damping='linear' scales by total_steps**-kappa: pass total_steps")
        return damping_scale * total_steps**-kappa * step
    if damping == "nesterov":
        return (delta + step) / delta
    raise ValueError(f"unknown damping {damping!r}: choose one of {', '.join(DAMPINGS)}")


def amcs_share(step: Number, total_steps: Number) -> Number:
    """Share of the fast average in AMCS's momentum: from 1 to 0 linearly over T, then 0.

    >>> amcs_share(0, 1000), amcs_share(250, 1000), amcs_share(2000, 1000)
    (1.0, 0.75, 0.0)
    """
    return 1 - at_most(step / total_steps, 1.0)


def cooled(step: Number, cooldown: float, total_steps: float) -> Number:
    """The momentum's clock with a cooldown, in place of ``t``: a definition of this package, not the paper's.

    ``c(t) = t`` until ``t1 = (1 - cooldown) T``, then straight down to ``t1/10`` at T and after. Memory, about
    ``c/delta`` steps, and alpha(c) shrink as the learning rate does in the last part of a run.

    Args:
        step: t, updates already done (0-based).
        cooldown: part of the run that is its end, in (0, 1).
        total_steps: horizon T in optimizer steps.

    >>> [round(cooled(t, 0.2, 1000), 6) for t in (700, 900, 1000)]
    [700, 440.0, 80.0]
    """
    turn = (1 - cooldown) * total_steps
    done = at_most((step - turn) / (cooldown * total_steps), 1.0)
    return where(step < turn, step, turn * (1 - 0.9 * done))


def decay_offset(total_steps: float | None, weight_decay_offset: float | None) -> float:
    """Offset t0 of log-time decay in steps: ``weight_decay_offset``, else ``T/10`` (Section 3.3)."""
    if weight_decay_offset is not None:
        return weight_decay_offset
    if total_steps is None:
        raise ValueError(
            "log-time decay is weight_decay/(t0 + t) with t0 = total_steps/10: pass total_steps "
            "(the horizon in optimizer steps) or weight_decay_offset (t0 itself)"
        )
    return total_steps / 10


def lambda_(
    step: Number,
    *,
    weight_decay: float = 4.0,
    decay: str = "log",
    total_steps: float | None = None,
    weight_decay_offset: float | None = None,
) -> Number:
    """Independent weight decay: ``omega/(t0 + t)`` (``"log"``) or ``omega/T`` (``"constant"``).

    Args:
        step: t, updates already done (0-based).
        weight_decay: omega. Unlike AdamW's coupled value it does not depend on the learning rate.
        decay: one of ``DECAYS``.
        total_steps: horizon T in optimizer steps.
        weight_decay_offset: t0 in steps; ``None`` means ``T/10``.

    Raises:
        ValueError: unknown decay, or neither ``total_steps`` nor an offset where one is needed.

    Source: Section 3.3.

    >>> lambda_(0, total_steps=1000), lambda_(900, total_steps=1000)
    (0.04, 0.004)
    """
    if decay == "log":
        return weight_decay / (decay_offset(total_steps, weight_decay_offset) + step)
    if decay == "constant":
        if total_steps is None:
            raise ValueError("constant decay is weight_decay/total_steps a step: pass total_steps")
        return weight_decay / total_steps
    raise ValueError(f"unknown decay {decay!r}: choose one of {', '.join(DECAYS)}")


def decay_formula(
    *,
    weight_decay: float,
    decay: str = "log",
    total_steps: float | None = None,
    weight_decay_offset: float | None = None,
) -> str:
    """The decay in force, in words for ``repr`` and reports.

    >>> decay_formula(weight_decay=4.0, total_steps=1000)
    'lambda(t) = 4 / (100 + t)'
    """
    if weight_decay == 0:
        return "none"
    if decay == "log":
        return f"lambda(t) = {weight_decay:g} / ({decay_offset(total_steps, weight_decay_offset):g} + t)"
    return f"lambda = {weight_decay:g} / {total_steps:g}"


class Decay(NamedTuple):
    """What weight decay is a function of, as one value; the fields are the arguments of :func:`lambda_`.

    Attributes:
        weight_decay: omega.
        decay: one of ``DECAYS``.
        total_steps: horizon T in optimizer steps.
        weight_decay_offset: t0 in steps; ``None`` means ``T/10``.

    >>> Decay(total_steps=1000).at(0), Decay(weight_decay=0.0).formula()
    (0.04, 'none')
    """

    weight_decay: Number = 4.0
    decay: str = "log"
    total_steps: Number | None = None
    weight_decay_offset: Number | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Decay:
        """From an optimizer's options or a parameter group."""
        return cls(*(options[name] for name in cls._fields))

    def at(self, step: Number) -> Number:
        """:func:`lambda_` at a step."""
        return lambda_(step, **self._asdict())

    def formula(self) -> str:
        """:func:`decay_formula`: the decay in words."""
        return decay_formula(**self._asdict())

    def kept(self, *, cosine: bool = True) -> float | None:
        """The share of a weight that decay alone leaves of it by step T; None where there is no T.

        ``exp(-(sum of gamma(t) lambda(t) over the run))``, the sum as an integral. With a constant learning rate that
        is ``(t0/(t0 + T))^omega``, or ``exp(-omega)`` for constant decay.

        Args:
            cosine: with the learning-rate schedule of :func:`gamma`; else with a constant learning rate.

        >>> decay = Decay(weight_decay=4.0, total_steps=1000)
        >>> round(decay.kept(), 3), round(decay.kept(cosine=False), 6)
        (0.001, 6.8e-05)
        """
        if self.total_steps is None:
            return None
        total, omega = float(self.total_steps), float(self.weight_decay)
        t0 = decay_offset(total, self.weight_decay_offset) if self.decay == "log" else 0.0
        span = math.log1p(total / t0) if self.decay == "log" else 1.0
        if not cosine:
            return math.exp(-omega * span)
        parts = [(k + 0.5) / _PARTS for k in range(_PARTS)]  # equal parts of ln(t0 + t), or of t
        steps = [t0 * math.expm1(x * span) if self.decay == "log" else x * total for x in parts]
        return math.exp(-omega * span * sum(gamma(step, total) for step in steps) / _PARTS)


_PARTS = 256


def gamma(
    step: Number,
    total_steps: float,
    *,
    warmup_fraction: float = 0.02,
    start: float = 0.01,
    final: float = 0.1,
) -> Number:
    """Learning-rate factor: linear from ``start`` to 1, then a cosine down to ``final`` at T.

    Args:
        step: t, updates already done (0-based).
        total_steps: horizon T in optimizer steps.
        warmup_fraction: part of T spent warming up.
        start: factor at t = 0.
        final: factor at t = T and after.

    Source: Section F.2 and Table 16.

    >>> gamma(0, 1000), gamma(20, 1000), round(gamma(1000, 1000), 6)
    (0.01, 1.0, 0.1)
    """
    warmup = at_least(warmup_fraction * total_steps, 1e-9)
    rising = start + (1 - start) * (step / warmup)
    done = at_most((step - warmup) / at_least(total_steps - warmup, 1e-9), 1.0)
    falling = final + (1 - final) * 0.5 * (1 + _namespace(done).cos(math.pi * done))
    return where(step < warmup, rising, falling)


def wsd(step: Number, total_steps: float, *, warmup: float, stable: float, start: float = 0.01) -> Number:
    """Warm-up, stable, decay: linear from ``start`` to 1, then 1, then ``1 - sqrt((t - stable)/(T - stable))``.

    Before ``stable`` it does not depend on T, so a run can be made longer from there.

    Args:
        step: t, updates already done (0-based).
        total_steps: T, where the factor is 0.
        warmup: steps of warm-up.
        stable: step at which the cool-down begins.
        start: factor at t = 0.

    Source: Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations".

    >>> wsd(0, 1000, warmup=20, stable=800), wsd(799, 1000, warmup=20, stable=800)
    (0.01, 1.0)
    >>> round(wsd(850, 1000, warmup=20, stable=800), 6)
    0.5
    """
    rising = start + (1 - start) * (step / at_least(warmup, 1e-9))
    done = at_most(at_least(step - stable, 0.0) / at_least(total_steps - stable, 1e-9), 1.0)
    return where(step < warmup, rising, 1.0 - done**0.5)


def bias_correction(step: Number, beta: Number) -> Number:
    """What a constant-beta average started at zero must be divided by: ``1 - beta^(t+1)``.

    Computed as ``-expm1((t+1) ln beta)``: in float32 the difference would lose four digits at the first steps.

    >>> bias_correction(0, 0.5)
    0.5
    """
    power = (step + 1) * _log(beta)
    return -_namespace(power).expm1(power)


def _log(beta: Number) -> Number:
    # ln 0 as a number so low that the power is 0 and, unlike -inf, has a derivative.
    xp = _namespace(beta)
    return where(beta > 0, xp.log(where(beta > 0, beta, 1.0)), -1e4)


def _ademamix_log_beta1(step: Number, total_steps: Number, delta: Number, beta3: Number) -> Number:
    ratio = -delta / total_steps
    log_long, log_short = _namespace(ratio).log1p(ratio), _log(beta3)
    done = step / total_steps
    return at_most(log_short * log_long / ((1 - done) * log_long + done * log_short), log_long)


def ademamix_beta1(step: Number, total_steps: Number, *, delta: Number = 8.0, beta3: Number = 0.9) -> Number:
    """AdEMAMix's long coefficient, warmed up from ``beta3`` to ``1 - delta/T`` in half-life.

    ``min(exp(ln b3 ln b1 / ((1 - t/T) ln b1 + (t/T) ln b3)), b1)`` with ``b1 = 1 - delta/T``.

    Source: Algorithm 6 and Section J.2.

    >>> round(ademamix_beta1(0, 1000), 6), round(ademamix_beta1(1000, 1000), 6)
    (0.9, 0.992)
    """
    warmed = _ademamix_log_beta1(step, total_steps, delta, beta3)
    return at_most(_namespace(warmed).exp(warmed), 1 - delta / total_steps)


def ademamix_weight(step: Number, total_steps: Number, *, delta: Number = 8.0, beta3: Number = 0.9) -> Number:
    """Weight of the newest gradient, ``1 - beta1(t)`` of :func:`ademamix_beta1`, without cancellation.

    >>> round(ademamix_weight(10**6, 10**6), 12)
    8e-06
    """
    warmed = _ademamix_log_beta1(step, total_steps, delta, beta3)
    return -_namespace(warmed).expm1(warmed)


def ademamix_alpha(step: Number, total_steps: Number, *, kappa: Number = 0.85) -> Number:
    """AdEMAMix's mixing coefficient: ``min(t/T, 1) * T^(1 - kappa)``.

    Source: Algorithm 6 and Section J.2.2.

    >>> ademamix_alpha(0, 1000), round(ademamix_alpha(1000, 1000), 3)
    (0.0, 2.818)
    """
    return at_most(step / total_steps, 1.0) * total_steps ** (1 - kappa)
