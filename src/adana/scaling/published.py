"""What the paper measured, as tables: its laws, its Qwen3 losses, and the exponents of others.

The rows live in ``tables/*.csv``, each with the equation or table it is from. An equation that the paper numbers
and leaves empty, or a fit it could not make, is a row without numbers.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from adana.catalog import default_kappa
from adana.scaling.laws import LearningRateLaw, LossLaw, label

__all__ = [
    "QWEN3_LOSSES",
    "Curvature",
    "LiteratureExponent",
    "PublishedLearningRateLaw",
    "PublishedLossLaw",
    "SaturationFit",
    "kappa_of",
    "learning_rate_laws",
    "literature_exponents",
    "loss_laws",
    "lr_curvatures",
    "saturation_fits",
]

TABLES = Path(__file__).parent / "tables"

QWEN3_LOSSES = TABLES / "qwen3_losses.csv"
"""Table 19 in the form that ``adana fit`` reads."""

T = TypeVar("T")


def _half_digit(printed: str) -> float:
    """Half of the last printed digit's place: ``1.67e4`` -> 50."""
    mantissa, _, exponent = printed.lower().partition("e")
    return float(0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def _corners(values: tuple[str, ...], evaluate: Callable[..., float]) -> tuple[float, float]:
    """Least and greatest value over every way the printed numbers may have been rounded."""
    choices = [(float(text) - _half_digit(text), float(text) + _half_digit(text)) for text in values]
    found = [evaluate(*corner) for corner in itertools.product(*choices)]
    return min(found), max(found)


@dataclass(frozen=True)
class PublishedLearningRateLaw:
    """A learning-rate law of the paper.

    Attributes:
        arch: ``enoki`` or ``qwen3``.
        optimizer: command-line name.
        kappa: kappa it was measured at, as printed; None where the paper prints none.
        variant: number in Table 9 of an ablation of ADana, else empty.
        batch_tokens: tokens per step it was measured at.
        law: None where the paper prints no numbers.
        printed: a, b, d as printed.
        heads_from: smallest size of the fit, in heads; None where the paper does not say.
        heads_to: largest size of the fit; None where the paper does not say.
        used_to: largest size it was used at.
        source: equation or figure.
        note: what to know about it.
    """

    arch: str
    optimizer: str
    kappa: float | None
    variant: str
    batch_tokens: int
    law: LearningRateLaw | None
    printed: tuple[str, ...]
    heads_from: int | None
    heads_to: int | None
    used_to: int | None
    source: str
    note: str

    @property
    def label(self) -> str:
        variant = f" {self.variant}" if self.variant else ""
        return label(self.optimizer + variant, self.kappa)

    def band(self, non_embedding_parameters: float) -> tuple[float, float]:
        """Learning rates that the printed digits leave possible."""
        return _corners(self.printed, lambda a, b, d: LearningRateLaw(a, b, d)(non_embedding_parameters))


@dataclass(frozen=True)
class PublishedLossLaw:
    """A loss law of the paper, at 20 tokens per parameter and 65,536 tokens per step.

    Attributes:
        arch: ``enoki`` or ``qwen3``.
        compute: formula of C: ``6n`` or ``6p``.
        optimizer: command-line name.
        kappa: kappa it was measured at, as printed; None where the paper prints none.
        law: None where the paper could not fit one.
        printed: a, e, f and, for a broken law, b, c as printed.
        r_squared: as printed.
        heads_from: smallest size of the fit, in heads.
        heads_to: largest size of the fit.
        source: tables.
        note: what to know about it.
    """

    arch: str
    compute: str
    optimizer: str
    kappa: float | None
    law: LossLaw | None
    printed: tuple[str, ...]
    r_squared: float | None
    heads_from: int
    heads_to: int
    source: str
    note: str

    @property
    def form(self) -> str:
        """``single`` or ``broken``."""
        return "broken" if len(self.printed) == 5 else "single"

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    def band(self, compute: float) -> tuple[float, float]:
        """Losses that the printed digits leave possible."""
        return _corners(self.printed, lambda *values: LossLaw(*values)(compute))


@dataclass(frozen=True)
class SaturationFit:
    """A single power law of AdamW on Enoki under a bound on a: ``free``, ``0`` or a number (Tables 10, 13)."""

    compute: str
    saturation: str
    law: LossLaw
    r_squared: float | None
    source: str


@dataclass(frozen=True)
class LiteratureExponent:
    """A row of Table 15.

    Attributes:
        paper: whose.
        compute: formula of C, ``?`` where the paper found it unclear.
        f_low: exponent, or the lower end of a range.
        f_high: exponent, or the upper end of a range.
        from_figure: read off a figure by the paper's authors.
        irreducible: whether the fit has an irreducible loss.
        max_pfh: largest compute, petaflop-hours.
        dataset: trained on.
    """

    paper: str
    compute: str
    f_low: float
    f_high: float
    from_figure: bool
    irreducible: bool
    max_pfh: float
    dataset: str


@dataclass(frozen=True)
class Curvature:
    """Curvature of the loss in log learning rate, mean and standard deviation over sizes (Section F.3.6)."""

    arch: str
    optimizer: str
    kappa: float | None
    mean: float
    spread: float


def _rows(name: str) -> list[dict[str, str]]:
    with (TABLES / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str, kind: Callable[[str], T]) -> T | None:
    return kind(text) if text else None


def kappa_of(law: PublishedLearningRateLaw | PublishedLossLaw) -> float | None:
    """Kappa of a law: the optimizer's default where it has one and the paper prints none (AdEMAMix)."""
    return default_kappa(law.optimizer) if law.kappa is None else law.kappa


@cache
def learning_rate_laws() -> tuple[PublishedLearningRateLaw, ...]:
    """Equations (39)-(55), (69)-(72) and Figure 25's, in that order.

    >>> [row.label for row in learning_rate_laws() if row.source == "(47)"]
    ['adana (kappa 0.85)']
    """
    return tuple(
        PublishedLearningRateLaw(
            row["arch"],
            row["optimizer"],
            _number(row["kappa"], float),
            row["variant"],
            int(row["batch_tokens"]),
            LearningRateLaw(float(row["a"]), float(row["b"]), float(row["d"])) if row["a"] else None,
            (row["a"], row["b"], row["d"]) if row["a"] else (),
            _number(row["heads_from"], int),
            _number(row["heads_to"], int),
            _number(row["used_to"], int),
            row["source"],
            row["note"],
        )
        for row in _rows("learning_rate_laws")
    )


@cache
def loss_laws() -> tuple[PublishedLossLaw, ...]:
    """Tables 11 (with 14), 12 and 20.

    >>> rows = [row for row in loss_laws() if (row.arch, row.compute, row.optimizer) == ("enoki", "6n", "adana")]
    >>> [(row.form, round(row.law(217.0), 3)) for row in rows]
    [('single', 2.461), ('broken', 2.478)]
    """
    found = []
    for row in _rows("loss_laws"):
        printed = tuple(row[name] for name in ("a", "e", "f", "b", "c") if row[name])
        found.append(
            PublishedLossLaw(
                row["arch"],
                row["compute"],
                row["optimizer"],
                _number(row["kappa"], float),
                LossLaw(*map(float, printed)) if printed else None,
                printed,
                _number(row["r_squared"], float),
                int(row["heads_from"]),
                int(row["heads_to"]),
                row["source"],
                row["note"],
            )
        )
    return tuple(found)


@cache
def saturation_fits() -> tuple[SaturationFit, ...]:
    """Tables 10 and 13."""
    return tuple(
        SaturationFit(
            row["compute"],
            row["saturation"],
            LossLaw(float(row["a"]), float(row["e"]), float(row["f"])),
            _number(row["r_squared"], float),
            row["source"],
        )
        for row in _rows("saturation_fits")
    )


@cache
def literature_exponents() -> tuple[LiteratureExponent, ...]:
    """Table 15."""
    return tuple(
        LiteratureExponent(
            row["paper"],
            row["compute"],
            float(row["f_low"]),
            float(row["f_high"]),
            row["from_figure"] == "yes",
            row["irreducible"] == "yes",
            float(row["max_pfh"]),
            row["dataset"],
        )
        for row in _rows("literature_exponents")
    )


@cache
def lr_curvatures() -> tuple[Curvature, ...]:
    """Section F.3.6."""
    return tuple(
        Curvature(row["arch"], row["optimizer"], _number(row["kappa"], float), float(row["mean"]), float(row["spread"]))
        for row in _rows("lr_curvatures")
    )
