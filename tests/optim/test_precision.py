"""Narrow storage in the optimizers: close to float32 at any horizon, the same after a resume, small."""

from __future__ import annotations

import copy
import importlib.util
import io
import math
import pathlib
import warnings
from typing import Any

import pytest
import torch

import adana
from adana.optim import randomness, storage
from tests.optim.cases import CASES, IDS, PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import (
    MATRIX_RULES,
    assert_agree,
    assert_same,
    clones,
    gradient,
    parameters,
    set_gradients,
    train,
)
from tests.optim.test_compile import Counting, NoHostReads

PEAK = 0.02
family = pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
# Every option that changes what is averaged; what scales a direction alone does not meet the storage.
OWN, OWN_IDS = zip(*(
    (case, case_id)
    for case, case_id in zip(CASES, IDS)
    if case in PLAIN or {"beta2", "beta3", "betas", "gradient_term", "log_time", "delta", "momentum"} & set(case[1])
))  # fmt: skip
narrow = pytest.mark.parametrize("state_dtype", ["bfloat16", "int16"])
both_paths = pytest.mark.parametrize("foreach", [False, True], ids=["loop", "foreach"])
# After thirty steps: how far a parameter may be from float32's, relative to how far it went.
CLOSE = {"bfloat16": 3e-2, "int16": 3e-3}


def large(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """Rows of more than a block, of less than one, a vector, a scalar and nothing at all."""
    generator = torch.Generator().manual_seed(seed)
    shapes: tuple[tuple[int, ...], ...] = ((3, 300), (5, 2, 7), (9,), (), (0, 8), (4, 2))
    if name in MATRIX_RULES:
        shapes = ((3, 300), (300, 3))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    return [torch.nn.Parameter(value.to(dtype)) for value in values]


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- close to float32 ---------------------------------------------------------------------------------


@narrow
@pytest.mark.parametrize(("name", "options"), OWN, ids=OWN_IDS)
def test_narrow_state_follows_float32(name, options, state_dtype):
    params = large(name)
    start, twins = clones(params), clones(params)
    train(build(name, params, state_dtype=state_dtype, **options), params, range(30))
    train(build(name, twins, **options), twins, range(30))
    for p, q, s in zip(params, twins, start):
        if p.numel():
            moved = float((q - s).detach().square().mean().sqrt())
            assert float((p - q).detach().square().mean().sqrt()) < CLOSE[state_dtype] * moved
    coded = [p for p in params if p.ndim >= 2 and p.numel()]
    assert all((p != q).any() for p, q in zip(params, twins) if any(p is c for c in coded[:1])), "nothing was rounded"


@pytest.mark.parametrize(
    ("name", "options", "foreach"),
    [
        ("adana", {}, False),
        ("adana", {}, True),
        ("dana-star-mk4", {"form": "released"}, False),
        ("dana", {}, False),
    ],
    ids=["adana-loop", "adana-foreach", "dana-star-mk4-released", "dana"],
)
@pytest.mark.slow
def test_state_at_a_long_horizon_is_neither_frozen_nor_noise(name, options, foreach):
    """500 steps without a gradient at t = 20,000: averages in log time must shrink by (t / (t + 500))^delta."""
    found = {}
    for state_dtype in (None, "bfloat16", "int16"):
        p = large(name)[0]
        optimizer = build(name, [p], lr=1e-6, total_steps=T, state_dtype=state_dtype, foreach=foreach, **options)
        train(optimizer, [p], range(1))
        optimizer.state[p]["step"].fill_(20_000.0)
        before = copy.deepcopy(storage.decode(optimizer.state[p], torch.float32))
        p.grad = torch.zeros_like(p)
        for _ in range(500):
            optimizer.step()
        after = storage.decode(optimizer.state[p], torch.float32)
        for key in before.keys() - {"step"}:
            present = before[key] != 0
            found[state_dtype, key] = float(after[key].abs().sum() / before[key].abs().sum())
            assert not after[key][~present].any(), "zero stays zero"
    for ratio in found.values():
        assert ratio == pytest.approx((20_000 / 20_500) ** 8, rel=0.02)


def test_bfloat16_rounded_to_nearest_stands_still(monkeypatch):
    """What the stochastic rounding is for: the same 500 steps leave every average exactly as it was."""
    monkeypatch.setattr(storage, "Bits", lambda _: randomness.to_nearest)
    p = large("adana")[0]
    optimizer = build("adana", [p], lr=1e-6, total_steps=T, state_dtype="bfloat16", fused=False)
    train(optimizer, [p], range(1))
    optimizer.state[p]["step"].fill_(20_000.0)
    before = copy.deepcopy(optimizer.state[p])
    p.grad = torch.zeros_like(p)
    for _ in range(500):
        optimizer.step()
    for key in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[p][key], before[key])


