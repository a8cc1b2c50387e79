"""How long one optimizer step takes, as ratios to ``torch.optim.AdamW(fused=True)``.

    python benchmarks/optimizer_step.py                      # Enoki-6 on the CPU, one thread and two
    python benchmarks/optimizer_step.py --heads 12 --device cuda --json > step.json
    python benchmarks/optimizer_step.py --heads 12 --device cuda --graph          # without the host's part of a step

Every contender steps in turn with the baseline, on the same parameters and gradients; a ratio is that of a
pair of neighbouring steps, and the table has their median, least and greatest over the rounds. So a machine
that is busy with other things slows both of a pair. The first step, compilation and imports included, is
timed in a process of its own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import tyro

import adana
from adana.models.enoki import Enoki, EnokiConfig
from measured import print_table, surroundings

WAYS: dict[str, dict[str, bool]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "loop": {"foreach": False, "fused": False},
}
HORIZON = {"total_steps": 10_000}
OURS: dict[str, Callable[..., Any]] = {
    "ADana": partial(adana.ADana, **HORIZON),
    "ADana beta3": partial(adana.ADana, beta3=0.9, **HORIZON),
    "ADana bfloat16": partial(adana.ADana, state_dtype="bfloat16", **HORIZON),
    "ADana int16": partial(adana.ADana, state_dtype="int16", **HORIZON),
    "ADana bfloat16 parameters": partial(adana.ADana, **HORIZON),
    "ADana bfloat16 parameters bfloat16": partial(adana.ADana, state_dtype="bfloat16", **HORIZON),
    "ADana bfloat16 parameters kahan": partial(adana.ADana, param_rounding="kahan", **HORIZON),
    "ADana bfloat16 parameters int16": partial(adana.ADana, state_dtype="int16", **HORIZON),
    "ADana released": partial(adana.ADana, form="released", **HORIZON),
    "DanaMK4": partial(adana.DanaMK4, **HORIZON),
    "DanaStar": partial(adana.DanaStar, **HORIZON),
    "DanaStarMK4": partial(adana.DanaStarMK4, **HORIZON),
    "DanaStar tau float16": partial(adana.DanaStar, tau_dtype="float16", **HORIZON),
    "DanaStarMK4 tau float16": partial(adana.DanaStarMK4, tau_dtype="float16", **HORIZON),
    "DanaStarMK4 released": partial(adana.DanaStarMK4, form="released", **HORIZON),
    "AdamW": partial(adana.AdamW, **HORIZON),
    "NAdamW": partial(adana.AdamW, nesterov=True, **HORIZON),
    "AdEMAMix": partial(adana.AdEMAMix, **HORIZON),
}
# Bytes read and written for a parameter, in fours: itself, its gradient, what is kept of it. 7 where nothing is said.
STREAMS = {
    "DanaStar tau float16": 8, "DanaStarMK4 tau float16": 8,
    "DanaStar": 9, "DanaStarMK4": 9, "DanaStarMK4 released": 9, "AdEMAMix": 9, "ADana beta3": 9,
    "ADana bfloat16": 5, "ADana int16": 5, "ADana bfloat16 parameters": 5.5, "ADana bfloat16 parameters kahan": 6.5,
    "ADana bfloat16 parameters bfloat16": 3.5, "ADana bfloat16 parameters int16": 3.5,
}  # fmt: skip
NARROW = "bfloat16 parameters"  # the baseline keeps float32 ones
LR = 1e-4
PACKAGES = ("torch", "llvmlite", "triton", "pytorch_optimizer", "heavyball", "torchao")


@dataclass
class Options:
    """One step of every optimizer beside torch's fused AdamW."""

    heads: int = 6
    """Size of the Enoki whose parameters are stepped."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of CPU threads to measure with."""
    rounds: int = 15
    """Pairs of steps a contender."""
    only: tuple[str, ...] = ()
    """Contenders whose label begins with one of these."""
    first: bool = True
    """Time first steps too."""
    graph: bool = False
    """Capture every step in a CUDA graph (``capturable=True``) and time its replays."""
    own_time: bool = False
    """Count the time that this thread itself ran, for one thread on a busy CPU."""
    json: bool = False
    """Print JSON instead of a table."""
    first_of: str = ""
    """Time the first step of one contender in this process, and print the seconds."""


