"""Laws of the learning rate and the batch over size and tokens, as dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from adana.records import Record
from adana.scaling.fits.size_tokens import Size
from adana.scaling.intervals import Interval, interval
from adana.scaling.laws import label

__all__ = ["Best", "OptimizerRateBatch", "PowerLaw", "RateBatchLaws"]

Side = Literal["inside", "at least", "at most"]


@dataclass(frozen=True)
class PowerLaw(Record):
    """``factor * product of value^exponent``, over some of N, D and B (tokens per step).

    Attributes:
        factor: c.
        exponents: by name of the variable: ``N``, ``D``, ``B``.
        intervals: 95 % intervals of ``factor`` and every exponent.
        samples: log of the factor, and the exponents in their order, of every bootstrap sample.
        spread: standard deviation of the logarithm of a cell's best around the law, beyond its own error.
        points: cells with a best inside their grid.
        bounds: cells whose best is at the edge of their grid; they count where the law is on the wrong side.
    """

    factor: float
    exponents: dict[str, float]
    intervals: dict[str, Interval]
    samples: tuple[tuple[float, ...], ...]
    spread: float
    points: int
    bounds: int

    def predict(self, **at: float) -> tuple[float, Interval]:
        """The value at N, D and B, those that the law has, with the 95 % interval of the law.

        >>> law = PowerLaw(2.0, {"D": 0.5}, {}, ((math.log(2.0), 0.5),), 0.0, 3, 0)
        >>> law.predict(D=16.0, N=1.0)[0]
        8.0
        """
        logs = [math.log(at[name]) for name in self.exponents]
        value = self.factor * math.exp(sum(e * x for e, x in zip(self.exponents.values(), logs)))
        found = interval(np.asarray(self.samples) @ np.array([1.0, *logs]))
        return value, Interval(math.exp(found.low), math.exp(found.high))

    def text(self, symbol: str) -> str:
        """The law as an equation."""
        return f"{symbol} = {self.factor:.4g} " + " ".join(f"{name}^{x:.3f}" for name, x in self.exponents.items())


@dataclass(frozen=True)
class Best(Record):
    """The best learning rate of a cell, or the best batch of a size and number of tokens.

    Attributes:
        n: parameters.
        tokens: D.
        batch_tokens: tokens per step of the cell; None for a best batch.
        value: learning rate, or tokens per step, where the parabola is lowest; at an edge, half a step inside.
        side: ``inside`` the grid; else the best is ``at least`` or ``at most`` this.
        error: standard deviation of its logarithm; 0 at an edge.
        loss: where the parabola is lowest; at an edge, the least measured.
    """

    n: float
    tokens: float
    batch_tokens: float | None
    value: float
    side: Side
    error: float
    loss: float


@dataclass(frozen=True)
class OptimizerRateBatch(Record):
    """The laws of one optimizer.

    Attributes:
        optimizer: its name.
        kappa: its kappa; None for an optimizer without one.
        lr: the best learning rate over N, D and B.
        at_best_batch: the best learning rate over N and D at the best batch; None with one batch.
        batch: the best batch over D; None with one batch.
        rates: the best learning rate of every cell.
        batches: the best batch of every size and number of tokens.
        not_fitted: what could not be, and why.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("label",)

    optimizer: str
    kappa: float | None
    lr: PowerLaw
    at_best_batch: PowerLaw | None
    batch: PowerLaw | None
    rates: tuple[Best, ...]
    batches: tuple[Best, ...]
    not_fitted: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return label(self.optimizer, self.kappa)

    def outside(self, at: Mapping[str, float]) -> list[str]:
        """In words, on which axes a run lies outside what the law of the learning rate was fitted on."""
        said = []
        for name, title, seen in (
            ("N", "size", [one.n for one in self.rates]),
            ("D", "tokens", [one.tokens for one in self.rates]),
            ("B", "tokens per step", [one.batch_tokens for one in self.rates if one.batch_tokens is not None]),
        ):
            if name in at and seen and not min(seen) * 0.999 <= at[name] <= max(seen) * 1.001:
                said.append(f"{title}: {at[name]:.3g}, fitted on {min(seen):.3g} to {max(seen):.3g}")
        return said


@dataclass(frozen=True)
class RateBatchLaws(Record):
    """What ``adana fit --law lr-batch`` says.

    Attributes:
        size: which parameters N are.
        models: the models of the runs, in words.
        laws: by optimizer.
        command: what made it.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("law", "formula")
    law: ClassVar[str] = "lr-batch"
    formula: ClassVar[str] = "lr* = c N^a D^b B^g, B* = k D^h"

    size: Size
    models: tuple[str, ...]
    laws: tuple[OptimizerRateBatch, ...]
    command: str = ""

    def __post_init__(self) -> None:
        if not self.laws or any(not law.lr.samples for law in self.laws):
            raise ValueError("laws and samples must not be empty")