def risks(
    state_dtype: str | None, steps: int = 2000, dimension: int = 256, seeds: int = 4, fused: bool | None = None
) -> torch.Tensor:
    """Final risks of ADana on least squares over power-law random features, one row of a parameter a seed."""
    generator = torch.Generator().manual_seed(0)
    j = torch.arange(1, 4 * dimension + 1, dtype=torch.float64)
    w = torch.randn(len(j), dimension, generator=generator, dtype=torch.float64) / math.sqrt(dimension)
    features, target = w / j[:, None], j**-1.3
    covariance = features.T @ features
    solution = torch.linalg.solve(covariance, features.T @ target)
    factor, rest = torch.linalg.cholesky(covariance), float((features @ solution - target).square().sum())
    narrow = factor.float()
    error = torch.nn.Parameter(-solution.float().repeat(seeds, 1))
    # With delta 2 an average rounded to nearest stands still from t = 500 to 1,000 on, with 8 from four times that.
    options = {"delta": 2.0, "weight_decay": 0.0, "state_dtype": state_dtype, "fused": fused}
    optimizer = adana.ADana([error], lr=1e-3, total_steps=steps, **options)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * adana.schedules.gamma(step, steps)
        x = torch.randn(seeds, 4, dimension, generator=generator) @ narrow.T
        noise = math.sqrt(rest) * torch.randn(seeds, 4, generator=generator)
        residual = torch.einsum("sbd,sd->sb", x, error.detach()) + noise
        error.grad = torch.einsum("sbd,sb->sd", x, residual) / 4
        optimizer.step()
    return ((error.detach().double() @ factor).square().sum(1) + rest) / 2


@pytest.mark.slow
def test_on_power_law_features_narrow_state_trains_as_float32_and_naive_bfloat16_worse(monkeypatch):
    """The claim of docs/precision.md at a size for every day; its own is 50,000 steps with delta 8."""
    exact = risks(None)
    noise = float(exact.std())
    assert float((risks("int16") - exact).abs().max()) < 0.1 * noise
    assert float((risks("bfloat16") - exact).abs().max()) < noise
    monkeypatch.setattr(storage, "Bits", lambda _: randomness.to_nearest)
    assert float((risks("bfloat16", fused=False) - exact).min()) > 3 * noise


@narrow
def test_a_row_that_is_rarely_seen_takes_steps_of_the_right_size(state_dtype):
    """An embedding: rows seen once in 50 steps beside rows seen at every step."""
    params = [torch.nn.Parameter(torch.zeros(8, 300))]
    twins = clones(params)
    narrow_one = build("dana-star", params, state_dtype=state_dtype, total_steps=1000)
    wide = build("dana-star", twins, total_steps=1000)
    for step in range(200):
        g = gradient(params[0], 0, step)
        for row in range(4):
            if step % 50 != 10 * row:
                g[row] = 0
        g[7] = 0
        params[0].grad, twins[0].grad = g, g.clone()
        narrow_one.step()
        wide.step()
    p, q = params[0].detach(), twins[0].detach()
    assert ((p - q).square().mean(1).sqrt()[:7] < 0.05 * q.square().mean(1).sqrt()[:7]).all()
    assert not p[7].any()


def test_an_element_far_below_its_block_takes_steps_that_are_too_small_never_too_large():
    p = torch.nn.Parameter(torch.zeros(1, 256))
    optimizer = build("adana", [p], state_dtype="int16", total_steps=1000, eps=0.0, weight_decay=0.0)
    scale = 10.0 ** torch.linspace(0, -15, 256)
    largest = torch.zeros(1, 256)
    for step in range(100):
        p.grad = (scale * torch.randn(256, generator=torch.Generator().manual_seed(step)))[None]
        before = p.detach().clone()
        optimizer.step()
        if step >= 10:  # what is stored counts from the second step on
            largest = torch.maximum(largest, (p.detach() - before).abs())
    assert float(largest[0, :150].min()) > 0.01, "down to 1e-9 of the largest, steps are whole"
    assert float(largest.max()) < PEAK * 30
    assert float(largest[0, -20:].max()) < 1e-3, "far below they vanish"


