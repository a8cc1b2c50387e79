"""A plugin of axolotl that trains with ADana.

NOT RUN with axolotl: 0.19 pins transformers, peft, trl and packages for CUDA (xformers, bitsandbytes) to versions that
exclude those of the other examples. Its code was read, and a test runs the plugin on a stand-in.
In the configuration of axolotl::

    plugins: [axolotl_plugin.AdanaPlugin]
    learning_rate: 3.0e-4    # ADana's: about 0.4 of AdamW's
"""

from __future__ import annotations

from axolotl.integrations.base import BasePlugin

import adana.hf


class AdanaPlugin(BasePlugin):
    def create_optimizer(self, cfg, trainer):
        make, options = adana.hf.factory("adana", lr=cfg.learning_rate)  # no decay where the weights are trained
        return make()(trainer.model, **options)

    def add_callbacks_pre_trainer(self, cfg, model):
        return [adana.hf.HorizonCallback()]
