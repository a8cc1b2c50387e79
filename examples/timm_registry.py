"""ADana by name in timm, beside AdamW: a small ViT tells from 256 bytes which module's source they are from.

python examples/timm_registry.py
"""

from __future__ import annotations

import argparse
import ast
import tempfile
from pathlib import Path

import numpy as np
import tiny
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim import create_optimizer_v2
from timm.optim._optim_factory import OptimInfo, default_registry
from timm.scheduler import CosineLRScheduler

from adana import ADana

STEPS = 60
default_registry.register(OptimInfo("adana", ADana, "log-time momentum", defaults={"total_steps": STEPS}))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes of four modules as pictures of 16 x 16, and which module."""
    files = [argparse.__file__, ast.__file__, tempfile.__file__, np.__file__]
    parts = [np.frombuffer(Path(file).read_bytes()[: 24 * 256], np.uint8).reshape(-1, 1, 16, 16) for file in files]
    labels = np.repeat(np.arange(4), [len(part) for part in parts])
    return torch.from_numpy(np.concatenate(parts)).float() / 128 - 1, torch.from_numpy(labels)


def train(name: str, stop_and_go_on: bool = False) -> float:
    def made():
        torch.manual_seed(0)
        sizes = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 1, "num_heads": 2}
        model = VisionTransformer(num_classes=4, **sizes)
        lr, decay = (tiny.ADANA_LR, 1.0) if name == "adana" else (tiny.ADAMW_LR, 0.05)  # omega; AdamW's
        return model, create_optimizer_v2(model, opt=name, lr=lr, weight_decay=decay)

    (x, y), (model, optimizer) = images(), made()
    schedule = CosineLRScheduler(optimizer, t_initial=STEPS, t_in_epochs=False)
    for step in range(STEPS):
        if stop_and_go_on and step == STEPS // 2:
            kept = model.state_dict(), optimizer.state_dict()
            model, optimizer = made()
            model.load_state_dict(kept[0])
            schedule = CosineLRScheduler(optimizer, t_initial=STEPS, t_in_epochs=False)  # before the state: it reads lr
            optimizer.load_state_dict(kept[1])
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step_update(step + 1)
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(x), y))


def main() -> dict[str, float]:
    return {"adamw": train("adamw"), "adana": train("adana"), "resumed": train("adana", stop_and_go_on=True)}


if __name__ == "__main__":
    print(main())
