"""What the hyper-parameters of a rule may be, checked the same way for torch and for Optax.

Values that are only known later (a traced JAX array) are the caller's to leave out: ``known`` turns a value
into a Python number, or ``None`` where it cannot be read yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Any

from adana import catalog, schedules
from adana.catalog import Option, Range

__all__ = ["Meant", "check", "check_decay", "number", "one_of"]

Known = Callable[[Any], "float | None"]


class Meant(float):
    """A weight decay that was computed from AdamW's or from the run, so that no warning takes it for a habit."""


def number(
    name: str, value: Any, known: Known, *, above: float | None = None, least: float | None = None
) -> float | None:
    """``value`` as a Python number, refused where it is none or lies outside its range."""
    x = known(value)
    if x is None:
        return None
    if not math.isfinite(x) or (above is not None and x <= above) or (least is not None and x < least):
        bound = f" above {above:g}" if above is not None else f" of at least {least:g}" if least is not None else ""
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
    return x


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse a name that is not among ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """Any pair of numbers: a tuple, a list, or what a configuration library has in a list's place."""
    try:
        first, second = value
    except (TypeError, ValueError):
        first = second = None
    if first is None or second is None or isinstance(value, (str, bytes, Mapping, Set)):
        raise ValueError(f"{name} must be a pair of numbers, got {value!r}")
    return first, second


def _in_range(name: str, value: Any, wanted: Range, known: Known) -> None:
    """Refuse one value that is not in its range."""
    if wanted.choices:
        one_of(name, value, wanted.choices)
    elif wanted.pair:
        for index, single in enumerate(_pair(name, value)):
            _in_range(f"{name}[{index}]", single, replace(wanted, pair=False), known)
    else:
        x = known(value)
        if x is not None and not (wanted.holds(x) and (not wanted.whole or isinstance(value, int))):
            raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _check_above(name: str, value: Any, wanted: Range, options: Mapping[str, Any], known: Known) -> None:
    """Refuse a value that is missing or not above another option's."""
    bound = options[wanted.above_option]
    too_small = value is None
    if not too_small and known(value) is not None and known(bound) is not None:
        too_small = not value > bound
    if too_small:
        raise ValueError(f"{wanted.reason}: {name} must be above {wanted.above_option}={bound!r}, got {value!r}")


def check(rule_name: str, options: Mapping[str, Any], known: Known) -> None:
    """Refuse hyper-parameters that the rule cannot be computed with.

    Args:
        rule_name: a name of :data:`adana.rules.RULES`.
        options: the hyper-parameters by name, the rule's and others.
        known: a value as a Python number, ``None`` where it is known only later.

    Raises:
        ValueError: a value is out of its range, or two options exclude one another.
    """
    own = catalog.of_rule(rule_name).options
    above = []
    for name, value in options.items():
        one = own.get(name) or catalog.option(name)
        if one is None or one.range is None:
            continue
        if value is None and one.default is None:
            continue
        if value is not None or not one.range.above_option:
            _in_range(name, value, one.range, known)
        if one.range.above_option:
            above.append((name, value, one.range))
    for name, value, wanted in above:  # after every option's own range: only numbers can be compared
        _check_above(name, value, wanted, options, known)
    if options.get("cooldown") is not None and options["total_steps"] is None:
        raise ValueError("cooldown is the last part of a run of total_steps: pass total_steps")
    if "damping" in options:
        _check_damping(options, known)
    if "form" in options:
        _check_form(own, options)


def _check_damping(options: Mapping[str, Any], known: Known) -> None:
    if options["damping"] == "linear" and options["total_steps"] is None:
        raise ValueError("damping='linear' scales by total_steps**-kappa: pass total_steps")
    if options["damping"] == "nesterov" and known(options["damping_scale"]) not in (1.0, None):
        raise ValueError(
            "damping='nesterov' is (delta + t)/delta and has no scale: "
            f"leave damping_scale at 1, got {options['damping_scale']!r}"
        )
    if not options.get("gradient_term", True) and options.get("beta3") is not None:
        raise ValueError("beta3 averages the gradient term, which gradient_term=False removes: choose one")


def _check_form(own: Mapping[str, Option], options: Mapping[str, Any]) -> None:
    if options["form"] == "released":
        plain = {
            name: own[name].default
            for name in ("beta1", "beta2", "beta3", "gradient_term", "damping", "cooldown", "eps_root")
            if name in own
        }
        changed = {name: options[name] for name in plain if options.get(name, plain[name]) != plain[name]}
        if changed:
            raise ValueError(
                "form='released' is the authors' code as it is and has none of these options: "
                + ", ".join(f"{name}={value!r}" for name, value in changed.items())
            )


def check_decay(decay: schedules.Decay, known: Known, warn: Callable[[str, str], None], *, peak: Any) -> None:
    """Refuse a decay without the horizon it needs, and warn of AdamW's habits.

    Args:
        decay: the four numbers of weight decay.
        known: as in :func:`check`.
        warn: called with a kind (``"coupled"``, ``"sign"``) and a message.
        peak: the peak learning rate, ``None`` where it is not known: to convert the habit's value.

    Raises:
        ValueError: unknown decay, or neither ``total_steps`` nor an offset where one is needed.
    """
    one_of("decay", decay.decay, schedules.DECAYS)
    omega = known(decay.weight_decay)
    if omega == 0:
        return
    first = known(decay.at(0.0))
    if omega is not None and omega < 0.5 and not isinstance(decay.weight_decay, Meant):
        horizon = decay.total_steps
        product = known(peak * horizon) if horizon is not None and peak is not None else None
        example = f" = {omega * product:g} here if {omega:g} is AdamW's value" if product else ""
        warn(
            "coupled",
            f"weight_decay={omega:g} looks like AdamW's coupled value. Here it is omega, independent of the learning "
            f"rate (the paper uses 4): omega = coupled * lr * total_steps{example}. "
            "adana.omega_from_adamw(weight_decay, lr, total_steps) converts it, and is not warned about.",
        )
    if first is not None and first >= 1:
        warn(
            "sign",
            f"weight decay starts at {first:g} per step (weight_decay / offset): at 1 or more, weights change sign. "
            "Pass a longer total_steps or a larger weight_decay_offset.",
        )
