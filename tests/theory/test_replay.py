from __future__ import annotations

import numpy as np
import pytest

from adana import rules
from adana.theory.plrf import Plrf
from adana.theory.simulate import SIMULATED, Configuration, simulate

FAMILY = [
    *(Configuration(name, 0.01) for name in SIMULATED),
    Configuration("adana", 0.01, kappa=0.6, damping_scale=2.5),
    Configuration("adana", 0.01, damping="linear"),
    Configuration("adana", 0.01, damping="nesterov"),
    Configuration("adana", 0.01, gradient_term=False),
    Configuration("adana", 0.01, beta2=0.95),
    Configuration("adana", 0.01, beta3=0.9, weight_decay=0.5),
    Configuration("adana", 0.01, form="released", weight_decay=0.5),
    Configuration("dana", 0.01, damping="linear", damping_scale=2.0),
    Configuration("dana", 0.01, damping="nesterov"),
    Configuration("dana-mk4", 0.01, clip_snr=0.1, kappa=1.2),
    Configuration("dana-mk4", 0.01, form="released", clip_snr=0.1),
    Configuration("dana-star", 0.01, form="released", kappa=0.5),
    Configuration("dana-star-mk4", 0.01, form="released", damping_scale=2.0),
    Configuration("dana-star-mk4", 0.02, kappa=0.5, weight_decay=1.0),
    Configuration("adamw", 0.02, betas=(0.8, 0.95), eps=1e-3),
    Configuration("ademamix", 0.01, beta2=0.95, beta3=0.7, kappa=0.7),
]
STEPS = 40


def rule_by_rule(problem, one, steps, seed):
    """The reference: the package's rule as it is, one configuration, one step at a time."""
    features, targets, _ = problem.stream(seed, 1, 2, np.dtype(np.float64))(steps)
    theta = np.zeros(problem.d)
    state = {name: np.zeros(problem.d) for name in one.rule.state(one.options(steps))}
    for t in range(steps):
        x, y = features[t, 0], targets[t, 0]
        g = ((x @ theta - y) / 2) @ x
        scalars = dict(one.scalars(np.float64(t), steps))
        lr, decay = scalars.pop("lr"), scalars.pop("decay")
        u, new = one.rule.direction(np, g, state, scalars)
        state = {**state, **new}
        theta = rules.descend(theta, u, lr=lr, decay=decay, form=one.form)
    return theta


@pytest.fixture(scope="module")
def problem():
    return Plrf(1.0, 0.3, v=40, d=10, seed=0)


@pytest.fixture(scope="module")
def together(problem):
    return simulate(problem, FAMILY, total_steps=STEPS, batch=2, seed=5, dtype="float64")


@pytest.mark.parametrize("i", range(len(FAMILY)), ids=lambda i: f"{FAMILY[i].name} {FAMILY[i].form}")
def test_every_rule_of_the_family_replays_as_the_rule_itself(problem, together, i):
    alone = rule_by_rule(problem, FAMILY[i], STEPS, seed=5)
    assert np.abs(alone).max() > 1e-3
    np.testing.assert_allclose(together.parameters[i, 0], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_torch_device_gives_what_numpy_gives(problem, runs):
    settings = {"total_steps": 25, "batch": 3, "seed": 2, "runs": runs, "dtype": "float64"}
    ours = simulate(problem, FAMILY, **settings)
    theirs = simulate(problem, FAMILY, device="cpu", **settings)
    np.testing.assert_allclose(theirs.parameters, ours.parameters, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(theirs.risk, ours.risk, rtol=1e-8)


def test_a_rule_that_selects_otherwise_is_refused_not_misread():
    from adana.theory.replay import Replay

    def odd(xp, g, state, s):
        return xp.where(g > 0.0, g, state["m"]), {"m": g * s["a"]}

    rule = rules.Rule(lambda o: ("m",), lambda t, o: {}, odd)
    p, g = np.zeros(3), np.ones(3)
    with pytest.raises(NotImplementedError, match="where"):
        Replay(rule, {"a": 0.5, "lr": 0.1, "decay": 0.0}, "paper", p, g, {"m": np.zeros(3)})


def test_shared_tables_meet_tables_of_each_configuration_step_by_step():
    from adana.theory.replay import Replay

    def mixing(xp, g, state, s):
        return (s["shared"] * s["own"]) * g, {}

    rule = rules.Rule(lambda o: (), lambda t, o: {}, mixing)
    p, g = np.zeros((1, 3, 4)), np.ones((1, 3, 4))
    replay = Replay(rule, {"shared": None, "own": None, "lr": 1.0, "decay": 0.0}, "paper", p, g, {})
    shared, own = np.array([2.0, 5.0, 7.0]), np.arange(9.0).reshape(3, 3, 1)
    replay.prepare({"shared": shared, "own": own})
    replay.step(1)
    np.testing.assert_array_equal(p[0, :, 0], -5.0 * own[1, :, 0])


def test_configurations_with_numbers_of_their_own_keep_them():
    problem = Plrf(1.0, 0.3, v=40, d=10, seed=0)
    family = [
        Configuration("dana-star-mk4", lr, kappa=kappa, clip_snr=clip, damping_scale=scale, eps=eps, delta=delta)
        for lr, kappa, clip, scale, eps, delta in (
            (0.01, 0.5, 2.0, 1.0, 1e-8, 8.0),
            (0.02, 0.7, 0.5, 2.0, 1e-3, 5.0),
        )
    ]
    done = simulate(problem, family, total_steps=30, batch=2, seed=3, dtype="float64")
    for i, one in enumerate(family):
        np.testing.assert_allclose(done.parameters[i, 0], rule_by_rule(problem, one, 30, seed=3), rtol=1e-9)


def test_old_values_read_after_new_ones_exist_are_kept():
    from adana.theory.replay import Replay

    def swap(xp, g, state, s):
        new = {"a": state["b"] + g, "b": state["a"] - g}
        return new["a"] * state["a"] + new["b"] * state["b"], new

    rule = rules.Rule(lambda o: ("a", "b"), lambda t, o: {}, swap)
    rng = np.random.default_rng(0)
    p, g = rng.standard_normal(4), rng.standard_normal(4)
    state = {"a": rng.standard_normal(4), "b": rng.standard_normal(4)}
    copies = {name: x.copy() for name, x in state.items()}
    u, expected = swap(np, g, copies, {})
    wanted = p - 0.5 * u
    replay = Replay(rule, {"lr": 0.5, "decay": 0.0}, "paper", p, g, state)
    replay.prepare({})
    replay.step(0)
    np.testing.assert_array_equal(p, wanted)
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name])
