"""The two laws everything here is about, as functions of size and compute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adana.records import Record

__all__ = ["COMPUTE_FORMULAS", "PETAFLOP_HOUR", "LearningRateLaw", "LossLaw", "label"]

PETAFLOP_HOUR = 3.6e18
"""The paper's unit of compute: 10^15 times 3,600 (footnote 9)."""

COMPUTE_FORMULAS = {"6p": "6P", "6n": "6N", "m": "M"}
"""Names in files and options, and those of :func:`adana.models.flops_per_token` (Section E.3)."""


def label(optimizer: str, kappa: float | None) -> str:
    """How an optimizer is called where kappa tells two apart.

    >>> label("adana", 0.85), label("adamw", None)
    ('adana (kappa 0.85)', 'adamw')
    """
    return optimizer if kappa is None else f"{optimizer} (kappa {kappa:g})"


@dataclass(frozen=True)
class LearningRateLaw(Record):
    """Peak learning rate over size: ``gamma* = a (b + P)^d``, P the non-embedding parameters.

    Attributes:
        a: factor, above 0.
        b: saturation in parameters, at least 0.
        d: exponent, negative in every published law.

    Source: Section F.3.1 (37).

    >>> law = LearningRateLaw(12.8, 1.67e4, -0.515)  # AdamW, (39)
    >>> f"{law(2_359_296_000):.3g}"
    '0.000191'
    """

    a: float
    b: float
    d: float

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b >= 0):
            raise ValueError(f"a learning-rate law has a above 0 and b of at least 0, got a = {self.a}, b = {self.b}")

    def __call__(self, non_embedding_parameters: float) -> float:
        return math.exp(math.log(self.a) + self.d * math.log(self.b + non_embedding_parameters))


@dataclass(frozen=True)
class LossLaw(Record):
    """Final loss over compute: ``L = a + b C^-c + e C^-f``, C in petaflop-hours; b = 0 is the single power law.

    Attributes:
        a: saturation, nats per token.
        e: factor of the term with the smaller exponent f.
        f: that exponent.
        b: factor of the steeper term.
        c: its exponent.

    Source: Section E.1 (27).

    >>> law = LossLaw(0.106, 2.68, 0.030, 0.405, 0.211)  # AdamW, Table 11
    >>> round(law(217.0), 3), round(law.slope(217.0), 3)
    (2.517, 0.096)
    """

    a: float
    e: float
    f: float
    b: float = 0.0
    c: float = 0.0

    def to_json(self) -> dict[str, float | None]:
        b, c = (None, None) if self.b == self.c == 0 else (self.b, self.c)
        return {"a": self.a, "e": self.e, "f": self.f, "b": b, "c": c}

    @classmethod
    def _read(cls, data: Any, path: str) -> LossLaw:
        # The single power law is written with nulls for the numbers that it does not have.
        if isinstance(data, Mapping) and data.get("b") is data.get("c") is None:
            data = {name: value for name, value in data.items() if name not in ("b", "c")}
        return super()._read(data, path)

    def __call__(self, compute: float) -> float:
        return float(self.a + self.b * compute**-self.c + self.e * compute**-self.f)

    def slope(self, compute: float) -> float:
        """``-C dL/dC``: nats that one e-fold of compute buys; ``|c| (L - a)`` of (58) for the single law."""
        return float(self.c * self.b * compute**-self.c + self.f * self.e * compute**-self.f)
