from __future__ import annotations

import pytest
import torch

from adana import DanaStar, Muon, param_groups
from adana.models import Enoki, EnokiConfig
from adana.models.moe import MixtureOfExperts


def layer(experts: int, active: int, seed: int = 0) -> MixtureOfExperts:
    torch.manual_seed(seed)
    return MixtureOfExperts(width=8, hidden=12, experts=experts, active=active)


def token_by_token(mixture: MixtureOfExperts, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, one token at a time."""
    count = len(mixture.experts)
    outputs, share, mean = [], torch.zeros(count), torch.zeros(count)
    tokens = x.flatten(0, -2)
    for token in tokens:
        probability = mixture.router(token).softmax(-1)
        y = torch.zeros_like(token)
        for i in sorted(range(count), key=lambda i: -probability[i])[: mixture.active]:
            y = y + probability[i] * mixture.experts[i](token)
            share[i] += 1 / (len(tokens) * mixture.active)
        mean = mean + probability / len(tokens)
        outputs.append(y)
    return torch.stack(outputs).view_as(x), count * (share * mean).sum()


@pytest.mark.parametrize(("experts", "active"), [(1, 1), (4, 1), (4, 2), (5, 5)])
def test_each_token_gets_its_likeliest_experts_weighted_by_their_probabilities(experts, active):
    mixture = layer(experts, active)
    x = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(1))
    y, balance = mixture(x)
    expected, expected_balance = token_by_token(mixture, x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(balance, expected_balance)
    gradients = torch.autograd.grad(y.square().sum(), list(mixture.parameters()))
    for a, b in zip(gradients, torch.autograd.grad(expected.square().sum(), list(mixture.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_one_expert_is_the_dense_model():
    dense = Enoki(EnokiConfig(heads=1, vocab_size=30), seed=0)
    mixture = Enoki(EnokiConfig(heads=1, vocab_size=30, experts=1), seed=1)
    weights = {name.replace(".mlp.", ".mlp.experts.0."): value for name, value in dense.state_dict().items()}
    mixture.load_state_dict(mixture.state_dict() | weights)
    tokens = torch.randint(30, (2, 10), generator=torch.Generator().manual_seed(0))
    logits, balance = mixture(tokens, balance_loss=True)
    torch.testing.assert_close(logits, dense(tokens))
    assert balance.item() == 1


def test_the_load_balance_loss_is_1_when_even_and_the_number_of_experts_when_one_takes_all():
    mixture = layer(4, 1)
    x = torch.eye(8)[:4].repeat(5, 1)
    with torch.no_grad():
        mixture.router.weight.zero_()
        mixture.router.weight[:, :4] = 50 * torch.eye(4)
    assert mixture(x)[1].item() == pytest.approx(1)
    assert mixture(x[:1])[1].item() == pytest.approx(4)


def test_the_load_balance_loss_teaches_the_router_to_spread():
    mixture = layer(4, 1)
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0] = 1
    with torch.no_grad():
        mixture.router.weight[0, 0] = 2  # most tokens go to the first expert
    optimizer = torch.optim.SGD([mixture.router.weight], lr=0.05)
    first = mixture(x)[1].item()
    for _ in range(100):
        optimizer.zero_grad()
        mixture(x)[1].backward()
        optimizer.step()
    assert first > 1.5
    assert mixture(x)[1].item() < 1.1


def test_the_load_balance_loss_comes_apart_and_leaves_the_logits_alone():
    model = Enoki(EnokiConfig(heads=1, vocab_size=30, experts=4, active=2))
    tokens = torch.randint(30, (2, 10), generator=torch.Generator().manual_seed(0))
    plain = model(tokens)
    logits, balance = model(tokens, balance_loss=True)
    assert torch.equal(plain, logits)
    assert balance.shape == ()
    with pytest.raises(ValueError, match="dense"):
        Enoki(EnokiConfig(heads=1, vocab_size=30))(tokens, balance_loss=True)


def test_the_load_balance_loss_of_a_model_is_the_mean_over_its_layers():
    model = Enoki(EnokiConfig(heads=1, layers=3, vocab_size=30, experts=4))
    found = []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda module, inputs, output: found.append(output[1]))
    _, balance = model(torch.arange(20)[None], balance_loss=True)
    assert len(found) == 3
    torch.testing.assert_close(balance, sum(found) / 3)


def test_routing_is_in_float32_under_autocast():
    """Rounded to bf16, the probabilities of many experts tie."""
    mixture = layer(16, 1)
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = mixture(x)[1]
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, mixture(x)[1], rtol=1e-6, atol=0)


def test_an_expert_without_tokens_gets_a_gradient_of_zeros():
    """Not None: its clock goes on, and every rank has as many gradients to reduce."""
    mixture = layer(8, 1)
    mixture(torch.ones(3, 8))[0].sum().backward()
    used = [bool(expert.up.weight.grad.any()) for expert in mixture.experts]
    assert sum(used) == 1
    assert all(p.grad is not None for p in mixture.parameters())


@pytest.mark.parametrize("optimizer", [DanaStar, Muon])
def test_every_experts_matrices_are_optimized_each_by_itself(optimizer):
    model = Enoki(EnokiConfig(heads=1, vocab_size=30, experts=4, active=2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rule = optimizer(param_groups(model), lr=1e-2, total_steps=1000)
    tokens = torch.randint(30, (4, 30), generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        logits, balance = model(tokens[:, :-1], balance_loss=True)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        (loss + 0.01 * balance).backward()
        rule.step()
        rule.zero_grad()
    hidden = [name for name in before if ".experts." in name]
    assert len(hidden) == 4 * 2
    for name, p in model.named_parameters():
        assert not torch.equal(p, before[name]), name
        if name in hidden:
            assert p.ndim == 2
            assert ("momentum_buffer" in rule.state[p]) == (optimizer is Muon)
