"""What Optax asks of every contribution, over the whole family."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adana.optax
from adana.catalog import OMEGA
from tests.optax.family import BARE, ELEMENTWISE, OPTIMIZERS, PLAIN, PLAIN_IDS, build
from tests.optim.tensors import MATRIX_RULES

family = pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
T = 4000
LR = {"dana": 1e-3, "log-nadamw": 1e-3}  # the unstable ones need less to reach Rosenbrock's valley floor


def parameters(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    return {
        "matrix": jnp.full((2, 3), -1, dtype),
        "vector": jnp.array([1, 2, -3], dtype),
        "scalar": jnp.ones((), dtype),
    }


def gradients(params: Any) -> Any:
    return jax.tree.map(lambda p: 2 * p, params)


def trees_equal(found: Any, expected: Any, **tolerance: float) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), **({"rtol": 0, "atol": 0} | tolerance))


def types(tree: Any) -> Any:
    """Shape, dtype and weak type of every leaf: what a scan or a cond compares."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), tree)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_toy_targets_are_reached(name):
    """A parabola, Rosenbrock's valley and a matrix, far from their targets, in one tree and one scan."""
    targets = {
        "parabola": jnp.array([1.0, -1.0, 1.0]),
        "rosenbrock": jnp.ones(2),
        "matrix": jnp.array([[3.0, -2.0], [1.0, 4.0]]),
    }
    start = {"parabola": jnp.array([-1.0, 10.0, 1.0]), "rosenbrock": jnp.zeros(2), "matrix": jnp.zeros((2, 2))}

    def loss(p):
        valley = (1 - p["rosenbrock"][0]) ** 2 + 100 * (p["rosenbrock"][1] - p["rosenbrock"][0] ** 2) ** 2
        return valley + sum(jnp.sum((p[k] - targets[k]) ** 2) for k in ("parabola", "matrix"))

    lr = LR.get(name, 1e-2)
    off = {} if name == "dana" else {"weight_decay": 0.0}
    schedule = optax.join_schedules(
        [optax.constant_schedule(lr), optax.cosine_decay_schedule(lr, T // 2)], boundaries=[T // 2]
    )
    optimizer = build(name, schedule, total_steps=T, **off)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=T)[0][0]

    trees_equal(run(start), targets, rtol=3e-2, atol=3e-2)


@family
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_updates_keep_the_gradients_dtype_and_state_its_types(name, options, dtype):
    if name in MATRIX_RULES and "complex" in dtype:
        pytest.skip("Muon refuses complex parameters")
    with jax.enable_x64(dtype in ("float64", "complex128")):
        peak = {} if name == "dana" else {"peak_learning_rate": 0.1}
        optimizer = build(name, lambda t: 0.1 / (1 + t), **peak, **options)
        params = parameters(jnp.dtype(dtype))
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(optimizer.update, params, state, params)
        assert types(after) == types(state)
        assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
        assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
        for leaf in jax.tree.leaves(state._replace(count=None)):
            assert jnp.finfo(leaf.dtype).bits >= 32, "averages of low-precision parameters are kept in float32"


@family
def test_state_of_mixed_precisions_is_stable(name, options):
    with jax.enable_x64(True):
        optimizer = build(name, 0.1, **options)
        params = {"narrow": jnp.ones((2, 2), jnp.float32), "wide": jnp.ones((2, 2), jnp.float64)}
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(optimizer.update, params, state, params)
        assert types(after) == types(state)
        assert updates["narrow"].dtype == jnp.float32
        assert updates["wide"].dtype == jnp.float64


@pytest.mark.parametrize("name", BARE)
def test_the_optimizer_is_its_bare_rule_with_learning_rate_and_decay(name):
    required = {"total_steps": 60} if name in ("ademamix", "amcs") else {}
    params = {"matrix": parameters()["matrix"]}
    bare, whole = BARE[name](**required), build(name, 0.1)
    u, bare_state = bare.update(gradients(params), bare.init(params))
    updates, state = whole.update(gradients(params), whole.init(params), params)
    decay = 0.0 if name == "dana" else OMEGA / 6
    trees_equal(updates, jax.tree.map(lambda u, p: -0.1 * u - decay * p, u, params), rtol=1e-6)
    trees_equal((state.count, state.mu), (bare_state.count, bare_state.mu))


@family
def test_extra_arguments_are_accepted_and_nothing_recompiles(name, options):
    optimizer = build(name, 0.1, **options)
    params = parameters()
    update = jax.jit(lambda g, s, p: optimizer.update(g, s, p, value=jnp.ones(()), unheard_of=1))
    state = optimizer.init(params)
    for _ in range(3):
        _, state = update(gradients(params), state, params)
    assert update._cache_size() == 1
    assert int(state.count) == 3


# Those that choose a branch are no numbers to inject.
STATIC = ("mask", "ns_steps")


def injected(name: str, **arguments: Any) -> Any:
    factory = OPTIMIZERS[name]
    static = [option for option in STATIC if option in inspect.signature(factory).parameters]
    return optax.inject_hyperparams(factory, static_args=static)(**arguments)


@family
def test_inject_hyperparams_changes_nothing_but_where_the_numbers_live(name, options):
    options = {"total_steps": 60, **options}
    if name != "dana":
        options["peak_learning_rate"] = 0.1
    plain, wrapped = OPTIMIZERS[name](0.1, **options), injected(name, learning_rate=0.1, **options)
    params = parameters()
    state, wrapped_state = plain.init(params), wrapped.init(params)
    one, other = jax.jit(plain.update), jax.jit(wrapped.update)
    for _ in range(2):
        updates, state = one(gradients(params), state, params)
        wrapped_updates, wrapped_state = other(gradients(params), wrapped_state, params)
        trees_equal(wrapped_updates, updates, rtol=1e-5)
        # 1 - 0.999 has lost four digits where 0.999 was injected as a float32
        trees_equal(wrapped_state.inner_state, state, rtol=1e-4, atol=1e-7)
    assert other._cache_size() == 1


def test_injected_numbers_can_be_scheduled_and_changed_in_mid_run():
    optimizer = injected(
        "adana",
        learning_rate=optax.linear_schedule(0.0, 0.1, 10),
        peak_learning_rate=0.1,
        total_steps=60,
        kappa=lambda t: jnp.where(t < 1, 0.85, 0.5),
    )
    params = parameters()
    state = optimizer.init(params)
    updates, state = optimizer.update(gradients(params), state, params)
    assert not any(np.any(u) for u in jax.tree.leaves(updates)), "learning rate 0, so no update and no decay"
    updates, later = optimizer.update(gradients(params), state, params)
    expected = adana.optax.adana(lambda t: 0.01 * t, peak_learning_rate=0.1, total_steps=60, kappa=0.5)
    same, _ = expected.update(gradients(params), state.inner_state, params)
    trees_equal(updates, same, rtol=1e-5)
    later.hyperparams["weight_decay"] = jnp.zeros(())
    without, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), later, params)
    with_decay, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), later._replace(hyperparams=state.hyperparams | {}), params
    )
    assert not np.allclose(without["matrix"], with_decay["matrix"])


