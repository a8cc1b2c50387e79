"""timm's models: classifiers, tables of positions and gains are no hidden matrices."""

from __future__ import annotations

import pytest
import torch

from adana import ADana, param_groups

NAMES = (
    "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "resnet18", "convnext_atto",
    "mixer_s32_224", "beit_base_patch16_224", "cait_xxs24_224", "nfnet_l0", "crossvit_tiny_240", "levit_128",
    "poolformer_s12", "vit_base_patch16_siglip_224", "regnety_002",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_weights_of_layers_are_hidden_and_every_classifier_is_a_head(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=11)
    kinds = {id(p): group["kind"] for group in param_groups(model) for p in group["params"]}
    said = model.get_classifier()
    heads = {id(p) for one in (said if isinstance(said, (tuple, list)) else [said]) for p in one.parameters()}
    for path, p in model.named_parameters():
        if id(p) in heads and p.ndim > 1:
            assert kinds[id(p)] == "head", path
        elif kinds[id(p)] in ("hidden", "head"):
            assert path.endswith("weight"), path
            assert kinds[id(p)] == "hidden" or not heads, path


def test_layer_decay_scales_the_weight_decay_as_the_page_says():
    pytest.importorskip("timm")
    from timm.scheduler import CosineLRScheduler

    weights = [torch.nn.Parameter(torch.ones(4, 4)) for _ in "abc"]
    groups = [{"params": [w], "lr_scale": scale, "weight_decay": 1.0} for w, scale in zip(weights, (1.0, 0.5, 0.5))]
    optimizer = ADana(groups, lr=1e-9, total_steps=100)
    optimizer.param_groups[2]["peak_lr"] = 0.5e-9
    scheduler = CosineLRScheduler(optimizer, t_initial=100)
    for step in range(5):
        for w in weights:
            w.grad = torch.zeros_like(w)
        optimizer.step()
        scheduler.step_update(step)
    scheduler.step(0)
    for w in weights:
        w.grad = torch.zeros_like(w)
    before = [float(w.detach()[0, 0]) for w in weights]
    optimizer.step()
    lost = [1 - float(w.detach()[0, 0]) / one for w, one in zip(weights, before)]
    assert lost[1] == pytest.approx(lost[0] / 2, rel=0.01)
    assert lost[2] == pytest.approx(lost[0], rel=0.01)
