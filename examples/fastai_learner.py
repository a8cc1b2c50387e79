"""ADana in fastai's one-cycle policy, beside AdamW; saved and loaded with the optimizer. Needs fastai.

python examples/fastai_learner.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tiny
import torch
from fastai.callback.schedule import Learner
from fastai.data.core import DataLoaders
from fastai.optimizer import OptimWrapper

from adana import ADana, param_groups

EPOCHS, BATCHES = 2, 30


def learner(name: str, folder: str) -> Learner:
    data = torch.from_numpy(tiny.rows())
    torch.manual_seed(0)
    batches = torch.utils.data.DataLoader([(row[:-1], row[1:]) for row in data], batch_size=8)
    model = tiny.model()

    def make(params, lr, **unused):
        if name == "adamw":
            return OptimWrapper(opt=torch.optim.AdamW(model.parameters(), lr=lr))
        # `momentum` is a number that fit_one_cycle wants to move and ADana does not read. lr is the peak by which
        # weight decay is measured: fit(n, lr) with a smaller one would also decay less.
        groups = [{**group, "momentum": 0.0} for group in param_groups(model)]
        return OptimWrapper(opt=ADana(groups, lr=lr, total_steps=EPOCHS * BATCHES))

    def loss(logits, target):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())

    lr = tiny.ADANA_LR if name == "adana" else tiny.ADAMW_LR
    return Learner(DataLoaders(batches, batches), model, loss, opt_func=make, lr=lr, path=Path(folder), cbs=[])


def train(name: str, folder: str) -> tuple[Learner, float]:
    learn = learner(name, folder)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(EPOCHS, learn.lr)
        return learn, float(learn.validate()[0])


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        losses = {"adamw": train("adamw", folder)[1]}
        learn, losses["adana"] = train("adana", folder)
        learn.save("kept")  # with the optimizer's state
        again = learner("adana", folder)
        again.create_opt()
        again.load("kept")
        with again.no_bar(), again.no_logging():
            losses["resumed"] = float(again.validate()[0])
    return losses


if __name__ == "__main__":
    print(main())