@family
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_accumulated_gradients_step_as_their_mean_would(name, options, dtype):
    """Also what needs a state whose types a cond can compare."""
    base = build(name, 0.1, **options)
    every = optax.MultiSteps(build(name, 0.1, **options), every_k_schedule=4)
    params = parameters(jnp.dtype(dtype))
    batch = [jax.tree.map(lambda p, i=i: (p * (1 + i)).astype(dtype), params) for i in range(4)]
    mean = jax.tree.map(lambda *g: (sum(x.astype(jnp.float32) for x in g) / 4).astype(dtype), *batch)
    state = every.init(params)
    update = jax.jit(every.update)
    for grads in batch:
        updates, state = update(grads, state, params)
    expected, _ = jax.jit(base.update)(mean, base.init(params), params)
    assert all(bool(jnp.all(jnp.abs(u) > 0)) for u in jax.tree.leaves(expected))
    trees_equal(
        jax.tree.map(lambda x: x.astype(jnp.float32), updates),
        jax.tree.map(lambda x: x.astype(jnp.float32), expected),
        rtol=2e-2 if dtype == "bfloat16" else 1e-5,
        atol=1e-6,
    )


@family
def test_one_count_and_state_that_maps_as_parameters(name, options):
    peak = {} if name == "dana" else {"peak_learning_rate": 0.1}
    scheduled = build(name, lambda t: 0.1 / (1 + t), **peak, **options)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), scheduled)
    params = parameters()
    state = optimizer.init(params)
    for expected in (0, 1):
        assert int(optax.tree_utils.tree_get(state, "count")) == expected
        _, state = optimizer.update(gradients(params), state, params)
    paths = optax.tree_utils.tree_get_all_with_path(state, "count")
    assert len(paths) == 1
    doubled = optax.tree_utils.tree_map_params(optimizer, lambda x: 2 * x, state)
    trees_equal(doubled[1].mu, jax.tree.map(lambda x: 2 * x, state[1].mu))
    assert int(doubled[1].count) == 2