def contenders(graph: bool = False) -> dict[str, Callable[[list[Any]], Any]]:
    """Constructors by label. A peer that is not installed fails when it is built, which the table says."""
    found: dict[str, Callable[[list[Any]], Any]] = {}
    for name, make in OURS.items():
        for way, flags in WAYS.items():
            found[f"adana {name} {way}"] = partial(make, lr=LR, capturable=graph, **flags)
    for way, flags in WAYS.items():
        found[f"torch AdamW {way}"] = partial(torch.optim.AdamW, lr=LR, capturable=graph, **flags)
    if graph:  # the peers' steps cannot be captured
        return found

    def muon(params: list[Any]) -> Any:
        return torch.optim.Muon([p for p in params if p.ndim == 2 and p.shape[0] < 10_000], lr=LR)

    def peer(module: str, name: str, **options: Any) -> Callable[[list[Any]], Any]:
        def make(params: list[Any]) -> Any:
            return getattr(importlib.import_module(module), name)(params, lr=LR, **options)

        return make

    found["torch Muon (hidden matrices only)"] = muon
    found["pytorch_optimizer AdamW"] = peer("pytorch_optimizer", "AdamW")
    found["pytorch_optimizer AdEMAMix"] = peer("pytorch_optimizer", "AdEMAMix")
    found["heavyball AdamW"] = peer("heavyball", "AdamW")
    found["heavyball AdEMAMix"] = peer("heavyball", "AdEMAMix")
    found["torchao AdamW8bit"] = peer("torchao.optim", "AdamW8bit")
    return found


def parameters(options: Options) -> list[torch.nn.Parameter]:
    generator = torch.Generator(options.device).manual_seed(0)

    def noise(shape: torch.Size, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=options.device) * scale

    with torch.device("meta"):
        shapes = [p.shape for p in Enoki(EnokiConfig(options.heads)).parameters()]
    params = [torch.nn.Parameter(noise(shape, 0.02)) for shape in shapes]
    for p in params:
        p.grad = noise(p.shape, 1e-3)
    return params


