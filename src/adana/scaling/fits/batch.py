"""What a batch changes at equal tokens, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adana.records import Record
from adana.scaling.fits.size_tokens import Size
from adana.scaling.intervals import Interval

__all__ = ["BatchLaws", "BatchRow", "OptimizerBatch"]


@dataclass(frozen=True)
class BatchRow(Record):
    """One optimizer at one size, number of tokens and batch.

    Attributes:
        n: parameters.
        tokens: D.
        batch_tokens: tokens per step.
        loss: nats, of the best setting, the mean over seeds.
        damping_scale: the best alpha~, at the bottom of a parabola in its logarithm; None with fewer than three.
        bracketed: whether a smaller and a larger alpha~ did worse; None where there is no best one.
        multiplier: tokens that the baseline would need at this size and batch for the same loss, over D (Section
            C.2.1); None where the baseline has fewer than two numbers of tokens there, or never reaches the loss.
        extrapolated: whether the loss lies outside the baseline's.
        interval: 95 % interval of the multiplier from the noise of a run; None where that is not known.
    """

    n: float
    tokens: float
    batch_tokens: float
    loss: float
    damping_scale: float | None = None
    bracketed: bool | None = None
    multiplier: float | None = None
    extrapolated: bool | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class OptimizerBatch(Record):
    """One optimizer over the batch.

    Attributes:
        label: whose.
        rows: by size, tokens and batch.
        exponent: eta of ``alpha~ = k B^eta``, one for all sizes and tokens and a k for each; None where no size and
            tokens have two bracketed best alpha~.
        interval: 95 % interval of eta; None where as many points as numbers leave none.
    """

    label: str
    rows: tuple[BatchRow, ...]
    exponent: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class BatchLaws(Record):
    """What ``adana fit --law batch`` says.

    Attributes:
        baseline: the optimizer compared with; empty where there is none.
        size: which parameters N are.
        models: the models of the runs, in words.
        laws: by optimizer.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula")
    law: ClassVar[str] = "batch"
    formula: ClassVar[str] = "alpha~ = k B^eta at equal tokens"

    baseline: str
    size: Size
    models: tuple[str, ...]
    laws: tuple[OptimizerBatch, ...]
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws:
            raise ValueError("laws must not be empty")
