"""Memory and time of the step within the backward pass, beside the step after it.

    python benchmarks/backward_step.py                  # an Enoki by ADana on the CPU, one thread
    python benchmarks/backward_step.py --way within     # one way, in this process

Each way trains the same model on the same tokens in a process of its own, turn by turn with the other. A process says
the most memory that its training steps took above what it holds between them (Linux alone tells), this thread's own
seconds per training step, and a checksum of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import adana
from adana.models.enoki import Enoki, EnokiConfig

WAYS = ("after", "within")
# Have glibc return what is freed at once: what it keeps for later would hide in the memory held between steps.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
WARM = 2  # steps that make state and compile
OUT = Path("results/backward-step.json")


def memory(what: str) -> float:
    """``VmRSS``, what the process holds now, or ``VmHWM``, the most since :func:`forget_peak`; in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def one_way(way: str, heads: int, vocabulary: int, steps: int, tokens: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = EnokiConfig(heads, vocab_size=vocabulary)
    model = Enoki(config)
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-4, total_steps=100)
    if way == "within":
        adana.step_in_backward(optimizer)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    times, rest = [], 0.0
    for step in range(steps):
        if step == WARM:
            rest = memory("VmRSS")
            forget_peak()
        batch = torch.randint(0, vocabulary, (1, tokens + 1), generator=torch.Generator().manual_seed(step))
        start = time.thread_time()
        logits = model(batch[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.thread_time() - start)
    most = memory("VmHWM")
    weights = hashlib.sha256()
    for p in model.parameters():
        weights.update(p.detach().numpy())
    return {
        "way": way,
        "parameters_mib": size / 2**20,
        "peak_mib": most - rest,
        "seconds": statistics.median(times[WARM:]),
        "weights": weights.hexdigest()[:16],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, help="train one way in this process")
    parser.add_argument("--heads", type=int, default=10, help="size of the Enoki")
    parser.add_argument("--vocabulary", type=int, default=256, help="of the Enoki")
    parser.add_argument("--steps", type=int, default=8, help="training steps of a process")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    arguments = parser.parse_args()
    if arguments.way:
        sizes = (arguments.heads, arguments.vocabulary, arguments.steps, arguments.tokens)
        print(json.dumps(one_way(arguments.way, *sizes)))
        return
    rows = []
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way]
            command += [f"--{name}={getattr(arguments, name)}" for name in ("heads", "vocabulary", "steps", "tokens")]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | GIVE_BACK)
            rows.append(json.loads(done.stdout))
            print(rows[-1], flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "load": os.getloadavg(),
        "versions": {"adana": adana.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rows": rows,
    }
    temporary = OUT.with_name(OUT.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(OUT)


if __name__ == "__main__":
    main()
