"""Kappa sweeps on PLRF and its mixture: the bench's Figures 8 (left, centre) and 9, and its log-time ablation.

Every setting runs all its configurations on one stream of samples at a constant learning rate. The small settings
are the defaults; ``paper_scale`` has the published sizes, for a GPU.

What the small settings show: ADana diverges at small kappa and is best near ``1/(2 rho)``, at .6 or .7 for the .5
predicted at T = 20,000; the MK4 rules with a small clip are flat below that; under sparse gradients ADana, AdEMAMix and
DanaMK4 diverge at ``1/(2 rho)`` and the Star rules do not. What they do not show: that a Star rule is the best of all
(ADana at kappa = 1 and a tuned AdamW reach lower risks), and that DanaMK4 is stable throughout under sparse gradients,
as Section 4 says; the caption of Figure 8 says that it diverges, which is what is seen here.

Source: Figures 8 and 9, Section B.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adana.theory.checks import Floats
from adana.theory.mixture import MoePlrf
from adana.theory.plrf import Plrf
from adana.theory.simulate import Configuration, Simulation, log_spaced, simulate

__all__ = ["SWEEPS", "KappaSweep", "SweepRow", "SweepSetting", "paper_scale", "run_sweep"]


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
        batch: B.
        total_steps: T.
        lr: learning rate of every rule; where ``scale_lr``, times min(1, B/tr H).
        kappas: swept.
        optimizers: rules with a kappa; ``"dana-mk4"`` once for each clip.
        clips: clip_snr of DanaMK4.
        clip: clip_snr of DanaStarMK4.
        adam: learning rates of AdamW, as multiples of ``lr``.
        betas: of AdamW.
        delta: log-time constant.
        scale_lr: whether to scale the learning rate by the trace.
    """

    rho: float
    eta: float
    v: int
    d: int
    experts: int = 1
    zeta: float = 1.0
    batch: int = 1
    total_steps: int = 20_000
    lr: float = 1e-3
    kappas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    optimizers: tuple[str, ...] = ("adana", "dana-mk4", "ademamix", "dana-star-mk4")
    clips: tuple[float, ...] = (4.0, 1.0, 0.25)
    clip: float = 2.0
    adam: tuple[float, ...] = (0.25, 1.0, 4.0, 16.0)
    betas: tuple[float, float] = (0.9, 0.999)
    delta: float = 8.0
    scale_lr: bool = False

    def configurations(self, lr: float) -> tuple[Configuration, ...]:
        """Everything the sweep runs, AdamW first."""
        runs = [
            Configuration("adamw", lr * factor, betas=self.betas, label=f"adamw lr x {factor:g}")
            for factor in self.adam
        ]
        for name in self.optimizers:
            for clip in self.clips if name == "dana-mk4" else (self.clip,):
                label = f"{name} clip {clip:g}" if name == "dana-mk4" else name
                runs += [
                    Configuration(name, lr, kappa=kappa, clip_snr=clip, delta=self.delta, label=label)
                    for kappa in self.kappas
                ]
        return tuple(runs)


_STAR = ("adana", "ademamix", "dana-mk4", "dana-star", "dana-star-mk4")
SWEEPS: dict[str, SweepSetting] = {
    "figure-8-left": SweepSetting(rho=1.0, eta=-0.3, v=800, d=200),
    "figure-8-centre": SweepSetting(
        rho=1.0,
        eta=-0.3,
        v=100,
        d=25,
        experts=200,
        batch=2,
        total_steps=6000,
        lr=4e-3,
        kappas=(0.1, 1 / 3, 0.5, 2 / 3, 0.85, 1.0),
        optimizers=_STAR,
        clips=(2.0,),
        adam=(0.25, 1.0, 4.0),
    ),
    "figure-9": SweepSetting(
        rho=1.5,
        eta=0.0,
        v=100,
        d=25,
        experts=100,
        batch=2,
        total_steps=8000,
        lr=4e-3,
        kappas=(0.1, 1 / 3, 0.5, 2 / 3, 0.85, 1.0),
        optimizers=_STAR,
        clips=(2.0,),
        adam=(0.25, 1.0, 4.0),
    ),
}


