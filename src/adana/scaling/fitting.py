"""From runs to fits: which runs count (:mod:`adana.scaling.grouping`), and what is fitted to them.

Every function takes finished runs and returns a typed fit of :mod:`adana.scaling.fits`, whose ``to_json`` is what
``adana fit --json`` prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any, Literal

from adana.scaling import damping, learning_rate, loss, multiplier
from adana.scaling.fits import (
    Budget,
    Cost,
    DampingLaws,
    Exponents,
    Form,
    Formula,
    HoldOut,
    LearningRateLaws,
    LossFit,
    LossLaws,
    MultiplierRow,
    Multipliers,
    OptimizerDamping,
    OptimizerLoss,
    OptimizerRate,
    PredictedLoss,
    PredictedRate,
    Sensitivity,
    SizeCurvature,
)
from adana.scaling.grouping import best_loss, by_label, check, common_keywords, ladder_of, one_batch, sweeps_of
from adana.scaling.intervals import Interval, factor_of
from adana.scaling.runs import Run, common_horizon

__all__ = ["damping_law", "learning_rate_law", "loss_law", "multipliers"]


def learning_rate_law(
    runs: Sequence[Run],
    *,
    top: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: Literal["residuals", "sizes"] = "residuals",
    predict: Sequence[float] = (),
    formula: Formula = "6n",
) -> LearningRateLaws:
    """A learning-rate law for each optimizer, with what an error in it costs.

    Args:
        runs: sweeps of the learning rate at several sizes.
        top: learning rates that count at a size.
        bootstrap: samples.
        seed: of the bootstrap.
        resample: see :func:`adana.scaling.learning_rate.fit_learning_rates`.
        predict: non-embedding parameters to predict for; none means ten times the largest.
        formula: compute formula of the cost in compute, where the runs tell their compute.

    Raises:
        ValueError: mixed horizons or batches, or what the fit refuses.

    Source: Sections F.3.1 and F.3.6.
    """
    check(runs)
    horizon, batch_tokens = common_horizon(runs), one_batch(runs)
    laws = []
    for name, own in by_label(runs).items():
        sweeps = sweeps_of(own)
        try:
            fit = learning_rate.fit_learning_rates(sweeps, top=top, bootstrap=bootstrap, seed=seed, resample=resample)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        needed = learning_rate.hold_outs(sweeps, top=top, seed=seed)
        fit = replace(
            fit,
            samples=_short(fit.samples),
            widening=factor_of(needed),
            held_out=len(needed),
            covered=sum(one <= 1 for one in needed),
        )
        predictions = tuple(PredictedRate(size, *fit.predict(size)) for size in predict or [10 * fit.sizes[-1]])
        laws.append(
            OptimizerRate(
                optimizer=own[0].optimizer,
                kappa=own[0].kappa,
                fit=fit,
                options=common_keywords(own),
                predictions=predictions,
                sensitivity=_sensitivity(own, sweeps, predictions[-1], formula),
            )
        )
    return LearningRateLaws(span=horizon, batch_tokens=batch_tokens, models=_models(runs), laws=tuple(laws))


def _sensitivity(
    runs: Sequence[Run], sweeps: Mapping[float, Mapping[float, float]], prediction: PredictedRate, formula: Formula
) -> Sensitivity:
    """What an error in the learning rate costs in loss (57) and, where it can be told, in compute (59)."""
    found = {size: learning_rate.curvature(sweep) for size, sweep in sorted(sweeps.items())}
    curvatures = tuple(SizeCurvature(p, one.curvature, one.best_lr) for p, one in found.items() if one is not None)
    if not curvatures:
        return Sensitivity()
    zetas = [one.curvature for one in curvatures]
    law, compute = None, None
    try:
        ladder = {c: fmean(losses) for c, losses in ladder_of(runs, formula).items()}
        saturation = None if len(ladder) >= 4 else 0.0
        law = loss.fit_losses({"": ladder}, saturation=saturation, bootstrap=1, compare=False).fits[""].law
        compute = max(ladder)
    except ValueError:
        pass  # The runs do not tell their compute, or are too few for a slope: the cost in loss still holds.
    ends = [end for end in (prediction.interval.low, prediction.interval.high) if 0 < end < math.inf]
    errors = {"the interval's far end": max((abs(math.log(end / prediction.lr)) for end in ends), default=0.0)}
    errors["an error of 50 %"] = math.log(1.5)
    costs = []
    for what, log_error in errors.items():
        nats = learning_rate.loss_cost(fmean(zetas), math.expm1(log_error))
        relative = None if law is None or compute is None else learning_rate.compute_cost(nats, law, compute)
        costs.append(Cost(what, math.expm1(log_error), nats, relative))
    return Sensitivity(curvatures, fmean(zetas), stdev(zetas) if len(zetas) > 1 else None, tuple(costs))


def loss_law(
    runs: Sequence[Run],
    *,
    formula: Formula = "6n",
    form: Form = "single",
    exponents: Exponents = "free",
    saturation: float | None = None,
    bootstrap: int = 400,
    seed: int = 0,
    predict: Sequence[float] = (),
    without_outliers: bool = False,
) -> LossLaws:
    """Loss laws of all optimizers, with one saturation.

    Args:
        runs: at each size the best learning rate and setting counts, by its mean over seeds.
        formula: compute formula, ``6n``, ``6p`` or ``m``.
        form: ``single`` or ``broken``.
        exponents: ``free`` or ``shared``.
        saturation: greatest a, 0 for none, None for free.
        bootstrap: samples.
        seed: of starts and bootstrap.
        predict: petaflop-hours to predict for; none means ten times the largest.
        without_outliers: leave out what is flagged.

    Raises:
        ValueError: mixed horizons, or what the fit refuses.

    Source: Sections E.1 to E.5.
    """
    check(runs)
    horizon = common_horizon(runs)
    groups = by_label(runs)
    ladders = {
        name: {compute: fmean(losses) for compute, losses in ladder_of(own, formula).items()}
        for name, own in groups.items()
    }
    flagged = loss.outliers(ladders)
    if without_outliers:
        for one in flagged:
            del ladders[one.label][one.pfh]

    options: dict[str, Any] = {"form": form, "exponents": exponents, "saturation": saturation, "seed": seed}
    fits = loss.fit_losses(ladders, bootstrap=bootstrap, **options)
    held: dict[str, HoldOut] = {}
    no_hold_out = None
    try:
        held = loss.hold_out_largest(ladders, bootstrap=min(bootstrap, 200), **options)
    except ValueError as error:
        no_hold_out = str(error)
    needed = loss.hold_outs(ladders, **options)
    widening = factor_of(needed)
    for name, fit in fits.fits.items():
        fits.fits[name] = replace(fit, widening=widening)
    at = list(predict) or [10 * max(compute for ladder in ladders.values() for compute in ladder)]
    return LossLaws(
        compute=formula,
        form=form,
        exponents=exponents,
        saturation=fits.saturation,
        span=horizon,
        batch_tokens=_batch(runs),
        models=_models(runs),
        noise=fits.noise,
        starts=fits.starts,
        laws=tuple(
            OptimizerLoss(
                optimizer=groups[name][0].optimizer,
                kappa=groups[name][0].kappa,
                fit=_shortened(fit),
                predictions=tuple(PredictedLoss(compute, *fit.predict(compute)) for compute in at),
                hold_out=held.get(name),
            )
            for name, fit in fits.fits.items()
        ),
        form_test=fits.form_test,
        trend=fits.trend,
        no_hold_out=no_hold_out,
        held_out=len(needed),
        covered=sum(one <= 1 for one in needed),
        outliers=tuple(replace(one, left_out=without_outliers) for one in flagged),
    )


def multipliers(
    runs: Sequence[Run],
    *,
    baseline: str = "adamw",
    formula: Formula = "6n",
    seed_noise: float | None = None,
    seed: int = 0,
) -> Multipliers:
    """Compute multipliers over a baseline's ladder.

    Args:
        runs: at each size the best learning rate and setting counts, by its mean over seeds.
        baseline: the optimizer to compare with, by name, or by name and kappa as shown.
        formula: compute formula.
        seed_noise: standard deviation of one run's loss; None takes it from runs with several seeds.
        seed: of the interval's draws.

    Raises:
        ValueError: no such baseline, nothing beside it, mixed horizons, a baseline of one size.

    Source: Section C.2.1.
    """
    check(runs)
    horizon = common_horizon(runs) if any(run.tokens is not None for run in runs) else None
    groups = by_label(runs)
    named = [name for name, own in groups.items() if baseline in (name, own[0].optimizer)]
    if len(named) != 1:
        what = "several kappas" if named else "no runs"
        raise ValueError(f"{what} of the baseline {baseline!r}: choose one of {', '.join(groups)} with --baseline")
    (baseline,) = named
    ladders = {name: ladder_of(own, formula) for name, own in groups.items()}
    if len(ladders[baseline]) < 2:
        raise ValueError(f"the baseline {baseline} has {len(ladders[baseline])} finished size: a line needs two")
    if not any(ladder for name, ladder in ladders.items() if name != baseline):
        raise ValueError(f"no other optimizer than the baseline {baseline} has finished: there is nothing to compare")
    flagged = loss.outliers({name: {c: fmean(x) for c, x in own.items()} for name, own in ladders.items()})
    outlying = {(one.label, one.pfh) for one in flagged}
    spread = multiplier.pooled_spread([x for ladder in ladders.values() for x in ladder.values()])
    return Multipliers(
        compute=formula,
        baseline=baseline,
        horizon=None if horizon is None else str(horizon),
        models=_models(runs),
        seed_noise=seed_noise if seed_noise is not None else None if spread is None else spread[0],
        ladder=tuple(
            Budget(compute, fmean(losses), (baseline, compute) in outlying)
            for compute, losses in sorted(ladders[baseline].items())
        ),
        rows=tuple(
            MultiplierRow(
                label=row.optimizer,
                pfh=row.compute,
                loss=row.loss,
                multiplier=None if row.found is None else row.found.multiplier,
                extrapolated=None if row.found is None else row.found.extrapolated,
                interval=_known(row.low, row.high),
                outlier=(row.optimizer, row.compute) in outlying,
            )
            for row in multiplier.budget_multipliers(ladders, baseline, seed_noise=seed_noise, seed=seed)
        ),
    )


def damping_law(runs: Sequence[Run], *, bootstrap: int = 1000, seed: int = 0) -> DampingLaws:
    """The damping law of each optimizer from sweeps of a linear damping.

    Args:
        runs: at each damping the best learning rate and setting counts, by its mean over seeds.
        bootstrap: samples.
        seed: of the bootstrap.

    Raises:
        ValueError: a run that does not say its damping, steps or batch, or what the fit refuses.

    Source: Figures 5, 23 and 33.
    """
    laws = []
    groups: dict[str, list[Run]] = {}
    check(runs)
    for run in runs:
        # Kappa is what is fitted here: a run's own is only the way its constant was written down.
        groups.setdefault(run.optimizer, []).append(run)
    for name, own in groups.items():
        sweeps: dict[tuple[float, float, float], dict[float, list[Run]]] = {}
        for run in own:
            for column in ("linear_damping", "steps", "batch_tokens"):
                if getattr(run, column) is None:
                    folder = ", or a run folder of damping='linear'" if column == "linear_damping" else ""
                    raise ValueError(f"{run.where}: a damping law needs the column {column}{folder}")
            assert run.linear_damping is not None
            assert run.steps is not None
            assert run.batch_tokens is not None
            key = (run.size, run.steps, run.batch_tokens)
            sweeps.setdefault(key, {}).setdefault(run.linear_damping, []).append(run)
        try:
            fit = damping.fit_damping(
                {key: {c: best_loss(group) for c, group in sweep.items()} for key, sweep in sweeps.items()},
                bootstrap=bootstrap,
                seed=seed,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        laws.append(OptimizerDamping(name, fit))
    return DampingLaws(models=_models(runs), laws=tuple(laws))


def _known(low: float | None, high: float | None) -> Interval | None:
    return None if low is None or high is None or math.isinf(low) else Interval(low, high)


def _models(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(sorted({run.model for run in runs if run.model}))


def _batch(runs: Sequence[Run]) -> float | None:
    batches = {run.batch_tokens for run in runs}
    return batches.pop() if len(batches) == 1 else None


def _shortened(fit: LossFit) -> LossFit:
    others = tuple(replace(other, samples=_short(other.samples)) for other in fit.others)
    return replace(fit, samples=_short(fit.samples), others=others)


def _short(samples: Iterable[Sequence[float]]) -> Any:
    """Bootstrap samples to seven digits: enough for any interval, and half the file."""
    return tuple(tuple(float(f"{value:.7g}") for value in sample) for sample in samples)
