from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.optim import reference
from tests.optim.cases import CASES, IDS, T, build

STEPS = 50


def gradients(shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Noisy gradients over four decades of scale, a fifth of them exactly zero."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, 1, shape)
    return [scale * (rng.normal(size=shape) + 0.3) * (rng.random(shape) > 0.2) for _ in range(STEPS)]


def run_torch(name, theta, grads, gammas, peak, dtype=torch.float64, **options):
    p = torch.nn.Parameter(torch.tensor(theta, dtype=dtype))
    optimizer = build(name, [p], lr=peak, **options)
    for g, gamma in zip(grads, gammas):
        p.grad = torch.tensor(g, dtype=dtype)
        optimizer.param_groups[0]["lr"] = peak * gamma
        optimizer.step()
    return p.detach().numpy()


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_fifty_float64_steps_agree_with_the_printed_algorithms_to_1e_12(name, options):
    theta = np.random.default_rng(1).normal(size=(4, 6))
    grads = gradients(theta.shape, seed=2)
    gammas = [reference.gamma(t, T) for t in range(STEPS)]
    expected = reference.run(name, theta, grads, gammas, 0.02, **options)
    found = run_torch(name, theta, grads, gammas, 0.02, **options)
    assert np.abs(expected - theta).max() > 1e-3, "the reference must have moved"
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["paper", "released"])
def test_the_first_average_is_the_first_gradient_in_the_paper_and_eight_ninths_of_it_as_released(form):
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = build("adana", [p], total_steps=T, form=form)
    p.grad = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    optimizer.step()
    expected = p.grad * (1.0 if form == "paper" else 8 / 9)
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], expected, rtol=1e-15, atol=0)


def test_released_momentum_weight_is_alpha_plus_one():
    """algorithms.md: at kappa .85 and t = 10^4, 4.98 against the paper's 3.98."""
    from adana import rules

    options = {"kappa": 0.85, "delta": 8.0, "damping_scale": 1.0, "eps": 0.0, "damping": "power", "total_steps": None,
               "gradient_term": True, "beta1": None, "beta2": None, "beta3": None, "eps_root": None,
               "cooldown": None}  # fmt: skip
    g, state = np.zeros(1), {"exp_avg": np.ones(1), "exp_avg_sq": np.ones(1)}
    weights = {}
    for form in rules.FORMS:
        rule = rules.rule("adana", form)
        s = dict(rule.scalars(10_000, options))
        u, new = rule.direction(np, g, state, s)
        weights[form] = float(u[0] / (new["exp_avg"][0] / np.sqrt(new["exp_avg_sq"][0])))
    assert weights["paper"] == pytest.approx(3.981, abs=5e-4)
    assert weights["released"] == pytest.approx(4.981, abs=5e-4)
