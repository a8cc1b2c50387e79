"""The family as data: every rule with every option, for tests that hold over all of it."""

from __future__ import annotations

from typing import Any

import adana
from adana.catalog import OPTIMIZERS, of_rule
from tests.optim.tensors import MATRIX_RULES

T = 60
CLASSES: dict[str, Any] = {
    entry.rule: getattr(adana, entry.torch_class) for entry in OPTIMIZERS.values() if entry.torch
}
FORMED = [entry.rule for entry in OPTIMIZERS.values() if "form" in entry.options]
_OWN: dict[str, list[dict[str, Any]]] = {
    "adana": [
        {"kappa": 0.6, "damping_scale": 2.5},
        {"damping": "linear"},
        {"damping": "nesterov"},
        {"gradient_term": False},
        {"beta1": 0.9},
        {"beta2": 0.95},
        {"eps_root": 1e-4, "eps": 0.0},
        {"beta3": 0.9},
        {"beta2": 0.99, "beta3": 0.8, "damping": "linear", "damping_scale": 3.0},
        {"cooldown": 0.5},
        {"cooldown": 0.25, "damping": "linear", "beta2": 0.95},
        {"form": "released"},
        {"form": "released", "damping_scale": 2.0, "kappa": 0.75, "decay": "constant"},
    ],
    "dana-mk4": [
        {"clip_snr": 0.1, "damping_scale": 3.0},
        {"kappa": 1.2},
        {"cooldown": 0.5},
        {"form": "released"},
        {"form": "released", "clip_snr": 0.1},
    ],
    "dana-star": [
        {"kappa": 0.5, "damping_scale": 2.0},
        {"cooldown": 0.5},
        {"form": "released"},
        {"form": "released", "kappa": 0.5},
    ],
    "dana-star-mk4": [
        {"clip_snr": 0.1},
        {"cooldown": 0.5},
        {"kappa": 0.5, "damping_scale": 2.0},
        {"form": "released"},
        {"form": "released", "clip_snr": 0.1, "damping_scale": 2.0},
    ],
    "adamw": [{"betas": (0.8, 0.95)}, {"nesterov": True}],
    "ademamix": [{"beta2": 0.95, "beta3": 0.7, "kappa": 0.7}],
    "amcs": [{"beta1": 0.99, "beta2": 0.95, "beta3": 0.5}, {"total_steps": 30}],
    "dana": [{"damping": "linear", "damping_scale": 2.0}, {"damping": "nesterov"}, {"kappa": 0.6}],
    "muon": [
        {"nesterov": False, "momentum": 0.8},
        {"ns_steps": 3, "rms": 0.3},
        {"log_time": True},
        {"log_time": True, "damping": "linear"},
        {"log_time": True, "damping": "nesterov"},
    ],
    "log-muon": [
        {"kappa": 0.5, "damping_scale": 2.0},
        {"kappa": 1.0, "ns_steps": 3, "rms": 0.3},
        {"damping": "linear"},
        {"damping": "nesterov"},
        {"gradient_term": False},
        {"beta1": 0.9},
        {"cooldown": 0.5},
        {"beta1": 0.9, "gradient_term": False, "kappa": 1.0},
    ],
}
_SHARED: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.0},
    {"decay": "constant"},
    {"weight_decay_offset": 25.0, "weight_decay": 2.0},
    {"eps": 1e-3},
    {"maximize": True},
]


def _cases() -> list[tuple[str, dict[str, Any]]]:
    cases = []
    for name in CLASSES:
        shared = [{}, {"maximize": True}] if name == "dana" else _SHARED
        log_time = "delta" in of_rule(name).options and name != "muon"
        for options in [*shared, *([{"delta": 4.0}] if log_time else []), *_OWN.get(name, [])]:
            cases.append((name, {"total_steps": T, **options}))
    return cases


CASES = _cases()
IDS = [
    f"{name}-{'-'.join(f'{k}={v}' for k, v in options.items() if k != 'total_steps') or 'plain'}"
    for name, options in CASES
]
# The plainest of each rule and form, where the promise is about the torch side and not the arithmetic.
PLAIN = [
    (name, {"total_steps": T, **form})
    for name in CLASSES
    for form in ([{}, {"form": "released"}] if name in FORMED else [{}])
]
PLAIN_IDS = [f"{name}-{options.get('form', 'paper')}" for name, options in PLAIN]
# With tau rounded too, for promises that hold to the bit where random bits are the same.
STORED = PLAIN + [
    (name, {"total_steps": T, "tau_dtype": "float16"}) for name in CLASSES if name.startswith("dana-star")
]
STORED_IDS = PLAIN_IDS + [f"{name}-tau" for name, _ in STORED[len(PLAIN) :]]


def groups(name: str, params: list[Any]) -> Any:
    """One group of which everything decays; those of matrices must be told what their matrices are."""
    return [{"params": params, "decay_vectors": True, **({"kind": "hidden"} if name in MATRIX_RULES else {})}]


def build(name: str, params: list[Any], lr: Any = 0.02, **options: Any) -> Any:
    # An optimizer of one parameter takes the next seed of its process, and tests compare twins.
    return CLASSES[name](groups(name, params), lr=lr, **{"rounding_seed": 0, **options})
