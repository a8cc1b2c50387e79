"""Runs the Triton kernels in Triton's interpreter beside the loop and prints how they compare, as JSON.

A script for :mod:`tests.optim.test_fused_triton`: the interpreter must be asked for before Triton is
imported, and torch's compiler, which other tests use, must not be handed an interpreting Triton.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch

import adana.optim.base
from adana.optim.kernels import gpu, tables
from tests.optim.cases import PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import clones, parameters, set_gradients

MORE = [
    ("adana", {"beta3": 0.9}),
    ("adana", {"beta2": 0.95, "beta3": 0.9, "maximize": True}),
    ("adana", {"gradient_term": False, "damping": "linear"}),
    ("dana-mk4", {"kappa": 1.2}),
    ("dana-star-mk4", {"clip_snr": 0.1, "kappa": 0.5}),
]


def fused_update(*lists: Any, lr: Any, form: str, maximize: bool, capturable: bool, param_rounding: str) -> None:
    """What the package does for a GPU, done for tensors that lie on the CPU."""
    *tensors, rule, scalars = lists
    for bucket in tables.buckets(*tensors, param_rounding):
        rate = lr if capturable else float(lr)
        gpu.update(
            bucket,
            rule,
            lambda step, rate=rate: {**scalars(step, rate), "ascent": -1.0 if maximize else 1.0},
            form,
            capturable=capturable,
        )
        bucket.put_back()


def compare(name: str, options: dict[str, Any], dtypes: list[torch.dtype], *, capturable: bool, steps: int) -> Any:
    """Largest difference from the loop, relative to a tensor's largest element, by parameter and by state."""
    params = [p for seed, dtype in enumerate(dtypes) for p in parameters(name, dtype, seed=seed)]
    params.append(torch.nn.Parameter(torch.randn(2 * gpu.BLOCK + 48, generator=torch.Generator().manual_seed(9))))
    twins = clones(params)
    lr: Any = torch.tensor(0.02, dtype=torch.float64) if capturable else 0.02
    fused = build(name, params, lr=lr, fused=True, capturable=capturable, **options)
    loop = build(name, twins, lr=0.02, foreach=False, **options)
    for step in range(steps):
        for targets, optimizer in ((params, fused), (twins, loop)):
            set_gradients(targets, step)
            targets[step % 3].grad = None  # so that clocks differ
            optimizer.step()

    def difference(a: Any, b: Any) -> float:
        a, b = a.detach(), b.detach()
        assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return (
            float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)) if a.numel() else 0.0
        )

    states = [
        difference(fused.state[p][key], loop.state[q][key]) for p, q in zip(params, twins) for key in loop.state[q]
    ]
    by_dtype: dict[str, float] = {}
    for p, q in zip(params, twins):
        by_dtype[str(p.dtype)] = max(by_dtype.get(str(p.dtype), 0.0), difference(p, q))
    return {"parameters": by_dtype, "state": max(states)}


def main() -> None:
    adana.optim.base.fused_update = fused_update
    found = {}
    for (name, options), case_id in zip(PLAIN, PLAIN_IDS):
        if name != "muon":
            found[case_id] = compare(name, options, [torch.float32], capturable=False, steps=3)
    for name, options in MORE:
        case = {"total_steps": T, **options}
        found[f"{name}-{options}"] = compare(name, case, [torch.float32], capturable=False, steps=3)
    for name in ("adana", "adamw", "dana-star-mk4"):
        dtypes = [torch.float64, torch.bfloat16, torch.float16]
        found[f"{name}-mixed"] = compare(
            name, {"total_steps": T, "param_rounding": "nearest"}, dtypes, capturable=False, steps=2
        )
        found[f"{name}-capturable"] = compare(name, {"total_steps": T}, [torch.float32], capturable=True, steps=3)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
