"""What every optimizer is: one entry by its name on the command line, from which everything else derives.

Training, sweeps, the race, plans, the theory bench, Optax, the checks of options and the printed kernels read this
table. A new elementwise rule takes its function in :mod:`adana.rules`, an entry here, a torch class, an Optax
function, and the kernels printed again; nothing else names it.

Nothing but the standard library and the rules is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adana import foreign, rules, schedules

__all__ = [
    "BASELINE",
    "DEFAULT",
    "FULL",
    "OMEGA",
    "OPTIMIZERS",
    "PAPER_OMEGA",
    "REQUIRED",
    "Option",
    "Optimizer",
    "Range",
    "baselines",
    "decay_form",
    "default_kappa",
    "file_name",
    "find",
    "grids",
    "of_optax",
    "of_rule",
    "option",
    "shared_options",
    "trainable",
]


OMEGA = 0.5
"""Omega where a caller says nothing. On text it was within 0.07 nats of the best omega in runs of 56 to 3,000 steps,
where 0 and 1 were up to 0.09 and 0.15 behind (docs/decisions/0005-omega.md)."""

PAPER_OMEGA = 4.0
"""The paper's omega, at 20 tokens per parameter and from 14,000 steps: what a recipe or a plan means that has none."""

START = -9
"""Where a search of a learning rate starts where nothing else is known, as a power of two."""


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()
"""The default of an option that must be given."""


