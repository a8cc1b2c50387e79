"""ADana in transformers' Trainer, beside AdamW; the run goes on from a checkpoint. Needs transformers 5 and accelerate.

python examples/transformers_trainer.py
"""

from __future__ import annotations

import tempfile

import tiny
import torch
from transformers import Trainer, TrainingArguments

import adana.hf

STEPS = 60


def train(name: str, folder: str, resume: str | None = None) -> float:
    """The loss after training with an optimizer, from a checkpoint where one is given."""
    args = TrainingArguments(
        f"{folder}/{name}",
        max_steps=STEPS,
        per_device_train_batch_size=8,
        learning_rate=tiny.ADAMW_LR,  # AdamW's; ADana has its own
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        save_steps=STEPS // 2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    own = adana.hf.arguments("adana", lr=tiny.ADANA_LR) if name == "adana" else {}
    data = [{"input_ids": row, "labels": row} for row in torch.from_numpy(tiny.rows())]
    trainer = Trainer(model=tiny.llama(), args=args, train_dataset=data, eval_dataset=data, **own)
    trainer.train(resume_from_checkpoint=resume)
    return trainer.evaluate()["eval_loss"]


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        losses = {name: train(name, folder) for name in ("adamw", "adana")}
        losses["resumed"] = train("adana", folder, resume=f"{folder}/adana/checkpoint-{STEPS // 2}")
    return losses


if __name__ == "__main__":
    print(main())
