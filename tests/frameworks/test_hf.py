"""``adana.hf`` in a real ``Trainer`` on a tiny model, where transformers is installed."""

from __future__ import annotations

import pytest
import torch

import adana.hf
from adana import ADana
from adana.catalog import OMEGA
from adana.hf import HorizonCallback, arguments, factory

STEPS = 6


def _model(seed: int = 0):
    transformers = pytest.importorskip("transformers", minversion="5")
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=16,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _trainer(folder, model, callbacks=True, steps=STEPS, epochs=None, **options):
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers", minversion="5")
    rows = torch.randint(0, 64, (24, 16), generator=torch.Generator().manual_seed(0))
    arguments = {"max_steps": steps} if epochs is None else {"num_train_epochs": epochs}
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        save_steps=3,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **arguments,
    )
    own = adana.hf.arguments("adana", lr=1e-3, **options)
    if not callbacks:
        del own["callbacks"]
    data = [{"input_ids": row, "labels": row.clone()} for row in rows]
    return transformers.Trainer(model=model, args=args, train_dataset=data, **own)


def _optimizer(trainer) -> ADana:
    return getattr(trainer.optimizer, "optimizer", trainer.optimizer)


@pytest.mark.parametrize("length", [{"steps": STEPS}, {"epochs": 2}])
def test_the_trainer_gives_the_horizon_and_the_groups_are_ours(tmp_path, length):
    trainer = _trainer(tmp_path, _model(), weight_decay=2.0, **length)
    trainer.train()
    groups = _optimizer(trainer).param_groups
    assert {group["total_steps"] for group in groups} == {12 if "epochs" in length else STEPS}
    # args.weight_decay is 0, and not asked.
    assert {group["kind"]: group["weight_decay"] for group in groups} == {
        "hidden": 2.0,
        "embedding": 0.0,
        "head": 2.0,
        "other": 0.0,
    }


def test_a_run_that_goes_on_from_its_checkpoint_is_the_same_to_the_bit(tmp_path, recwarn):
    whole, part = _model(), _model(seed=1)
    _trainer(tmp_path / "whole", whole).train()
    resumed = _trainer(tmp_path / "whole", part)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.state.global_step == STEPS
    for (name, one), other in zip(whole.state_dict().items(), part.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert not [warning for warning in recwarn if "differ" in str(warning.message)]


def test_a_step_without_a_horizon_is_refused_by_what_to_do(tmp_path):
    trainer = _trainer(tmp_path, _model(), callbacks=False)
    with pytest.raises(RuntimeError, match=r"adana.hf.HorizonCallback\(\)"):
        trainer.train()


def test_a_model_of_from_pretrained_does_not_decay_unless_asked(tmp_path):
    _model().save_pretrained(tmp_path / "model")
    model = type(_model()).from_pretrained(tmp_path / "model")
    make, kwargs = factory(lr=1e-3)
    with pytest.warns(UserWarning, match="no weight decay, as the model was loaded from"):
        assert {group["weight_decay"] for group in make()(model, **kwargs).param_groups} == {0.0}
    make, kwargs = factory(lr=1e-3, pretrained=False)
    assert max(group["weight_decay"] for group in make()(model, **kwargs).param_groups) > 0


def test_what_the_optimizer_refuses_is_refused_before_a_trainer_is_made():
    with pytest.raises(ValueError, match="kappa"):
        factory(lr=1e-3, kappa=-1.0)
    with pytest.raises(TypeError, match="kapa"):
        factory(lr=1e-3, kapa=1.0)
    with pytest.raises(ValueError, match="pretrained"):
        factory(lr=1e-3, pretrained=True, weight_decay=1.0)


def test_an_older_transformers_is_told_that_it_gives_no_model():
    make, kwargs = factory(lr=1e-3)
    with pytest.raises(RuntimeError, match="transformers 5"):
        make([{"params": [torch.nn.Parameter(torch.ones(3))], "weight_decay": 0.0}], **kwargs)


def test_the_callback_alone_serves_any_optimizer_of_the_family_in_a_wrapper():
    class Wrapper:
        def __init__(self, optimizer):
            self.optimizer = optimizer

    class State:
        max_steps = 70

    optimizer = ADana([torch.nn.Parameter(torch.ones(3))], lr=0.1, total_steps=100)
    HorizonCallback().on_train_begin(None, State, None, optimizer=Wrapper(Wrapper(optimizer)))
    assert optimizer.param_groups[0]["total_steps"] == 70
    HorizonCallback().on_train_begin(None, State, None, optimizer=torch.optim.SGD([torch.nn.Parameter(torch.ones(3))]))
    assert sorted(arguments(lr=1e-3)) == ["callbacks", "optimizer_cls_and_kwargs"]


def _with_trained_gains():
    model = _model()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(torch.linspace(0, 0.1, len(p)))
    return model


@pytest.mark.parametrize("said", [{}, {"pretrained": False}, {"weight_decay": 2.0}])
def test_trained_gains_turn_decay_off_unless_it_was_asked_for(said, tmp_path, recwarn):
    trainer = _trainer(tmp_path, _with_trained_gains(), steps=1, **said)
    trainer.train()
    on = max(group["weight_decay"] for group in _optimizer(trainer).param_groups)
    assert on == said.get("weight_decay", OMEGA if said else 0.0)
    assert any("the gains of the model's norms are trained" in str(one.message) for one in recwarn) is not bool(said)


def test_a_class_given_to_the_trainer_says_that_its_decay_is_overruled(tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5")
    pytest.importorskip("accelerate")
    args = transformers.TrainingArguments(str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
    rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 8
    options = {"lr": 1e-3, "weight_decay": 4.0, "total_steps": 100}
    trainer = transformers.Trainer(_model(), args, train_dataset=rows, optimizer_cls_and_kwargs=(ADana, options))
    with pytest.warns(UserWarning, match=r"weight_decay=4 is not used.*adana\.hf\.arguments"):
        trainer.train()
