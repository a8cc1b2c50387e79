"""The host's part of a step on a GPU, by cause, measured without one: what Python does before and around a launch.

    python benchmarks/host_part.py
    python benchmarks/host_part.py --optimizers ADana DanaStarMK4 --json > host-part.json

The parameters lie on the CPU and are small, as their size does not matter to the host. They take the route of a GPU,
but a function that does nothing stands for each launch. So the times are without launches, whose number is printed; on
a GPU each adds what Triton takes for it. torch's fused AdamW stands beside them, with its kernel for the CPU, on the
same parameters. Times are the processor time of this thread: least and median of many steps. The time of a cause is
without that of the causes called from it, and with the clock's own, about 0.1 microseconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import triton

import adana
import adana.optim.base
import adana.optim.kernels as kernels
import adana.optim.prepared
import adana.optim.update
from adana.models.enoki import Enoki, EnokiConfig
from adana.optim.kernels import cpu, generated, gpu, tables
from measured import print_table, surroundings

# Where the time goes: a name for each function that is timed, and where it is looked up. The rest is the step's own.
CAUSES: dict[str, tuple[Any, str]] = {
    "lists of tensors and state": (adana.optim.base.FamilyOptimizer, "_init_group"),
    "is this a call for state only": (adana.optim.base.FamilyOptimizer, "_only_asks_for_state"),
    "dispatch to kernels": (adana.optim.base, "update"),
    "is it the step before again": (adana.optim.prepared.Prepared, "_batches"),
    "has a tensor moved": (tables.Layout, "serves"),
    "schedules": (adana.optim.update._Numbers, "at"),
    "tables and arguments of the launch": (gpu, "update"),
    "counting the step": (adana.optim.base, "_count"),
}
OPTIMIZERS = ("ADana", "AdamW", "DanaMK4", "DanaStarMK4", "AdEMAMix")


class Clock:
    """Exclusive seconds by cause: a call stops the clock of its caller."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.thread_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, cause: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self._switch()
            self._running.append(cause)
            try:
                return function(*arguments, **options)
            finally:
                self._switch()
                self._running.pop()

        return call


class NoLaunch:
    """In place of a kernel: takes a grid and arguments, and does nothing."""

    count = 0

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return self._launch

    @staticmethod
    def _launch(*arguments: Any, **options: Any) -> None:
        NoLaunch.count += 1


def take_the_route_of_a_gpu() -> None:
    """From here on fused steps of CPU tensors do what those of CUDA tensors do, but for the launches."""
    nothing = NoLaunch()
    for name in [name for name, made in vars(generated).items() if isinstance(made, triton.JITFunction)]:
        setattr(generated, name, nothing)

    def update(bucket: tables.Bucket, steps: Any, rule: Any, scalars: Any, form: str, **options: Any) -> None:
        gpu.update(bucket, steps, rule, scalars, form, capturable=False, **options)

    cpu.update = update  # type: ignore[assignment]
    assert kernels.missing(torch.device("cpu")) is None, "fused steps need llvmlite here: pip install 'adana[fused]'"


def parameters(tensors: int) -> list[torch.nn.Parameter]:
    """Small parameters, a sixth of them vectors."""
    params = [torch.nn.Parameter(torch.ones((8, 8) if k % 6 else (8,))) for k in range(tensors)]
    for p in params:
        p.grad = torch.ones_like(p)
    return params


def measure(optimizer: Any, steps: int) -> tuple[list[float], dict[str, float]]:
    """Milliseconds of every step as they are, and the median of every cause over as many steps more."""
    for _ in range(10):
        optimizer.step()
    plain = []
    for _ in range(steps):
        began = time.thread_time()
        optimizer.step()
        plain.append(1e3 * (time.thread_time() - began))
    clock, each = Clock(), []
    originals = {cause: getattr(*place) for cause, place in CAUSES.items()}
    for cause, (owner, name) in CAUSES.items():
        setattr(owner, name, clock.timed(cause, originals[cause]))
    try:
        step = clock.timed("the step itself", optimizer.step)
        for _ in range(steps):
            clock.seconds.clear()
            step()
            each.append(dict(clock.seconds))
    finally:
        for cause, (owner, name) in CAUSES.items():
            setattr(owner, name, originals[cause])
    named = ("the step itself", *CAUSES)
    return plain, {cause: 1e3 * statistics.median(one.get(cause, 0.0) for one in each) for cause in named}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=12, help="Enoki whose number of tensors is taken")
    parser.add_argument("--steps", type=int, default=300, help="steps of each")
    parser.add_argument("--anew", action="store_true", help="no step is taken as the one before it")
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=OPTIMIZERS)
    parser.add_argument("--json", action="store_true", help="print a document instead of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        tensors = len(list(Enoki(EnokiConfig(arguments.heads)).parameters()))
    found: dict[str, Any] = {**surroundings(1, ("torch", "triton")), "tensors": tensors, "steps": arguments.steps}
    plain, _ = measure(torch.optim.AdamW(parameters(tensors), lr=1e-3, fused=True), arguments.steps)
    rows = [row("torch AdamW on the CPU", plain)]
    take_the_route_of_a_gpu()
    if arguments.anew:
        adana.optim.base.FamilyOptimizer._take_again = lambda self, number, group: False  # type: ignore[method-assign]
    for name in arguments.optimizers:
        optimizer = getattr(adana, name)(parameters(tensors), lr=1e-3, total_steps=1_000_000, fused=True)
        plain, causes = measure(optimizer, arguments.steps)
        before = NoLaunch.count
        optimizer.step()
        rows.append({**row(name, plain), "launches": NoLaunch.count - before, "causes_milliseconds": causes})
    found["rows"] = rows
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    causes = ("the step itself", *CAUSES)
    print_table(
        found,
        f"Host's part of a step of {tensors} tensors, in milliseconds",
        ("", *(one["optimizer"] for one in rows)),
        [
            ["median", *(f"{one['median_milliseconds']:.3f}" for one in rows)],
            ["least", *(f"{one['least_milliseconds']:.3f}" for one in rows)],
            ["launches left out", "", *(str(one["launches"]) for one in rows[1:])],
            *([cause, "", *(f"{one['causes_milliseconds'][cause]:.3f}" for one in rows[1:])] for cause in causes),
        ],
    )


def row(name: str, plain: list[float]) -> dict[str, Any]:
    return {"optimizer": name, "median_milliseconds": statistics.median(plain), "least_milliseconds": min(plain)}


if __name__ == "__main__":
    main()
