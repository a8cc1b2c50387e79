"""What laws of one's own over size, tokens and batch say for a run that is planned, and the best size for a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adana.models import DecoderConfig, architecture
from adana.scaling.fits import (
    Fit,
    OptimizerRateBatch,
    OptimizerSizeTokens,
    RateBatchLaws,
    SizeTokensLaw,
    SizeTokensLaws,
)
from adana.scaling.fits.size_tokens import Size
from adana.scaling.intervals import interval
from adana.scaling.laws import label
from adana.scaling.lookup import Found
from adana.scaling.own_laws import Wanted

__all__ = ["best_for_budget", "own_joint_loss", "own_joint_rate"]

MOST_HEADS = 512


def _size(wanted: Wanted, size: Size) -> float:
    return float(wanted.config.total_parameters if size == "total" else wanted.config.non_embedding_parameters)


def _tokens(wanted: Wanted) -> float:
    return wanted.tokens_per_parameter * wanted.config.total_parameters


def own_joint_rate(wanted: Wanted, fits: Sequence[Fit], warnings: list[str]) -> Found | None:
    """The learning rate of the first own law over size, tokens and batch of the optimizer; None where there is none.

    Args:
        wanted: the run.
        fits: own fits.
        warnings: on which axes the run lies outside what the law was fitted on is added here.
    """
    found: tuple[OptimizerRateBatch, RateBatchLaws] | None = None
    for fit in fits:
        if isinstance(fit, RateBatchLaws) and found is None:
            own = [law for law in fit.laws if (law.optimizer, law.kappa) == (wanted.optimizer, wanted.kappa)]
            if own and not wanted.variant:
                found = own[0], fit
            else:
                others = ", ".join(law.label for law in fit.laws)
                warnings.append(f"lr: your law is of {others}, not of {wanted.label}: it is not used")
    if found is None:
        return None
    law, fit = found
    at = {"N": _size(wanted, fit.size), "D": _tokens(wanted), "B": float(wanted.batch_tokens)}
    value, band = law.lr.predict(**at)
    warnings += [f"lr: outside what it was fitted on in {said}" for said in law.outside(at)]
    if law.batch is not None:
        best, range_ = law.batch.predict(**at)
        warnings.append(
            f"your law's best batch for {at['D']:.3g} tokens is {best:,.0f} tokens per step ({range_.low:,.0f} to "
            f"{range_.high:,.0f})"
        )
    equation = f"your fit: {law.lr.text('lr*')}"
    return Found(f"your fit: {fit.formula}", equation, value, band.low, band.high)


def _law_of(
    fits: Sequence[Fit], optimizer: str, kappa: float | None
) -> tuple[OptimizerSizeTokens, SizeTokensLaws] | None:
    for fit in fits:
        if isinstance(fit, SizeTokensLaws):
            for law in fit.laws:
                if (law.optimizer, law.kappa) == (optimizer, kappa):
                    return law, fit
    return None


def own_joint_loss(wanted: Wanted, fits: Sequence[Fit], warnings: list[str]) -> Found | None:
    """The loss that the first own law over size and tokens predicts, as :func:`own_joint_rate`."""
    joint = [fit for fit in fits if isinstance(fit, SizeTokensLaws)]
    found = None if wanted.variant else _law_of(fits, wanted.optimizer, wanted.kappa)
    if found is None:
        if joint:
            others = ", ".join(law.label for fit in joint for law in fit.laws)
            warnings.append(f"predicted_loss: your law is of {others}, not of {wanted.label}: it is not used")
        return None
    law, fit = found
    n, d = _size(wanted, fit.size), _tokens(wanted)
    value, band = fit.predict(law, n, d)
    warnings += [f"predicted_loss: outside what it was fitted on in {said}" for said in fit.outside(n, d)]
    it = law.law
    terms = f"{it.a:.4g} N^-{it.alpha:.4g}" if it.a else ""
    terms += (" + " if it.a and it.b else "") + (f"{it.b:.4g} D^-{it.beta:.4g}" if it.b else "")
    return Found(f"your fit: {fit.formula}", f"your fit: {it.e:.4g} + {terms}", value, band.low, band.high)


def best_for_budget(
    flops: float,
    fits: Sequence[Fit],
    optimizer: str,
    kappa: float | None,
    arch: str,
    *,
    heads: int | None = None,
    vocab_size: int = 50304,
    layers: int | None = None,
    head_dim: int | None = None,
) -> tuple[int, float, str]:
    """Heads and tokens per total parameter with the least loss for a budget ``C = 6 N D``, and a sentence about them.

    Args:
        flops: the budget C.
        fits: own fits; the first law over size and tokens of the optimizer is used.
        optimizer: its name.
        kappa: its kappa.
        arch: architecture.
        heads: the size, where it is given; the budget then tells the tokens.
        vocab_size: of the model.
        layers: of the model; None for the ladder's.
        head_dim: of the model; None for the ladder's.

    Raises:
        ValueError: no such law, or it has only one of size and tokens.
    """
    found = _law_of(fits, optimizer, kappa)
    if found is None:
        raise ValueError(
            f"a budget needs a law over size and tokens of {label(optimizer, kappa)}: make it with adana fit --law "
            "tokens --output FILE, and name it with --law FILE"
        )
    law, fit = found
    n, d = law.law.optimum(flops)
    ends = interval([math.log(SizeTokensLaw(*sample).optimum(flops)[0] / n) for sample in law.samples])
    low, high = (math.exp(fit.widening * end) for end in (min(ends.low, 0.0), max(ends.high, 0.0)))
    said = f"the best for {flops:.3g} FLOPs by your law: N {n:.3g} ({n * low:.3g} to {n * high:.3g}), D {d:.3g} "
    said += f"({d / high:.3g} to {d / low:.3g})"

    def config(h: int) -> DecoderConfig:
        return architecture(arch).sized(h, layers=layers, vocab_size=vocab_size, head_dim=head_dim)

    def size(h: int) -> float:
        return float(config(h).total_parameters if fit.size == "total" else config(h).non_embedding_parameters)

    chosen = heads
    if chosen is None:
        few, many = 1, MOST_HEADS  # size grows with heads
        while few < many:
            middle = (few + many) // 2
            few, many = (middle + 1, many) if size(middle) < n else (few, middle)
        chosen = min((h for h in (few - 1, few) if h >= 1), key=lambda h: abs(math.log(size(h) / n)))
        said += f"; the nearest of the ladder: {chosen} heads, N {size(chosen):.3g}, D {flops / 6 / size(chosen):.3g}"
    return chosen, flops / 6 / size(chosen) / config(chosen).total_parameters, said
