"""The update rules: pure functions of arrays and numbers. This file is the specification.

A rule maps a gradient, the state of one parameter and the step's scalars to a direction ``u`` and the
new state::

    u, state = direction(xp, g, state, scalars)
    p = descend(p, u, lr=lr, decay=decay)

``xp`` is the array namespace (``torch``, ``numpy``, ``jax.numpy``); nothing else is imported, nothing is
written in place. ``scalars`` holds Python numbers or 0-d arrays made from the step by the rule's own
schedule function, so a compiled step sees numbers that change without recompiling.

Notation: ``m``, ``v``, ``tau`` are ``exp_avg``, ``exp_avg_sq``, ``tau``; primes of the paper are the new
values; every average is ``new = old + weight * (x - old)`` written as ``(1 - weight) old + weight x``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from adana import schedules

__all__ = [
    "FORMS",
    "RULES",
    "FormName",
    "Rule",
    "bounded",
    "decay_clock",
    "descend",
    "largest_gradient",
    "muon_mixture",
    "muon_update",
    "newton_schulz",
    "newton_schulz_flops",
    "rule",
]

Array = Any
State = dict[str, Array]
Scalars = Mapping[str, Any]
Options = Mapping[str, Any]

FormName = Literal["paper", "released"]
FORMS: tuple[str, ...] = get_args(FormName)


# The largest gradient that counts in full, where averages are stored in float64 and where in anything narrower: its
# square can be stored, and so can what rules form of it. Beyond it a finite gradient would make infinities, and their
# quotients NaN.
_LARGEST_FLOAT64, _LARGEST = 2.0**511, 2.0**63


def largest_gradient(stored: Iterable[str]) -> float:
    """The largest gradient that counts in full with averages stored in these dtypes, given by name.

    >>> largest_gradient(["float64", "float64"]) > 1e150, largest_gradient(["bfloat16"]) > 1e18
    (True, True)
    """
    return _LARGEST_FLOAT64 if set(stored) <= {"float64"} else _LARGEST


class Rule(NamedTuple):
    """One update rule: what it stores, how its numbers follow from the step, which way it goes.

    ``state(options)`` names the buffers, ``scalars(step, options)`` makes the numbers from the 0-based
    step, ``direction(xp, g, state, scalars)`` returns the direction and the new state. ``elementwise`` says that
    every element moves on its own, so that a tensor may be split, flattened or stacked with others; a rule that
    is not elementwise takes whole matrices. ``alpha(scalars, options, effective_time)`` is what the momentum is
    multiplied by beside the gradient, None where the options leave no such number; the rule is without one where
    ``alpha`` is None. Rules without ``tau`` ignore the effective time.
    """

    state: Callable[[Options], tuple[str, ...]]
    scalars: Callable[[Any, Options], Scalars]
    direction: Callable[[Any, Array, State, Scalars], tuple[Array, State]]
    alpha: Callable[[Scalars, Options, Any], Any] | None = None
    elementwise: bool = True


def _average(old: Array, x: Array, weight: Any) -> Array:
    return (1 - weight) * old + weight * x


# NaN must survive both bounds: `where(x > bound, bound, x)` keeps it, the mirrored test would hide it.
def _at_most(xp: Any, x: Array, bound: Any) -> Array:
    return xp.where(x > bound, bound, x)


def _at_least(xp: Any, x: Array, bound: Any) -> Array:
    return xp.where(x < bound, bound, x)


def bounded(xp: Any, g: Array, largest: Any) -> Array:
    """``g`` within ``-largest`` and ``largest``: what every rule is given; an infinite gradient becomes NaN.

    >>> import numpy
    >>> bounded(numpy, numpy.array([3.0, -1e30]), 2.0**63).tolist()
    [3.0, -9.223372036854776e+18]
    """
    # Zero times what is not finite is NaN: a gradient that has overflowed must not pass for a large one.
    return _at_least(xp, _at_most(xp, g, largest), 0 - largest) + 0 * g


def _moments(g: Array, state: State, s: Scalars) -> State:
    return {
        "exp_avg": _average(state["exp_avg"], g, s["weight"]),
        "exp_avg_sq": _average(state["exp_avg_sq"], g * g, s["weight_sq"]),
    }


def adana(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """``u = (gradient * g + momentum * m') / (sqrt(v' / correction_sq) + eps)`` (Algorithms 1-4, 6, 12).

    With ``eps_root`` that is added under the root. With ``beta3`` (or in AdEMAMix and AMCS) a short bias-corrected
    average stands in for ``g``.
    """
    new = _moments(g, state, s)
    if "exp_avg_short" in state:
        new["exp_avg_short"] = _average(state["exp_avg_short"], g, s["weight_short"])
        g = new["exp_avg_short"] / s["correction_short"]
    squares = new["exp_avg_sq"] / s["correction_sq"]
    if "eps_root" in s:
        squares = squares + s["eps_root"]
    denominator = xp.sqrt(squares) + s["eps"]
    return (s["gradient"] * g + s["momentum"] * new["exp_avg"]) / denominator, new


def dana(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """``u = g + alpha(t) m'`` (Algorithms 7 and 8: no second moment)."""
    m = _average(state["exp_avg"], g, s["weight"])
    return g + s["momentum"] * m, {"exp_avg": m}


