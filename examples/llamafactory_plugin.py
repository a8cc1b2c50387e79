"""LLaMA-Factory's supervised fine-tuning with ADana.

NOT RUN with LLaMA-Factory: 0.9.5 pins tyro below 0.9 where adana's commands need 1.0, and transformers to at most 5.6.
Its code was read, and a test runs this file on a stand-in. Install with ``pip install --no-deps adana`` beside it: the
optimizers do not need tyro. LLaMA-Factory's trainers ask one function for an optimizer, which is replaced here::

    python llamafactory_plugin.py train.yaml
"""

from __future__ import annotations

from llamafactory.train.sft import trainer
from llamafactory.train.tuner import run_exp

import adana.hf


def create_custom_optimizer(model, training_args, finetuning_args):
    make, options = adana.hf.factory("adana", lr=training_args.learning_rate)  # no decay where the weights are trained
    return make()(model, **options)


trainer.create_custom_optimizer = create_custom_optimizer

if __name__ == "__main__":
    run_exp(callbacks=[adana.hf.HorizonCallback()])