# --- the same whichever way ---------------------------------------------------------------------------


@narrow
@family
def test_foreach_rounds_as_the_loop_does(name, options, state_dtype):
    params = large(name)
    twins = clones(params)
    loop = build(name, params, foreach=False, state_dtype=state_dtype, **options)
    each = build(name, twins, foreach=True, state_dtype=state_dtype, **options)
    train(loop, params, range(8))
    train(each, twins, range(8))
    for p, q in zip(params, twins):
        # A last bit of the arithmetic may send a code to its other neighbour.
        assert_agree([q.detach()], [p.detach()], 2e-2 if state_dtype == "bfloat16" else 1e-3)
        for key, x in loop.state[p].items():
            assert each.state[q][key].dtype == x.dtype
            if x.dtype in (torch.int16, torch.bfloat16) and x.numel() > 100:
                assert (each.state[q][key] == x).float().mean() > 0.7


@both_paths
@narrow
@pytest.mark.parametrize(("name", "options"), [("adana", {"total_steps": T}), ("dana-star", {"total_steps": T})])
def test_a_large_parameter_is_rounded_in_parts_as_in_one(name, options, foreach, state_dtype, monkeypatch):
    params = large(name, dtype=torch.bfloat16)
    twins = clones(params)
    train(build(name, params, foreach=foreach, state_dtype=state_dtype, **options), params, range(4))
    monkeypatch.setattr(storage, "_PART", {"cpu": 64})
    train(build(name, twins, foreach=foreach, state_dtype=state_dtype, **options), twins, range(4))
    assert_same(twins, params)


@both_paths
@narrow
@family
def test_resume_of_narrow_state_continues_bit_for_bit(name, options, state_dtype, foreach):
    def sometimes(params: Any, step: int) -> None:
        set_gradients(params, step)
        if step % 3 == 1:
            params[0].grad = None

    params = large(name, dtype=torch.bfloat16)
    options = {**options, "param_rounding": "kahan", "rounding_seed": 17, "foreach": foreach}
    optimizer = build(name, params, state_dtype=state_dtype, **options)
    train(optimizer, params, range(4), sometimes)
    twins = clones(params)
    resumed = build(name, twins, total_steps=T, lr=0.5)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for p, q in zip(params, twins):
        assert resumed.state[q].keys() == optimizer.state[p].keys()
        assert_same(resumed.state[q].values(), optimizer.state[p].values())
    train(optimizer, params, range(4, 8), sometimes)
    train(resumed, twins, range(4, 8), sometimes)
    assert_same(twins, params)
    for p, q in zip(params, twins):
        assert_same(resumed.state[q].values(), optimizer.state[p].values())


@narrow
def test_another_seed_rounds_otherwise(state_dtype):
    runs = []
    for seed in (0, 0, 1):
        params = large("adana", dtype=torch.bfloat16)
        train(build("adana", params, total_steps=T, state_dtype=state_dtype, rounding_seed=seed), params, range(3))
        runs.append(params)
    assert_same(runs[0], runs[1])
    assert not torch.equal(runs[0][0], runs[2][0])


@narrow
@family
def test_capturable_rounds_as_the_host_does(name, options, state_dtype):
    params = large(name)
    twins = clones(params)
    train(build(name, params, state_dtype=state_dtype, capturable=True, **options), params, range(5))
    train(build(name, twins, state_dtype=state_dtype, **options), twins, range(5))
    assert_agree([p.detach() for p in params], [q.detach() for q in twins], 2e-2 if state_dtype == "bfloat16" else 1e-3)


@both_paths
@pytest.mark.parametrize(("state_dtype", "param_rounding"), [("bfloat16", "kahan"), ("int16", "stochastic")])
@family
def test_a_capturable_step_with_narrow_storage_never_reads_the_device(
    name, options, state_dtype, param_rounding, foreach
):
    params = large(name, dtype=torch.bfloat16)
    options = {**options, "capturable": True, "foreach": foreach, "param_rounding": param_rounding}
    optimizer = build(name, params, lr=torch.tensor(PEAK), state_dtype=state_dtype, **options)
    train(optimizer, params, range(1))
    set_gradients(params, 1)
    with NoHostReads():
        optimizer.step()


