"""Memory and time of the step within the backward pass, beside the step after it.

    python benchmarks/backward_step.py                  # Enoki-6 by ADana on the CPU, one thread
    python benchmarks/backward_step.py --way within     # one way, in this process

Each way trains the same model on the same tokens in a process of its own, turn by turn with the other: peak memory of
the process above what it held before the first step, seconds per training step, and a checksum of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
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
OUT = Path("results/backward-step.json")


def peak() -> float:
    """Most memory that the process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)


def one_way(way: str, heads: int, steps: int, tokens: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = EnokiConfig(heads)
    model = Enoki(config)
    optimizer = adana.ADana(adana.param_groups(model), lr=1e-4, total_steps=100)
    if way == "within":
        adana.step_in_backward(optimizer)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    times, before = [], peak()
    for step in range(steps):
        batch = torch.randint(0, config.vocab_size, (1, tokens + 1), generator=torch.Generator().manual_seed(step))
        start = time.thread_time()
        logits = model(batch[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.thread_time() - start)
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
    return {
        "way": way,
        "parameters_mib": size / 2**20,
        "peak_above_start_mib": peak() - before,
        "seconds": statistics.median(times[1:]),
        "weights": weights[:16],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, help="train one way in this process")
    parser.add_argument("--heads", type=int, default=6, help="size of the Enoki")
    parser.add_argument("--steps", type=int, default=12, help="training steps of a process")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a batch")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(one_way(arguments.way, arguments.heads, arguments.steps, arguments.tokens)))
        return
    rows = []
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way]
            command += [f"--{name}={getattr(arguments, name)}" for name in ("heads", "steps", "tokens")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
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
