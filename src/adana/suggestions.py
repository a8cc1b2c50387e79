"""From an AdamW setting to ADana's: every number with its reason and how far off it may be, or "cannot know".

Nothing is imported but the standard library, the schedules and the checks of options.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adana import catalog, schedules
from adana.option_checks import Meant

__all__ = ["LR_FACTOR", "Suggested", "Suggestion", "omega_from_adamw", "omega_of", "suggest"]

LR_FACTOR = 0.4
"""Best ADana learning rate over best AdamW learning rate, both with log-time decay, in the search on the race's default
setting (results/race-sweep.json)."""

LR_BAND = (0.2, 0.45)
"""The same ratio at the five sizes of the ladder (results/ladder/runs.csv; 8,000 to 160,000 parameters, minima of
parabolas through at least three learning rates): 0.35, 0.42, 0.32, 0.36, 0.21."""

PUBLISHED_FACTOR, PUBLISHED_BAND, PUBLISHED_FROM = 0.25, (1 / 5.3, 1 / 2.9), 7e6
"""That ratio by the paper's fits, at 6 to 40 heads: from 7M parameters outside of the embeddings."""

LEAST, MOST = catalog.OMEGA, catalog.PAPER_OMEGA


def omega_from_adamw(weight_decay: float, lr: float, total_steps: float) -> float:
    """The omega that decays as much over a run as AdamW's coupled weight decay.

    ``omega = weight_decay * lr * total_steps``. With ``decay="constant"`` that is the same decay at every step. In log
    time it is stronger early and weaker late, and 2.4 times as much in all at a constant learning rate.

    Args:
        weight_decay: AdamW's.
        lr: AdamW's peak learning rate.
        total_steps: the run's length in optimizer steps.

    Returns:
        Omega, of a type that no warning takes for a coupled value by mistake.

    Raises:
        ValueError: an argument is no finite number, negative, or no horizon.

    >>> omega_from_adamw(0.1, 2e-5, 2000)
    0.004
    """
    for name, value, least in (("weight_decay", weight_decay, 0), ("lr", lr, 0), ("total_steps", total_steps, 1)):
        if not least <= value < math.inf:
            raise ValueError(f"{name} must be a finite number of at least {least}, got {value!r}")
    return Meant(float(f"{weight_decay * lr * total_steps:.12g}"))


