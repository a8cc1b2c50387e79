"""Learning-rate laws, as dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from adana.records import Record
from adana.scaling.intervals import Interval, learning_rate_interval, widened
from adana.scaling.laws import LearningRateLaw, label
from adana.scaling.published import kappa_of, learning_rate_laws
from adana.scaling.runs import Horizon

__all__ = [
    "Cost",
    "LearningRateFit",
    "LearningRateLaws",
    "OptimizerRate",
    "PredictedRate",
    "RateIntervals",
    "RatePoint",
    "Sensitivity",
    "SizeCurvature",
]

LARGEST = 1e18
"""Non-embedding parameters up to which a law must give a number."""


@dataclass(frozen=True)
class RatePoint(Record):
    """A learning rate that a fit used.

    Attributes:
        non_embedding_parameters: P.
        lr: learning rate.
        weight: ``K - k + 1`` of the k-th best of K.
    """

    non_embedding_parameters: float
    lr: float
    weight: int


@dataclass(frozen=True)
class RateIntervals(Record):
    """95 % intervals of a learning-rate law.

    Attributes:
        a: of the factor.
        b: of the saturation; None where there are too few sizes to fit it. It has no upper end where it reaches the
            largest size, the greatest b tried.
        d: of the exponent.
    """

    a: Interval
    b: Interval | None
    d: Interval


@dataclass(frozen=True)
class LearningRateFit(Record):
    """A fitted learning-rate law.

    Attributes:
        law: a, b, d; b is 0 where there are too few sizes to fit it, or its interval reaches 0.
        loss: (38) there.
        sizes: non-embedding parameters of the sizes it was fitted on, ascending.
        points: every learning rate used.
        intervals: of a, b and d.
        b_identified: whether b's interval leaves out 0 and spans no more than a factor of ten.
        unbracketed: sizes whose best learning rate is the least or the greatest that was tried.
        samples: (log a, b, d) of every bootstrap sample, b fitted in each.
        widening: factor on the intervals of predictions, from hold-outs; 1 where there are none.
        held_out: how many best learning rates were predicted from the sizes below them.
        covered: how many of them lie in the interval before it is widened.
    """

    INLINE: ClassVar[tuple[str, ...]] = ("law",)

    law: LearningRateLaw
    loss: float
    sizes: tuple[float, ...]
    points: tuple[RatePoint, ...]
    intervals: RateIntervals
    b_identified: bool
    unbracketed: tuple[float, ...]
    samples: tuple[tuple[float, float, float], ...]
    widening: float = 1.0
    held_out: int = 0
    covered: int = 0

    def __post_init__(self) -> None:
        if not self.sizes or not self.samples:
            raise ValueError("a law needs sizes and samples, got an empty list")
        for size in (self.sizes[0], self.sizes[-1], LARGEST):  # a law that has no value there raises
            self.predict(size)

    def predict(self, non_embedding_parameters: float) -> tuple[float, Interval]:
        """The law's learning rate at a size, with its 95 % interval: the bootstrap's, as wide as hold-outs say."""
        value, own = self.law(non_embedding_parameters), learning_rate_interval(self.samples, non_embedding_parameters)
        logs = Interval(math.log(own.low), math.log(own.high))
        found = widened(math.log(value), logs, [], 0.0, self.widening)
        return value, Interval(*(math.exp(max(min(end, 700.0), -700.0)) for end in (found.low, found.high)))


@dataclass(frozen=True)
class PredictedRate(Record):
    """A learning rate that a law predicts, with its 95 % interval."""

    non_embedding_parameters: float
    lr: float
    interval: Interval


@dataclass(frozen=True)
class SizeCurvature(Record):
    """The curvature (56) of the sweep of one size, and where its parabola is lowest."""

    non_embedding_parameters: float
    curvature: float
    best_lr: float


@dataclass(frozen=True)
class Cost(Record):
    """What an error in the learning rate costs.

    Attributes:
        of: which error, in words.
        relative_error: the learning rate used over the best one, less 1.
        loss: nats (57).
        compute: relative compute that makes up for them (58, 59); None where the runs do not tell their compute.
    """

    of: str
    relative_error: float
    loss: float
    compute: float | None


@dataclass(frozen=True)
class Sensitivity(Record):
    """How sharp the sweeps' minima are.

    Attributes:
        curvatures: of every size that has one.
        curvature: their mean, nats for an error of a factor e.
        spread: their standard deviation.
        costs: of an error as large as the interval of the last prediction, and of 50 %.
    """

    curvatures: tuple[SizeCurvature, ...] = ()
    curvature: float | None = None
    spread: float | None = None
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class OptimizerRate(Record):
    """The learning-rate law of one optimizer.

    Attributes:
        optimizer: its name.
        kappa: its kappa; None for an optimizer without one.
        fit: the law.
        options: what it was built with, where the best runs of all sizes agree; None where they do not.
        predictions: at the sizes asked for.
        sensitivity: what an error costs.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("label", "published")
    INLINE: ClassVar[tuple[str, ...]] = ("fit",)

    optimizer: str
    kappa: float | None
    fit: LearningRateFit
    options: dict[str, Any] | None = None
    predictions: tuple[PredictedRate, ...] = ()
    sensitivity: Sensitivity = field(default_factory=Sensitivity)

    def __post_init__(self) -> None:
        for name in ("weight_decay", "damping_scale"):  # a plan reckons with them
            value = (self.options or {}).get(name, 1.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"options.{name} must be a number, got {value!r}")

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    @property
    def published(self) -> list[dict[str, Any]]:
        """The published laws of this optimizer and kappa, to compare with."""
        return [
            {"source": row.source, "label": row.label, "arch": row.arch, "a": row.law.a, "b": row.law.b}
            | {"d": row.law.d, "batch_tokens": row.batch_tokens}
            for row in learning_rate_laws()
            if row.law is not None
            and not row.variant
            and (row.optimizer, kappa_of(row)) == (self.optimizer, self.kappa)
        ]


@dataclass(frozen=True)
class LearningRateLaws(Record):
    """What ``adana fit --law lr`` says.

    Attributes:
        span: horizon that the laws hold for.
        batch_tokens: tokens per step that they hold for; None where the runs do not say.
        models: the models of the runs, in words.
        laws: by optimizer.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula", "horizon")
    INLINE: ClassVar[tuple[str, ...]] = ("span",)
    law: ClassVar[str] = "lr"
    formula: ClassVar[str] = "gamma* = a (b + P)^d"

    span: Horizon
    batch_tokens: float | None
    models: tuple[str, ...]
    laws: tuple[OptimizerRate, ...]
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws:
            raise ValueError("laws must not be empty")

    @property
    def horizon(self) -> str:
        return str(self.span)
