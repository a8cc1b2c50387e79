"""ADana under accelerate with two processes, beside AdamW; saved half way and loaded again. Needs accelerate.

python examples/accelerate_two_processes.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tiny
import torch
from accelerate import Accelerator, debug_launcher

from adana import ADana, param_groups

STEPS, PROCESSES = 60, 2


def train(name: str, folder: str, first: int = 0) -> None:
    """Train in each process; from the state saved at a step where it is not 0."""
    accelerator = Accelerator(cpu=True)
    model = tiny.model()
    if name == "adana":  # total_steps counts optimizer steps, however many processes there are
        optimizer = ADana(param_groups(model), lr=tiny.ADANA_LR, total_steps=STEPS)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=tiny.ADAMW_LR)
    # A prepared scheduler moves on once per process at each step, so it is made for that many.
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS * accelerator.num_processes)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    if first:
        accelerator.load_state(folder)
    data = torch.from_numpy(tiny.rows())
    for step in range(first, STEPS):
        start = (step * PROCESSES + accelerator.process_index) * 4 % len(data)
        accelerator.backward(tiny.loss(model, data[start : start + 4]))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step + 1 == STEPS // 2 and not first:
            accelerator.save_state(folder)
    assert scheduler.get_last_lr()[0] < 1e-8  # the schedule ended with the run
    if accelerator.is_main_process:
        with torch.no_grad():
            Path(folder, "loss").write_text(repr(float(tiny.loss(model, data))))


def main() -> dict[str, float]:
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, name, first in (("adamw", "adamw", 0), ("adana", "adana", 0), ("resumed", "adana", STEPS // 2)):
            debug_launcher(train, (name, folder, first), num_processes=PROCESSES)
            losses[key] = float(Path(folder, "loss").read_text())
    return losses


if __name__ == "__main__":
    print(main())
