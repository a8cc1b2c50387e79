"""ADana in fastai's one-cycle policy, beside AdamW; stopped half way and gone on with. Needs fastai.

python examples/fastai_learner.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import tiny
import torch
from fastai.callback.core import Callback, CancelFitException
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


class StopAfter(Callback):
    """Save weights and optimizer after some epochs, and stop there."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def after_epoch(self) -> None:
        if self.epoch + 1 == self.epochs:
            self.learn.save("half")  # with the optimizer's state, as fastai does unless told otherwise
            raise CancelFitException


def train(learn: Learner, start_epoch: int = 0, cbs: Sequence[Callback] = ()) -> float:
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(EPOCHS, learn.lr, start_epoch=start_epoch, cbs=cbs)
        return float(learn.validate()[0])


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        losses = {name: train(learner(name, folder)) for name in ("adamw", "adana")}
        train(learner("adana", folder), cbs=[StopAfter(1)])
        again = learner("adana", folder)
        again.create_opt()
        again.load("half")
        losses["resumed"] = train(again, start_epoch=1)
    return losses


if __name__ == "__main__":
    print(main())