def omega_of(tokens: float, parameters: float) -> float:
    """Omega by tokens and parameters: ``2 sqrt(tokens / (20 parameters))``, held between 0.5 and 4.

    Source: arXiv 2609.04577; what we measured is in docs/decisions/0005-omega.md.

    >>> omega_of(20e6, 1e6), omega_of(1e6, 1e6)
    (2.0, 0.5)
    """
    for name, value in (("tokens", tokens), ("parameters", parameters)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    return Meant(min(max(2.0 * math.sqrt(tokens / (20.0 * parameters)), LEAST), MOST))


@dataclass(frozen=True)
class Suggested:
    """One number.

    Attributes:
        name: the optimizer's keyword.
        value: what to pass; None where it cannot be known.
        reason: where it is from.
        low: the least that it may well be.
        high: the most that it may well be.
    """

    name: str
    value: float | None
    reason: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: cannot know. {self.reason}"
        band = "" if self.low is None or self.high is None else f" ({self.low:.3g} to {self.high:.3g})"
        return f"{self.name} = {self.value:.6g}{band}. {self.reason}"


@dataclass(frozen=True)
class Suggestion:
    """What :func:`suggest` found; ``print`` it.

    Attributes:
        numbers: one for every keyword.
        notes: what else to know.
    """

    numbers: tuple[Suggested, ...]
    notes: tuple[str, ...] = ()

    def options(self) -> dict[str, float]:
        """Keywords for ``ADana(params, **suggestion.options())``; what cannot be known is left out."""
        return {one.name: one.value for one in self.numbers if one.value is not None}

    def __str__(self) -> str:
        return "\n".join([*map(str, self.numbers), *self.notes])


def suggest(
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
    total_steps: float | None = None,
    tokens: float | None = None,
    parameters: float | None = None,
    pretrained: bool = False,
) -> Suggestion:
    """ADana's numbers from an AdamW setting and the size of the run.

    Args:
        lr: AdamW's peak learning rate, at its best.
        weight_decay: AdamW's coupled weight decay.
        total_steps: the run's length in optimizer steps.
        tokens: of the whole run.
        parameters: of the model.
        pretrained: the weights have been trained before: decay no more than AdamW does.

    Raises:
        ValueError: a number that is not finite and above 0 (``weight_decay``: not negative).

    Example:
        >>> from adana import suggest
        >>> print(suggest(lr=3e-3, total_steps=10_000))  # doctest: +ELLIPSIS
        lr = 0.0012 (0.0006 to 0.00135). 0.4 of AdamW's: ...
        weight_decay = 0.5 (0 to 2). Omega. ...
        total_steps = 10000. Given: optimizer steps, not micro-batches.
        kappa = 0.85 (0.75 to 0.9). The paper's best at every size...
    """
    for name, value in (("lr", lr), ("total_steps", total_steps), ("tokens", tokens), ("parameters", parameters)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    if weight_decay is not None and not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a finite number of at least 0, got {weight_decay!r}")
    omega = _omega(lr, weight_decay, total_steps, tokens, parameters, pretrained)
    steps = Suggested("total_steps", None, "It is yours to say: weight decay needs the number of optimizer steps.")
    if total_steps is not None:
        steps = Suggested("total_steps", total_steps, "Given: optimizer steps, not micro-batches.")
    kappa = Suggested("kappa", 0.85, "The paper's best at every size it tried.", 0.75, 0.9)
    notes = []
    if omega.value and total_steps is not None:
        kept = schedules.Decay(float(omega.value), total_steps=total_steps).kept() or 0.0
        notes.append(f"Decay alone leaves {100 * kept:.2g} % of a weight by the end, with the cosine schedule.")
    return Suggestion((_rate(lr, parameters), omega, steps, kappa), tuple(notes))


def _rate(lr: float | None, parameters: float | None) -> Suggested:
    if lr is None:
        return Suggested("lr", None, "Give AdamW's best learning rate as lr=, or search by factors of 2.")
    factor, band = LR_FACTOR, LR_BAND
    reason = (
        f"{factor:g} of AdamW's: the ratio of the best rates in the race's search; 0.21 to 0.42 at five sizes up to "
        "160,000 parameters."
    )
    if parameters is not None and parameters >= PUBLISHED_FROM:
        factor, band = PUBLISHED_FACTOR, PUBLISHED_BAND
        reason = "A quarter of AdamW's: the paper's fits have 1/2.9 to 1/5.3 at 7M to 2.6B parameters."
    reason += " It holds where lr is AdamW's best; search by factors of 2 around it."
    return Suggested("lr", factor * lr, reason, band[0] * lr, band[1] * lr)


def _omega(
    lr: float | None,
    weight_decay: float | None,
    total_steps: float | None,
    tokens: float | None,
    parameters: float | None,
    pretrained: bool,
) -> Suggested:
    name = "weight_decay"
    if pretrained:
        if weight_decay is None or lr is None or total_steps is None:
            return Suggested(
                name, 0.0, "Omega. None: the weights come from an earlier training, which decay would undo."
            )
        omega = omega_from_adamw(weight_decay, lr, total_steps)
        return Suggested(
            name, omega, "Omega. AdamW's weight_decay * lr * total_steps: trained weights are kept.", 0.0, omega
        )
    if weight_decay == 0:
        return Suggested(name, 0.0, "Omega. None, as in AdamW.")
    if tokens is None or parameters is None:
        reason = (
            "Omega. Without tokens= and parameters= the best cannot be known. In runs of 56 to 3,000 steps on text it "
            "was within 0.07 nats of the best tried; on other data 0 was safer. AdamW's own value does not tell it."
        )
        return Suggested(name, catalog.OMEGA, reason, 0.0, 2.0)
    omega = omega_of(tokens, parameters)
    ratio = tokens / parameters
    reason = (
        f"Omega. 2 sqrt(tokens / (20 parameters)) at {ratio:.3g} tokens per parameter, between 0.5 and 4 (arXiv "
        "2609.04577)."
    )
    reason += (
        " Beyond what we measured." if ratio > 40 or parameters > 5e5 else " In our runs within 0.08 nats of the best."
    )
    return Suggested(name, omega, reason, 0.0, min(2 * omega, 2 * MOST))
