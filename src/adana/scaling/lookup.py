"""What the paper says for a run that is asked for: one answer, whoever asks.

``adana plan``, ``adana train`` without ``--lr`` and the start of a search all call :func:`published_learning_rate`.
Its rule:

1. The optimizer, architecture, kappa and variant must be those of a published law, and the model's shape the paper's.
   Otherwise there is no number, only the reason.
2. A law that was measured at the same tokens per step is taken. Where there is none, the law whose batch is nearest
   by ratio is taken (of two that are equally near, the smaller batch), and a warning says so.
3. A size, horizon, vocabulary or sequence length outside what the law was measured with gives a number and a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.models import DecoderConfig, architecture
from adana.models.config import VOCABULARY
from adana.scaling.damping import BATCH_TOKENS
from adana.scaling.laws import PETAFLOP_HOUR, label
from adana.scaling.published import (
    PublishedLearningRateLaw,
    PublishedLossLaw,
    kappa_of,
    learning_rate_laws,
    loss_laws,
)

__all__ = [
    "SEQUENCE",
    "TOKENS_PER_PARAMETER",
    "VARIANTS",
    "VARIANTS_OF",
    "Found",
    "Sought",
    "published_learning_rate",
    "published_loss",
]

SEQUENCE = 2048
"""Tokens per sequence of the paper's runs."""
TOKENS_PER_PARAMETER = 20.0
"""Horizon of the paper's runs, in total parameters."""
SAME_HORIZON = 0.02

VARIANTS: dict[str, dict[str, Any]] = {
    "3": {"beta2": 0.999},
    "5": {"beta3": 0.9, "damping": "linear"},
    "7": {"beta3": 0.9},
}
"""Ablations by number in Table 9: their keywords."""
VARIANTS_OF = "adana"
"""The optimizer that they are of."""


@dataclass(frozen=True)
class Sought:
    """A run for which a number is looked for.

    Attributes:
        arch: architecture.
        config: the model's sizes.
        optimizer: command-line name.
        kappa: kappa; None for an optimizer without one.
        variant: number in Table 9 of an ablation of ADana, else empty.
        batch_tokens: tokens per step.
        tokens_per_parameter: tokens of the run over total parameters.
        seq_len: tokens per sequence.
    """

    arch: str
    config: DecoderConfig
    optimizer: str
    kappa: float | None
    variant: str
    batch_tokens: int
    tokens_per_parameter: float
    seq_len: int

    @property
    def heads(self) -> int:
        return self.config.heads

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa) + (f" variant {self.variant}" if self.variant else "")

    @property
    def shape(self) -> str:
        """What of the model's shape is not the paper's; empty where it is."""
        usual, parts = architecture(self.arch).sized(self.heads), []
        experts = getattr(self.config, "experts", None)
        if experts is not None:
            parts.append(f"{experts} experts")
        if self.config.head_dim != usual.head_dim:
            parts.append(f"heads of {self.config.head_dim}, not {usual.head_dim}")
        elif self.config.width != usual.width:
            parts.append(f"a width of {self.config.width}, not {usual.width}")
        elif self.config.hidden != usual.hidden and experts is None:
            parts.append(f"a feed-forward width of {self.config.hidden}, not {usual.hidden}")
        if self.config.depth != usual.depth:
            parts.append(f"{self.config.depth} layers, not {usual.depth}")
        return " and ".join(parts)

    @property
    def text(self) -> str:
        """What of vocabulary and sequence is not the paper's; empty where both are."""
        parts = [
            f"{what} of {own:,}, not {its:,}"
            for what, own, its in (
                ("a vocabulary", self.config.vocab_size, VOCABULARY),
                ("sequences", self.seq_len, SEQUENCE),
            )
            if own != its
        ]
        return " and ".join(parts)

    @property
    def at_20(self) -> bool:
        """Whether the horizon is the paper's 20 tokens per parameter."""
        return math.isclose(self.tokens_per_parameter, TOKENS_PER_PARAMETER, rel_tol=SAME_HORIZON)


@dataclass(frozen=True)
class Found:
    """A number with its band and source, or only the reason why there is none.

    Attributes:
        source: equation or file it is from, or why there is none.
        equation: with its numbers.
        value: the number; None where there is none.
        low: lower end of its band.
        high: upper end of its band.
        warnings: where it lies outside what was measured.
        options: what the optimizer of an own law's runs was built with.
        batch_tokens: tokens per step of an own law's runs.
    """

    source: str
    equation: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    warnings: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    batch_tokens: float | None = None