@both_paths
@narrow
@pytest.mark.parametrize("name", ["adana", "dana-star-mk4", "dana"])
@pytest.mark.slow
def test_a_compiled_step_with_narrow_storage_is_one_graph(name, state_dtype, foreach):
    torch._dynamo.reset()
    params = [large(name)[0], large(name)[2], torch.nn.Parameter(large(name, 1)[0].detach().bfloat16())]
    twins = clones(params)
    backend = Counting()
    compiled = build(name, params, lr=torch.tensor(PEAK), total_steps=T, state_dtype=state_dtype, foreach=foreach)
    eager = build(name, twins, total_steps=T, state_dtype=state_dtype, foreach=False)
    step_fn = torch.compile(compiled.step, backend=backend)
    for step in range(4):
        set_gradients(params, step)
        set_gradients(twins, step)
        with torch._dynamo.config.patch(error_on_recompile=step >= 2):
            step_fn()
        eager.step()
    assert backend.graphs == 1
    assert_agree([p.detach() for p in params], [q.detach() for q in twins], 2e-2)
    torch._dynamo.reset()


# --- memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state_dtype", "most"), [(None, 8.0), ("bfloat16", 4.0), ("int16", 4.1)])
@pytest.mark.parametrize("name", ["adana", "dana-mk4", "log-adamw", "adamw"])
def test_bytes_of_state_for_each_parameter_of_a_large_matrix(name, state_dtype, most):
    p = torch.nn.Parameter(torch.zeros(512, 1100))
    optimizer = build(name, [p], total_steps=1000, state_dtype=state_dtype)
    p.grad = torch.ones_like(p)
    optimizer.step()
    held = sum(x.nbytes for key, x in optimizer.state[p].items() if key != "step")
    assert held / p.numel() <= most
    assert optimizer.state[p]["exp_avg"].shape == p.shape


def test_what_would_not_get_smaller_stays_float32():
    params = large("adana")
    optimizer = build("adana", params, total_steps=T, state_dtype="int16")
    train(optimizer, params, range(1))
    dtypes = [optimizer.state[p]["exp_avg"].dtype for p in params]
    assert dtypes == [torch.int16, torch.int16, torch.float32, torch.float32, torch.int16, torch.float32]
    for p in params:
        held = sum(x.nbytes for key, x in optimizer.state[p].items() if key != "step")
        assert held <= 8 * p.numel()


# --- narrow parameters --------------------------------------------------------------------------------


def drift(param_rounding: str, dtype: torch.dtype, foreach: bool) -> tuple[float, float]:
    """How far weights of about 1 go in 400 steps of 1e-4, and how far float32 weights go."""
    ends = []
    for how, kind in ((param_rounding, dtype), ("stochastic", torch.float32)):
        p = torch.nn.Parameter(torch.linspace(0.7, 1.9, 4000).to(kind))
        start = p.detach().clone().float()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = adana.AdamW([p], lr=1e-4, total_steps=4000, decay="constant", weight_decay=0.4,
                                    betas=(0.0, 0.0), param_rounding=how, foreach=foreach)  # fmt: skip
        for _ in range(400):
            p.grad = torch.ones_like(p)
            optimizer.step()
        ends.append(float((p.detach().float() - start).mean()))
    return ends[0], ends[1]


@both_paths
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_updates_below_half_a_spacing_arrive_but_where_rounding_to_nearest_is_asked_for(dtype, foreach):
    for how in ("stochastic", "kahan"):
        found, expected = drift(how, dtype, foreach)
        assert found == pytest.approx(expected, rel=0.03), how
    if dtype == torch.bfloat16:
        assert drift("nearest", dtype, foreach)[0] == 0.0


@family
def test_kahan_keeps_sixteen_bits(name, options):
    params = large(name, dtype=torch.bfloat16)
    twins = [torch.nn.Parameter(p.detach().float()) for p in params]
    compensated = build(name, params, param_rounding="kahan", **options)
    wide = build(name, twins, **options)
    for step in range(20):
        set_gradients(params, step)
        for p, q in zip(params, twins):
            q.grad = p.grad.float()
        compensated.step()
        wide.step()
    for p, q in zip(params, twins):
        held = compensated.state[p]["compensation"]
        assert held.dtype == torch.bfloat16
        assert_agree([p.detach().float() + held.float()], [q.detach()], 1e-3 if name not in MATRIX_RULES else 3e-2)


