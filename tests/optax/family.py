"""The JAX family as data, matched to the torch family's cases."""

from __future__ import annotations

import functools
from typing import Any

import adana.optax
from adana import catalog
from tests.optim.cases import CASES, FORMED, IDS, T
from tests.optim.tensors import MATRIX_RULES

OPTIMIZERS: dict[str, Any] = {
    entry.optax.replace("_", "-"): getattr(adana.optax, entry.optax)
    for entry in catalog.OPTIMIZERS.values()
    if entry.optax
}
BARE: dict[str, Any] = {name: getattr(adana.optax, f"scale_by_{name.replace('-', '_')}") for name in OPTIMIZERS}
ELEMENTWISE = [name for name in OPTIMIZERS if name not in MATRIX_RULES]

# Optax has no `maximize`: there the sign of the gradient is the caller's.
_KEPT = [(case, name) for case, name in zip(CASES, IDS, strict=True) if "maximize" not in case[1]]
PARITY = [case for case, _ in _KEPT]
PARITY_IDS = [name for _, name in _KEPT]

# One of each rule and form, and the AdamW that keeps its decay constant.
PLAIN: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in OPTIMIZERS),
    *((name, {"form": "released"}) for name in FORMED),
    ("adana", {"beta2": 0.99, "beta3": 0.9}),
    ("adamw", {"decay": "constant"}),
    ("muon", {"log_time": True}),
]
PLAIN_IDS = ["-".join([name, *(f"{k}={v}" for k, v in options.items())]) for name, options in PLAIN]


def build(name: str, learning_rate: Any = 0.01, **options: Any) -> Any:
    return OPTIMIZERS[name](learning_rate, **{"total_steps": T, **options})


@functools.cache
def plain(name: str, *options: tuple[str, Any]) -> Any:
    return build(name, **dict(options))