def timed(step: Callable[[], Any], device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds of one call, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (clock() - start)


def measured(label: str, make: Callable[[list[Any]], Any], params: list[Any], options: Options) -> dict[str, Any]:
    """Rounds of one contender beside the baseline, or why there are none."""
    row: dict[str, Any] = {"contender": label, "threads": torch.get_num_threads()}
    theirs = [narrowed(p) for p in params] if NARROW in label else params
    grads = [(p, p.grad) for p in {*params, *theirs}]
    baseline = torch.optim.AdamW(params, lr=LR, fused=True, capturable=options.graph)
    clock = time.thread_time if options.own_time else time.perf_counter

    def milliseconds(step: Callable[[], Any]) -> float:
        for p, grad in grads:
            p.grad = grad  # some optimizers take the gradients away
        return timed(step, options.device, clock)

    try:
        other = make(theirs)
        steps = [baseline.step, other.step]
        for warming in (True, False):
            milliseconds(steps[0])
            before = [p.detach()[:1].clone() for p in theirs]
            milliseconds(steps[1])
            if warming and options.graph:
                steps = [captured(optimizer) for optimizer in (baseline, other)]
        if all(torch.equal(p.detach()[:1], old) for p, old in zip(theirs, before)):
            raise RuntimeError("its step changed nothing")
    except Exception as error:
        return {**row, "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}
    finally:
        for p, grad in grads:
            p.grad = grad
    pairs = [(milliseconds(steps[0]), milliseconds(steps[1])) for _ in range(options.rounds)]
    for p, grad in grads:
        p.grad = grad
    ratios = sorted(b / a for a, b in pairs)
    row |= {
        "baseline_ms": statistics.median(a for a, _ in pairs),
        "ms": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "least": ratios[0],
        "greatest": ratios[-1],
        "pairs_ms": pairs,
    }
    return row


def captured(optimizer: Any) -> Callable[[], Any]:
    """A step that has been taken before, as a graph's replay."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph.replay


def narrowed(p: torch.nn.Parameter) -> torch.nn.Parameter:
    """A copy in bfloat16, gradient and all."""
    copy = torch.nn.Parameter(p.detach().bfloat16())
    assert p.grad is not None
    copy.grad = p.grad.bfloat16()
    return copy


def copy_bandwidth(device: str) -> float:
    """Bytes per second that a copy of 1 GiB moves, reading and writing: the best of ten."""
    a = torch.empty(2**28, device=device)
    b = torch.empty_like(a)
    milliseconds = min(timed(lambda: b.copy_(a), device) for _ in range(10))
    return 2 * 4 * 2**28 / milliseconds * 1e3


def first_step(label: str, options: Options) -> dict[str, Any]:
    """Seconds from building an optimizer to the end of its first step, in a process of its own."""
    command = [sys.executable, __file__, "--first-of", label, "--heads", str(options.heads), "--device", options.device]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    except subprocess.TimeoutExpired:
        return {"contender": label, "failed": "not done after 600 s"}
    if done.returncode:
        return {"contender": label, "failed": done.stderr.strip().splitlines()[-1][:200]}
    return {"contender": label, "seconds": float(done.stdout.strip().splitlines()[-1])}


def runs(options: Options) -> Iterator[dict[str, Any]]:
    params = parameters(options)
    for threads in options.threads if options.device == "cpu" else options.threads[:1]:
        torch.set_num_threads(threads)
        for label, make in contenders(options.graph).items():
            if not options.only or label.startswith(options.only):
                yield measured(label, make, params, options)
                gc.collect()


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    if "failed" in row:
        return [row["contender"], str(row["threads"]), row["failed"]]
    return [
        row["contender"],
        str(row["threads"]),
        f"{row['ms']:.2f}",
        f"{row['baseline_ms']:.2f}",
        f"{row['ratio']:.2f}",
        f"{row['least']:.2f} to {row['greatest']:.2f}",
        f"{row['bandwidth']:.0%}" if "bandwidth" in row else "",
    ]


COLUMNS = ("contender", "threads", "ms", "fused AdamW ms", "ratio", "least to greatest", "of copy bandwidth")


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("optimizer_step: no GPU here")
    if options.own_time and (options.device != "cpu" or options.threads != (1,)):
        sys.exit("optimizer_step: --own-time counts one thread: give --threads 1 and no --device")
    if options.graph and options.device != "cuda":
        sys.exit("optimizer_step: --graph needs --device cuda")
    labels = contenders(options.graph)
    for word in (*options.only, *filter(None, [options.first_of])):
        if not any(label.startswith(word) for label in labels):
            sys.exit(f"optimizer_step: no contender begins with {word!r}: choose from {', '.join(labels)}")
    if options.first_of:
        params = parameters(options)
        params = [narrowed(p) for p in params] if NARROW in options.first_of else params
        start = time.perf_counter()
        contenders()[options.first_of](params).step()
        if options.device == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start)
        return
    config = EnokiConfig(options.heads)
    report: dict[str, Any] = {
        "title": f"Enoki-{options.heads}: {config.total_parameters / 1e6:.1f}M parameters on {options.device}",
        **surroundings(options.threads, PACKAGES, torch.cuda.get_device_name() if options.device == "cuda" else ""),
        "options": asdict(options),
        "steps": [],
        "first": [],
    }
    bandwidth = copy_bandwidth(options.device) if options.device == "cuda" else None
    report["copy_bandwidth"] = bandwidth
    for row in runs(options):
        name = row["contender"].removeprefix("adana ").rpartition(" ")[0]
        if bandwidth and "ms" in row and row["contender"].endswith("fused"):
            moved = 4 * STREAMS.get(name, 7) * config.total_parameters
            row["bandwidth"] = moved / (row["ms"] / 1e3) / bandwidth
        report["steps"].append(row)
        print(f"{row['contender']}: {row.get('ratio', row.get('failed'))}", file=sys.stderr)
    if options.first:
        for label in contenders():
            wanted = "loop" not in label and "foreach" not in label
            if wanted and (not options.only or label.startswith(options.only)):
                report["first"].append(first_step(label, options))
    report["load after"] = os.getloadavg()
    if options.json:
        json.dump(report, sys.stdout, indent=1)
        return
    print_table(report, report["title"], COLUMNS, map(cells, report["steps"]))
    for row in report["first"]:
        print(f"first step of {row['contender']}: {row.get('failed') or format(row['seconds'], '.2f') + ' s'}")


if __name__ == "__main__":
    main()