@family
def test_a_wide_parameter_is_not_rounded_whatever_param_rounding_says(name, options):
    runs = []
    for how in storage.PARAM_ROUNDINGS:
        params = parameters(name)
        optimizer = build(name, params, param_rounding=how, **options)
        train(optimizer, params, range(3))
        assert all("compensation" not in optimizer.state[p] for p in params)
        runs.append(params)
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


# --- trouble ------------------------------------------------------------------------------------------


@both_paths
@narrow
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("name", "options"), [c for c in PLAIN if c[0] not in MATRIX_RULES],
                         ids=[i for (n, _), i in zip(PLAIN, PLAIN_IDS) if n not in MATRIX_RULES])  # fmt: skip
def test_a_gradient_that_is_not_finite_shows_in_parameter_and_state(name, options, state_dtype, bad, foreach):
    params = large(name)[:1]
    optimizer = build(name, params, state_dtype=state_dtype, foreach=foreach, **options)
    train(optimizer, params, range(2))
    set_gradients(params, 2)
    params[0].grad[1, 270] = bad
    optimizer.step()
    assert not params[0][1, 270].isfinite()
    for _ in range(2):  # and it is not forgotten
        set_gradients(params, 3)
        optimizer.step()
        assert not params[0][1, 270].isfinite()
        for key, x in storage.decode(optimizer.state[params[0]], torch.float32).items():
            if key not in ("step", "tau"):
                assert not x[1, 270].isfinite(), key
    assert params[0][0].isfinite().all()
    assert params[0][1, :256].isfinite().all(), "no further than its block"


def test_complex_parameters_take_no_codes():
    p = torch.nn.Parameter(torch.ones(3, 8, dtype=torch.complex64))
    optimizer = adana.ADana([p], lr=0.01, total_steps=1000, state_dtype="int16")
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="int16"):
        optimizer.step()
    fine = adana.ADana([p], lr=0.01, total_steps=1000)
    fine.step()
    with pytest.raises(ValueError, match="complex"):
        fine.convert_state("int16")


@narrow
def test_differentiable_excludes_what_has_no_derivative(state_dtype):
    with pytest.raises(RuntimeError, match=f"differentiable.*{state_dtype}"):
        build("adana", parameters("adana"), total_steps=T, differentiable=True, state_dtype=state_dtype)


# --- conversion ---------------------------------------------------------------------------------------


@family
@pytest.mark.parametrize(
    ("before", "after", "rounds"),
    [
        ("int16", None, False),
        ("bfloat16", "float32", False),
        ("bfloat16", "float64", False),
        (None, "float64", False),
        (None, "int16", True),
        ("float64", "float32", True),
        ("int16", "bfloat16", True),
        ("bfloat16", "int16", True),
    ],
)
def test_conversion_is_exact_or_says_what_it_rounds(name, options, before, after, rounds):
    params = large(name)
    optimizer = build(name, params, state_dtype=before, **options)
    train(optimizer, params, range(5))
    dtype = torch.float64 if before == "float64" else torch.float32
    held = [storage.decode(optimizer.state[p], dtype) for p in params]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        optimizer.convert_state(after)
        optimizer.convert_state(after)
    assert [w for w in said if "rounded" in str(w.message)] == said
    assert len(said) == rounds
    fresh = build(name, clones(params), state_dtype=after, **options)
    for p, old in zip(params, held):
        for key, x in storage.decode(optimizer.state[p], torch.float64).items():
            if rounds:
                assert_agree([x], [old[key].double()], 2.0**-8)
            else:
                assert torch.equal(x, old[key].double())
    assert optimizer.param_groups[0]["state_dtype"] == after
    train(optimizer, params, range(5, 6))
    resumed = through_a_file(optimizer.state_dict())
    fresh.load_state_dict(resumed)


def test_what_a_checkpoint_was_stored_in_wins_over_the_constructor():
    params = large("adana")
    optimizer = build("adana", params, total_steps=T, state_dtype="int16")
    train(optimizer, params, range(3))
    twins = clones(params)
    other = build("adana", twins, total_steps=T, state_dtype="bfloat16")
    train(other, twins, range(1))
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["state_dtype"] == "int16"
    assert_same(other.state[twins[0]].values(), optimizer.state[params[0]].values())


