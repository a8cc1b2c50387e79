"""Loss laws, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from adana.records import Record
from adana.scaling.intervals import Interval, hull, loss_interval, widened
from adana.scaling.laws import LossLaw, label
from adana.scaling.published import literature_exponents
from adana.scaling.runs import Horizon

__all__ = [
    "Exponents",
    "Form",
    "FormName",
    "Formula",
    "FormTest",
    "HoldOut",
    "LossFit",
    "LossLaws",
    "OptimizerLoss",
    "OtherForm",
    "Outlier",
    "PredictedLoss",
    "Residual",
    "Starts",
]

Formula = Literal["6n", "6p", "m"]
"""Names of the compute formulas, those of :data:`adana.scaling.laws.COMPUTE_FORMULAS`."""
Form = Literal["single", "broken"]
Exponents = Literal["free", "shared"]
FormName = Literal["power", "saturating", "two powers"]

REJECTED = 0.05
"""Chance below which a test of the form counts."""


@dataclass(frozen=True)
class Residual(Record):
    """A measured loss, its compute in petaflop-hours, and the measured loss less the law's."""

    pfh: float
    loss: float
    residual: float


@dataclass(frozen=True)
class FormTest(Record):
    """An F-test of the form that was fitted.

    Attributes:
        statistic: F.
        freedom: its degrees of freedom.
        p: how often F is as large where the form is right. Below 0.05 counts as another form.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("rejects",)

    statistic: float
    freedom: tuple[int, int]
    p: float

    @property
    def rejects(self) -> bool:
        return self.p < REJECTED


@dataclass(frozen=True)
class OtherForm(Record):
    """Another form through the same losses, which they do not reject.

    Attributes:
        form: ``power`` for ``e C^-f``, ``saturating`` for ``a + e C^-f``, ``two powers`` for ``b C^-c + e C^-f``.
        law: its numbers; those that it does not have are 0.
        samples: (a, e, f, b, c) of every bootstrap sample of two power laws through five losses or more; else none.
    """

    INLINE: ClassVar[tuple[str, ...]] = ("law",)

    form: FormName
    law: LossLaw
    samples: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class LossFit(Record):
    """One optimizer's loss law.

    Attributes:
        law: a, e, f and, of a broken law, b, c.
        r_squared: share of the variance of its losses that the law explains; None where they do not vary.
        residuals: of every point, by compute.
        intervals: 95 % interval of each number by name; a fixed one has none.
        identified: whether an interval leaves out 0 and spans no more than a factor of three.
        samples: (a, e, f) or (a, e, f, b, c) of every bootstrap sample.
        others: other forms that the losses do not reject.
        noise: half-width of the 95 % interval of one more measurement, nats.
        widening: factor on the intervals of predictions, from hold-outs; 1 where there are none.
    """

    INLINE: ClassVar[tuple[str, ...]] = ("law",)

    law: LossLaw
    r_squared: float | None
    intervals: dict[str, Interval]
    identified: dict[str, bool]
    residuals: tuple[Residual, ...]
    samples: tuple[tuple[float, ...], ...]
    others: tuple[OtherForm, ...] = ()
    noise: float = 0.0
    widening: float = 1.0

    def __post_init__(self) -> None:
        if not self.residuals or not self.samples:
            raise ValueError("a law needs residuals and samples, got an empty list")
        if any(len(sample) not in (3, 5) for sample in self.samples):
            raise ValueError("samples must be lists of 3 numbers, or 5 for a broken law")
        for residual in (self.residuals[0], self.residuals[-1]):
            self.predict(residual.pfh)

    def predict(self, compute: float) -> tuple[float, Interval]:
        """The law's loss at a compute in petaflop-hours, with the 95 % interval of a new run's.

        It is the bootstrap's (of two power laws too, from five sizes on), with the noise of one run, the distance to
        what other forms predict, and what hold-outs of this table showed (:func:`adana.scaling.intervals.widened`).
        """
        value = self.law(compute)
        own = hull([loss_interval(some, compute) for some in (self.samples, *(o.samples for o in self.others)) if some])
        found = widened(value, own, [other.law(compute) for other in self.others], self.noise, self.widening)
        return value, Interval(max(found.low, 0.0), found.high)

    def within_form(self, compute: float) -> Interval:
        """The 95 % interval of a new run's loss if the law has the right form: without what other forms predict."""
        return replace(self, others=()).predict(compute)[1]

    @property
    def two_powers(self) -> LossLaw | None:
        """Two power laws through the same losses; None where they were not compared."""
        return next((other.law for other in self.others if other.form == "two powers"), None)


