"""Sweeps of kappa and of the learning rate on PLRF and its mixture: the bench's Figures 8 (left, centre) and 9.

Every rule is searched over the same learning rates, and over equally many values of one option of its own: kappa
where it has one, its pair of betas for AdamW, delta for the log-time forms of AdamW. All configurations of a rule
run on one stream of samples. :func:`search` widens the grid of learning rates, for all rules alike, until no rule
has its best rate at an end of it. :mod:`adana.theory.ranking` then compares the rules over several seeds.

The small settings are the defaults; :func:`paper_scale` has the published sizes, at one learning rate, for a GPU.
What the small settings show stands in ``docs/theory.md``, with the measurement.

Source: Figures 8 and 9, Section B.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adana.theory.checks import Floats, increasing, integer, positive
from adana.theory.effort import Effort
from adana.theory.mixture import MoePlrf
from adana.theory.plrf import Plrf, plrf_effort
from adana.theory.simulate import Configuration, log_spaced, simulate, simulation_effort

__all__ = ["SWEEPS", "KappaSweep", "SearchedRule", "SweepSetting", "paper_scale", "run_sweep", "search"]

_BLOCK = 300_000  # parameters that are stepped together: more no longer fit the processor's cache
_FACTOR = 2.0  # between neighbouring learning rates that a search adds

Value = float | tuple[float, float]
"""A value of a rule's own option: kappa, delta, or a pair of betas."""


@dataclass(frozen=True)
class SweepSetting:
    """What is swept on which problem.

    Attributes:
        rho: data exponent.
        eta: target exponent.
        v: hidden dimension.
        d: model size.
        experts: m; 1 for no mixture.
        zeta: Zipf exponent of the routing.
        batch: samples per step, B.
        total_steps: T.
        lrs: learning rates of every rule, increasing; where ``scale_lr``, times min(1, B/tr H).
        extend: how many rates :func:`search` may add at either end.
        kappas: of the rules that have a kappa, increasing.
        betas: of AdamW.
        deltas: of LogAdamW and LogNAdamW.
        optimizers: rules with a kappa; ``"dana-mk4"`` once per clip.
        plain: rules without a kappa.
        clips: clip_snr of DanaMK4.
        clip: clip_snr of DanaStarMK4.
        delta: log-time constant of the rules with a kappa.
        scale_lr: whether to scale the learning rates by the trace.
    """

    rho: float
    eta: float
    v: int
    d: int
    experts: int = 1
    zeta: float = 1.0
    batch: int = 1
    total_steps: int = 20_000
    lrs: tuple[float, ...] = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
    extend: int = 16
    kappas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
    betas: tuple[tuple[float, float], ...] = tuple(
        (beta1, beta2) for beta1 in (0.9, 0.95, 0.99) for beta2 in (0.95, 0.99, 0.999, 0.9999)
    )
    deltas: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0)
    optimizers: tuple[str, ...] = ("adana", "dana-mk4", "ademamix", "dana-star-mk4")
    plain: tuple[str, ...] = ("adamw", "log-adamw", "log-nadamw")
    clips: tuple[float, ...] = (4.0, 1.0, 0.25)
    clip: float = 2.0
    delta: float = 8.0
    scale_lr: bool = False

    def __post_init__(self) -> None:
        increasing("kappas", self.kappas)
        for lr in increasing("lrs", self.lrs):
            positive("lrs", float(lr))
        integer("extend", self.extend, 0)

    def rules(self) -> dict[str, SearchedRule]:
        """What is searched, by label; the rules without a kappa come first."""
        found = {}
        for name in self.plain:
            option, values = ("betas", self.betas) if name == "adamw" else ("delta", self.deltas)
            found[name] = SearchedRule(name, option, values, Configuration(name, 1.0, delta=self.delta))
        for name in self.optimizers:
            for clip in self.clips if name == "dana-mk4" else (self.clip,):
                label = f"{name} clip {clip:g}" if name == "dana-mk4" else name
                one = Configuration(name, 1.0, delta=self.delta, clip_snr=clip)
                found[label] = SearchedRule(label, "kappa", self.kappas, one)
        return found