def published_learning_rate(sought: Sought) -> Found:
    """The peak learning rate of a published law, by the rule at the head of this module.

    The band is what the law's printed digits leave open.

    Example:
        >>> found = published_learning_rate(Sought("enoki", architecture("enoki").sized(40), "adana", 0.85, "",
        ...     batch_tokens=524_288, tokens_per_parameter=20.0, seq_len=2048))
        >>> f"{found.value:.2e} from {found.source}"
        '6.33e-05 from H.3, Figure 25'
        >>> found.warnings[0]
        'lr: no published law is for 524,288 tokens per step; the nearest in ratio, H.3, Figure 25, is for 1,048,576'

    Source: Sections F.3 and H.3.
    """
    if sought.shape:
        return Found(f"none published: the laws are of the paper's sizes: you have {sought.shape}")
    here = [
        row
        for row in learning_rate_laws()
        if row.law is not None
        and (row.arch, row.optimizer, row.variant) == (sought.arch, sought.optimizer, sought.variant)
    ]
    name = sought.optimizer + (f" variant {sought.variant}" if sought.variant else "")
    if not here:
        return Found(f"none published: the paper has no learning-rate law for {name} on {sought.arch}")
    same_kappa = [row for row in here if kappa_of(row) == sought.kappa]
    if not same_kappa:
        return Found(f"none published: {name} on {sought.arch} has laws for kappa {_kappas(here)}, not {sought.kappa}")
    row = min(same_kappa, key=lambda row: (abs(math.log(row.batch_tokens / sought.batch_tokens)), row.batch_tokens))
    assert row.law is not None
    warnings = []
    if row.batch_tokens != sought.batch_tokens:
        warnings.append(
            f"lr: no published law is for {sought.batch_tokens:,} tokens per step; the nearest in ratio, {row.source}, "
            f"is for {row.batch_tokens:,}"
        )
    warnings += _outside(row, sought)
    source = f"eq. {row.source}" if row.source.startswith("(") else row.source
    size = sought.config.non_embedding_parameters
    a, b, d = row.printed
    return Found(source, f"{a} ({b} + P)^{d}, {source}", row.law(size), *row.band(size), tuple(warnings))


def _outside(row: PublishedLearningRateLaw, sought: Sought) -> list[str]:
    """What of a run is not as it was where a law was measured."""
    said = []
    if row.heads_from is None:
        said.append(f"lr: {row.source} does not say which sizes it was fitted on")
    elif sought.heads < row.heads_from or (row.heads_to or row.used_to or 0) < sought.heads:
        upper = row.heads_to or row.used_to
        used = ""
        if row.used_to and row.heads_to and row.heads_to < sought.heads <= row.used_to:
            used = f" (the paper used it up to {row.used_to})"
        said.append(
            f"lr is extrapolated: {row.source} was fitted on {row.heads_from} to {upper} heads, not "
            f"{sought.heads}{used}"
        )
    if not sought.at_20:
        said.append(
            f"lr: {row.source} holds at 20 tokens per parameter; at {sought.tokens_per_parameter:g} a law in size "
            "alone drifts, and no published law says how"
        )
    if sought.text:
        said.append(f"lr: {row.source} was not measured with this: {sought.text}")
    if row.note:
        said.append(f"lr: {row.source}: {row.note}")
    return said


def published_loss(sought: Sought, flops: float) -> Found:
    """The final loss that a published law predicts; only for runs like the paper's.

    Args:
        sought: the run.
        flops: compute of the whole run by formula 6N.

    Source: Tables 11, 14 and 20.
    """
    if sought.variant:
        return Found(f"none published: the loss laws leave out variant {sought.variant}")
    here = [
        row
        for row in loss_laws()
        if (row.arch, row.optimizer, row.compute) == (sought.arch, sought.optimizer, "6n") and row.law is not None
    ]
    if not here:
        known = sorted({row.label for row in loss_laws() if row.arch == sought.arch and row.law is not None})
        if not known:
            return Found(f"none published: {sought.arch} has no loss laws")
        return Found(f"none published: {sought.arch} has loss laws for {', '.join(known)} only")
    rows = [row for row in here if kappa_of(row) == sought.kappa and row.form == "broken"]
    if not rows:
        return Found(
            f"none published: {sought.optimizer} on {sought.arch} has loss laws for kappa {_kappas(here)}, not "
            f"{sought.kappa}"
        )
    if sought.batch_tokens != BATCH_TOKENS:
        return Found(
            f"none published: the loss laws are for {BATCH_TOKENS:,} tokens per step, not {sought.batch_tokens:,}"
        )
    if not sought.at_20:
        return Found(
            f"none published: the loss laws are for 20 tokens per parameter, not {sought.tokens_per_parameter:g}"
        )
    if sought.shape:
        return Found(f"none published: the laws are of the paper's sizes: you have {sought.shape}")
    if sought.text:
        return Found(f"none published: the loss laws are of other text: you have {sought.text}")
    row = rows[0]
    assert row.law is not None
    warnings: tuple[str, ...] = ()
    if not row.heads_from <= sought.heads <= row.heads_to:
        warnings = (
            f"predicted_loss is extrapolated: {row.source} is of {row.heads_from} to {row.heads_to} heads, not "
            f"{sought.heads}",
        )
    compute = flops / PETAFLOP_HOUR
    a, e, f, b, c = row.printed
    source = f"{row.source}, C by 6N in petaflop-hours"
    equation = f"{a} + {b} C^-{c} + {e} C^-{f}, {source}"
    return Found(source, equation, row.law(compute), *row.band(compute), warnings)


def _kappas(rows: Sequence[PublishedLearningRateLaw | PublishedLossLaw]) -> str:
    return ", ".join(f"{kappa:g}" for kappa in sorted({kappa for kappa in map(kappa_of, rows) if kappa is not None}))