@pytest.mark.parametrize(
    ("saved", "said"), [("int16", None), ("int16", "float32"), (None, "int16"), ("bfloat16", None)]
)
def test_averages_not_stored_as_their_group_says_are_refused_and_nothing_changes(saved, said):
    """What a loader that knows nothing of formats would make: codes read as numbers are noise."""
    params = large("adana")
    optimizer = build("adana", params, total_steps=T, state_dtype=saved)
    train(optimizer, params, range(2))
    broken = optimizer.state_dict()
    broken["param_groups"][0]["state_dtype"] = said
    twins = clones(params)
    other = build("adana", twins, total_steps=T)
    train(other, twins, range(1))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match="convert_state"):
        other.load_state_dict(broken)
    for a, b in zip(other.state_dict()["state"].values(), before["state"].values()):
        assert_same(a.values(), b.values())
    optimizer.param_groups[0]["state_dtype"] = said
    with pytest.raises(ValueError, match="convert_state"):
        train(optimizer, params, range(2, 3))


def test_codes_without_their_scales_are_refused():
    params = large("adana")
    optimizer = build("adana", params, total_steps=T, state_dtype="int16")
    train(optimizer, params, range(2))
    broken = copy.deepcopy(optimizer.state_dict())
    del broken["state"][0]["exp_avg_scale"]
    with pytest.raises(ValueError, match="without its scales"):
        build("adana", clones(params), total_steps=T).load_state_dict(broken)


# --- what would round to nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "options", "said"),
    [
        (torch.bfloat16, {"param_rounding": "nearest", "lr": 1e-5, "total_steps": 100}, ["lr=1e-05", "bfloat16"]),
        (torch.bfloat16, {"param_rounding": "nearest", "lr": 0.1, "total_steps": 100_000}, ["weight decay", "5e-05"]),
        (torch.float16, {"param_rounding": "nearest", "lr": 1e-6, "total_steps": 100}, ["float16"]),
        (torch.float32, {"lr": 1e-11, "total_steps": 100}, ["float32"]),
        (torch.bfloat16, {"lr": 1e-5, "total_steps": 100_000}, []),
        (torch.bfloat16, {"param_rounding": "kahan", "lr": 1e-5, "total_steps": 100_000}, []),
        (torch.bfloat16, {"param_rounding": "nearest", "lr": 0.1, "total_steps": 1000}, []),
        (torch.float32, {"lr": 1e-5, "total_steps": 100_000}, []),
    ],
)
def test_steps_that_would_round_to_nothing_are_named_once(dtype, options, said):
    groups = [{"params": [torch.nn.Parameter(torch.ones(3, 3, dtype=dtype))]} for _ in range(3)]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        optimizer = adana.ADana(groups, **options)
        for group in optimizer.param_groups:
            group["params"][0].grad = torch.ones(3, 3, dtype=dtype)
        optimizer.step()
    assert len(found) == bool(said)
    for words in said:
        assert words in str(found[0].message)
    assert not found or found[0].filename == __file__


def test_half_precision_complex_parameters_are_stored_by_plain_copies():
    """Their real view is float16, which is rounded elsewhere: the two must not be taken for one another."""
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.complex32))
    optimizer = build("adana", [p], lr=0.1, total_steps=100, weight_decay=1.0)
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.view_as_real(p.data)[:, 0].tolist() == pytest.approx([0.7] * 4, rel=1e-3)


def test_what_the_benchmark_calls_naive_rounds_every_average_to_nearest():
    path = pathlib.Path(__file__).parents[2] / "benchmarks" / "precision.py"
    spec = importlib.util.spec_from_file_location("precision", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    averages = {}
    for fmt in ("float32", "bfloat16-nearest"):
        p = torch.nn.Parameter(torch.zeros(3000))
        p.grad = torch.randn(3000, generator=torch.Generator().manual_seed(0))
        state_dtype, how = benchmark.naive(fmt)
        optimizer = adana.ADana([p], lr=0.01, total_steps=100, state_dtype=state_dtype)
        with how:
            optimizer.step()
        averages[fmt] = optimizer.state[p]["exp_avg"]
    assert torch.equal(averages["bfloat16-nearest"], averages["float32"].bfloat16())