def paper_scale(name: str) -> SweepSetting:
    """A setting at the size of the published figure.

    Figure 8 (left): v = 10,000, d = 5000, T = 10^6, delta = 6, AdamW (.99, .999), the clip 1000 standing for none.
    Figure 8 (centre): m = 1000, B = 10, T = 10^6. Figure 9: v = 1000, m = 100. The model sizes of the mixtures are
    not published; here d = v/4, as in the small settings.
    """
    if name not in SWEEPS:
        raise ValueError(f"unknown sweep {name!r}: choose from {', '.join(SWEEPS)}")
    small = SWEEPS[name]
    if name == "figure-8-left":
        large = replace(small, v=10_000, d=5000, clips=(1000.0, 4.0, 1.0, 0.25), delta=6.0, betas=(0.99, 0.999))
        return replace(large, total_steps=1_000_000, lr=1e-3, scale_lr=True)
    large = replace(small, v=1000, d=250, total_steps=1_000_000, lr=1e-3, scale_lr=True)
    return replace(large, experts=1000, batch=10) if name == "figure-8-centre" else large


@dataclass(frozen=True)
class SweepRow:
    """One configuration's end.

    Attributes:
        label: the rule, with its clip.
        kappa: None for AdamW.
        lr: learning rate.
        risk: final population risk.
        diverged_at: step, or None.
    """

    label: str
    kappa: float | None
    lr: float
    risk: float
    diverged_at: int | None


@dataclass(frozen=True)
class KappaSweep:
    """A finished sweep.

    Attributes:
        setting: what was run.
        seed: of problem and stream.
        start: risk at the start.
        least: risk of the best parameters.
        predicted: 1/(2 rho).
        rows: one a configuration.
        steps: of the curves, (records,).
        curves: risk, (configurations, records).
    """

    setting: SweepSetting
    seed: int
    start: float
    least: float
    predicted: float
    rows: tuple[SweepRow, ...]
    steps: NDArray[np.int64]
    curves: Floats

    def risk(self, label: str, kappa: float | None = None) -> float:
        """Final risk of one configuration, by the nearest kappa (AdamW has none)."""
        found = [row for row in self.rows if row.label == label]
        if not found:
            raise ValueError(
                f"no {label!r} in this sweep: it has {', '.join(dict.fromkeys(r.label for r in self.rows))}"
            )
        if kappa is None:
            return found[0].risk
        return min(found, key=lambda row: abs((row.kappa if row.kappa is not None else np.inf) - kappa)).risk

    def best_kappa(self, label: str) -> float:
        """The swept kappa of least final risk."""
        found = [row for row in self.rows if row.label == label and row.kappa is not None]
        if not found:
            raise ValueError(f"no {label!r} with a kappa in this sweep")
        best = min(found, key=lambda row: row.risk if np.isfinite(row.risk) else np.inf)
        return float(best.kappa or 0.0)


def run_sweep(
    setting: SweepSetting,
    *,
    seed: int = 0,
    extra: Sequence[Configuration] = (),
    device: str | None = None,
) -> KappaSweep:
    """Run a setting.

    Args:
        setting: of ``SWEEPS``, :func:`paper_scale` or your own.
        seed: of W and of the stream.
        extra: further configurations on the same stream.
        device: as in :func:`adana.theory.simulate.simulate`.
    """
    base = Plrf(setting.rho, setting.eta, setting.v, setting.d, seed)
    problem: Plrf | MoePlrf = base if setting.experts == 1 else MoePlrf(base, setting.experts, setting.zeta)
    scale = min(1.0, setting.batch / float(base.eigenvalues.sum())) if setting.scale_lr else 1.0
    runs = (*setting.configurations(setting.lr * scale), *extra)
    done: Simulation = simulate(
        problem,
        runs,
        total_steps=setting.total_steps,
        batch=setting.batch,
        seed=seed,
        record=log_spaced(setting.total_steps, 80),
        device=device,
    )
    rows = []
    for one, risk, at in zip(runs, done.risk[:, 0, -1], done.diverged_at[:, 0]):
        kappa = None if one.optimizer in ("adamw", "nadamw", "log-adamw", "log-nadamw") else one.kappa
        rows.append(SweepRow(one.name, kappa, one.lr, float(risk), int(at) if at >= 0 else None))
    return KappaSweep(
        setting,
        seed,
        float(done.risk[0, 0, 0]),
        base.p_infinity / 2,
        1 / (2 * setting.rho),
        tuple(rows),
        done.steps,
        done.risk[:, 0],
    )
