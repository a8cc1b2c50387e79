"""ADana as levanter's optimizer configuration.

NOT RUN with levanter: 1.1, the newest on the package index, pins datasets 2.11, fsspec 2023.3 and pydantic below 2,
which exclude those of the other examples. Its code was read, and a test runs this file on a stand-in.
In levanter's own file::

    optimizer: {learning_rate: 1.2e-3, omega: 1.0}     # with TrainLmConfig.optimizer: AdanaConfig
"""

from __future__ import annotations

from dataclasses import dataclass

import optax
from levanter.trainer import OptimizerConfig

from adana.optax import adana, decay_mask


@dataclass
class AdanaConfig(OptimizerConfig):
    omega: float = 1.0
    """Weight decay; `weight_decay` is AdamW's and not read."""
    kappa: float = 0.85

    def build(self, num_train_steps: int) -> optax.GradientTransformation:
        def rule(learning_rate):
            own = {"peak_learning_rate": self.learning_rate, "total_steps": num_train_steps, "kappa": self.kappa}
            clip = optax.clip_by_global_norm(self.max_grad_norm) if self.max_grad_norm else optax.identity()
            return optax.chain(clip, adana(learning_rate, weight_decay=self.omega, mask=decay_mask, **own))

        return optax.inject_hyperparams(rule)(learning_rate=self.lr_scheduler(num_train_steps))
