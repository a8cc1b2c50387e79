"""Optimizers that benchmarks/ measures beside this package's own: each does what its formula says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import adana
from adana.theory.plrf import Plrf
from adana.theory.simulate import Configuration, simulate

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")


@pytest.fixture(scope="module")
def contenders():
    sys.path.insert(0, BENCHMARKS)
    import contenders

    yield contenders
    sys.path.remove(BENCHMARKS)


@pytest.fixture(scope="module")
def damping(contenders):
    import damping_without_kappa

    return damping_without_kappa


def trained(make, steps=20):
    """Parameters of a small model after some steps, as one vector."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 9))
    optimizer = make(adana.param_groups(model, 2.0))
    for step in range(steps):
        x = torch.randint(9, (16,), generator=torch.Generator().manual_seed(step))
        nn.functional.cross_entropy(model(x), (2 * x + 1) % 9).backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(("name", "own", "options"), [("muon", "Muon", {}), ("log_muon", "LogMuon", {"kappa": 0.7})])
def test_without_a_second_moment_they_are_the_packages_own(contenders, name, own, options):
    found = trained(lambda p: getattr(contenders, name)(p, lr=0.01))
    wanted = trained(lambda p: getattr(adana, own)(p, lr=0.01, total_steps=560, fused=False, **options))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("second", ["neuron", "element"])
def test_a_second_moment_divides_rows_or_elements_and_keeps_the_size_of_the_update(contenders, second):
    p = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    before, p.grad = p.detach().clone(), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    groups = [{"params": [p], "kind": "hidden"}]
    contenders.SecondMomentMuon(groups, lr=1.0, second=second, weight_decay=0.0).step()
    u = before - p.detach()
    assert u.square().mean().sqrt() == pytest.approx(0.2, rel=1e-5)
    sizes = u.square().mean(1) if second == "neuron" else u.square()
    torch.testing.assert_close(sizes, torch.full_like(sizes, 0.04), rtol=1e-4, atol=0)  # its own square at first


@pytest.mark.slow
def test_lion_is_optaxs(contenders):
    optax = pytest.importorskip("optax")
    grads = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    p = nn.Parameter(torch.zeros(5))
    mine = contenders.Lion([p], lr=0.5, weight_decay=0.0)
    theirs = optax.lion(0.5, b1=0.9, b2=0.99, weight_decay=0.0)
    wanted = np.zeros(5, np.float32)
    state = theirs.init(wanted)
    for g in grads:
        p.grad = torch.from_numpy(g)
        mine.step()
        update, state = theirs.update(g, state, wanted)
        wanted = wanted + np.asarray(update)
    np.testing.assert_array_equal(p.detach().numpy(), wanted)


@pytest.mark.parametrize(
    ("name", "signs"), [("LogLion", [1, -1, 1]), ("Signum", [1, 1, 1]), ("LogSignum", [1, -1, -1])]
)
def test_signs_are_of_the_mixture(contenders, name, signs):
    """Of gradients 1, -.5, .05 the log-time average is 1, -.333, -.027, the one of beta = .9 is .1, .04, .041."""
    p = nn.Parameter(torch.zeros(1))
    optimizer = getattr(contenders, name)([p], lr=1.0, weight_decay=0.0)
    found = []
    for g in (1.0, -0.5, 0.05):
        before, p.grad = p.item(), torch.tensor([g])
        optimizer.step()
        found.append(before - p.item())
    assert found == signs


def test_every_kappa_of_the_bench_is_the_packages_simulation(damping):
    problem = Plrf(1.0, 0.3, 80, 20, 0)
    run = [damping.Arm("kappa", kappa, 1e-3) for kappa in (0.5, 0.85)]
    found = damping.risks(problem, run, record=(40, 100), batch=4, seed=1)
    configurations = [Configuration("adana", 1e-3, kappa=kappa) for kappa in (0.5, 0.85)]
    record = np.array([40, 100])
    wanted = simulate(problem, configurations, total_steps=100, batch=4, seed=1, record=record).risk[:, 0].T
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_alpha_by_alignment_grows_linearly_on_a_slope_and_stands_still_where_gradients_alternate(damping):
    for gradient, wanted in ((lambda t: 1.0, 100.0), (lambda t: (-1.0) ** t, 1.0)):
        rule, m = damping.Damping("alignment", [2.0]), torch.zeros(1, 3)
        for t in range(100):
            g, weight = torch.full((1, 3), gradient(t)), 8 / (8 + t)
            rule.before(t, weight, g, m)
            m = m.lerp(g, weight)
        assert rule.alpha.item() == pytest.approx(wanted, rel=1e-3)


def test_aligned_adana_is_adana_at_kappa_1_without_gain_and_has_the_benchs_alpha_with_it(contenders, damping):
    found = trained(lambda p: contenders.AlignedADana(p, lr=0.01, gain=0.0))
    wanted = trained(lambda p: adana.ADana(p, lr=0.01, kappa=1.0, total_steps=560, fused=False))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)

    rule, m, p = damping.Damping("alignment", [2.0]), torch.zeros(1, 5), nn.Parameter(torch.zeros(5))
    optimizer = contenders.AlignedADana([{"params": [p], "weight_decay": 0.0}], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for t in range(30):
        g, weight = 0.5 + torch.randn(5, generator=generator), 8 / (8 + t)
        rule.before(t, weight, g[None], m)
        m = m.lerp(g[None], weight)
        p.grad = g
        optimizer.step()
    assert optimizer.param_groups[0]["damping_scale"] == pytest.approx(rule.alpha.item(), rel=1e-4)
    assert rule.alpha.item() > 1.5
