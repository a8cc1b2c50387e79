"""Which parameters decay, and which are Muon's matrices, in the trees of other people's frameworks."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

import adana.optax
from adana.optax import decay_mask, kinds
from tests.optax.family import OPTIMIZERS, build
from tests.optax.test_contract import trees_equal
from tests.optim.tensors import MATRIX_RULES

DECAYING = [name for name in OPTIMIZERS if name != "dana"]
MATRIX = MuonDimensionNumbers()


def module(cls: type) -> type:
    """A dataclass that is a tree of its fields and can be called, as a module of Equinox is."""
    cls = dataclass(cls)
    cls.__call__ = lambda self, *inputs: pytest.fail(f"{cls.__name__} was called with {inputs}")
    return jax.tree_util.register_dataclass(cls, [field.name for field in fields(cls)], [])


@module
class Linear:
    weight: Any
    bias: Any


@module
class Embedding:
    weight: Any


@module
class LayerNorm:
    weight: Any
    bias: Any


@module
class Model:
    table: Any
    norm: Any
    up: Any
    head: Any
    activation: Any = None  # a static part, filtered out


def model(*lead: int) -> Model:
    def of(*shape: int) -> jax.Array:
        return jnp.ones((*lead, *shape))

    return Model(Embedding(of(9, 4)), LayerNorm(of(4), of(4)), Linear(of(8, 4), of(8)), Linear(of(9, 4), of(9)))


def decay_of(optimizer: Any, params: Any) -> Any:
    """Which leaves an update without gradients changes."""
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(zero, optimizer.init(params), params)
    return jax.tree.map(lambda u: bool(jnp.any(u != 0)), updates)


@pytest.mark.parametrize("name", DECAYING)
def test_a_module_of_masks_is_a_tree_although_it_can_be_called(name):
    params = Linear(jnp.ones((3, 3)), jnp.ones(3))
    optimizer = build(name, 0.1, mask=Linear(True, False))
    expected = decay_of(optax.adamw(0.1, weight_decay=0.1, mask=Linear(True, False)), params)
    assert decay_of(optimizer, params) == expected == Linear(True, False)


def test_a_module_of_axes_is_a_tree_although_it_can_be_called():
    params = Linear(jnp.ones((3, 3)), jnp.ones(3))
    for spec in (Linear(MATRIX, None), lambda params: Linear(MATRIX, None)):
        state = build("muon", 0.1, weight_dimension_numbers=spec).init(params)
        assert isinstance(state.nu.weight, optax.MaskedNode)
        assert state.nu.bias.shape == (3,)


def test_holes_of_a_filtered_module_are_holes_of_its_mask():
    params = model()
    assert params.activation is None
    mask = jax.tree.map(lambda p: p.ndim > 1, params)
    assert decay_of(build("adana", 0.1, mask=mask), params) == mask
    matrices = jax.tree.map(lambda kind: MATRIX if kind == "hidden" else None, kinds(params))
    state = build("muon", 0.1, weight_dimension_numbers=matrices).init(params)
    assert isinstance(state.nu.up.weight, optax.MaskedNode)
    assert state.nu.head.weight.shape == (9, 4)


# --- optax.inject_hyperparams ---------------------------------------------------------------------------


def by_axes(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize("mask", [by_axes, decay_mask, lambda params: jax.tree.map(lambda p: p.ndim >= 0, params)])
@pytest.mark.parametrize("name", DECAYING)
def test_a_mask_left_out_of_static_args_is_refused_and_does_not_turn_decay_off(name, mask):
    """Optax calls it with the number of updates: what comes back is one False, or one True, for everything."""
    params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
    static = ("ns_steps",) if name in MATRIX_RULES else ()
    arguments = {"learning_rate": 0.1, "peak_learning_rate": 0.1, "total_steps": 60, "mask": mask}
    forgotten = optax.inject_hyperparams(OPTIMIZERS[name], static_args=static)(**arguments)
    with pytest.raises(ValueError, match=r"mask must be .*a tree of bools .*static_args=\(\"mask\",\)"):
        forgotten.init(params)
    named = optax.inject_hyperparams(OPTIMIZERS[name], static_args=(*static, "mask"))(**arguments)
    assert decay_of(named, params) == jax.tree.map(bool, mask(params))


def test_axes_left_out_of_static_args_are_refused_and_do_not_take_every_matrix():
    params = {"embedding": jnp.ones((9, 4)), "hidden": jnp.ones((4, 4))}

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda kind: MATRIX if kind == "hidden" else None, kinds(params))

    arguments = {"learning_rate": 0.1, "peak_learning_rate": 0.1, "total_steps": 60}
    make = functools.partial(optax.inject_hyperparams, adana.optax.muon)
    forgotten = make(static_args=("ns_steps",))(**arguments, weight_dimension_numbers=matrices)
    with pytest.raises(ValueError, match=r"names no matrices.*static_args=\(\"weight_dimension_numbers\",\)"):
        forgotten.init(params)
    named = make(static_args=("ns_steps", "weight_dimension_numbers"))(**arguments, weight_dimension_numbers=matrices)
    assert named.init(params).inner_state.nu["embedding"].shape == (9, 4)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (False, "got False.*to decay nothing weight_decay=0"),
        (True, "got True.*To decay everything pass mask=None"),
        (jnp.asarray(0.0), "a tree of bools or a function"),
        ("matrix", "got 'matrix'"),
    ],
)
def test_a_single_value_is_no_mask(mask, told):
    with pytest.raises(ValueError, match=told):
        build("adana", 0.1, mask=mask)


@pytest.mark.parametrize("leaf", [0.0, "no", jnp.asarray(1), jnp.ones(2, bool)])
def test_a_leaf_that_is_neither_true_nor_false_is_refused(leaf):
    params = {"p": jnp.ones(2)}
    optimizer = build("adana", 0.1, mask={"p": leaf})
    with pytest.raises(ValueError, match="mask must be made of True and False"):
        optimizer.update(params, optimizer.init(params), params)


# --- kinds ----------------------------------------------------------------------------------------------


def linear(*shape: int) -> dict[str, jax.Array]:
    return {"kernel": jnp.ones(shape), "bias": jnp.ones(shape[-1])}


LINEN = {
    "params": {
        "Embed_0": {"embedding": jnp.ones((9, 4))},
        "pos_embed": jnp.ones((5, 4)),
        "LayerNorm_0": {"scale": jnp.ones(4), "bias": jnp.ones(4)},
        "SelfAttention_0": {"query": {"kernel": jnp.ones((4, 2, 2)), "bias": jnp.ones((2, 2))}},
        "patch_embed": linear(3, 4),
        "RMSNorm_0": {"scale": jnp.ones((6, 4))},  # of six layers, stacked
        "lm_head": linear(4, 9),
    }
}
PLAIN = {
    "wte": jnp.ones((9, 4)),
    "blocks": [{"ln_1": jnp.ones((2, 4)), "q_norm": jnp.ones((2, 2)), "query": jnp.ones((4, 4)), "b": jnp.ones(4)}],
    "unembed": {"w": jnp.ones((4, 9))},
}


def test_kinds_in_flax_linen_are_those_of_its_modules():
    assert kinds(LINEN)["params"] == {
        "Embed_0": {"embedding": "embedding"},
        "pos_embed": "embedding",
        "LayerNorm_0": {"scale": "other", "bias": "other"},
        "SelfAttention_0": {"query": {"kernel": "hidden", "bias": "other"}},
        "patch_embed": {"kernel": "hidden", "bias": "other"},
        "RMSNorm_0": {"scale": "other"},
        "lm_head": {"kernel": "head", "bias": "other"},
    }


def test_kinds_of_a_plain_tree_follow_its_names_and_axes():
    assert kinds(PLAIN) == {
        "wte": "embedding",
        "blocks": [{"ln_1": "other", "q_norm": "other", "query": "hidden", "b": "other"}],
        "unembed": {"w": "head"},
    }
    assert kinds(jnp.ones((2, 2))) == "hidden"


@pytest.mark.parametrize("lead", [(), (3,)], ids=["single", "stacked"])
def test_kinds_of_modules_follow_their_classes_whatever_their_names_and_axes(lead):
    """Layers that are stacked for a scan have vectors of two axes."""
    assert kinds(model(*lead)) == Model(
        Embedding("embedding"), LayerNorm("other", "other"), Linear("hidden", "other"), Linear("head", "other")
    )


@pytest.mark.parametrize("params", [LINEN, PLAIN, model()], ids=["linen", "plain", "module"])
def test_the_mask_by_kind_decays_hidden_matrices_and_the_head(params):
    expected = jax.tree.map(lambda kind: kind in ("hidden", "head"), kinds(params))
    assert jax.tree.leaves(expected).count(True) in (2, 3)
    assert decay_of(build("adana", 0.1, mask=decay_mask), params) == expected
    assert decay_of(build("adana", 0.1, mask=decay_mask(params)), params) == expected


@pytest.mark.parametrize("name", DECAYING)
def test_matrices_decay_where_nothing_is_said_and_everything_where_the_mask_is_none(name):
    params = {"embed": jnp.ones((9, 4)), "up": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}, "gain": jnp.ones(())}
    assert decay_of(build(name, 0.1), params) == decay_mask(params)
    assert decay_mask(params) == {"embed": False, "up": {"kernel": True, "bias": False}, "gain": False}
    assert all(jax.tree.leaves(decay_of(build(name, 0.1, mask=None), params)))


def test_the_mask_by_kind_works_on_real_modules_of_equinox():
    equinox = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)
    parts = (
        equinox.nn.Embedding(9, 4, key=keys[0]),
        equinox.nn.LayerNorm(4),
        equinox.nn.MLP(4, 4, 8, 1, key=keys[1]),
        equinox.nn.Linear(4, 9, key=keys[2]),
    )
    params = equinox.filter(Model(*parts, activation=jax.nn.relu), equinox.is_inexact_array)
    mask = decay_mask(params)
    assert (mask.table.weight, mask.norm.weight, mask.up.layers[1].weight, mask.head.bias) == (
        False,
        False,
        True,
        False,
    )
    assert jax.tree.leaves(decay_of(build("adana", 0.1, mask=mask), params)) == jax.tree.leaves(mask)


def test_the_mask_by_kind_works_in_a_real_optimizer_of_nnx():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.table, self.norm = nnx.Embed(9, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs)
            self.up, self.lm_head = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 9, rngs=rngs)

        def __call__(self, tokens: Any) -> Any:
            return self.lm_head(self.up(self.norm(self.table(tokens))))

    net = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(net, build("adana", 0.1, mask=decay_mask), wrt=nnx.Param)
    before = jax.tree.map(jnp.copy, nnx.state(net, nnx.Param))
    optimizer.update(net, jax.tree.map(jnp.zeros_like, before))
    after = nnx.state(net, nnx.Param)
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before, after)
    expected = jax.tree.map(lambda kind, p: kind in ("hidden", "head"), kinds(before), before)
    assert jax.tree.leaves(changed) == jax.tree.leaves(expected)


# --- Muon on meshes with explicit axes ------------------------------------------------------------------

LAYOUTS = [
    ((8, 16), ("x",), MATRIX),
    ((16, 8), ("x",), MATRIX),
    ((8, 16), (None, "x"), MATRIX),
    ((8, 16), ("x", "y"), MATRIX),
    ((8, 16), (("x", "y"),), MATRIX),
    ((8, 8, 16), ("x",), MuonDimensionNumbers(1, 2)),
    ((8, 8, 16), (None, "y", "x"), MuonDimensionNumbers(1, 2)),
    ((8, 8, 16), ("x", None, "y"), MuonDimensionNumbers((0,), (1, 2))),
]


@pytest.mark.parametrize(("shape", "axes", "spec"), LAYOUTS, ids=str)
@pytest.mark.parametrize("log_time", [False, True])
def test_muon_is_right_on_a_mesh_with_explicit_axes_and_keeps_every_layout(shape, axes, spec, log_time):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    sharding = jax.sharding.NamedSharding(mesh, jax.P(*axes))
    optimizer = build("muon", 0.1, weight_dimension_numbers=spec, log_time=log_time)
    whole = jax.random.normal(jax.random.key(0), shape)
    expected, expected_state = optimizer.update(whole, optimizer.init(whole), whole)
    with jax.set_mesh(mesh):
        split = jax.device_put(whole, sharding)
        updates, state = jax.jit(optimizer.update)(split, jax.jit(optimizer.init)(split), split)
    trees_equal((updates, state), (expected, expected_state), rtol=2e-5, atol=1e-6)
    assert updates.sharding.is_equivalent_to(sharding, len(shape))
    assert state.mu.sharding.is_equivalent_to(sharding, len(shape))
