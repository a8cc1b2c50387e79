"""Muon's step where the parameters are sharded by FSDP2: ours beside torch's, and both where nothing is sharded.

Every rank is a process of one thread (gloo on the CPU; on GPUs NCCL, one rank each). Both optimizers have the same
model: Muon for the hidden matrices, AdamW for everything else. Ours gathers every matrix once and shares the
Newton-Schulz iterations over the ranks; torch's runs them on sharded tensors. Each round steps all of them in turn; a
ratio is that of two steps of one round.

    python benchmarks/muon_sharded.py --heads 4 --ranks 2 --rounds 21 --out results/muon-sharded.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import fully_shard

import adana
from adana.files import write_json
from adana.models import EnokiConfig, build
from measured import print_table, surroundings

OURS, TORCHS = "adana.Muon", "torch.optim.Muon and AdamW"


def stepper(name: str, heads: int, device: torch.device, *, sharded: bool) -> Callable[[], None]:
    """A model with gradients, and the step of one of the two."""
    model = build(EnokiConfig(heads), seed=0).to(device)
    if sharded:
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    torch.manual_seed(1)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    groups = adana.param_groups(model)
    if name == OURS:
        return adana.Muon(groups, lr=1e-3, total_steps=10**6).step
    hidden = [p for group in groups if group["kind"] == "hidden" for p in group["params"] if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not other for other in hidden)]
    muon, adamw = torch.optim.Muon(hidden, lr=1e-3), torch.optim.AdamW(rest, lr=1e-3)

    def both() -> None:
        muon.step()
        adamw.step()

    return both


def rank(index: int, world: int, store: str, options: argparse.Namespace, out: str) -> None:
    torch.set_num_threads(1)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", index) if cuda else torch.device("cpu")
    dist.init_process_group("nccl" if cuda else "gloo", init_method=f"file://{store}", rank=index, world_size=world)
    names = [(name, sharded) for sharded in (True, False) for name in (OURS, TORCHS)]
    steps = {key: stepper(key[0], options.heads, device, sharded=key[1]) for key in names}
    seconds: dict[tuple[str, bool], list[float]] = {key: [] for key in names}
    for number in range(options.rounds + 2):
        for key in names if number % 2 else reversed(names):
            dist.barrier()
            started = time.perf_counter()
            steps[key]()
            if cuda:
                torch.cuda.synchronize()
            dist.barrier()
            if number > 1:
                seconds[key].append(time.perf_counter() - started)
    if index == 0:
        write_json(Path(out), [[*key, values] for key, values in seconds.items()])
    dist.destroy_process_group()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found: dict[str, Any] = surroundings(1, ["torch"]) | {"heads": options.heads, "ranks": options.ranks}
    found["parameters"] = EnokiConfig(options.heads).total_parameters
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "seconds.json"
        mp.spawn(rank, (options.ranks, str(Path(folder) / "store"), options, str(raw)), nprocs=options.ranks)
        seconds = {(name, sharded): values for name, sharded, values in json.loads(raw.read_text("utf-8"))}
    base = seconds[TORCHS, True]
    found["rows"] = []
    for (name, sharded), values in seconds.items():
        ratios = sorted(a / b for a, b in zip(values, base))
        found["rows"].append(
            {
                "optimizer": name,
                "sharded": sharded,
                "milliseconds": round(1e3 * statistics.median(values), 2),
                "ratio": round(statistics.median(ratios), 3),
                "quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[-1 - len(ratios) // 4], 3)],
            }
        )
    write_json(options.out, found)
    print_table(
        found,
        f"Step of {options.heads} heads, {options.ranks} ranks, over torch's when sharded",
        ["optimizer", "sharded", "ms", "ratio", "quartiles"],
        [
            [row["optimizer"], str(row["sharded"]), f"{row['milliseconds']:.1f}", f"{row['ratio']:.2f}",
             " to ".join(f"{x:.2f}" for x in row["quartiles"])]
            for row in found["rows"]
        ],
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
