"""Laws over size and tokens, as dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from adana.records import Record
from adana.scaling.intervals import Interval, interval
from adana.scaling.laws import label

__all__ = [
    "Extremes",
    "IsoFlop",
    "IsoFlops",
    "OptimizerSizeTokens",
    "Optimum",
    "SizeTokensLaw",
    "SizeTokensLaws",
    "SizeTokensPoint",
    "Worth",
]

Size = Literal["total", "non-embedding"]
Varies = Literal["both", "size", "tokens"]


@dataclass(frozen=True)
class SizeTokensLaw(Record):
    """``L(N, D) = E + A N^-alpha + B D^-beta``.

    >>> law = SizeTokensLaw(1.817, 477.8, 0.3473, 2143.0, 0.3672)
    >>> n, d = law.optimum(1e21)
    >>> round(law(n, d), 3), f"{n:.3g} parameters, {d:.3g} tokens"
    (2.304, '2.8e+09 parameters, 5.96e+10 tokens')
    """

    e: float
    a: float
    alpha: float
    b: float
    beta: float

    def __call__(self, n: float, d: float) -> float:
        return float(self.e + self.a * n**-self.alpha + self.b * d**-self.beta)

    @property
    def size_exponent(self) -> float:
        """Exponent of the best N over compute, ``beta / (alpha + beta)``; that of D is what is left of 1."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, flops: float) -> tuple[float, float]:
        """N and D of the least loss with ``C = 6 N D``.

        Raises:
            ValueError: A or B is 0: the law knows only one of size and tokens.
        """
        if not (self.a > 0 and self.b > 0):
            raise ValueError("a law without both A and B has no best size for a budget")
        ratio = (math.log(self.alpha * self.a) - math.log(self.beta * self.b)) / (self.alpha + self.beta)
        log_n = ratio + self.size_exponent * math.log(flops / 6)
        return math.exp(log_n), flops / 6 / math.exp(log_n)


@dataclass(frozen=True)
class Worth(Record):
    """What an optimizer is worth against the first: a factor in tokens or in parameters, with its 95 % interval."""

    factor: float
    interval: Interval


@dataclass(frozen=True)
class Optimum(Record):
    """The best size and tokens for a budget, each with its 95 % interval, and the loss there."""

    flops: float
    n: float
    n_interval: Interval
    tokens: float
    tokens_interval: Interval
    loss: float
    loss_interval: Interval


