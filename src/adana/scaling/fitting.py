"""From runs to fits: which runs count, what is fitted to them, and the result as plain data.

Every function takes finished runs and returns what ``adana fit --json`` prints: numbers, strings, lists and
dictionaries, so that a fit can be stored, shown, and read again by :func:`adana.scaling.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any, Literal

from adana.scaling import damping, learning_rate, loss, multiplier
from adana.scaling.intervals import Interval
from adana.scaling.published import learning_rate_laws, literature_exponents
from adana.scaling.runs import SAME_HORIZON, Run, common_horizon

__all__ = [
    "b_in_words",
    "by_label",
    "damping_law",
    "ladder_of",
    "learning_rate_law",
    "loss_law",
    "multipliers",
    "select",
    "sweeps_of",
]

Kappas = dict[str, tuple[str, float | None]]


def select(
    runs: Sequence[Run], *, optimizers: Iterable[str] = (), tokens_per_parameter: float | None = None
) -> list[Run]:
    """Runs of some optimizers (by name, or by name and kappa as shown) and of one horizon.

    Raises:
        ValueError: an optimizer that has no run, or a horizon that none has.
    """
    wanted = list(optimizers)
    known = {run.optimizer for run in runs} | {run.label for run in runs}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no runs of {name!r}: choose from {', '.join(sorted(known))}")
    kept = [run for run in runs if not wanted or run.optimizer in wanted or run.label in wanted]
    if tokens_per_parameter is None:
        return kept
    if not tokens_per_parameter > 0:
        raise ValueError(f"tokens_per_parameter must be above 0, got {tokens_per_parameter}")
    ratios = [(run, run.tokens / run.total_parameters) for run in kept if run.tokens and run.total_parameters]
    found = [run for run, ratio in ratios if abs(ratio / tokens_per_parameter - 1) <= SAME_HORIZON]
    if not found:
        seen = ", ".join(sorted({f"{ratio:.3g}" for _, ratio in ratios})) or "no horizon at all"
        raise ValueError(f"no runs of {tokens_per_parameter:g} tokens a parameter; the runs have {seen}")
    return found


def _by_setting(runs: Sequence[Run]) -> dict[tuple[float | None, str], list[Run]]:
    """Seeds of one learning rate and setting together."""
    groups: dict[tuple[float | None, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.lr, run.setting), []).append(run)
    return groups


def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by optimizer, each kappa an optimizer of its own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def sweeps_of(runs: Sequence[Run]) -> dict[float, dict[float, float]]:
    """Final loss by learning rate by size: the mean over seeds, of the best setting."""
    sweeps: dict[float, dict[float, float]] = {}
    for run in runs:
        if run.lr is None:
            raise ValueError(f"{run.where}: no learning rate: add the column lr")
        sweeps.setdefault(run.size, {})
    for size, sweep in sweeps.items():
        for (lr, _), group in _by_setting([run for run in runs if run.size == size]).items():
            assert lr is not None
            sweep[lr] = min(sweep.get(lr, math.inf), fmean(run.final_loss for run in group))
    return sweeps


def ladder_of(runs: Sequence[Run], formula: str) -> dict[float, list[float]]:
    """Final losses, one a seed, of the best learning rate and setting at each compute; none where all diverged."""
    at: dict[float, list[Run]] = {}
    for run in runs:
        at.setdefault(run.pfh(formula), []).append(run)
    ladder = {}
    for compute, group in sorted(at.items()):
        losses = min(
            ([run.final_loss for run in seeds] for seeds in _by_setting(group).values()), key=lambda row: fmean(row)
        )
        if math.isfinite(fmean(losses)):
            ladder[compute] = losses
    return ladder


def _keywords(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The optimizer's keywords of the best runs at each size, where they are the same at all; else None."""
    found = []
    for size in {run.size for run in runs}:
        groups = _by_setting([run for run in runs if run.size == size]).values()
        best = min(groups, key=lambda group: fmean(run.final_loss for run in group))
        found.append(best[0].keywords)
    return found[0] if all(one == found[0] for one in found) else None


