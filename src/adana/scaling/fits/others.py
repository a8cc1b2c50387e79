"""Compute multipliers and damping laws, as dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from adana.records import Record
from adana.scaling.fits.losses import Formula
from adana.scaling.intervals import Interval

__all__ = [
    "Budget",
    "DampingFit",
    "DampingLaws",
    "DampingPoint",
    "MultiplierRow",
    "Multipliers",
    "OptimizerDamping",
]


@dataclass(frozen=True)
class MultiplierRow(Record):
    """One optimizer's multiplier at one budget.

    Attributes:
        label: whose.
        pfh: budget, petaflop-hours.
        loss: its final loss, the mean over seeds.
        multiplier: compute that the baseline would need for that loss, over the budget; None where no budget gives it.
        extrapolated: whether the loss lies outside the baseline's losses; None without a multiplier.
        interval: 95 % interval from seed noise; None where the noise is not known.
        outlier: whether the loss is flagged.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("efficiency",)

    label: str
    pfh: float
    loss: float
    multiplier: float | None
    extrapolated: bool | None
    interval: Interval | None
    outlier: bool

    @property
    def efficiency(self) -> float | None:
        """Relative compute saved."""
        return None if self.multiplier is None else self.multiplier - 1


@dataclass(frozen=True)
class Budget(Record):
    """A budget of the baseline in petaflop-hours, its mean loss, and whether that is flagged."""

    pfh: float
    loss: float
    outlier: bool


@dataclass(frozen=True)
class Multipliers(Record):
    """What ``adana fit --law multiplier`` says.

    Attributes:
        compute: formula of the compute.
        baseline: the optimizer compared with.
        horizon: of the runs, in words; None where they do not say.
        models: the models of the runs, in words.
        seed_noise: standard deviation of one run's loss; None where it is not known.
        ladder: the baseline's budgets.
        rows: the multipliers.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law",)
    law: ClassVar[str] = "multiplier"

    compute: Formula
    baseline: str
    horizon: str | None
    models: tuple[str, ...]
    seed_noise: float | None
    ladder: tuple[Budget, ...]
    rows: tuple[MultiplierRow, ...]
    command: str = ""


@dataclass(frozen=True)
class DampingPoint(Record):
    """The best damping of one size, horizon and batch.

    Attributes:
        non_embedding_parameters: P.
        steps: T.
        batch_tokens: tokens per step.
        best: c of ``alpha(t) = c (1 + t)`` with the least loss.
        bracketed: whether larger and smaller ones did worse.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("kappa",)

    non_embedding_parameters: float
    steps: float
    batch_tokens: float
    best: float
    bracketed: bool

    @property
    def kappa(self) -> float:
        """``-log_T(best)`` (Figure 33)."""
        return -math.log(self.best) / math.log(self.steps)


@dataclass(frozen=True)
class DampingFit(Record):
    """``c = scale T^-kappa (B / 65,536)^eta (P / P_0)^rho``, P_0 the geometric mean of the sizes.

    Attributes:
        points: what it was fitted to.
        scale: factor; about 1 in the paper.
        kappa: exponent of the horizon.
        batch_exponent: eta; None where all runs had one batch.
        size_exponent: rho, about 0 in the paper; None where all had one size.
        intervals: 95 % intervals of the above by name.
        noise: standard deviation of log c.
    """

    points: tuple[DampingPoint, ...]
    scale: float
    kappa: float
    batch_exponent: float | None
    size_exponent: float | None
    intervals: dict[str, Interval]
    noise: float


@dataclass(frozen=True)
class OptimizerDamping(Record):
    """The damping law of one optimizer."""

    INLINE: ClassVar[tuple[str, ...]] = ("fit",)

    optimizer: str
    fit: DampingFit


@dataclass(frozen=True)
class DampingLaws(Record):
    """What ``adana fit --law damping`` says.

    Attributes:
        models: the models of the runs, in words.
        laws: by optimizer.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula")
    law: ClassVar[str] = "damping"
    formula: ClassVar[str] = "c = scale T^-kappa (B / 65536)^batch_exponent (P / P_0)^size_exponent"

    models: tuple[str, ...]
    laws: tuple[OptimizerDamping, ...]
    command: str = ""
