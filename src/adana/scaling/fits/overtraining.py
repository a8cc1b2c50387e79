"""Equivalent-token multipliers over the overtraining axis, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adana.records import Record
from adana.scaling.fits.size_tokens import Size
from adana.scaling.intervals import Interval

__all__ = ["OptimizerOvertraining", "Overtraining", "TokenMultiplier"]


@dataclass(frozen=True)
class TokenMultiplier(Record):
    """What one run is worth in tokens of the baseline.

    Attributes:
        n: parameters.
        f: tokens over 20 parameters.
        loss: nats, the mean over seeds.
        multiplier: tokens that the baseline would need for this loss, over the tokens used, its losses joined by
            lines that are straight in tokens (Section C.2.1); None where no number of tokens gives it.
        joined_in_log: the same, lines straight in log tokens: the exponent is from these.
        extrapolated: whether the loss lies outside the baseline's.
        interval: 95 % interval of ``multiplier`` from the noise of a run; None where that is not known.
    """

    n: float
    f: float
    loss: float
    multiplier: float | None
    joined_in_log: float | None
    extrapolated: bool | None
    interval: Interval | None


@dataclass(frozen=True)
class OptimizerOvertraining(Record):
    """One optimizer over the overtraining axis.

    Attributes:
        label: whose.
        rows: multipliers, by size and f.
        exponent: p of ``L_B(f) = L_A(c f^p)``, one for all sizes; None where fewer than two f of a size can be used.
        interval: 95 % interval of p; None where neither noise nor residuals tell one.
        factors: c by size.
        span: greatest over least f that p rests on, at the size where it is largest.
        points: multipliers that p rests on.
    """

    label: str
    rows: tuple[TokenMultiplier, ...]
    exponent: float | None
    interval: Interval | None
    factors: tuple[tuple[float, float], ...]
    span: float
    points: int


@dataclass(frozen=True)
class Overtraining(Record):
    """What ``adana fit --law overtraining`` says.

    Attributes:
        baseline: the optimizer compared with.
        size: which parameters N are.
        models: the models of the runs, in words.
        noise: standard deviation of one run's loss; None where it is not known.
        ladder: (N, f, loss) of the baseline.
        laws: by optimizer.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula")
    law: ClassVar[str] = "overtraining"
    formula: ClassVar[str] = "L_B(f) = L_A(c f^p), f = D / 20 N"

    baseline: str
    size: Size
    models: tuple[str, ...]
    noise: float | None
    ladder: tuple[tuple[float, float, float], ...]
    laws: tuple[OptimizerOvertraining, ...]
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws:
            raise ValueError("laws must not be empty")
