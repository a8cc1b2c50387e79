"""ADana in torchtitan's optimizer container, beside its AdamW; saved and loaded by names. Needs torchtitan 0.3.

python examples/torchtitan_container.py
"""

from __future__ import annotations

import math

import tiny
import torch
from torchtitan.components.optimizer.optimizer import OptimizersContainer, ParamGroupConfig

import adana

STEPS = 60


class Container(OptimizersContainer):
    """torchtitan's container with the optimizers of adana by name."""

    @staticmethod
    def _resolve_optimizer_factory(name):
        known = {"ADana": adana.ADana, "DanaStarMK4": adana.DanaStarMK4}
        return known.get(name) or OptimizersContainer._resolve_optimizer_factory(name)


def container(name: str, model: torch.nn.Module) -> OptimizersContainer:
    if name == "adamw":
        groups = [ParamGroupConfig(pattern=".*", optimizer_name="AdamW", optimizer_kwargs={"lr": tiny.ADAMW_LR})]
    else:  # first match wins: the embedding, the norm (4) and biases do not decay
        own = {"lr": tiny.ADANA_LR, "total_steps": STEPS}
        groups = [
            ParamGroupConfig(pattern=p, optimizer_name="ADana", optimizer_kwargs={**own, "weight_decay": omega})
            for p, omega in ((r"^0\.|^4\.|\.bias$", 0.0), (".*", 1.0))
        ]
    config = Container.Config(param_groups=groups, implementation="for-loop")
    return Container(config, model_parts=[model])


def train(name: str, stop_and_go_on: bool = False) -> float:
    model, data = tiny.model(), torch.from_numpy(tiny.rows())
    optimizer = container(name, model)
    for step in range(STEPS):
        if stop_and_go_on and step == STEPS // 2:
            kept, weights = optimizer.state_dict(), model.state_dict()
            model = tiny.model()
            model.load_state_dict(weights)
            optimizer = container(name, model)
            optimizer.load_state_dict(kept)
        for group in optimizer.optimizers[0].param_groups:  # torchtitan's own schedulers do this
            peak = tiny.ADANA_LR if name == "adana" else tiny.ADAMW_LR
            group["lr"] = peak * (1 + math.cos(math.pi * step / STEPS)) / 2
        tiny.loss(model, data[step * 8 % 240 :][:8]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return float(tiny.loss(model, data))


def main() -> dict[str, float]:
    return {"adamw": train("adamw"), "adana": train("adana"), "resumed": train("adana", stop_and_go_on=True)}


if __name__ == "__main__":
    print(main())
