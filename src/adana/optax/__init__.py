"""The family for JAX: Optax gradient transformations that run the same rules as the torch optimizers.

Two layers, as in Optax: ``scale_by_adana`` and its like are the bare rules, ``adana`` and its like add the
learning rate and independent weight decay. Both share one :class:`ScaleByRuleState` with one ``count``.

    adana/rules.py, adana/schedules.py     the arithmetic, shared with torch
    engine.py                              trees, dtypes, the state, learning rate and decay around a rule
    family.py                              the elementwise optimizers and their ``scale_by_*``
    muon.py                                matrices orthogonalised, everything else by a fallback
"""

from __future__ import annotations

try:
    import jax as _jax  # noqa: F401
    import optax as _optax  # noqa: F401
except ImportError as error:
    raise ImportError(f"adana.optax needs JAX and Optax ({error}): pip install 'adana[jax]'") from error

from adana.optax.engine import ScaleByRuleState
from adana.optax.family import (
    adamw,
    adana,
    ademamix,
    dana,
    dana_mk4,
    dana_star,
    dana_star_mk4,
    log_adamw,
    log_nadamw,
    nadamw,
    scale_by_adamw,
    scale_by_adana,
    scale_by_ademamix,
    scale_by_dana,
    scale_by_dana_mk4,
    scale_by_dana_star,
    scale_by_dana_star_mk4,
    scale_by_log_adamw,
    scale_by_log_nadamw,
    scale_by_nadamw,
)
from adana.optax.muon import muon, scale_by_muon

__all__ = [
    "ScaleByRuleState",
    "adamw",
    "adana",
    "ademamix",
    "dana",
    "dana_mk4",
    "dana_star",
    "dana_star_mk4",
    "log_adamw",
    "log_nadamw",
    "muon",
    "nadamw",
    "scale_by_adamw",
    "scale_by_adana",
    "scale_by_ademamix",
    "scale_by_dana",
    "scale_by_dana_mk4",
    "scale_by_dana_star",
    "scale_by_dana_star_mk4",
    "scale_by_log_adamw",
    "scale_by_log_nadamw",
    "scale_by_muon",
    "scale_by_nadamw",
]
