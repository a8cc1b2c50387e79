"""Label noise: how to draw it, and how to average over it exactly enough."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import stats

from adana.theory.checks import Floats, at_least, positive

__all__ = ["NOISES", "LabelNoise"]

NOISES = ("none", "gaussian", "rademacher", "student", "cauchy")
_NODES = 4000


@dataclass(frozen=True)
class LabelNoise:
    """One law of label noise, symmetric around zero.

    Args:
        kind: one of ``NOISES``.
        scale: standard deviation (gaussian), size (rademacher) or scale parameter (student, cauchy).
        freedom: degrees of freedom (student), > 0.

    Raises:
        ValueError: an unknown kind, or a number out of range.

    >>> LabelNoise("student", freedom=3.0).variance
    3.0
    """

    kind: str = "none"
    scale: float = 1.0
    freedom: float = 3.0

    def __post_init__(self) -> None:
        if self.kind not in NOISES:
            raise ValueError(f"unknown noise {self.kind!r}: choose from {', '.join(NOISES)}")
        at_least("scale", self.scale, 0)
        positive("freedom", self.freedom)

    @property
    def name(self) -> str:
        """For labels."""
        if self.kind == "none":
            return "no noise"
        return f"{self.kind}({self.freedom:g})" if self.kind == "student" else self.kind

    @property
    def variance(self) -> float:
        """Of one draw; infinite where it does not exist."""
        if self.kind == "none" or self.scale == 0:
            return 0.0
        if self.kind == "cauchy" or (self.kind == "student" and self.freedom <= 2):
            return float("inf")
        return self.scale**2 * (self.freedom / (self.freedom - 2) if self.kind == "student" else 1.0)

    @property
    def nodes(self) -> Floats:
        """Equally likely values that stand for the law: one value, two, or 4000 quantiles."""
        return _nodes(self)

    def sample(self, rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
        """Independent draws."""
        if self.kind == "none":
            return np.zeros(size)
        if self.kind == "gaussian":
            return self.scale * rng.standard_normal(size)
        if self.kind == "rademacher":
            return self.scale * (2.0 * rng.integers(0, 2, size) - 1)
        if self.kind == "student":
            return self.scale * rng.standard_t(self.freedom, size)
        return self.scale * rng.standard_cauchy(size)


@functools.lru_cache(maxsize=32)  # the quantiles of Student's t take longer than a step that uses them
def _nodes(noise: LabelNoise) -> Floats:
    if noise.kind == "none":
        return np.zeros(1)
    if noise.kind == "rademacher":
        return np.array([-noise.scale, noise.scale])
    levels = (np.arange(_NODES) + 0.5) / _NODES
    law = {"gaussian": stats.norm(), "student": stats.t(noise.freedom), "cauchy": stats.cauchy()}[noise.kind]
    nodes = np.asarray(noise.scale * law.ppf(levels))
    nodes.flags.writeable = False
    return nodes