@family
def test_abstract_parameters_are_enough_to_make_the_state(name, options):
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), parameters())
    optimizer = build(name, 0.1, **options)
    assert types(optimizer.init(shapes)) == types(optimizer.init(parameters()))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_state_is_sharded_as_its_parameters_and_stays_so_with_explicit_axes(name):
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        sharding = jax.sharding.NamedSharding(mesh, jax.P(None, "x"))
        params = jnp.ones((2, 8, 4), dtype=jnp.float16, out_sharding=sharding)
        optimizer = build(name, 0.1)
        state = optimizer.init(params)
        _, after = optimizer.update(params, state, params)
        compiled = jax.jit(optimizer.init)(params)
        _, compiled_after = jax.jit(optimizer.update)(params, state, params)
        expected = jax.tree.map(jax.typeof, state)
        for other in (after, compiled, compiled_after):
            assert jax.tree.map(jax.typeof, other) == expected
        assert jax.typeof(state.mu).sharding.spec == jax.P(None, "x", None)


@family
def test_sharded_and_whole_updates_agree(name, options):
    """Eight devices, the compiler placing the work: state lands and stays where the parameters are."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.P("x"))
    whole = {"matrix": jnp.arange(32.0).reshape(8, 4) / 32, "vector": jnp.arange(16.0) - 8}
    split = jax.device_put(whole, sharding)
    optimizer = build(name, 0.1, **options)
    update = jax.jit(optimizer.update)
    state = jax.jit(optimizer.init, out_shardings=None)(split)
    updates, state = update(gradients(split), jax.device_put(optimizer.init(split)), split)
    expected, expected_state = update(gradients(whole), optimizer.init(whole), whole)
    trees_equal(updates, expected, rtol=2e-5, atol=1e-6)
    trees_equal(state, expected_state, rtol=2e-5, atol=1e-6)
    if name not in MATRIX_RULES:
        for leaf in jax.tree.leaves((updates, state.mu)):
            assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


@family
def test_a_batch_of_runs_under_vmap_is_as_many_runs(name, options):
    optimizer = build(name, 0.1, **options)
    many = jax.tree.map(lambda p: jnp.stack([p, -2 * p, 0.5 * p]), parameters())

    def run(params):
        updates, state = optimizer.update(gradients(params), optimizer.init(params), params)
        return optax.apply_updates(params, updates), state

    together = jax.jit(jax.vmap(run))(many)
    alone = jax.jit(run)
    each = [alone(jax.tree.map(lambda p, i=i: p[i], many)) for i in range(3)]
    trees_equal(together, jax.tree.map(lambda *x: jnp.stack(x), *each), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_learning_rate_and_kappa_can_be_swept_under_vmap():
    params = parameters()

    def run(lr, kappa):
        optimizer = adana.optax.adana(lr, peak_learning_rate=0.3, total_steps=60, kappa=kappa)
        return optimizer.update(gradients(params), optimizer.init(params), params)[0]

    lrs, kappas = jnp.array([0.1, 0.2]), jnp.array([0.5, 1.5])
    for name in ("vector", "matrix"):
        each = [run(lr, kappa)[name] for lr, kappa in zip(lrs, kappas, strict=True)]
        np.testing.assert_allclose(jax.vmap(run)(lrs, kappas)[name], jnp.stack(each), rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mu_dtype_is_the_first_moments_only(name):
    build_it = lambda: build(name, 0.1, mu_dtype="bfloat16")  # noqa: E731
    if name in ("adamw", "nadamw", "amcs", "muon"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer = build_it()
    else:
        with pytest.warns(UserWarning, match="mu stands still"):
            optimizer = build_it()
    params = {"matrix": parameters()["matrix"]}
    state = optimizer.init(params)
    _, after = optimizer.update(gradients(params), state, params)
    assert state.mu["matrix"].dtype == after.mu["matrix"].dtype == jnp.bfloat16
    if state.nu is not None and name not in MATRIX_RULES:
        assert after.nu["matrix"].dtype == jnp.float32
