"""What laws of one's own, from ``adana fit``, say for a run that is planned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from adana.models import model_name
from adana.scaling.fits import Fit, LearningRateLaws, LossLaws, OptimizerLoss, OptimizerRate
from adana.scaling.laws import COMPUTE_FORMULAS, PETAFLOP_HOUR
from adana.scaling.lookup import Found, Sought
from adana.scaling.presentation import about_form

__all__ = ["Wanted", "own_learning_rate", "own_loss"]


@dataclass(frozen=True)
class Wanted(Sought):
    """A run that is planned, with its compute by formula."""

    flops: dict[str, float]

    def pfh(self, formula: str) -> float:
        return self.flops[formula] / PETAFLOP_HOUR


Law = TypeVar("Law", OptimizerRate, OptimizerLoss)


def _own(laws: Sequence[Law], wanted: Wanted, what: str, warnings: list[str]) -> Law | None:
    """The first own law of the wanted optimizer."""
    found = [
        law for law in laws if (law.optimizer, law.kappa) == (wanted.optimizer, wanted.kappa) and not wanted.variant
    ]
    if len(found) > 1:
        warnings.append(f"{what}: {len(found)} of your laws are of {wanted.label}: the first is used")
    if found:
        return found[0]
    if laws:
        others = ", ".join(law.label for law in laws)
        warnings.append(f"{what}: your law is of {others}, not of {wanted.label}: it is not used")
    return None


def _check_own(fit: LearningRateLaws | LossLaws, what: str, wanted: Wanted, warnings: list[str]) -> None:
    ratio = fit.span.tokens_per_parameter
    if ratio is None or not math.isclose(ratio, wanted.tokens_per_parameter, rel_tol=0.05):
        warnings.append(f"{what}: your law was fitted at {fit.horizon}, not {wanted.tokens_per_parameter:g}")
    own = model_name(wanted.config)
    if fit.models and fit.models != (own,):
        warnings.append(f"{what}: your law was fitted on {' and '.join(fit.models)}, not {own}")
    if fit.batch_tokens is not None and fit.batch_tokens != wanted.batch_tokens:
        warnings.append(
            f"{what}: your law was fitted at {fit.batch_tokens:,.0f} tokens per step, not {wanted.batch_tokens:,}"
        )


def own_learning_rate(wanted: Wanted, fits: Sequence[Fit], warnings: list[str]) -> Found | None:
    """The learning rate of the first own law of the optimizer, with its 95 % interval; None where there is none.

    Args:
        wanted: the run.
        fits: own fits.
        warnings: what a reader should know is added here, also where no law is used.
    """
    mine = [(law, fit) for fit in fits if isinstance(fit, LearningRateLaws) for law in fit.laws]
    law = _own([law for law, _ in mine], wanted, "lr", warnings)
    if law is None:
        return None
    fit = next(fit for other, fit in mine if other is law)
    value, band = law.fit.predict(wanted.config.non_embedding_parameters)
    sizes = law.fit.sizes
    _check_own(fit, "lr", wanted, warnings)
    if not sizes[0] <= wanted.config.non_embedding_parameters <= sizes[-1]:
        warnings.append(
            f"lr is extrapolated: your law was fitted on {sizes[0]:.3g} to {sizes[-1]:.3g} non-embedding parameters, "
            f"not {wanted.config.non_embedding_parameters:.3g}"
        )
    if law.options is None:
        warnings.append("lr: the runs of your law have no one setting of the optimizer; the paper's is shown")
    found = law.fit.law
    equation = f"your fit: {found.a:.4g} ({found.b:.4g} + P)^{found.d:.4g}"
    source = f"your fit: {fit.formula}"
    return Found(source, equation, value, band.low, band.high, (), law.options, fit.batch_tokens)


def own_loss(wanted: Wanted, fits: Sequence[Fit], warnings: list[str]) -> Found | None:
    """The loss that the first own law of the optimizer predicts, as :func:`own_learning_rate`."""
    mine = [(law, fit) for fit in fits if isinstance(fit, LossLaws) for law in fit.laws]
    law = _own([law for law, _ in mine], wanted, "predicted_loss", warnings)
    if law is None:
        return None
    fit = next(fit for other, fit in mine if other is law)
    compute = wanted.pfh(fit.compute)
    value, band = law.fit.predict(compute)
    computes = [row.pfh for row in law.fit.residuals]
    _check_own(fit, "predicted_loss", wanted, warnings)
    if not min(computes) <= compute <= max(computes):
        warnings.append(
            f"predicted_loss is extrapolated: your law was fitted on {min(computes):.3g} to {max(computes):.3g} PFH, "
            f"not {compute:.3g}"
        )
    wide, own = (f"{one.low:.3f} to {one.high:.3f}" for one in (band, law.fit.within_form(compute)))
    if wide != own:
        warnings.append(
            f"predicted_loss: {wide} allows for other forms of law that your losses do not reject; if the fitted form "
            f"is right, {own}"
        )
    warnings += [f"predicted_loss: {said}" for said in about_form(fit)]
    unit = f"C by {COMPUTE_FORMULAS[fit.compute]} in petaflop-hours"
    found = law.fit.law
    steep = f"{found.b:.4g} C^-{found.c:.4g} + " if found.b else ""
    equation = f"your fit: {found.a:.4g} + {steep}{found.e:.4g} C^-{found.f:.4g}, {unit}"
    return Found(f"your fit: {fit.formula}, {unit}", equation, value, band.low, band.high)
