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
from adana.optim import storage
from adana.optim.kernels import gpu, tables
from tests.optim.cases import PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import clones, gradient, parameters, set_gradients

MORE = [
    ("adana", {"beta3": 0.9}),
    ("adana", {"beta2": 0.95, "beta3": 0.9, "maximize": True}),
    ("adana", {"gradient_term": False, "damping": "linear"}),
    ("dana-mk4", {"kappa": 1.2}),
    ("dana-star-mk4", {"clip_snr": 0.1, "kappa": 0.5}),
]


def fused_update(*lists: Any, lr: Any, form: str, maximize: bool, capturable: bool, param_rounding: str) -> None:
    """What the package does for a GPU, done for tensors that lie on the CPU."""
    *tensors, randomness, rule, scalars = lists
    # The step a device would have to be asked for: the kernels must do without.
    blind = [source and source._replace(step=None) for source in randomness]
    for bucket in tables.buckets(*tensors, blind, param_rounding):
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


# Rows under, at, above and far above a block of codes, one that parts between programs, and what keeps no codes.
SHAPES = ((), (7,), (0, 5), (3, 5), (5, 256), (3, 257), (2, 600), (3, 2), (6, 2, 3, 3))


def compare_stored(
    name: str,
    options: dict[str, Any],
    dtypes: Any,
    state_dtype: str | None,
    rounding: str,
    *,
    capturable: bool = False,
    steps: int = 2,
) -> Any:
    """What lies otherwise than the loop stores it from the same state, by name: how many, of how many, how far."""
    generator = torch.Generator().manual_seed(3)
    values = [(0.1 * torch.randn(shape, generator=generator), dtype) for dtype in dtypes for shape in SHAPES]
    values.append((torch.randn(20, 30, generator=generator).t(), dtypes[0]))
    params = [torch.nn.Parameter(value.to(dtype)) for value, dtype in values]
    twins = clones(params)
    said = {"state_dtype": state_dtype, "param_rounding": rounding, "rounding_seed": 2**32 - 5, **options}
    lr: Any = torch.tensor(0.02, dtype=torch.float64) if capturable else 0.02
    loop = build(name, params, lr=0.02, foreach=False, **said)
    fused = build(name, twins, lr=lr, fused=True, capturable=capturable, **said)
    found: dict[str, dict[str, float]] = {}
    for step in range(steps):
        for index, (p, q) in enumerate(zip(params, twins)):
            p.grad = None if index % 3 == 1 and step == 0 else gradient(p, index, step)  # so that clocks differ
            q.grad = None if p.grad is None else p.grad.clone()
            q.detach().copy_(p.detach())
            for key, value in loop.state.get(p, {}).items():
                if key in fused.state[q]:
                    fused.state[q][key].copy_(value)
        loop.step()
        fused.step()
        for p, q in zip(params, twins):
            count(found, "p", p.detach(), q.detach(), p.dtype)
            assert loop.state[p].keys() == fused.state[q].keys()
            for key, value in loop.state[p].items():
                count(found, key, value, fused.state[q][key], p.dtype)
            if storage.COMPENSATION in loop.state[p]:
                whole = (each.detach().float() + state[storage.COMPENSATION].float() for each, state in ((p, loop.state[p]), (q, fused.state[q])))
                count(found, "sum", *whole, p.dtype)
    return found


def count(found: dict[str, dict[str, float]], key: str, a: Any, b: Any, dtype: torch.dtype) -> None:
    assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
    if a.dtype == torch.int16:
        off = (a.int() - b.int()).abs()
        off = torch.minimum(off, 65536 - off)
    else:
        off = (a.double() - b.double()).abs() / b.double().abs().max().clamp(min=1e-30) if a.numel() else a
    here = found.setdefault(f"{key} {str(a.dtype)[6:]}", {"unequal": 0, "count": 0, "most": 0.0})
    here["unequal"] += int((off != 0).sum())
    here["count"] += a.numel()
    here["most"] = max(here["most"], float(off.max()) if a.numel() else 0.0)


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
