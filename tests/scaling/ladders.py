"""Ladders with known laws: what every fit is held to."""

from __future__ import annotations

import math

import numpy as np

from adana.models import EnokiConfig, horizon, petaflop_hours
from adana.scaling.laws import LearningRateLaw
from adana.scaling.published import loss_laws

HEADS = (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40)


def enoki_pfh(heads: int) -> float:
    config = EnokiConfig(heads)
    return petaflop_hours(config, horizon(config))


def table_11(form: str = "broken"):
    """Table 11's laws by optimizer."""
    return {
        row.label: row.law
        for row in loss_laws()
        if (row.arch, row.compute, row.form) == ("enoki", "6n", form) and row.law is not None
    }


def losses_of(laws, heads=HEADS, noise: float = 0.0, seed: int = 0):
    """Ladders made from laws: loss by compute, by optimizer."""
    generator = np.random.default_rng(seed)
    return {
        name: {c: law(c) + noise * float(generator.standard_normal()) for c in map(enoki_pfh, heads)}
        for name, law in laws.items()
    }


def damping_sweeps(where, *, seed: int, noise: float = 0.15):
    """Sweeps of a linear damping whose best one is T^-0.85 (B / 65,536)^0.33, off by ``noise`` in its logarithm."""
    generator = np.random.default_rng(seed)
    sweeps = {}
    for size, steps, batch in where:
        best = steps**-0.85 * (batch / 65536) ** 0.33 * math.exp(noise * generator.standard_normal())
        sweeps[size, steps, batch] = {2.0**-k: 3 + 0.02 * math.log(2.0**-k / best) ** 2 for k in range(1, 22)}
    return sweeps


def sweeps_of(law: LearningRateLaw, heads, *, seed: int, noise: float = 0.001, zeta: float = 0.0193):
    """Sweeps by the rule of F.1's fine search: factor 1.25, two points on each side of the best.

    The loss is a parabola in the log of the learning rate (56) with the paper's curvature for AdamW, and noise.
    """
    generator = np.random.default_rng(seed)
    sweeps = {}
    for h in heads:
        size = EnokiConfig(h).non_embedding_parameters
        centre = math.exp(math.log(law(size)) + generator.uniform(-0.5, 0.5) * math.log(1.25))
        found: dict[float, float] = {}

        def loss(k, found=found, centre=centre, size=size):
            lr = centre * 1.25**k
            if lr not in found:
                found[lr] = 2.5 + zeta * math.log(lr / law(size)) ** 2 + noise * float(generator.standard_normal())
            return found[lr]

        low, high = -2, 2
        while True:
            best = min(range(low, high + 1), key=loss)
            if low <= best - 2 and best + 2 <= high:
                break
            low, high = min(low, best - 2), max(high, best + 2)
        sweeps[size] = found
    return sweeps
