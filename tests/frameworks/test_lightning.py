"""Lightning: the horizon it gives, its checkpoints, and callbacks that change learning rates in mid-run."""

from __future__ import annotations

import warnings

import pytest
import torch

from adana import ADana, param_groups

STEPS = 12


def _module():
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            self.lr = 1e-3

        def training_step(self, batch, index):
            return torch.nn.functional.mse_loss(self.body(batch[0]), batch[1])

        def configure_optimizers(self):
            return ADana(param_groups(self), lr=self.lr, total_steps=self.trainer.estimated_stepping_batches)

    return Module()


def _data():
    draw = torch.Generator().manual_seed(0)
    rows = torch.utils.data.TensorDataset(torch.randn(24, 4, generator=draw), torch.randn(24, 2, generator=draw))
    return torch.utils.data.DataLoader(rows, batch_size=4)


def _trainer(folder, **options):
    lightning = pytest.importorskip("lightning")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lightning.Trainer(default_root_dir=folder, max_epochs=2, **quiet, **options)


@pytest.fixture(autouse=True)
def _only_our_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_run_that_goes_on_from_its_checkpoint_is_the_same_to_the_bit(tmp_path):
    lightning = pytest.importorskip("lightning")
    keep = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, every_n_epochs=1)
    whole, part = _module(), _module()
    trainer = _trainer(tmp_path, callbacks=[keep])
    trainer.fit(whole, _data())
    assert {group["total_steps"] for group in trainer.optimizers[0].param_groups} == {STEPS}
    first = next(path for path in tmp_path.glob("*.ckpt") if "epoch=0" in path.name)
    _trainer(tmp_path, enable_checkpointing=False).fit(part, _data(), ckpt_path=str(first))
    for (name, one), other in zip(whole.state_dict().items(), part.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("name", ["StochasticWeightAveraging", "EMAWeightAveraging"])
def test_averaging_weights_does_not_end_a_run(name, tmp_path):
    callbacks = pytest.importorskip("lightning").pytorch.callbacks
    if not hasattr(callbacks, name):
        pytest.skip(f"this Lightning has no {name}")
    options = {"swa_lrs": 5e-3, "swa_epoch_start": 1} if name == "StochasticWeightAveraging" else {}
    trainer = _trainer(tmp_path, callbacks=[getattr(callbacks, name)(**options)], enable_checkpointing=False)
    module = _module()
    trainer.fit(module, _data())
    assert trainer.global_step == STEPS
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())


def test_a_search_for_the_learning_rate_does_not_end_a_run(tmp_path):
    lightning = pytest.importorskip("lightning")
    trainer, module = _trainer(tmp_path, enable_checkpointing=False), _module()
    lightning.pytorch.tuner.Tuner(trainer).lr_find(module, _data(), num_training=10, update_attr=False)
    trainer.fit(module, _data())
    assert trainer.global_step == STEPS