def _check(runs: Sequence[Run]) -> None:
    """Refuse runs that can be fitted by no law: none at all, one twice, or of different texts."""
    if not runs:
        raise ValueError("no runs to fit")
    seen: dict[str, Run] = {}
    for run in runs:
        # Rows without seeds may be seeds of one another, but not to the last digit.
        told = 0.0 if run.seed is not None or math.isinf(run.final_loss) else run.final_loss
        first = seen.setdefault(repr(replace(run, where="", final_loss=told)), run)
        if first is not run and (run.seed is not None or math.isfinite(run.final_loss)):
            raise ValueError(
                f"{first.where} and {run.where} are one run twice: take one out, or say in the column "
                f"{'seed' if run.seed is None else 'options'} what tells them apart"
            )
    texts = {run.text: run.where for run in runs if run.text}
    if len(texts) > 1:
        raise ValueError(
            f"mixed texts: {' and '.join(list(texts.values())[:2])} were measured on different text, so that their "
            "losses say nothing together; name the runs of one"
        )


def _same_batch(runs: Sequence[Run]) -> float | None:
    batches = {run.batch_tokens for run in runs if run.batch_tokens is not None}
    if len(batches) > 1:
        shown = ", ".join(f"{batch:g}" for batch in sorted(batches))
        raise ValueError(f"mixed batches: {shown} tokens a step; a learning-rate law holds for one")
    return batches.pop() if batches else None