@dataclass(frozen=True)
class SearchedRule:
    """One rule and the option that is searched beside its learning rate.

    Attributes:
        label: what tables call it.
        option: name of the option.
        values: of the option.
        base: every other number.
    """

    label: str
    option: str
    values: Sequence[Value]
    base: Configuration

    def at(self, value: Value, lr: float) -> Configuration:
        """The configuration at one value of the option and one learning rate."""
        changes: dict[str, Any] = {"lr": lr, self.option: value, "label": f"{self.label} {self.option}={value}"}
        return replace(self.base, **changes)


_STAR = ("adana", "ademamix", "dana-mk4", "dana-star", "dana-star-mk4")
_SPARSE = SweepSetting(
    rho=1.0,
    eta=-0.3,
    v=100,
    d=25,
    experts=200,
    batch=2,
    total_steps=6000,
    kappas=(0.1, 1 / 3, 0.5, 2 / 3, 0.85, 1.0, 1.25, 1.5),
    betas=tuple((beta1, beta2) for beta1 in (0.9, 0.99) for beta2 in (0.95, 0.99, 0.999, 0.9999)),
    deltas=(2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
    optimizers=_STAR,
    clips=(2.0,),
)
SWEEPS: dict[str, SweepSetting] = {
    "figure-8-left": SweepSetting(rho=1.0, eta=-0.3, v=800, d=200),
    "figure-8-centre": _SPARSE,
    "figure-9": replace(_SPARSE, rho=1.5, eta=0.0, experts=100, total_steps=8000),
}


def paper_scale(name: str) -> SweepSetting:
    """A setting at the size of the published figure, at the one learning rate 1e-3 and AdamW's one pair of betas.

    Figure 8 (left): v = 10,000, d = 5000, T = 10^6, delta = 6, AdamW (.99, .999), the clip 1000 standing for none.
    Figure 8 (centre): m = 1000, B = 10, T = 10^6. Figure 9: v = 1000, m = 100. The model sizes of the mixtures are
    not published; here d = v/4, as in the small settings.
    """
    if name not in SWEEPS:
        raise ValueError(f"unknown sweep {name!r}: choose from {', '.join(SWEEPS)}")
    large = replace(
        SWEEPS[name],
        total_steps=1_000_000,
        lrs=(1e-3,),
        extend=0,
        scale_lr=True,
        plain=("adamw",),
        betas=((0.9, 0.999),),
    )
    if name == "figure-8-left":
        clips, betas = (1000.0, 4.0, 1.0, 0.25), ((0.99, 0.999),)
        return replace(large, v=10_000, d=5000, clips=clips, delta=6.0, betas=betas)
    large = replace(large, v=1000, d=250)
    return replace(large, experts=1000, batch=10) if name == "figure-8-centre" else large


@dataclass(frozen=True)
class KappaSweep:
    """A finished sweep of one problem and stream.

    Attributes:
        setting: what was run; its ``lrs`` are those that were.
        seed: of problem and stream.
        start: risk at the start.
        least: risk of the best parameters.
        predicted: 1/(2 rho).
        lrs: the learning rates as used, scaled where the setting says so, (rates,).
        risk: final population risk by label, (values, rates); infinite or NaN where the parameters overflowed.
        diverged_at: step of divergence by label, (values, rates); -1 for never.
        steps: of the curves, (records,).
        curves: risk by label, (values, rates, records).
    """

    setting: SweepSetting
    seed: int
    start: float
    least: float
    predicted: float
    lrs: Floats
    risk: dict[str, Floats]
    diverged_at: dict[str, NDArray[np.int64]]
    steps: NDArray[np.int64]
    curves: dict[str, Floats]

    def rule(self, label: str) -> SearchedRule:
        """The rule of that label."""
        rules = self.setting.rules()
        if label not in rules:
            raise ValueError(f"no {label!r} in this sweep: it has {', '.join(rules)}")
        return rules[label]

    def finite_risk(self, label: str) -> Floats:
        """Final risk, (values, rates), with infinity in place of NaN."""
        self.rule(label)
        return np.nan_to_num(self.risk[label], nan=np.inf, posinf=np.inf)

    def risk_at(self, label: str, value: Value | None = None, lr: float | None = None) -> float:
        """Least final risk of a rule, over all values and rates or at the nearest value and rate given."""
        rule, table = self.rule(label), self.finite_risk(label)
        if value is not None:
            table = table[[nearest(rule.values, value)]]
        if lr is not None:
            table = table[:, [int(np.abs(np.log(self.lrs / lr)).argmin())]]
        return float(table.min())

    def best(self, label: str, lr: float | None = None) -> tuple[Value, float]:
        """Value of the option and learning rate of least final risk, over all rates or at the nearest one given."""
        rule, table = self.rule(label), self.finite_risk(label)
        if lr is not None:
            keep = int(np.abs(np.log(self.lrs / lr)).argmin())
            table = np.where(np.arange(len(self.lrs)) == keep, table, np.inf)
        i, k = np.unravel_index(int(table.argmin()), table.shape)
        return rule.values[int(i)], float(self.lrs[k])

    def document(self) -> dict[str, Any]:
        """As data for JSON, without the curves; risks to four digits."""
        return {
            "seed": self.seed,
            "start": self.start,
            "least": self.least,
            "lrs": self.lrs,
            "risk": {label: [[float(f"{x:.4g}") for x in row] for row in table] for label, table in self.risk.items()},
        }


def nearest(values: Sequence[Value], value: Value) -> int:
    """Index of the value nearest to one that is given."""
    distance = [float(np.abs(np.subtract(one, value)).sum()) for one in values]
    return int(np.argmin(distance))


def make_problem(setting: SweepSetting, seed: int) -> Plrf | MoePlrf:
    """The problem of a setting."""
    base = Plrf(setting.rho, setting.eta, setting.v, setting.d, seed)
    return base if setting.experts == 1 else MoePlrf(base, setting.experts, setting.zeta)


def _base(problem: Plrf | MoePlrf) -> Plrf:
    return problem.base if isinstance(problem, MoePlrf) else problem


def learning_rates(setting: SweepSetting, problem: Plrf | MoePlrf) -> Floats:
    """The setting's learning rates as used on one problem, scaled where the setting says so."""
    scale = min(1.0, setting.batch / float(_base(problem).eigenvalues.sum())) if setting.scale_lr else 1.0
    return np.asarray(setting.lrs, dtype=np.float64) * scale


def sweep_effort(setting: SweepSetting, configurations: int, device: str | None = None) -> Effort:
    """Of so many configurations on one seed."""
    shape = (setting.d,) if setting.experts == 1 else (setting.experts, setting.d)
    steps = simulation_effort(shape, configurations, setting.total_steps, batch=setting.batch, device=device)
    return plrf_effort(setting.v, setting.d) + steps


def final_risk(
    problem: Plrf | MoePlrf,
    setting: SweepSetting,
    configurations: Sequence[Configuration],
    seed: int,
    *,
    records: int = 2,
    device: str | None = None,
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Recorded steps, risk (configurations, records) and step of divergence of configurations on one stream.

    On the CPU they run in blocks that fit its cache, each over the same samples.
    """
    size = int(np.prod(problem.shape))
    block = len(configurations) if device is not None else max(32, _BLOCK // size)
    record = log_spaced(setting.total_steps, records)
    done = [
        simulate(
            problem,
            configurations[i : i + block],
            total_steps=setting.total_steps,
            batch=setting.batch,
            seed=seed,
            record=record,
            device=device,
        )
        for i in range(0, len(configurations), block)
    ]
    risk = np.concatenate([one.risk[:, 0] for one in done])
    return done[0].steps, risk, np.concatenate([one.diverged_at[:, 0] for one in done])


def run_sweep(setting: SweepSetting, *, seed: int = 0, records: int = 80, device: str | None = None) -> KappaSweep:
    """Run a setting at its learning rates.

    Args:
        setting: of ``SWEEPS``, :func:`paper_scale` or your own.
        seed: of W and of the stream.
        records: about how many log-spaced steps the curves have.
        device: as in :func:`adana.theory.simulate.simulate`.
    """
    problem = make_problem(setting, seed)
    lrs = learning_rates(setting, problem)
    rules = setting.rules()
    runs = [rule.at(value, float(lr)) for rule in rules.values() for value in rule.values for lr in lrs]
    steps, curves, diverged_at = final_risk(problem, setting, runs, seed, records=records, device=device)
    by_label: dict[str, Floats] = {}
    at_label: dict[str, NDArray[np.int64]] = {}
    first = 0
    for label, rule in rules.items():
        shape, part = (len(rule.values), len(lrs)), slice(first, first + len(rule.values) * len(lrs))
        by_label[label] = curves[part].reshape(*shape, -1)
        at_label[label] = diverged_at[part].reshape(shape)
        first = part.stop
    return KappaSweep(
        setting,
        seed,
        float(curves[0, 0]),
        _base(problem).p_infinity / 2,
        1 / (2 * setting.rho),
        lrs,
        {label: curve[..., -1] for label, curve in by_label.items()},
        at_label,
        steps,
        by_label,
    )


def search(
    setting: SweepSetting,
    *,
    seeds: Sequence[int] = (0,),
    more_seeds: int = 0,
    records: int = 2,
    device: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[KappaSweep, ...]:
    """Run a setting on several seeds and widen its grid of learning rates until the best lie inside.

    Wherever a rule, at some value of its option and on some seed, has its best rate at an end of the grid, the grid
    grows there by a factor of 2, for all rules, values and seeds alike, at most ``setting.extend`` times at either
    end.

    Args:
        setting: of ``SWEEPS``, :func:`paper_scale` or your own.
        seeds: at least one.
        more_seeds: how many further seeds the caller will run each rule on once, which the estimate of the time counts.
        records: about how many log-spaced steps the curves have.
        device: as in :func:`adana.theory.simulate.simulate`.
        progress: called with a line when a seed's sweep is done.
    """
    if not seeds:
        raise ValueError("seeds is empty: pass at least one")
    rules = setting.rules()
    configurations = sum(len(rule.values) for rule in rules.values()) * len(setting.lrs)
    cost = (
        sweep_effort(setting, configurations, device) * len(seeds)
        + sweep_effort(setting, len(rules), device) * more_seeds
    )
    cost.check(
        f"a sweep of {configurations:,} configurations on {len(seeds):,} seeds, {len(rules)} on {more_seeds:,} more,",
        "lower the seeds or the steps, pass fewer learning rates" + ("" if device else ", or use a GPU (device)"),
    )

    def run(lrs: Sequence[float]) -> list[KappaSweep]:
        found = []
        for seed in seeds:
            found.append(run_sweep(replace(setting, lrs=tuple(lrs)), seed=seed, records=records, device=device))
            progress(f"seed {seed}: learning rates {', '.join(f'{lr:.3g}' for lr in lrs)}")
        return found

    sweeps = run(setting.lrs)
    left, right = setting.extend, setting.extend
    while True:
        low, high = _ends(sweeps)
        low, high = low and left > 0, high and right > 0
        if not (low or high):
            return tuple(sweeps)
        left, right = left - low, right - high
        lrs = sweeps[0].setting.lrs
        more = ([lrs[0] / _FACTOR] if low else []) + ([lrs[-1] * _FACTOR] if high else [])
        sweeps = [_merge(old, new) for old, new in zip(sweeps, run(more))]


def _ends(sweeps: Sequence[KappaSweep]) -> tuple[bool, bool]:
    """Whether some best rate is the lowest of the grid, and whether some is the highest."""
    best = np.concatenate([sweep.finite_risk(label).argmin(axis=1) for sweep in sweeps for label in sweep.risk])
    return bool((best == 0).any()), bool((best == len(sweeps[0].lrs) - 1).any())


def _merge(old: KappaSweep, new: KappaSweep) -> KappaSweep:
    """Both sweeps' learning rates in one."""
    order = np.argsort(np.concatenate([old.lrs, new.lrs]), kind="stable")
    lrs = np.concatenate([old.setting.lrs, new.setting.lrs])[order]

    def both(name: str) -> dict[str, Any]:
        ours, theirs = getattr(old, name), getattr(new, name)
        return {label: np.concatenate([ours[label], theirs[label]], axis=1)[:, order] for label in ours}

    return replace(
        old,
        setting=replace(old.setting, lrs=tuple(lrs.tolist())),
        lrs=np.concatenate([old.lrs, new.lrs])[order],
        risk=both("risk"),
        diverged_at=both("diverged_at"),
        curves=both("curves"),
    )
