"""ADana in Lightning, beside AdamW; the run goes on from a checkpoint. Needs lightning.

python examples/lightning_text.py
"""

from __future__ import annotations

import tempfile

import lightning
import tiny
import torch

from adana import ADana, param_groups

EPOCHS = 2


class Text(lightning.LightningModule):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.body = name, tiny.model()

    def training_step(self, batch, index):
        return tiny.loss(self.body, batch)

    def configure_optimizers(self):
        steps = int(self.trainer.estimated_stepping_batches)  # optimizer steps of the whole run
        if self.name == "adana":
            optimizer = ADana(param_groups(self), lr=tiny.ADANA_LR, total_steps=steps)
        else:
            optimizer = torch.optim.AdamW(self.parameters(), lr=tiny.ADAMW_LR)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def train(name: str, folder: str, resume: str | None = None) -> float:
    """The loss after training with an optimizer, from a checkpoint where one is given."""
    data = torch.from_numpy(tiny.rows())
    keep = lightning.pytorch.callbacks.ModelCheckpoint(folder, name + "-{epoch}", save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, callbacks=[keep], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    module = Text(name)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8), ckpt_path=resume)
    with torch.no_grad():
        return float(tiny.loss(module.body, data))


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        losses = {name: train(name, folder) for name in ("adamw", "adana")}
        losses["resumed"] = train("adana", folder, resume=f"{folder}/adana-epoch=0.ckpt")
    return losses


if __name__ == "__main__":
    print(main())