def _range(found: Interval) -> list[float | None]:
    return [_finite(found.low), _finite(found.high)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _short(samples: Iterable[Sequence[float]]) -> list[list[float]]:
    """Bootstrap samples to seven digits: enough for any interval, and half the file."""
    return [[float(f"{value:.7g}") for value in sample] for sample in samples]


def learning_rate_law(
    runs: Sequence[Run],
    *,
    top: int = 5,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: Literal["residuals", "sizes"] = "residuals",
    predict: Sequence[float] = (),
    formula: str = "6n",
) -> dict[str, Any]:
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
    _check(runs)
    horizon, batch_tokens = common_horizon(runs), _same_batch(runs)
    laws = []
    for name, own in by_label(runs).items():
        sweeps = sweeps_of(own)
        try:
            fit = learning_rate.fit_learning_rates(sweeps, top=top, bootstrap=bootstrap, seed=seed, resample=resample)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        predictions = []
        for size in predict or [10 * fit.sizes[-1]]:
            lr, band = fit.predict(size)
            predictions.append({"non_embedding_parameters": size, "lr": lr, "interval": _range(band)})
        laws.append(
            {
                "optimizer": own[0].optimizer,
                "kappa": own[0].kappa,
                "label": name,
                "options": _keywords(own),
                "a": fit.law.a,
                "b": fit.law.b,
                "d": fit.law.d,
                "b_identified": fit.b_identified,
                "intervals": {
                    "a": _range(fit.a),
                    "b": None if fit.b is None else _range(fit.b),
                    "d": _range(fit.d),
                },
                "loss": fit.loss,
                "sizes": list(fit.sizes),
                "points": [{"non_embedding_parameters": p, "lr": lr, "weight": w} for p, lr, w in fit.points],
                "unbracketed": list(fit.unbracketed),
                "predictions": predictions,
                "sensitivity": _sensitivity(own, sweeps, predictions[-1], formula),
                "published": [
                    {"source": row.source, "label": row.label, "arch": row.arch, "a": row.law.a, "b": row.law.b}
                    | {"d": row.law.d, "batch_tokens": row.batch_tokens}
                    for row in learning_rate_laws()
                    if row.law is not None and row.label == name
                ],
                "samples": _short(fit.samples),
            }
        )
    return {
        "law": "lr",
        "formula": "gamma* = a (b + P)^d",
        "horizon": str(horizon),
        "tokens_per_parameter": horizon.tokens_per_parameter,
        "tokens": horizon.tokens,
        "batch_tokens": batch_tokens,
        "models": _models(runs),
        "laws": laws,
    }


def _sensitivity(
    runs: Sequence[Run], sweeps: Mapping[float, Mapping[float, float]], prediction: Mapping[str, Any], formula: str
) -> dict[str, Any]:
    """What an error in the learning rate costs in loss (57) and, where it can be told, in compute (59)."""
    found = {size: learning_rate.curvature(sweep) for size, sweep in sorted(sweeps.items())}
    zetas = [one.curvature for one in found.values() if one is not None]
    out: dict[str, Any] = {
        "curvatures": [
            {"non_embedding_parameters": size, "curvature": one.curvature, "best_lr": one.best_lr}
            for size, one in found.items()
            if one is not None
        ],
        "curvature": fmean(zetas) if zetas else None,
        "spread": stdev(zetas) if len(zetas) > 1 else None,
        "costs": [],
    }
    if not zetas:
        return out
    law, compute = None, None
    try:
        ladder = {c: fmean(losses) for c, losses in ladder_of(runs, formula).items()}
        saturation = None if len(ladder) >= 4 else 0.0
        law = loss.fit_losses({"": ladder}, saturation=saturation, bootstrap=1).fits[""].law
        compute = max(ladder)
    except ValueError:
        pass  # The runs do not tell their compute, or are too few for a slope: the cost in loss still holds.
    ends = [end for end in prediction["interval"] if end is not None]
    errors = {"the interval's far end": max((abs(math.log(end / prediction["lr"])) for end in ends), default=0.0)}
    errors["an error of 50 %"] = math.log(1.5)
    for what, log_error in errors.items():
        cost = learning_rate.loss_cost(out["curvature"], math.expm1(log_error))
        relative = None if law is None or compute is None else learning_rate.compute_cost(cost, law, compute)
        out["costs"].append({"of": what, "relative_error": math.expm1(log_error), "loss": cost, "compute": relative})
    return out


def loss_law(
    runs: Sequence[Run],
    *,
    formula: str = "6n",
    form: loss.Form = "single",
    exponents: loss.Exponents = "free",
    saturation: float | None = None,
    bootstrap: int = 400,
    seed: int = 0,
    predict: Sequence[float] = (),
    without_outliers: bool = False,
) -> dict[str, Any]:
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
    _check(runs)
    horizon = common_horizon(runs)
    groups = by_label(runs)
    ladders = {
        name: {compute: fmean(losses) for compute, losses in ladder_of(own, formula).items()}
        for name, own in groups.items()
    }
    flagged = loss.outliers(ladders)
    if without_outliers:
        for one in flagged:
            del ladders[one.optimizer][one.compute]
    options: dict[str, Any] = {"form": form, "exponents": exponents, "saturation": saturation, "seed": seed}
    fits = loss.fit_losses(ladders, bootstrap=bootstrap, **options)
    held: dict[str, loss.HoldOut] = {}
    no_hold_out = None
    try:
        held = loss.hold_out_largest(ladders, bootstrap=min(bootstrap, 200), **options)
    except ValueError as error:
        no_hold_out = str(error)
    at = list(predict) or [10 * max(compute for ladder in ladders.values() for compute in ladder)]
    laws = []
    for name, fit in fits.fits.items():
        law = fit.law
        predictions = []
        for compute in at:
            value, band = fits.predict(name, compute)
            predictions.append({"pfh": compute, "loss": value, "interval": _range(band)})
        out = held.get(name)
        laws.append(
            {
                "optimizer": groups[name][0].optimizer,
                "kappa": groups[name][0].kappa,
                "label": name,
                "a": law.a,
                "e": law.e,
                "f": law.f,
                "b": law.b if form == "broken" else None,
                "c": law.c if form == "broken" else None,
                "r_squared": _finite(fit.r_squared),
                "intervals": {key: _range(found) for key, found in fit.intervals.items()},
                "identified": fit.identified,
                "residuals": [
                    {"pfh": compute, "loss": ladders[name][compute], "residual": residual}
                    for compute, residual in fit.residuals
                ],
                "predictions": predictions,
                "hold_out": None
                if out is None
                else {
                    "pfh": out.compute,
                    "loss": out.measured,
                    "predicted": out.predicted,
                    "interval": _range(out.interval),
                    "error": out.error,
                },
                "samples": _short(fits.samples[name]),
            }
        )
    return {
        "law": "loss",
        "formula": "L = a + e C^-f" if form == "single" else "L = a + b C^-c + e C^-f",
        "compute": formula,
        "form": form,
        "exponents": exponents,
        "saturation": fits.saturation,
        "horizon": str(horizon),
        "tokens_per_parameter": horizon.tokens_per_parameter,
        "tokens": horizon.tokens,
        "batch_tokens": _batch(runs),
        "models": _models(runs),
        "noise": fits.noise,
        "starts": {"tried": fits.starts[0], "agreeing": fits.starts[1]},
        "laws": laws,
        "no_hold_out": no_hold_out,
        "outliers": [
            {"label": one.optimizer, "pfh": one.compute, "loss": one.loss, "expected": one.expected}
            | {"left_out": without_outliers}
            for one in flagged
        ],
        "literature": [
            {"paper": row.paper, "compute": row.compute, "f": [row.f_low, row.f_high]}
            | {"irreducible": row.irreducible, "from_figure": row.from_figure, "max_pfh": row.max_pfh}
            for row in literature_exponents()
        ],
    }


def _models(runs: Sequence[Run]) -> list[str]:
    return sorted({run.model for run in runs if run.model})


def _batch(runs: Sequence[Run]) -> float | None:
    batches = {run.batch_tokens for run in runs}
    return batches.pop() if len(batches) == 1 else None


def multipliers(
    runs: Sequence[Run],
    *,
    baseline: str = "adamw",
    formula: str = "6n",
    seed_noise: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
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
    _check(runs)
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
    outlying = {(one.optimizer, one.compute) for one in flagged}
    spread = multiplier.pooled_spread([x for ladder in ladders.values() for x in ladder.values()])
    rows = multiplier.ladder_multipliers(ladders, baseline, seed_noise=seed_noise, seed=seed)
    return {
        "law": "multiplier",
        "compute": formula,
        "baseline": baseline,
        "horizon": None if horizon is None else str(horizon),
        "models": _models(runs),
        "seed_noise": seed_noise if seed_noise is not None else None if spread is None else spread[0],
        "ladder": [
            {"pfh": compute, "loss": fmean(losses), "outlier": (baseline, compute) in outlying}
            for compute, losses in sorted(ladders[baseline].items())
        ],
        "rows": [
            {
                "label": row.optimizer,
                "pfh": row.compute,
                "loss": row.loss,
                "multiplier": None if row.found is None else row.found.multiplier,
                "efficiency": None if row.found is None else row.found.efficiency,
                "extrapolated": None if row.found is None else row.found.extrapolated,
                "interval": None if _finite(row.low) is None else [row.low, _finite(row.high)],
                "outlier": (row.optimizer, row.compute) in outlying,
            }
            for row in rows
        ],
    }


def _best(runs: Sequence[Run]) -> float:
    """The loss of the best learning rate and setting, the mean over its seeds."""
    return min(fmean(run.final_loss for run in group) for group in _by_setting(runs).values())


def damping_law(runs: Sequence[Run], *, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
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
    _check(runs)
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
                {key: {c: _best(group) for c, group in sweep.items()} for key, sweep in sweeps.items()},
                bootstrap=bootstrap,
                seed=seed,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        laws.append(
            {
                "optimizer": name,
                "scale": fit.scale,
                "kappa": fit.kappa,
                "batch_exponent": fit.batch_exponent,
                "size_exponent": fit.size_exponent,
                "intervals": {key: _range(found) for key, found in fit.intervals.items()},
                "noise": fit.noise,
                "points": [
                    {
                        "non_embedding_parameters": point.non_embedding_parameters,
                        "steps": point.steps,
                        "batch_tokens": point.batch_tokens,
                        "best": point.best,
                        "kappa": point.kappa,
                        "bracketed": point.bracketed,
                    }
                    for point in fit.points
                ],
            }
        )
    return {
        "law": "damping",
        "formula": "c = scale T^-kappa (B / 65536)^batch_exponent (P / P_0)^size_exponent",
        "models": _models(runs),
        "laws": laws,
    }


def b_in_words(law: Mapping[str, Any]) -> str | None:
    """What is to be said of b of a learning-rate law, as a payload has it; None where the data tell it.

    >>> b_in_words({"b": 0.0, "b_identified": False, "intervals": {"b": [0.0, 1e9]}})
    'the data do not tell b; the law has b = 0'
    """
    if law["intervals"]["b"] is None:
        return "too few sizes to fit b; the law has b = 0"
    if law["b_identified"]:
        return None
    kept = "0" if law["b"] == 0 else f"{law['b']:.3g}, for 0 would not fit"
    return f"the data do not tell b; the law has b = {kept}"
