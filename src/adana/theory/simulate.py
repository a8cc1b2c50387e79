"""One-pass simulation of many optimizer configurations on one shared stream of data.

Every step draws fresh samples, the same for every configuration, and each configuration takes one step
of its rule in :mod:`adana.rules`. With ``runs`` there are that many independent streams, each with its own
copy of every configuration: their mean is what the exact recursions predict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adana import catalog, rules, schedules
from adana.catalog import Optimizer
from adana.theory.checks import Floats, at_least, finite, integer, positive
from adana.theory.effort import Effort
from adana.theory.engines import Engine, InPlace, OnTorch, Samples, family, flushing_denormals

__all__ = ["SIMULATED", "Configuration", "Problem", "Simulation", "log_spaced", "simulate", "simulation_effort"]

_OWN = {"sgd": "dana", "sgd-m": "dana"}  # the bench's own names: a rule with fixed numbers


def _optimizers() -> tuple[str, ...]:
    """The bench's own names, and every elementwise rule under the first name it has; decay is the bench's to set."""
    different: dict[Any, str] = {}
    for name, entry in catalog.OPTIMIZERS.items():
        if entry.elementwise:
            different.setdefault(entry.kind, name)
    return (*_OWN, *different.values())


SIMULATED = _optimizers()
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Configuration:
    """One optimizer with its numbers; each rule reads those it knows.

    ``"sgd"`` and ``"sgd-m"`` are the ``dana`` rule with fixed numbers: ``u = g`` and
    ``u = g + momentum m'`` with ``m' = beta m + (1 - beta) g``.

    Attributes:
        optimizer: one of ``SIMULATED``.
        lr: constant learning rate, > 0.
        kappa: spectral dimension, >= 0 (above 1 is allowed).
        delta: log-time constant, > 0.
        damping_scale: the paper's alpha-tilde, >= 0.
        damping: ``"power"``, ``"linear"`` or ``"nesterov"``.
        gradient_term: False drops the gradient from ADana's direction.
        betas: AdamW's coefficients.
        beta: SGD-M's coefficient.
        momentum: SGD-M's coefficient of m', as a multiple of ``lr``.
        beta2: constant second-moment coefficient (ADana's ablation; AdEMAMix reads 0.999 for None).
        beta3: short average (ADana's ablation; AdEMAMix reads 0.9 for None).
        clip_snr: clip of the MK4 rules, > 0.
        eps: added to the root of the second moment.
        weight_decay: omega of log-time decay, offset T/10.
        form: ``"paper"`` or ``"released"``.
        label: what tables call it; default made from the numbers that differ from the defaults.

    >>> Configuration("adana", 1e-3, kappa=0.6).name
    'adana kappa=0.6'
    """

    optimizer: str
    lr: float
    kappa: float = 0.85
    delta: float = 8.0
    damping_scale: float = 1.0
    damping: str = "power"
    gradient_term: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    beta: float = 0.9
    momentum: float = 1.0
    beta2: float | None = None
    beta3: float | None = None
    clip_snr: float = 2.0
    eps: float = 1e-8
    weight_decay: float = 0.0
    form: str = "paper"
    label: str = ""

    def __post_init__(self) -> None:
        known = _optimizers()
        if self.optimizer not in known:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose from {', '.join(known)}")
        for name in ("lr", "delta", "clip_snr"):
            positive(name, getattr(self, name))
        for name in ("kappa", "damping_scale", "eps", "weight_decay"):
            at_least(name, getattr(self, name), 0)
        finite("momentum", self.momentum)
        for name, beta in (
            ("betas[0]", self.betas[0]),
            ("betas[1]", self.betas[1]),
            ("beta", self.beta),
            ("beta2", self.beta2),
            ("beta3", self.beta3),
        ):
            if beta is not None and not 0 <= beta < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {beta!r}")
        if self.damping not in schedules.DAMPINGS:
            raise ValueError(f"unknown damping {self.damping!r}: choose one of {', '.join(schedules.DAMPINGS)}")
        _ = self.rule  # refuses a form that the rule does not have

    @property
    def name(self) -> str:
        """The label, or the optimizer with the numbers that differ from the defaults."""
        if self.label:
            return self.label
        own = [
            f"{field.name}={value if isinstance(value, str) else format(value, 'g')}"
            for field in fields(self)
            if field.name not in ("optimizer", "lr", "label", "betas")
            and (value := getattr(self, field.name)) != field.default
        ]
        return " ".join([self.optimizer, *own])

    @property
    def rule(self) -> rules.Rule:
        """The package's rule of that name and form."""
        return rules.rule(self._entry.rule, self.form)

    @property
    def _entry(self) -> Optimizer:
        return catalog.find(_OWN.get(self.optimizer, self.optimizer))

    @property
    def _horizon_above(self) -> str:
        """The option that the horizon must be above, if there is one."""
        limits = self._entry.options["total_steps"].range
        return "" if limits is None else limits.above_option

    def options(self, total_steps: int) -> dict[str, Any]:
        """The rule's options."""
        known = self._entry.defaults()
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in mine.items() if name in self._entry.options and value is not None}
        return {**known, **given, "total_steps": total_steps}

    def scalars(self, step: Any, total_steps: int) -> dict[str, Any]:
        """The scalars of a step, with ``lr`` and ``decay`` for :func:`adana.rules.descend`."""
        decay: Any = 0.0
        if self.weight_decay:
            clock = rules.decay_clock(step, self.form)
            decay = schedules.lambda_(clock, weight_decay=self.weight_decay, total_steps=total_steps)
        more = {"lr": self.lr, "decay": decay}
        if self.optimizer == "sgd":
            return {"weight": 1.0, "momentum": 0.0, **more}
        if self.optimizer == "sgd-m":
            return {"weight": 1 - self.beta, "momentum": self.momentum, **more}
        return {**self.rule.scalars(step, self.options(total_steps)), **more}


class Problem(Protocol):
    """What can be simulated: :class:`adana.theory.plrf.Plrf`, :class:`adana.theory.mixture.MoePlrf`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one configuration's parameters, features last."""

    def stream(self, seed: int, runs: int, batch: int, dtype: Any) -> Callable[[int], Samples]:
        """A source of samples: called with a number of steps it gives the next ones."""

    def risk(self, theta: ArrayLike) -> Floats:
        """Population risk (half the mean-square error) of each of a stack of parameters."""

    def risk_bound(self, norms_squared: Floats) -> Floats:
        """An upper bound of the risk that takes only the squared norms over the last axis."""

    def safe_norm_squared(self, bound: float) -> float:
        """A squared norm of all parameters together up to which no risk exceeds ``bound``; it may be negative."""


@dataclass(frozen=True)
class Simulation:
    """What a simulation gives.

    Attributes:
        configurations: in the order of the first axis below.
        steps: updates done at each record; the first is 0, the last the horizon.
        risk: population risk R, (configurations, runs, records). Infinite or NaN once parameters overflowed.
        diverged_at: (configurations, runs): after how many updates R first exceeded 1e6 times its start or
            was not finite; -1 where it never did.
        observed: what ``observe`` gave at each record, (records, runs, configurations, ...), or None.
        parameters: final parameters, (configurations, runs, ...).
    """

    configurations: tuple[Configuration, ...]
    steps: NDArray[np.int64]
    risk: Floats
    diverged_at: NDArray[np.int64]
    observed: Floats | None
    parameters: Floats

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Whether each configuration and run diverged."""
        return self.diverged_at >= 0

    @property
    def mean_risk(self) -> Floats:
        """Mean over runs, (configurations, records)."""
        return np.asarray(self.risk.mean(axis=1))

    @property
    def standard_error(self) -> Floats:
        """Standard error of the mean over runs, (configurations, records); zero for one run."""
        runs = self.risk.shape[1]
        if runs == 1:
            return np.zeros_like(self.risk[:, 0])
        return np.asarray(self.risk.std(axis=1, ddof=1) / np.sqrt(runs))


def log_spaced(total_steps: int, count: int = 60) -> NDArray[np.int64]:
    """0, then about ``count`` whole numbers evenly spaced in the logarithm, up to ``total_steps``.

    >>> log_spaced(1000, 4).tolist()
    [0, 1, 10, 100, 1000]
    """
    if integer("total_steps", total_steps, 0) == 0:
        return np.zeros(1, dtype=np.int64)
    grid = np.geomspace(1, total_steps, integer("count", count, 2))
    return np.unique(np.concatenate([[0, total_steps], np.rint(grid)])).astype(np.int64)


def simulation_effort(
    shape: tuple[int, ...],
    configurations: int,
    total_steps: int,
    *,
    batch: int = 1,
    runs: int = 1,
    device: str | None = None,
) -> Effort:
    """Of :func:`simulate` with parameters of that shape, features last."""
    streams, features = float(runs) * batch, float(shape[-1])
    numbers = float(runs) * configurations * float(np.prod(np.array(shape, dtype=np.float64)))
    stepped = Effort.of(held=8 * numbers, calls=50.0 * total_steps, numbers=numbers / 8, device=device)
    drawn = Effort.of(
        held=streams * features, calls=2.0 * total_steps, numbers=streams * features * (5 + features / 10)
    )
    return stepped + drawn


def simulate(
    problem: Problem,
    configurations: Sequence[Configuration],
    *,
    total_steps: int,
    batch: int = 1,
    seed: int = 0,
    runs: int = 1,
    start: ArrayLike | None = None,
    record: ArrayLike | None = None,
    observe: Callable[[Floats], Floats] | None = None,
    dtype: str = "float32",
    device: str | None = None,
) -> Simulation:
    """Run every configuration over the same stream of samples, from the same start.

    ``theta' = descend(theta, direction(g, ...))`` with ``g = (1/B) sum_k x_k (<x_k, theta> - y_k)``.
    Learning rates are constant. The same seed gives the same bits on the same machine; NumPy's global
    generator is not touched. Divergence raises nothing: it is reported in ``diverged_at``.

    Args:
        problem: a :class:`adana.theory.plrf.Plrf` or :class:`adana.theory.mixture.MoePlrf`.
        configurations: what to run; configurations of one rule are computed together.
        total_steps: T, the number of updates and the horizon of the schedules.
        batch: samples per step, B.
        seed: of the samples; with the same number as the problem's seed it is still another stream.
        runs: independent streams.
        start: first parameters, of the problem's shape; default zero.
        record: numbers of updates after which to record, increasing, in [0, T]; default 60 log-spaced ones.
        observe: called with the float64 parameters (runs, configurations, ...) at each record.
        dtype: ``"float32"`` or ``"float64"``, of parameters, states and samples.
        device: None to compute with NumPy, in place; or a torch device, such as ``"cuda"``. Samples are drawn
            by NumPy either way, so that every device sees the same ones.

    Raises:
        ValueError: no configurations, or a number or shape out of range.

    >>> from adana.theory.plrf import Plrf
    >>> problem = Plrf(1.0, 0.5, v=40, d=10, seed=0)
    >>> done = simulate(problem, [Configuration("sgd", 0.3), Configuration("adana", 0.01)], total_steps=200)
    >>> bool((done.mean_risk[:, -1] < done.mean_risk[:, 0]).all()), bool(done.diverged.any())
    (True, False)
    """
    if not configurations:
        raise ValueError("configurations is empty: pass at least one Configuration")
    total_steps, batch = integer("total_steps", total_steps, 0), integer("batch", batch)
    runs = integer("runs", runs)
    cost = simulation_effort(problem.shape, len(configurations), total_steps, batch=batch, runs=runs, device=device)
    cost.check(
        f"{len(configurations):,} configurations, {runs:,} runs of {total_steps:,} steps of {batch:,} samples",
        "lower one of them",
    )
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    for one in configurations:
        above = one._horizon_above
        if above and total_steps and getattr(one, above) >= total_steps:
            raise ValueError(
                f"{one.optimizer} needs total_steps above {above}, got {total_steps} and {getattr(one, above):g}"
            )
    first = np.zeros(problem.shape) if start is None else np.asarray(start, dtype=np.float64)
    if first.shape != problem.shape or not np.isfinite(first).all():
        raise ValueError(f"start must be finite, of shape {problem.shape}, got shape {first.shape}")
    if record is None:
        wanted = log_spaced(total_steps)
    else:
        wanted = np.asarray(record)
        inside = wanted.ndim == 1 and wanted.size > 0 and wanted.dtype.kind in "iu"
        if not inside or (np.diff(wanted) <= 0).any() or wanted[0] < 0 or wanted[-1] > total_steps:
            raise ValueError(f"record must be increasing integers in [0, {total_steps}], got {record!r}")

    order = sorted(range(len(configurations)), key=lambda i: family(configurations[i]))
    ordered = [configurations[i] for i in order]
    stack = np.broadcast_to(first, (runs, len(ordered), *problem.shape)).astype(dtype, order="C")
    engine: Engine = (InPlace if device is None else OnTorch)(ordered, stack, total_steps, device)
    draw = problem.stream(seed, runs, batch, np.dtype(dtype))
    chunk = max(1, min(1024, _CHUNK_BYTES // (runs * batch * problem.shape[-1] * stack.itemsize)))

    initial = float(problem.risk(first[None])[0])
    bound = 1e6 * initial
    safe = problem.safe_norm_squared(bound)
    diverged_at = np.full((runs, len(ordered)), -1, dtype=np.int64)
    risks, observed, kept = [], [], []
    marks = set(wanted.tolist())

    def look(t: int) -> None:
        theta = engine.parameters()
        risk = problem.risk(theta)
        risks.append(risk)
        kept.append(t)
        if observe is not None:
            observed.append(observe(theta))

    def watch(t: int) -> None:
        # One norm is cheap. Only where it is large do single norms tell whose risk must be computed.
        if engine.norm_squared() <= safe:
            return
        suspects = ~(problem.risk_bound(engine.norms_squared()) <= bound) & (diverged_at < 0)
        if suspects.any():
            risk = problem.risk(engine.parameters()[suspects])
            diverged_at[suspects] = np.where(risk <= bound, -1, t)

    # An overflow is a divergence, which is reported as data.
    with flushing_denormals(), np.errstate(all="ignore"):
        if 0 in marks:
            look(0)
        done = 0
        while done < total_steps:
            count = min(chunk, total_steps - done)
            engine.prepare(np.arange(done, done + count, dtype=np.float64), draw(count))
            for i in range(count):
                engine.step(i)
                done += 1
                watch(done)
                if done in marks:
                    look(done)
    back = np.argsort(order)
    return Simulation(
        configurations=tuple(configurations),
        steps=np.asarray(kept, dtype=np.int64),
        risk=np.stack(risks).transpose(2, 1, 0)[back],
        diverged_at=diverged_at.T[back],
        observed=np.stack(observed)[:, :, back] if observe is not None else None,
        parameters=engine.parameters().swapaxes(0, 1)[back],
    )