@dataclass(frozen=True)
class Range:
    """What a value may be.

    Attributes:
        above: it is a number above this.
        least: it is a number of at least this.
        below: it is a number below this.
        whole: it is a whole number.
        pair: it is a pair of such numbers.
        choices: it is one of these names; no number then.
        above_option: it is above the value of this other option.
        reason: why, in the words of the refusal; for ``above_option``.
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    whole: bool = False
    pair: bool = False
    choices: tuple[str, ...] = ()
    above_option: str = ""
    reason: str = ""

    def holds(self, x: float) -> bool:
        """Whether a number lies in the range."""
        above = self.above is None or x > self.above
        least = self.least is None or x >= self.least
        return math.isfinite(x) and above and least and (self.below is None or x < self.below)

    def __str__(self) -> str:
        """In words, after "must be".

        >>> str(Range(least=0, below=1)), str(Range(above=0))
        ('a number in [0, 1)', 'a finite number above 0')
        """
        kind = "a whole number" if self.whole else "a finite number"
        if self.below is not None:
            low = f"({self.above:g}" if self.above is not None else f"[{self.least or 0:g}"
            return f"a number in {low}, {self.below:g})"
        if self.above is not None:
            return f"{kind} above {self.above:g}"
        return kind if self.least is None else f"{kind} of at least {self.least:g}"


@dataclass(frozen=True)
class Option:
    """A keyword of an optimizer.

    Attributes:
        default: its default, ``REQUIRED`` for none. ``None`` is a value where it is the default.
        range: what else it may be; None for a switch.
    """

    default: Any
    range: Range | None = None


@dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes:
        name: on the command line.
        rule: name in :data:`adana.rules.RULES`, that of hidden matrices; empty for somebody else's.
        options: what its torch class and its Optax function take, by name.
        fixed: options that the name decides.
        torch: its class as ``package.module:Class``; empty for somebody else's.
        optax: its function in :mod:`adana.optax`, empty for none.
        fallback: the optimizer of all that are not hidden matrices, where it is another; its name.
        apart: options of its own that the fallback has for itself, where it has one of that name.
        grids: options that a sweep may have a grid of. ``beta2`` is a baseline's (Muon's AdamW's): the second moment
            of the log-time rules follows their clock.
        start: where a search of its learning rate starts where nothing is known, as a power of two; at the race's
            setting (2 heads, 1,500 steps), near the minimum.
        own: options of its own that the race's search tries, from the middle one.
        lane: its place in the race: ``baseline``, ``default``, ``full`` or none.
        warmup: steps of a planned run over its steps of warm-up.
        components: its factors on the learning rates of attention, feed-forward and embeddings; None for none.
        foreign: whether it is somebody else's (:mod:`adana.foreign`). The unit of its weight decay is then its own.
        more_options: whether it takes options that are not named here.
        goes_on_from: optimizers whose running state it can take over.
    """

    name: str
    rule: str
    options: Mapping[str, Option]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    torch: str = ""
    optax: str = ""
    fallback: str = ""
    apart: tuple[str, ...] = ()
    grids: tuple[str, ...] = ("weight_decay",)
    start: int = START
    own: tuple[Mapping[str, Any], ...] = ({},)
    lane: str = ""
    warmup: int = 50
    components: tuple[float, float, float] | None = None
    foreign: bool = False
    more_options: bool = False
    goes_on_from: tuple[str, ...] = ()

    @property
    def torch_module(self) -> str:
        """Where its torch class is."""
        return self.torch.partition(":")[0]

    @property
    def torch_class(self) -> str:
        """The name of its torch class."""
        return self.torch.partition(":")[2]

    @property
    def elementwise(self) -> bool:
        """Whether every element of a parameter moves on its own; False for somebody else's."""
        return bool(self.rule) and rules.rule(self.rule).elementwise

    @property
    def decay(self) -> str | None:
        """``log``, ``constant``, or None for an optimizer without weight decay, or with one of its own unit."""
        if self.foreign or "decay" not in self.options:
            return None
        return str(self.fixed.get("decay", self.options["decay"].default))

    @property
    def kappa(self) -> float | None:
        """Kappa where nothing else is said, None for an optimizer without one (Figure 4)."""
        return float(self.options["kappa"].default) if "kappa" in self.grids and not self.foreign else None

    @property
    def damped(self) -> bool:
        """Whether its momentum is scaled by alpha-tilde."""
        return "damping_scale" in self.grids and not self.foreign

    @property
    def kind(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Its rule, with the options that the name decides: equal for two that differ in the form of decay alone."""
        return self.rule, tuple(sorted(self.fixed_but_for_decay().items()))

    def fixed_but_for_decay(self) -> dict[str, Any]:
        """Options that the name decides, but for ``decay``."""
        return {name: value for name, value in self.fixed.items() if name != "decay"}

    def defaults(self) -> dict[str, Any]:
        """Every option that has a default, as the name decides it."""
        known = {name: one.default for name, one in self.options.items() if one.default is not REQUIRED}
        return known | dict(self.fixed)

    def in_recipes(self) -> dict[str, Any]:
        """Every option that has a default, as a recipe means it that does not have the option.

        >>> OPTIMIZERS["adana"].defaults()["weight_decay"], OPTIMIZERS["adana"].in_recipes()["weight_decay"]
        (0.5, 4.0)
        """
        known = self.defaults()
        return known | ({"weight_decay": PAPER_OMEGA} if self.decay is not None else {})

    def stored(self, options: Mapping[str, Any] | None = None) -> tuple[int, int]:
        """Tensors that it stores of a hidden matrix and of any other parameter.

        >>> OPTIMIZERS["muon"].stored(), OPTIMIZERS["adana"].stored({"beta3": 0.9})
        ((1, 2), (3, 3))
        """
        if self.foreign:
            return foreign.stored(self.name, dict(options or {}))
        chosen = self.defaults() | dict(options or {})
        hidden = len(rules.rule(self.rule, chosen.get("form", "paper")).state(chosen))
        return hidden, OPTIMIZERS[self.fallback].stored()[1] if self.fallback else hidden


_ABOVE_ZERO = Range(above=0.0)
_LEAST_ZERO = Range(least=0.0)
_FRACTION = Range(least=0.0, below=1.0)

_HORIZON = {"total_steps": Option(None, _ABOVE_ZERO)}
_DELTA = {"delta": Option(8.0, _ABOVE_ZERO)}
_LOG_TIME = {"kappa": Option(0.85, _LEAST_ZERO), **_DELTA}
_SCALE = {"damping_scale": Option(1.0, _ABOVE_ZERO)}
_DAMPING = {**_SCALE, "damping": Option("power", Range(choices=schedules.DAMPINGS))}
_DECAY = {
    "weight_decay": Option(OMEGA, _LEAST_ZERO),
    "weight_decay_offset": Option(None, _ABOVE_ZERO),
    "decay": Option("log", Range(choices=schedules.DECAYS)),
}
_EPS = {"eps": Option(1e-8, _LEAST_ZERO)}
_FORM = {"form": Option("paper", Range(choices=rules.FORMS))}
_CLIP = {"clip_snr": Option(2.0, _ABOVE_ZERO)}
_COOLDOWN = {"cooldown": Option(None, Range(above=0.0, below=1.0))}
_FAMILY = {**_HORIZON, **_LOG_TIME, **_SCALE, **_COOLDOWN, **_DECAY, **_EPS, **_FORM}

_ADAMW = {
    **_HORIZON,
    "betas": Option((0.9, 0.999), replace(_FRACTION, pair=True)),
    "nesterov": Option(False),
    **_DECAY,
    **_EPS,
}
_ADEMAMIX = {
    "total_steps": Option(
        REQUIRED, Range(above=0.0, above_option="delta", reason="AdEMAMix warms up to 1 - delta/total_steps")
    ),
    "beta2": Option(0.999, _FRACTION),
    "beta3": Option(0.9, Range(above=0.0, below=1.0)),
    **_LOG_TIME,
    **_DECAY,
    **_EPS,
}
_AMCS = {
    "total_steps": Option(REQUIRED, _ABOVE_ZERO),
    "beta1": Option(0.95, _FRACTION),
    "beta2": Option(0.999, _FRACTION),
    "beta3": Option(0.9, _FRACTION),
    **_DECAY,
    **_EPS,
}
_ORTHOGONAL = {"ns_steps": Option(5, Range(least=1, whole=True)), "rms": Option(0.2, _ABOVE_ZERO)}
_MUON = {
    **_HORIZON,
    "momentum": Option(0.95, _FRACTION),
    **_ORTHOGONAL,
    "nesterov": Option(True),
    "log_time": Option(False),
    **_LOG_TIME,
    **_DAMPING,
    **_DECAY,
    **_EPS,
}
_MIXTURE = {**_LOG_TIME, **_DAMPING, "gradient_term": Option(True)}
_BETA1 = {"beta1": Option(None, _FRACTION)}
_LOG_MUON = {**_HORIZON, **_MIXTURE, **_BETA1, **_COOLDOWN, **_ORTHOGONAL, **_DECAY, **_EPS}
_ADANA = {
    **_FAMILY,
    **_MIXTURE,
    **_BETA1,
    "beta2": Option(None, _FRACTION),
    "beta3": Option(None, _FRACTION),
    "eps_root": Option(None, _ABOVE_ZERO),
}

_TRY_BETA2 = tuple({"betas": (0.9, beta2)} for beta2 in (0.95, 0.99, 0.999))
_TRY_KAPPA = tuple({"kappa": kappa} for kappa in (0.7, 0.85, 1.0))
# Below 1 - ln(19)/ln(T) alpha grows past 19, the constant alpha of Muon with momentum 0.95: to either side of it.
_TRY_LOWER_KAPPA = tuple({"kappa": kappa} for kappa in (0.55, 0.7, 0.85))
_TRY_MOMENTUM = tuple({"momentum": momentum} for momentum in (0.9, 0.95, 0.98))

_CONSTANT = {"decay": "constant"}
_DAMPED = ("weight_decay", "kappa", "damping_scale")


def _entries() -> tuple[Optimizer, ...]:
    # A plain name of a baseline is its usual form, with constant decay; "-dw" decays weights in log time.
    adamw = Optimizer(
        "adamw",
        "adamw",
        _ADAMW,
        _CONSTANT,
        torch="adana.optim:AdamW",
        optax="adamw",
        grids=("weight_decay", "beta2"),
        start=-8,
        own=_TRY_BETA2,
        lane="full",
    )
    nesterov = {"nesterov": True}
    nadamw = replace(adamw, name="nadamw", fixed=nesterov | _CONSTANT, optax="nadamw")
    ademamix = Optimizer(
        "ademamix",
        "ademamix",
        _ADEMAMIX,
        _CONSTANT,
        torch="adana.optim:AdEMAMix",
        optax="ademamix",
        grids=("weight_decay", "kappa", "beta2"),
        own=_TRY_KAPPA,
    )
    muon = Optimizer(
        "muon",
        "muon",
        _MUON,
        _CONSTANT,
        torch="adana.optim:Muon",
        optax="muon",
        fallback="adamw",
        apart=("nesterov",),
        grids=("weight_decay", "beta2"),
        start=-6,
        own=_TRY_MOMENTUM,
    )
    amcs = Optimizer(
        "amcs",
        "amcs",
        _AMCS,
        _CONSTANT,
        torch="adana.optim:AMCS",
        optax="amcs",
        grids=("weight_decay", "beta2"),
        start=adamw.start,
        own=tuple({"beta2": beta2} for beta2 in (0.95, 0.99, 0.999)),
        warmup=10,
        components=(1.2, 1.0, 0.8),
    )
    mk4 = {**_FAMILY, **_CLIP}
    return (
        adamw,
        replace(adamw, name="adamw-dw", fixed={}, lane="baseline"),
        nadamw,
        replace(nadamw, name="nadamw-dw", fixed=nesterov, lane=""),
        ademamix,
        replace(ademamix, name="ademamix-dw", fixed={}, lane="full"),
        muon,
        replace(muon, name="muon-dw", fixed={}, lane="full"),
        Optimizer(
            "log-muon",
            "log-muon",
            _LOG_MUON,
            torch="adana.optim:LogMuon",
            optax="log_muon",
            fallback="adamw",
            apart=(*_MIXTURE, "beta1"),
            grids=(*_DAMPED, "beta2"),
            start=muon.start,
            own=_TRY_LOWER_KAPPA,
        ),
        Optimizer(
            "log-adamw",
            "log-adamw",
            {**_HORIZON, **_DELTA, **_DECAY, **_EPS},
            torch="adana.optim:LogAdamW",
            optax="log_adamw",
        ),
        Optimizer(
            "log-nadamw",
            "log-nadamw",
            {**_HORIZON, **_DELTA, **_DECAY, **_EPS},
            torch="adana.optim:LogNAdamW",
            optax="log_nadamw",
        ),
        Optimizer(
            "adana",
            "adana",
            _ADANA,
            torch="adana.optim:ADana",
            optax="adana",
            grids=_DAMPED,
            own=_TRY_KAPPA,
            lane="default",
            goes_on_from=("adamw", "adamw-dw"),
        ),
        Optimizer(
            "dana-mk4",
            "dana-mk4",
            mk4,
            torch="adana.optim:DanaMK4",
            optax="dana_mk4",
            grids=(*_DAMPED, "clip_snr"),
            own=_TRY_KAPPA,
            lane="default",
        ),
        Optimizer(
            "dana-star",
            "dana-star",
            _FAMILY,
            torch="adana.optim:DanaStar",
            optax="dana_star",
            grids=_DAMPED,
            own=_TRY_KAPPA,
            lane="full",
        ),
        Optimizer(
            "dana-star-mk4",
            "dana-star-mk4",
            mk4,
            torch="adana.optim:DanaStarMK4",
            optax="dana_star_mk4",
            grids=(*_DAMPED, "clip_snr"),
            own=_TRY_KAPPA,
            lane="full",
        ),
        Optimizer(
            "dana",
            "dana",
            {**_HORIZON, **_LOG_TIME, **_DAMPING},
            torch="adana.optim:Dana",
            optax="dana",
            grids=("kappa", "damping_scale"),
        ),
        amcs,
        replace(amcs, name="amcs-dw", fixed={}),
    )


OPTIMIZERS: dict[str, Optimizer] = {entry.name: entry for entry in _entries()}
"""Every optimizer by its name on the command line."""

(BASELINE,) = (name for name, entry in OPTIMIZERS.items() if entry.lane == "baseline")
"""What the others are measured against in a race."""

DEFAULT = (BASELINE, *(name for name, entry in OPTIMIZERS.items() if entry.lane == "default"))
"""Who races where nobody else is named."""

FULL = (*DEFAULT, *(name for name, entry in OPTIMIZERS.items() if entry.lane == "full"))
"""Who races in the full race."""


def find(name: str) -> Optimizer:
    """An optimizer by its name, or somebody else's as ``package.module:Class``, which is then imported.

    Raises:
        ValueError: there is none of that name; the message has those there are.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    if foreign.is_foreign(name):
        return foreign.entry_of(name)
    raise ValueError(
        f"unknown optimizer {name!r}: choose from {', '.join((*OPTIMIZERS, *foreign.offered()))}; or name a torch "
        "optimizer as package.module:Class"
    )


def baselines() -> tuple[str, ...]:
    """The race's baseline and its like: what differs from it in the form of its decay alone.

    >>> baselines()
    ('adamw', 'adamw-dw')
    """
    wanted = OPTIMIZERS[BASELINE].kind
    return tuple(name for name, entry in OPTIMIZERS.items() if entry.kind == wanted)


def file_name(name: str) -> str:
    """A name as a part of a file's name: somebody else's has a colon, which not every file system takes.

    >>> file_name("torch.optim:NAdam")
    'torch.optim.NAdam'
    """
    return name.replace(":", ".")


def trainable() -> tuple[str, ...]:
    """Names of the optimizers that can be trained."""
    return tuple(name for name, entry in OPTIMIZERS.items() if entry.torch)


def default_kappa(name: str) -> float | None:
    """Kappa of an optimizer where nothing else is said; None for one without, or one that is not known here.

    >>> default_kappa("adana"), default_kappa("adamw"), default_kappa("somebody's")
    (0.85, None, None)
    """
    return OPTIMIZERS[name].kappa if name in OPTIMIZERS else None


def of_rule(rule: str) -> Optimizer:
    """The first optimizer of a rule: what options the rule has.

    Raises:
        ValueError: no optimizer has the rule.
    """
    for entry in OPTIMIZERS.values():
        if entry.rule == rule:
            return entry
    raise ValueError(f"no optimizer in adana.catalog has the rule {rule!r}")


def of_optax(function: str) -> Optimizer:
    """The first optimizer that a function of :mod:`adana.optax` makes; its ``decay`` is the function's own.

    Raises:
        ValueError: no optimizer has the function.
    """
    for entry in OPTIMIZERS.values():
        if entry.optax == function:
            return entry
    raise ValueError(f"no optimizer in adana.catalog has the Optax function {function!r}")


def option(name: str) -> Option | None:
    """An option by its name alone, as the first optimizer that has it has it."""
    return next((entry.options[name] for entry in OPTIMIZERS.values() if name in entry.options), None)


def grids() -> dict[str, tuple[str, ...]]:
    """Options that a sweep may have a grid of, each with the optimizers that can be trained and take it.

    >>> grids()["clip_snr"]
    ('dana-mk4', 'dana-star-mk4')
    """
    names = dict.fromkeys(name for entry in OPTIMIZERS.values() for name in entry.grids)
    takers = {name: tuple(taker for taker in trainable() if name in OPTIMIZERS[taker].grids) for name in names}
    return {name: those for name, those in takers.items() if those}


def decay_form(name: str, options: Mapping[str, Any]) -> str | None:
    """How an optimizer decays weights with these options: ``log``, ``constant``, or None for not at all.

    >>> decay_form("adamw", {}), decay_form("adamw-dw", {}), decay_form("adana", {"decay": "constant"})
    ('constant', 'log', 'constant')
    """
    form = find(name).decay
    return None if form is None else str(options.get("decay", form))


def power_of_two(lr: float) -> int:
    """The exponent of the power of two that is nearest to a learning rate, by ratio."""
    return round(math.log2(lr))


def shared_options(one: Mapping[str, Option], other: Mapping[str, Option]) -> set[str]:
    """Options that mean the same in both: of one name, and no two different defaults.

    >>> shared = shared_options(OPTIMIZERS["muon"].options, OPTIMIZERS["adamw"].options)
    >>> "weight_decay" in shared, "nesterov" in shared
    (True, False)
    """
    both = set(one) & set(other)
    return {name for name in both if REQUIRED in (one[name].default, other[name].default) or _alike(one, other, name)}


def _alike(one: Mapping[str, Option], other: Mapping[str, Option], name: str) -> bool:
    return bool(one[name].default == other[name].default)