def dana_mk4(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """``u = g norm + sign(m') (min(alpha |m'| norm, clip_snr) + |m'| norm)`` (Algorithm 10)."""
    new = _moments(g, state, s)
    norm = 1 / (xp.sqrt(new["exp_avg_sq"]) + s["eps"])
    mfac = xp.abs(new["exp_avg"]) * norm
    afac = _at_most(xp, s["momentum"] * mfac, s["clip_snr"])
    return g * norm + xp.sign(new["exp_avg"]) * (afac + mfac), new


def effective_time(xp: Any, tau: Array, clock: Any) -> Array:
    """``t_eff = max(t tau, 1)``: the time that a parameter's own gradients have lasted."""
    return _at_least(xp, clock * tau, 1.0)


def update_probability(xp: Any, tau: Array, clock: Any) -> Array:
    """``tau~ = max(c/(1-c), 1/(1+t))`` with ``c = min(tau, 1/2)``."""
    clipped = _at_most(xp, tau, 0.5)
    return _at_least(xp, clipped / (1 - clipped), 1 / (1 + clock))


def _sparsity(xp: Any, g: Array, denominator: Array, state: State, s: Scalars) -> tuple[Array, Array, Array, Array]:
    """``tau'``, its transform ``tau~``, ``norm = sqrt(tau~)/denominator`` and the effective time, on ``s["clock"]``.

    ``tau~`` is :func:`update_probability`. Its quotient and that of ``norm`` share a division, which is safe as
    ``1 - c`` lies between 1/2 and 1: divisions and roots are what these rules spend most of their time on.
    """
    tau = _average(state["tau"], xp.abs(g) / (xp.abs(g) + denominator), s["weight"])
    clipped = _at_most(xp, tau, 0.5)
    rest = 1 - clipped
    inverse = 1 / (rest * denominator)
    probability = _at_least(xp, clipped * (denominator * inverse), 1 / (1 + s["clock"]))
    norm = xp.sqrt(probability) * (rest * inverse)
    return tau, probability, norm, effective_time(xp, tau, s["clock"])


def dana_star(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """``u = sqrt(tau~) (g + alpha(t_eff) m') / (sqrt(v') + eps)`` (Algorithm 9)."""
    new = _moments(g, state, s)
    denominator = xp.sqrt(new["exp_avg_sq"]) + s["eps"]
    new["tau"], _, norm, time = _sparsity(xp, g, denominator, state, s)
    return norm * (g + _star_alpha(s, {}, time) * new["exp_avg"]), new


def dana_star_mk4(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """DanaMK4 with ``norm = sqrt(tau~)/(sqrt(v') + eps)`` and effective time (Algorithm 11).

    ``tau~ min(alpha |m'| norm / tau~, clip_snr)`` is computed as ``min(alpha |m'| norm, clip_snr tau~)``.
    """
    new = _moments(g, state, s)
    m = new["exp_avg"]
    denominator = xp.sqrt(new["exp_avg_sq"]) + s["eps"]
    new["tau"], probability, norm, time = _sparsity(xp, g, denominator, state, s)
    mfac = xp.abs(m) * norm
    afac = _at_most(xp, _star_mk4_alpha(s, {}, time) * mfac, s["clip_snr"] * probability)
    return g * norm + xp.sign(m) * (afac + mfac), new


def released(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """All four rules as the authors' code computes them (2026-03), with the clock at ``t + 1``.

    ``u = g norm + alpha~ sign(m') (tau~ f + |m'| norm)``, ``f = a |m'| norm / tau~``, clipped in the MK4
    rules (as in :func:`dana_star_mk4`, without the quotient). Without ``tau``: ``tau~ = 1`` and
    ``a = (1 + s)^(1-kappa)``.
    """
    new = _moments(g, state, s)
    m = new["exp_avg"]
    denominator = xp.sqrt(new["exp_avg_sq"]) + s["eps"]
    probability: Any = 1.0
    if "tau" in state:
        new["tau"], probability, norm, time = _sparsity(xp, g, denominator, state, s)
        growth = time ** s["exponent"]
    else:
        norm, growth = 1 / denominator, s["growth"]
    mfac = xp.abs(m) * norm
    afac = growth * mfac
    if "clip_snr" in s:
        afac = _at_most(xp, afac, s["clip_snr"] * probability)
    return g * norm + s["damping_scale"] * xp.sign(m) * (afac + mfac), new


def newton_schulz(matrix: Array, steps: int) -> Array:
    """Quintic Newton-Schulz iteration towards the polar factor of a matrix of norm at most 1.

    ``X <- a X + (b XX' + c (XX')^2) X`` with ``(a, b, c) = (3.4445, -4.7750, 2.0315)``, on the wide side.
    Singular values end between about 0.7 and 1.2, not at 1. Source: Algorithm 5.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


def newton_schulz_flops(rows: int, columns: int, *, steps: int) -> int:
    """FLOPs of :func:`newton_schulz`: ``steps (4 a^2 b + 2 a^3)`` with a the shorter side and b the longer.

    >>> newton_schulz_flops(2, 3, steps=1)
    64
    """
    a, b = sorted((rows, columns))
    return steps * (4 * a * a * b + 2 * a**3)


def muon(xp: Any, g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """``u = rho sqrt(max(A, B)) NewtonSchulz(M~ / (|M~|_F + eps))`` for a matrix (A, B) (Algorithm 5).

    ``M' = retain M + weight G``; ``M~ = gradient G + momentum M'``. ``s["orthogonalize"]``, where given,
    replaces :func:`newton_schulz` (the torch optimizer iterates in bf16 on a GPU).
    """
    mixed, new = muon_mixture(g, state, s)
    return muon_update(xp, mixed, s), new


def muon_mixture(g: Array, state: State, s: Scalars) -> tuple[Array, State]:
    """What :func:`muon` does element by element: ``M~`` and the new state."""
    buffer = s["retain"] * state["momentum_buffer"] + s["weight"] * g
    return s["gradient"] * g + s["momentum"] * buffer, {"momentum_buffer": buffer}


def muon_update(xp: Any, mixed: Array, s: Scalars) -> Array:
    """What :func:`muon` does to the whole matrix ``M~``."""
    mixed = mixed / (xp.sqrt((mixed * mixed).sum()) + s["eps"])
    orthogonal = s.get("orthogonalize", newton_schulz)(mixed, s["ns_steps"])
    return s["rms"] * max(mixed.shape) ** 0.5 * orthogonal


def descend(p: Array, u: Array, *, lr: Any, decay: Any, form: str = "paper") -> Array:
    """Take the step with independent decay.

    Paper: ``p - lr u - decay p`` with the old ``p`` in both terms; released: ``(p - lr u)(1 - decay)``.

    Args:
        p: parameter.
        u: direction.
        lr: scheduled learning rate ``gamma(t) * peak``.
        decay: scheduled decay ``gamma(t) * lambda(t)``.
        form: one of ``FORMS``.
    """
    if form == "released":
        return (p - lr * u) * (1 - decay)
    return p - lr * u - decay * p


# --- from the step to the scalars ---------------------------------------------------------------------


def _clock(t: Any, o: Options) -> Any:
    """What the momentum's memory and alpha are read at; the second moment is always at ``t``."""
    return t if o.get("cooldown") is None else schedules.cooled(t, o["cooldown"], o["total_steps"])


def _log_time(t: Any, o: Options) -> dict[str, Any]:
    weight = schedules.average_weight(_clock(t, o), o["delta"])
    return {"weight": weight, "weight_sq": schedules.average_weight(t, o["delta"]), "eps": o["eps"]}


def _alpha(t: Any, o: Options) -> Any:
    return schedules.alpha(
        t,
        kappa=o["kappa"],
        damping_scale=o["damping_scale"],
        damping=o["damping"],
        delta=o["delta"],
        total_steps=o["total_steps"],
    )


def _adana_scalars(t: Any, o: Options) -> Scalars:
    s = _log_time(t, o) | {
        "gradient": 1.0 if o["gradient_term"] else 0.0,
        "momentum": _alpha(_clock(t, o), o),
        "correction_sq": 1.0,
    }
    if o["eps_root"] is not None:
        s["eps_root"] = o["eps_root"]
    if o["beta1"] is not None:
        s["weight"] = 1 - o["beta1"]
        s["momentum"] = s["momentum"] / schedules.bias_correction(t, o["beta1"])
    if o["beta2"] is not None:
        s["weight_sq"] = 1 - o["beta2"]
        s["correction_sq"] = schedules.bias_correction(t, o["beta2"])
    if o["beta3"] is not None:
        s["weight_short"] = 1 - o["beta3"]
        s["correction_short"] = schedules.bias_correction(t, o["beta3"])
    return s


def _log_adamw_scalars(t: Any, o: Options) -> Scalars:
    return _log_time(t, o) | {"gradient": 0.0, "momentum": 1.0, "correction_sq": 1.0}


def _log_nadamw_scalars(t: Any, o: Options) -> Scalars:
    momentum = schedules.alpha(t, damping="nesterov", delta=o["delta"])
    return _log_time(t, o) | {"gradient": 1.0, "momentum": momentum, "correction_sq": 1.0}


def _adamw_scalars(t: Any, o: Options) -> Scalars:
    beta1, beta2 = o["betas"]
    return {
        "weight": 1 - beta1,
        "weight_sq": 1 - beta2,
        "gradient": 1.0 if o["nesterov"] else 0.0,
        "momentum": 1 / schedules.bias_correction(t, beta1),
        "correction_sq": schedules.bias_correction(t, beta2),
        "eps": o["eps"],
    }


def _ademamix_scalars(t: Any, o: Options) -> Scalars:
    horizon = o["total_steps"]
    return {
        "weight": schedules.ademamix_weight(t, horizon, delta=o["delta"], beta3=o["beta3"]),
        "weight_sq": 1 - o["beta2"],
        "weight_short": 1 - o["beta3"],
        "gradient": 1.0,
        "momentum": schedules.ademamix_alpha(t, horizon, kappa=o["kappa"]),
        "correction_sq": schedules.bias_correction(t, o["beta2"]),
        "correction_short": schedules.bias_correction(t, o["beta3"]),
        "eps": o["eps"],
    }


def _amcs_scalars(t: Any, o: Options) -> Scalars:
    share = schedules.amcs_share(t, o["total_steps"])
    return {
        "weight": 1 - o["beta1"],
        "weight_sq": 1 - o["beta2"],
        "weight_short": 1 - o["beta3"],
        "gradient": share,
        "momentum": (1 - share) / schedules.bias_correction(t, o["beta1"]),
        "correction_sq": schedules.bias_correction(t, o["beta2"]),
        "correction_short": schedules.bias_correction(t, o["beta3"]),
        "eps": o["eps"],
    }


def _dana_scalars(t: Any, o: Options) -> Scalars:
    # DANA-constant (Algorithm 8) grows as T^-kappa (1 + t), where ADana's linear damping (Table 9) has t.
    return {
        "weight": schedules.average_weight(t, o["delta"]),
        "momentum": _alpha(t + 1 if o["damping"] == "linear" else t, o),
    }


def _mk4_scalars(t: Any, o: Options) -> Scalars:
    # t^(1-kappa) is infinite at t = 0 when kappa > 1: a tiny clock keeps 0 * inf from making NaN of m = 0.
    clock = _clock(t, o)
    clock = schedules.where(o["kappa"] <= 1, clock, schedules.at_least(clock, 1e-30))
    growth = o["damping_scale"] * clock ** (1 - o["kappa"])
    return _log_time(t, o) | {"momentum": growth, "clip_snr": o["clip_snr"]}


def _star_scalars(t: Any, o: Options) -> Scalars:
    s = _log_time(t, o) | {
        "clock": _clock(t, o),
        "exponent": 1 - o["kappa"],
        "damping_scale": o["damping_scale"],
    }
    if "clip_snr" in o:
        s["clip_snr"] = o["clip_snr"]
    return s


def _released_scalars(t: Any, o: Options) -> Scalars:
    s = _star_scalars(t + 1, o)
    return {**s, "growth": (1 + s["clock"]) ** s["exponent"]}


def _muon_scalars(t: Any, o: Options) -> Scalars:
    if o["log_time"]:
        return _log_muon_scalars(t, {**o, "beta1": None, "gradient_term": True})
    mix = {"gradient": 1.0, "momentum": o["momentum"]} if o["nesterov"] else {"gradient": 0.0, "momentum": 1.0}
    return _orthogonalisation(o) | {"retain": o["momentum"], "weight": 1.0} | mix


def _log_muon_scalars(t: Any, o: Options) -> Scalars:
    clock = _clock(t, o)
    weight, alpha = schedules.average_weight(clock, o["delta"]), _alpha(clock, o)
    if o["beta1"] is not None:
        weight, alpha = 1 - o["beta1"], alpha / schedules.bias_correction(t, o["beta1"])
    gradient = 1.0 if o["gradient_term"] else 0.0
    return _orthogonalisation(o) | {"retain": 1 - weight, "weight": weight, "gradient": gradient, "momentum": alpha}


def _orthogonalisation(o: Options) -> dict[str, Any]:
    return {"eps": o["eps"], "rms": o["rms"], "ns_steps": o["ns_steps"]}


# --- alpha, as metrics and diagnostics show it ---------------------------------------------------------


def _momentum_alpha(s: Scalars, o: Options, time: Any) -> Any:
    return s["momentum"]


def _star_alpha(s: Scalars, o: Options, time: Any) -> Any:
    return s["damping_scale"] * (1 + time) ** s["exponent"]


def _star_mk4_alpha(s: Scalars, o: Options, time: Any) -> Any:
    return s["damping_scale"] * time ** s["exponent"]


def _released_alpha(s: Scalars, o: Options, time: Any) -> Any:
    return s["damping_scale"] * s["growth"]


def _muon_alpha(s: Scalars, o: Options, time: Any) -> Any:
    return s["momentum"] if o["log_time"] else None


# --- the table ----------------------------------------------------------------------------------------


def _two_moments(o: Options) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq")


def _with_short_average(o: Options) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq") + (("exp_avg_short",) if o.get("beta3") is not None else ())


def _with_tau(o: Options) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq", "tau")


RULES: dict[tuple[str, str], Rule] = {
    ("adana", "paper"): Rule(_with_short_average, _adana_scalars, adana, _momentum_alpha),
    ("dana-mk4", "paper"): Rule(_two_moments, _mk4_scalars, dana_mk4, _momentum_alpha),
    ("dana-star", "paper"): Rule(_with_tau, _star_scalars, dana_star, _star_alpha),
    ("dana-star-mk4", "paper"): Rule(_with_tau, _star_scalars, dana_star_mk4, _star_mk4_alpha),
    ("adana", "released"): Rule(_two_moments, _released_scalars, released, _released_alpha),
    ("dana-mk4", "released"): Rule(_two_moments, _released_scalars, released, _released_alpha),
    ("dana-star", "released"): Rule(_with_tau, _released_scalars, released, _star_mk4_alpha),
    ("dana-star-mk4", "released"): Rule(_with_tau, _released_scalars, released, _star_mk4_alpha),
    ("log-adamw", "paper"): Rule(_two_moments, _log_adamw_scalars, adana),
    ("log-nadamw", "paper"): Rule(_two_moments, _log_nadamw_scalars, adana, _momentum_alpha),
    ("adamw", "paper"): Rule(_two_moments, _adamw_scalars, adana),
    ("ademamix", "paper"): Rule(_with_short_average, _ademamix_scalars, adana, _momentum_alpha),
    ("amcs", "paper"): Rule(_with_short_average, _amcs_scalars, adana),
    ("dana", "paper"): Rule(lambda o: ("exp_avg",), _dana_scalars, dana, _momentum_alpha),
    ("muon", "paper"): Rule(lambda o: ("momentum_buffer",), _muon_scalars, muon, _muon_alpha, elementwise=False),
    ("log-muon", "paper"): Rule(
        lambda o: ("momentum_buffer",), _log_muon_scalars, muon, _momentum_alpha, elementwise=False
    ),
}


def decay_clock(step: Any, form: str) -> Any:
    """The step that lambda(t) is read at: t, or t + 1 as the authors' code counts."""
    return step + 1 if form == "released" else step


def rule(name: str, form: str = "paper") -> Rule:
    """The rule of that name and form.

    Raises:
        ValueError: there is no such rule, or it has no such form.

    >>> rule("adana").state({"beta3": None})
    ('exp_avg', 'exp_avg_sq')
    """
    try:
        return RULES[name, form]
    except KeyError:
        names = sorted({known for known, _ in RULES})
        raise ValueError(
            f"no rule {name!r} in form {form!r}: names are {', '.join(names)}; forms are {', '.join(FORMS)} "
            "(released: adana, dana-mk4, dana-star, dana-star-mk4)"
        ) from None
