"""The family among Optax's wrappers, with masks, holes in the tree, and bad input."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

import adana.optax
from adana.catalog import OMEGA
from tests.optax.family import ELEMENTWISE, OPTIMIZERS, PLAIN, PLAIN_IDS, build
from tests.optax.test_contract import gradients, parameters, trees_equal

family = pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)


def one_step(optimizer: Any, params: Any, grads: Any = None) -> Any:
    return optimizer.update(gradients(params) if grads is None else grads, optimizer.init(params), params)


@family
def test_masked_leaves_are_left_alone_and_the_others_step_as_ever(name, options):
    mask = {"matrix": True, "vector": False, "scalar": True}
    updates, state = one_step(optax.masked(build(name, 0.1, **options), mask), parameters())
    expected, _ = one_step(build(name, 0.1, **options), parameters())
    trees_equal(updates["matrix"], expected["matrix"], rtol=1e-6)
    trees_equal(updates["vector"], gradients(parameters())["vector"])
    assert isinstance(state.inner_state.mu["vector"], optax.MaskedNode)


@pytest.mark.parametrize("partition", [optax.multi_transform, optax.partition])
def test_a_tree_can_be_shared_out_among_several(partition):
    parts = {"first": adana.optax.adana(0.1, total_steps=60), "second": adana.optax.muon(0.2, total_steps=60)}
    labels = {"matrix": "second", "vector": "first", "scalar": "first"}
    params = parameters()
    updates, _ = one_step(partition(parts, labels), params)
    trees_equal(updates["vector"], one_step(parts["first"], params)[0]["vector"], rtol=1e-6)
    trees_equal(updates["matrix"], one_step(parts["second"], params)[0]["matrix"], rtol=1e-6)


@family
def test_a_step_that_is_not_finite_can_be_skipped_whole(name, options):
    optimizer = optax.apply_if_finite(build(name, 0.1, **options), max_consecutive_errors=3)
    params = parameters()
    update = jax.jit(optimizer.update)
    _, state = update(gradients(params), optimizer.init(params), params)
    broken = gradients(params) | {"scalar": jnp.asarray(jnp.nan)}
    updates, after = update(broken, state, params)
    assert not any(bool(jnp.any(u != 0)) for u in jax.tree.leaves(updates))
    trees_equal(after.inner_state, state.inner_state)


@family
def test_a_gradient_that_is_not_a_number_stays_seen(name, options):
    broken = gradients(parameters()) | {"vector": jnp.array([jnp.nan, 1.0, 1.0])}
    updates, _ = one_step(build(name, 0.1, **options), parameters(), broken)
    assert bool(jnp.isnan(updates["vector"][0]))
    assert bool(jnp.isfinite(updates["vector"][1]))


@family
def test_holes_and_empty_arrays_pass_through(name, options):
    params = {"absent": None, "empty": jnp.zeros((0,)), "flat": jnp.zeros((0, 3)), "there": jnp.ones((2, 2))}
    optimizer = build(name, 0.1, **options)
    updates, state = one_step(optimizer, params, gradients(params))
    assert updates["absent"] is None
    assert updates["empty"].shape == (0,)
    assert updates["flat"].shape == (0, 3)
    assert state.mu["absent"] is None
    assert bool(jnp.all(jnp.isfinite(updates["there"])))
    optax.apply_updates(params, updates)


@family
def test_a_parameter_without_a_gradient_keeps_its_state(name, options):
    optimizer = build(name, 0.1, **options)
    params = parameters()
    _, state = one_step(optimizer, params)
    changed = jax.tree.map(lambda g: 3 * g, gradients(params)) | {"vector": None}
    updates, after = optimizer.update(changed, state, params)
    assert updates["vector"] is None
    trees_equal(after.mu["vector"], state.mu["vector"])
    assert not np.allclose(after.mu["scalar"], state.mu["scalar"])


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "dana"])
def test_decay_without_parameters_is_refused_and_no_decay_needs_none(name):
    params = parameters()
    optimizer = build(name, 0.1)
    with pytest.raises(ValueError, match=r"needs the parameters: call update\(updates, state, params\)"):
        optimizer.update(gradients(params), optimizer.init(params))
    optimizer = build(name, 0.1, weight_decay=0.0)
    updates, _ = optimizer.update(gradients(params), optimizer.init(params))
    trees_equal(updates, one_step(optimizer, params)[0])


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize(
    "mask",
    [
        {"deep": {"matrix": True, "vector": False}, "scalar": False},
        {"deep": {"matrix": True, "vector": False}, "scalar": np.False_},
        lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
    ],
    ids=["tree", "numpy", "function"],
)
def test_decay_falls_on_what_the_mask_says_and_nothing_else(mask, form):
    params = {"deep": {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}, "scalar": jnp.ones(())}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = one_step(build("adana", 0.1, mask=mask, form=form), params, zero)
    expected = OMEGA / (6 + (form == "released"))
    np.testing.assert_allclose(updates["deep"]["matrix"], -expected, rtol=1e-6)
    assert not np.any(updates["deep"]["vector"])
    assert not np.any(updates["scalar"])


def test_a_mask_may_be_a_prefix_of_the_tree():
    params = {"deep": {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}, "scalar": jnp.ones(())}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = one_step(build("adana", 0.1, mask={"deep": True, "scalar": False}), params, zero)
    assert np.all(updates["deep"]["vector"] != 0)
    assert not np.any(updates["scalar"])


@pytest.mark.parametrize("decay", ["log", "constant"])
def test_a_schedule_scales_decay_by_its_part_of_the_peak(decay):
    schedule = optax.linear_schedule(0.0, 0.2, 4)
    optimizer = build("adamw", schedule, peak_learning_rate=0.2, decay=decay, mask=None)
    params = {"p": jnp.ones(())}
    zero = {"p": jnp.zeros(())}
    state = optimizer.init(params)
    for step in range(5):
        updates, state = optimizer.update(zero, state, params)
        expected = min(step / 4, 1.0) * (OMEGA / (6 + step) if decay == "log" else OMEGA / 60)
        assert float(updates["p"]) == pytest.approx(-expected, rel=1e-6)


def test_bfloat16_parameters_are_updated_in_float32():
    """Only the update is rounded: the direction is that of float32 arithmetic on the same numbers."""
    narrow = jax.tree.map(lambda p: (p / 3).astype(jnp.bfloat16), parameters())
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), narrow)
    optimizer = build("adana", 0.1)
    update = jax.jit(optimizer.update)
    state, wide_state = optimizer.init(narrow), optimizer.init(wide)
    for _ in range(3):
        updates, state = update(narrow, state, narrow)
        expected, wide_state = update(wide, wide_state, wide)
        trees_equal(state, wide_state)
        trees_equal(
            jax.tree.map(lambda x: x.astype(jnp.float32), updates),
            jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), expected),
        )


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("adana", {"kappa": -1.0}, "kappa must be a finite number of at least 0, got -1.0"),
    ("adana", {"kappa": "0.85"}, "kappa must be a finite number of at least 0, got '0.85'"),
    ("adana", {"delta": 0.0}, "delta must be a finite number above 0, got 0.0"),
    ("adana", {"eps": float("nan")}, "eps must be a finite number of at least 0, got nan"),
    ("adana", {"beta2": 1.0}, r"beta2 must be a number in \[0, 1\), got 1.0"),
    ("adana", {"damping": "heavy"}, "damping must be one of 'power', 'linear', 'nesterov', got 'heavy'"),
    ("adana", {"damping": "linear", "total_steps": None, "weight_decay": 0.0}, "pass total_steps"),
    ("adana", {"cooldown": 0.2, "total_steps": None, "weight_decay": 0.0}, "cooldown is the last part of a run"),
    ("dana-mk4", {"cooldown": 1.0}, r"cooldown must be a number in \(0, 1\), got 1.0"),
    ("dana-star", {"cooldown": 0.2, "form": "released"}, r"none of these options: cooldown=0.2"),
    ("adana", {"damping": "nesterov", "damping_scale": 2.0}, "leave damping_scale at 1"),
    ("adana", {"form": "released", "beta3": 0.9}, "has none of these options: beta3=0.9"),
    ("adana", {"form": "printed"}, "form must be one of 'paper', 'released', got 'printed'"),
    ("adana", {"gradient_term": False, "beta3": 0.9}, "choose one"),
    ("adana", {"total_steps": None}, "pass total_steps .* or weight_decay_offset"),
    ("adana", {"decay": "cosine"}, "decay must be one of 'log', 'constant', got 'cosine'"),
    ("adana", {"weight_decay_offset": 0.0}, "weight_decay_offset must be a finite number above 0, got 0.0"),
    ("adana", {"learning_rate": -0.1}, "learning_rate must be a finite number of at least 0, got -0.1"),
    ("adana", {"learning_rate": "0.1"}, "learning_rate must be a number, an array or a schedule, got '0.1'"),
    ("adana", {"learning_rate": 0.0}, "pass peak_learning_rate, or weight_decay=0"),
    ("adana", {"learning_rate": lambda t: 0.1}, "pass peak_learning_rate"),
    ("adana", {"learning_rate": jnp.asarray(0.1)}, "pass peak_learning_rate"),
    ("adana", {"peak_learning_rate": 0.0}, "peak_learning_rate must be a finite number above 0, got 0.0"),
    ("dana-mk4", {"clip_snr": 0.0}, "clip_snr must be a finite number above 0, got 0.0"),
    ("adamw", {"betas": 0.9}, "betas must be a pair of numbers, got 0.9"),
    ("adamw", {"betas": (0.9, 1.5)}, r"betas\[1\] must be a number in \[0, 1\), got 1.5"),
    ("ademamix", {"total_steps": 8}, "total_steps must be above delta=8.0, got 8"),
    ("ademamix", {"beta3": 0.0}, r"beta3 must be a number in \(0, 1\), got 0.0"),
    ("muon", {"ns_steps": 0}, "ns_steps must be a whole number of at least 1, got 0"),
    ("muon", {"fallback": optax.adamw}, "fallback must be an elementwise optimizer of adana.optax"),
    ("muon", {"learning_rate": lambda t: 0.1, "weight_decay": 0.0, "fallback_learning_rate": 0.1}, "pass peak_learn"),
]


BAD_IDS = [f"{name}-{next(iter(options))}-{i}" for i, (name, options, _) in enumerate(BAD)]


@pytest.mark.parametrize(("name", "options", "message"), BAD, ids=BAD_IDS)
def test_bad_values_are_refused_with_the_value_and_what_to_do(name, options, message):
    with pytest.raises(ValueError, match=message):
        OPTIMIZERS[name](**{"learning_rate": 0.1, "total_steps": 60, **options})


def test_traced_values_are_not_judged():
    def run(kappa):
        optimizer = adana.optax.adana(0.1, total_steps=60, kappa=kappa)
        return optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))[0]

    assert jax.jit(run)(-1.0).shape == (2,)


def test_doubtful_decay_is_named():
    with pytest.warns(UserWarning, match=r"looks like AdamW's coupled value.*= 0.6 here"):
        build("adana", 0.1, weight_decay=0.1, total_steps=60)
    with pytest.warns(UserWarning, match=r"decay starts at 2 per step"):
        build("adana", 0.1, total_steps=20, weight_decay=4.0)


def test_muon_wants_its_matrices_said_where_two_axes_do_not_tell():
    params = {"embedding": jnp.ones((5, 3)), "hidden": jnp.eye(3), "norm": jnp.ones(3)}
    matrices = {"embedding": None, "hidden": MuonDimensionNumbers(), "norm": None}
    for spec in (matrices, lambda params: matrices):
        optimizer = build("muon", 0.1, weight_dimension_numbers=spec)
        state = optimizer.init(params)
        assert isinstance(state.nu["hidden"], optax.MaskedNode)
        assert state.nu["embedding"].shape == (5, 3)
        updates, _ = optimizer.update(gradients(params), state, params)
        expected, _ = one_step(build("adamw", 0.1), params)
        trees_equal(updates["embedding"], expected["embedding"], rtol=1e-6)
    with pytest.raises(ValueError, match="takes matrices only"):
        adana.optax.scale_by_muon().init(params)
    same = build("muon", 0.1, weight_dimension_numbers=MuonDimensionNumbers(0, 0))
    with pytest.raises(ValueError, match="both input and output"):
        one_step(same, {"m": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match="complex"):
        build("muon", 0.1).init({"m": jnp.ones((2, 2), jnp.complex64)})


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n != "dana"])
def test_muon_falls_back_to_any_of_the_family(name):
    params = {"vector": jnp.array([1.0, 2.0])}
    updates, _ = one_step(build("muon", 0.1, fallback=OPTIMIZERS[name]), params)
    expected, _ = one_step(build(name, 0.1), params)
    trees_equal(updates, expected, rtol=1e-6)


def test_muon_falls_back_to_dana_without_decay():
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.array([1.0, 2.0])}
    updates, _ = one_step(build("muon", 0.1, fallback=adana.optax.dana), params)
    trees_equal(updates["vector"], one_step(build("dana", 0.1), params)[0]["vector"], rtol=1e-6)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_neither_framework_brings_in_the_other():
    done = run_python(
        "import sys, adana; from adana import ADana; assert not any(m.partition('.')[0] in ('jax', 'optax') "
        "for m in sys.modules); sys.modules.clear"
    )
    assert done.returncode == 0, done.stderr
    done = run_python(
        "import sys; sys.modules['torch'] = None\n"
        "import adana.optax, jax.numpy as jnp\n"
        "optimizer = adana.optax.adana(0.1, total_steps=100)\n"
        "print(optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))[0].shape)"
    )
    assert done.stdout.strip() == "(2,)", done.stderr


@pytest.mark.parametrize("missing", ["jax", "optax"])
def test_without_jax_the_extra_to_install_is_named(missing):
    done = run_python(f"import sys; sys.modules['{missing}'] = None\nimport adana.optax")
    assert done.returncode == 1
    assert "pip install 'adana[jax]'" in done.stderr.splitlines()[-1]