@dataclass(frozen=True)
class PredictedLoss(Record):
    """A loss that a law predicts at a compute in petaflop-hours, with the 95 % interval of a new run's."""

    pfh: float
    loss: float
    interval: Interval


@dataclass(frozen=True)
class HoldOut(Record):
    """How well the law of the smaller sizes says the largest one's loss.

    Attributes:
        pfh: the largest compute, petaflop-hours.
        loss: its measured loss.
        predicted: what the law fitted without it says.
        interval: 95 % interval of what would be measured there: of the law, and of the noise of one more point.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("error",)

    pfh: float
    loss: float
    predicted: float
    interval: Interval

    @property
    def error(self) -> float:
        """Predicted minus measured."""
        return self.predicted - self.loss


@dataclass(frozen=True)
class OptimizerLoss(Record):
    """The loss law of one optimizer.

    Attributes:
        optimizer: its name.
        kappa: its kappa; None for an optimizer without one.
        fit: the law.
        predictions: at the budgets asked for.
        hold_out: its largest size, predicted from the others; None where those are too few.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("label",)
    INLINE: ClassVar[tuple[str, ...]] = ("fit",)

    optimizer: str
    kappa: float | None
    fit: LossFit
    predictions: tuple[PredictedLoss, ...] = ()
    hold_out: HoldOut | None = None

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)


@dataclass(frozen=True)
class Starts(Record):
    """Starts of a search, and how many ended within 1 % of the best sum of squares."""

    tried: int
    agreeing: int


@dataclass(frozen=True)
class Outlier(Record):
    """A loss far from what the others of its optimizer say.

    Attributes:
        label: whose.
        pfh: its compute, petaflop-hours.
        loss: measured.
        expected: what a law through the others says.
        left_out: whether the fit leaves it out.
    """

    label: str
    pfh: float
    loss: float
    expected: float
    left_out: bool = False


@dataclass(frozen=True)
class LossLaws(Record):
    """What ``adana fit --law loss`` says.

    Attributes:
        compute: formula of the compute.
        form: ``single`` or ``broken``.
        exponents: ``free``, one set for each optimizer, or ``shared``.
        saturation: greatest a allowed; 0 where a was held at 0.
        span: horizon that the laws hold for.
        batch_tokens: tokens per step of the runs; None where they differ or do not say.
        models: the models of the runs, in words.
        noise: standard deviation of a point, from the residuals.
        starts: of the search.
        form_test: a single power law against two; None where they were not compared.
        trend: whether the residuals follow compute; None where there are too few points.
        laws: by optimizer.
        no_hold_out: why no size was held out; None where one was.
        held_out: how many losses were predicted from the sizes below them.
        covered: how many of them lie in the interval before it is widened.
        outliers: losses that are flagged.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula", "horizon", "literature")
    INLINE: ClassVar[tuple[str, ...]] = ("span",)
    law: ClassVar[str] = "loss"

    compute: Formula
    form: Form
    exponents: Exponents
    saturation: float
    span: Horizon
    batch_tokens: float | None
    models: tuple[str, ...]
    noise: float
    starts: Starts
    laws: tuple[OptimizerLoss, ...]
    form_test: FormTest | None = None
    trend: FormTest | None = None
    no_hold_out: str | None = None
    held_out: int = 0
    covered: int = 0
    outliers: tuple[Outlier, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws:
            raise ValueError("laws must not be empty")

    @property
    def formula(self) -> str:
        return "L = a + e C^-f" if self.form == "single" else "L = a + b C^-c + e C^-f"

    @property
    def horizon(self) -> str:
        return str(self.span)

    @property
    def literature(self) -> list[dict[str, Any]]:
        """Table 15, to compare with."""
        return [
            {"paper": row.paper, "compute": row.compute, "f": [row.f_low, row.f_high]}
            | {"irreducible": row.irreducible, "from_figure": row.from_figure, "max_pfh": row.max_pfh}
            for row in literature_exponents()
        ]
