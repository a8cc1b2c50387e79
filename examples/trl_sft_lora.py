"""ADana in TRL's SFTTrainer with LoRA, whose adapters never decay, beside AdamW. Needs trl and peft.

python examples/trl_sft_lora.py
"""

from __future__ import annotations

import tempfile

import tiny
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import adana.hf
from adana.data.tokenizer import Bytes

STEPS = 60


def train(name: str, folder: str, resume: str | None = None) -> float:
    """The loss after fine-tuning the adapters with an optimizer, from a checkpoint where one is given."""
    args = SFTConfig(
        f"{folder}/{name}",
        max_steps=STEPS,
        per_device_train_batch_size=8,
        learning_rate=10 * tiny.ADAMW_LR,  # adapters take more; AdamW's, ADana has its own
        lr_scheduler_type="cosine",
        save_steps=STEPS // 2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    own = adana.hf.arguments("adana", lr=10 * tiny.ADANA_LR) if name == "adana" else {}
    texts = Dataset.from_dict({"text": [bytes(row.tolist()).decode(errors="replace") for row in tiny.rows()]})
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(Bytes().definition()), eos_token=end, pad_token=end
    )
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        tiny.llama(), args, train_dataset=texts, eval_dataset=texts, processing_class=tokenizer, peft_config=lora, **own
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer.evaluate()["eval_loss"]


def main() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        losses = {name: train(name, folder) for name in ("adamw", "adana")}
        losses["resumed"] = train("adana", folder, resume=f"{folder}/adana/checkpoint-{STEPS // 2}")
    return losses


if __name__ == "__main__":
    print(main())