@dataclass(frozen=True)
class OptimizerSizeTokens(Record):
    """The law of one optimizer.

    Attributes:
        optimizer: its name.
        kappa: its kappa; None for an optimizer without one.
        law: the law.
        intervals: 95 % intervals of e, a, alpha, b and beta, of those that were fitted.
        identified: whether each spans no more than a factor of 3 above 0.
        samples: (e, a, alpha, b, beta) of every bootstrap sample.
        optima: at the budgets asked for.
        size_exponent: interval of the exponent of the best N over compute; None where only one of N and D was fitted.
        worth_tokens: against the first optimizer, by B.
        worth_parameters: against the first optimizer, by A.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("label",)

    optimizer: str
    kappa: float | None
    law: SizeTokensLaw
    intervals: dict[str, Interval]
    identified: dict[str, bool]
    samples: tuple[tuple[float, float, float, float, float], ...]
    optima: tuple[Optimum, ...] = ()
    size_exponent: Interval | None = None
    worth_tokens: Worth | None = None
    worth_parameters: Worth | None = None

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    def predict(self, n: float, d: float, widening: float = 1.0, noise: float = 0.0) -> tuple[float, Interval]:
        """The loss at a size and a number of tokens, with its 95 % interval.

        Args:
            n: parameters.
            d: tokens.
            widening: factor on the distance of the interval's ends from the law, in logarithms.
            noise: relative half-width that one measurement adds; 0 for the law's own interval.
        """
        value = self.law(n, d)
        e, a, alpha, b, beta = np.asarray(self.samples).T
        found = interval(np.log(e + a * n**-alpha + b * d**-beta))
        ends = (widening * min(0.0, found.low - math.log(value)), widening * max(0.0, found.high - math.log(value)))
        return value, Interval(
            value * math.exp(-math.hypot(ends[0], noise)), value * math.exp(math.hypot(ends[1], noise))
        )


@dataclass(frozen=True)
class SizeTokensPoint(Record):
    """A loss that was fitted.

    Attributes:
        label: whose.
        where: its place in the source.
        n: parameters.
        tokens: D.
        loss: nats.
        residual: log of the loss over the law's.
    """

    label: str
    where: str
    n: float
    tokens: float
    loss: float
    residual: float


@dataclass(frozen=True)
class Extremes(Record):
    """The rows with the fewest or the most tokens per parameter, and what the law is without them.

    Attributes:
        side: ``fewest`` or ``most``.
        rows: their places.
        ratio: the least extreme of their tokens per parameter.
        law: the law of the first optimizer without them.
        shift: greatest change of alpha or beta, in standard deviations of the bootstrap.
        left_out: whether the fit leaves them out.
    """

    side: Literal["fewest", "most"]
    rows: tuple[str, ...]
    ratio: float
    law: SizeTokensLaw
    shift: float
    left_out: bool = False


@dataclass(frozen=True)
class IsoFlop(Record):
    """The parabola in log N through the losses of one budget.

    Attributes:
        flops: geometric mean of the budgets together.
        points: how many.
        n: where the parabola is lowest.
        loss: there.
        bias: where the parabola through the fitted law's own losses at these sizes is lowest, over the law's best
            size: what a grid that is not centred does to the answer.
    """

    flops: float
    points: int
    n: float
    loss: float
    bias: float | None


@dataclass(frozen=True)
class IsoFlops(Record):
    """Compute-optimal sizes by parabolas: ``N* = factor C^exponent``.

    Attributes:
        budgets: with a parabola that is lowest inside its sizes.
        exponent: of N* over compute.
        interval: of the exponent.
        factor: of the line.
    """

    budgets: tuple[IsoFlop, ...]
    exponent: float
    interval: Interval | None
    factor: float


@dataclass(frozen=True)
class SizeTokensLaws(Record):
    """What ``adana fit --law tokens`` says.

    Attributes:
        size: which parameters N are.
        varies: ``both``, or which of size and tokens the runs tell apart; the law then has that term alone.
        shared: whether several optimizers share E, alpha and beta.
        drawn: what the bootstrap draws, ``rows`` or ``cells``.
        models: the models of the runs, in words.
        batch_tokens: tokens per step of the runs; None where they differ or do not say.
        noise: 95 % of the relative residuals are smaller.
        starts: starts tried, and those that agree.
        least_squares: E, alpha and beta by least squares of relative errors, the second opinion; None where that has
            no answer.
        widening: factor on the intervals of predictions, from held-out cells.
        held_out: how many cells it rests on.
        covered: how many of them lie in the interval before it is widened.
        laws: by optimizer.
        points: what was fitted.
        extremes: rows at an end of the tokens per parameter that move the law.
        isoflops: by parabolas; None where the runs have no budgets in common.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula")
    law: ClassVar[str] = "tokens"

    size: Size
    varies: Varies
    shared: bool
    drawn: Literal["rows", "cells"]
    models: tuple[str, ...]
    batch_tokens: float | None
    noise: float
    starts: tuple[int, int]
    least_squares: tuple[float, float, float] | None
    widening: float
    held_out: int
    covered: int
    laws: tuple[OptimizerSizeTokens, ...]
    points: tuple[SizeTokensPoint, ...]
    extremes: tuple[Extremes, ...] = ()
    isoflops: IsoFlops | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws or not self.points or any(not law.samples for law in self.laws):
            raise ValueError("laws, points and samples must not be empty")

    @property
    def formula(self) -> str:
        return {
            "both": "L = E + A N^-alpha + B D^-beta",
            "size": "L = E + A N^-alpha",
            "tokens": "L = E + B D^-beta",
        }[self.varies]

    def predict(self, law: OptimizerSizeTokens, n: float, d: float) -> tuple[float, Interval]:
        """The loss of one optimizer, with the 95 % interval of a new run's: widened, and with the noise of a run."""
        return law.predict(n, d, self.widening, self.noise)

    def outside(self, n: float, d: float) -> list[str]:
        """In words, on which axes a run lies outside what was fitted."""
        said = []
        for name, value, seen in (
            ("size", n, [point.n for point in self.points]),
            ("tokens", d, [point.tokens for point in self.points]),
            ("tokens per parameter", d / n, [point.tokens / point.n for point in self.points]),
        ):
            if not min(seen) * 0.999 <= value <= max(seen) * 1.001:
                said.append(f"{name}: {value:.3g}, fitted on {min(seen):.3g} to {max(seen):.3g}")
        return said
