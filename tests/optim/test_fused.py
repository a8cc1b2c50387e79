"""fused=True is the rule itself in one pass: the rule's own numbers, whatever the memory looks like.

Without a power in it a rule is reproduced to the bit (NumPy, which rounds every operation as IEEE 754 says, is
the judge: torch's square root is a last bit off here and there); with one, to a few last bits.
"""

from __future__ import annotations

import copy
import hashlib
import multiprocessing
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adana
from adana import rules, schedules
from adana.optim import kernels
from adana.optim.kernels import cpu, tables
from tests.optim.cases import CASES, IDS, PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import (
    MATRIX_RULES,
    assert_agree,
    assert_same,
    clones,
    every_device,
    gradient,
    needs_gpu,
    parameters,
    set_gradients,
    train,
)

pytest.importorskip("llvmlite")

PEAK = 0.02
ULP = 2.0**-23
ELEMENTWISE = [(case, case_id) for case, case_id in zip(CASES, IDS) if case[0] not in MATRIX_RULES]
every_case = pytest.mark.parametrize(
    ("name", "options"), [case for case, _ in ELEMENTWISE], ids=[case_id for _, case_id in ELEMENTWISE]
)
FAMILY = [(case, case_id) for case, case_id in zip(PLAIN, PLAIN_IDS) if case[0] not in MATRIX_RULES]
family = pytest.mark.parametrize(
    ("name", "options"), [case for case, _ in FAMILY], ids=[case_id for _, case_id in FAMILY]
)
ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def rounds_to_the_bit(name: str) -> bool:
    return "star" not in name


def prepared(name: str, options: dict[str, Any], params: list[Any], step: int, seed: int = 0, **more: Any) -> Any:
    """An optimizer in the middle of a run: gradients in place, averages of the right size, the clock at ``step``."""
    optimizer = build(name, params, lr=PEAK, **more, **options)
    group = optimizer.param_groups[0]
    rule = rules.rule(optimizer.rule_name, group.get("form", "paper"))
    for index, p in enumerate(params):
        p.grad = gradient(p, 1000 * seed + index, step)
        generator = torch.Generator().manual_seed(100 * seed + index)
        state = optimizer.state[p]
        state["step"] = torch.tensor(float(step))
        scale = gradient(p, 1000 * seed + index, step + 1)
        for key in rule.state(group):
            value = {
                "exp_avg": scale * 0.3,
                "exp_avg_short": scale * 0.5,
                "exp_avg_sq": scale * scale,
                "tau": torch.rand(p.shape, generator=generator).to(p.device),
            }[key]
            dtype = getattr(torch, group["state_dtype"] or "float32")
            state[key] = value.to(torch.float64 if p.dtype == torch.float64 else dtype)
    return optimizer


# What every kernel is given beside the numbers of its rule.
FIXED = {"ascent": 1.0, "largest": rules.largest_gradient(["float32"])}


def numbers_of(optimizer: Any, step: float) -> tuple[rules.Rule, dict[str, Any]]:
    group = optimizer.param_groups[0]
    form = group.get("form", "paper")
    rule = rules.rule(optimizer.rule_name, form)
    decay = 0.0
    if group.get("weight_decay", 0) != 0:
        names = ("weight_decay", "decay", "total_steps", "weight_decay_offset")
        decay = schedules.lambda_(rules.decay_clock(step, form), **{key: group[key] for key in names})
    return rule, {**rule.scalars(step, group), "lr": group["lr"], "decay": decay}


def by_numpy(optimizer: Any, p: Any) -> dict[str, np.ndarray]:
    """The step of one parameter by the function in rules.py, in NumPy."""
    state = {key: value.cpu().numpy() for key, value in optimizer.state[p].items() if key != "step"}
    rule, s = numbers_of(optimizer, float(optimizer.state[p]["step"]))
    group = optimizer.param_groups[0]
    g = p.grad.cpu().numpy()
    u, new = rule.direction(np, -g if group["maximize"] else g, state, s)
    old = p.detach().cpu().numpy()
    return {"p": rules.descend(old, u, lr=s["lr"], decay=s["decay"], form=group.get("form", "paper")), **new}


@pytest.mark.parametrize("step", [0, 1, 37])
@every_case
@every_device
def test_one_step_gives_the_rules_own_numbers(device, name, options, step):
    shapes = [(1,), (7,), (3, 5), (300,), (17, 16), (1025,)]
    params = [torch.nn.Parameter(torch.randn(shape).to(device)) for shape in shapes]
    optimizer = prepared(name, options, params, step, fused=True)
    expected = [by_numpy(optimizer, p) for p in params]
    optimizer.step()
    for p, want in zip(params, expected):
        for key, value in want.items():
            found = (p.detach() if key == "p" else optimizer.state[p][key]).cpu().numpy()
            assert found.dtype == value.dtype == np.float32
            if key != "p" or rounds_to_the_bit(name):
                np.testing.assert_array_equal(found, value, err_msg=key)


def update_size(optimizer: Any, p: Any, new: dict[str, Any]) -> torch.Tensor:
    """``(|g| + alpha |m'|) / (sqrt(v') + eps)``, alpha being all that a rule multiplies its average by."""
    _, s = numbers_of(optimizer, float(optimizer.state[p]["step"]))
    kept = {key: value.double() for key, value in new.items()}
    alpha = torch.ones((), dtype=torch.float64, device=p.device)
    if "tau" in kept:
        alpha = alpha + s["damping_scale"] * (1 + (s["clock"] * kept["tau"]).clamp(min=1)) ** s["exponent"]
    elif "growth" in s:
        alpha = alpha + s["damping_scale"] * s["growth"]
    else:
        alpha = alpha + s["momentum"]
    size = p.grad.double().abs() + alpha * kept["exp_avg"].abs()
    if "exp_avg_short" in kept:
        size = size + kept["exp_avg_short"].abs() / s["correction_short"]
    if "exp_avg_sq" not in kept:
        return size
    squares = kept["exp_avg_sq"] / s.get("correction_sq", 1.0) + s.get("eps_root", 0.0)
    return size / (squares.sqrt() + s["eps"])


@every_device
@settings(deadline=None, max_examples=60)
@given(
    case=st.sampled_from(ELEMENTWISE),
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4),
    step=st.one_of(st.integers(0, 20), st.integers(0, 100_000)),
    seed=st.integers(0, 1000),
)
def test_one_float32_step_is_within_8_ulp_of_the_readable_rule(device, case, sizes, step, seed):
    """From p = 0 with lr = 1 and without decay the new parameter is the direction itself, unrounded by the old one."""
    (name, options), _ = case
    options = options if name == "dana" else {**options, "weight_decay": 0.0}
    params = [torch.nn.Parameter(torch.zeros(size, device=device)) for size in sizes]
    fused = prepared(name, options, params, step, seed, fused=True)
    twins = clones(params)
    loop = prepared(name, options, twins, step, seed, foreach=False)
    for optimizer in (fused, loop):
        optimizer.param_groups[0]["lr"] = 1.0
    sizes_of = {}
    for p in params:
        rule, s = numbers_of(fused, float(step))
        state = {key: value.double() for key, value in fused.state[p].items() if key != "step"}
        sizes_of[p] = update_size(fused, p, rule.direction(torch, p.grad.double(), state, s)[1])
    fused.step()
    loop.step()
    for p, q in zip(params, twins):
        assert ((p - q).detach().double().abs() <= 8 * ULP * sizes_of[p]).all()
        for key in fused.state[p]:
            torch.testing.assert_close(fused.state[p][key], loop.state[q][key], rtol=4 * ULP, atol=0)


@every_case
@every_device
def test_a_hundred_steps_stray_from_float64_no_more_than_twice_as_far_as_the_loop(device, name, options):
    def run(dtype: torch.dtype, **how: Any) -> list[Any]:
        params = [torch.nn.Parameter(torch.randn(40, 25, generator=torch.Generator().manual_seed(1)).to(device, dtype))]
        optimizer = build(name, params, lr=PEAK, **{**options, "total_steps": 1000}, **how)
        for step in range(100):
            params[0].grad = gradient(params[0].detach().float(), 0, step).to(dtype)
            optimizer.step()
        return [params[0].detach(), *(x for key, x in optimizer.state[params[0]].items() if key != "step")]

    exact, loop, fused = (
        run(torch.float64, foreach=False),
        run(torch.float32, foreach=False),
        run(torch.float32, fused=True),
    )
    for e, a, b in zip(exact, loop, fused):
        errors = [float((x.double() - e).pow(2).mean().sqrt()) for x in (a, b)]
        assert errors[1] <= 2 * errors[0]


dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


@st.composite
def layouts(draw: Any) -> Any:
    """A tensor of any rank, dense or not, its rows in any order."""
    shape = draw(st.lists(st.integers(0, 9), max_size=3))
    value = torch.randn([2 * n for n in shape], generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    for dimension, n in enumerate(shape):
        value = (
            value.narrow(dimension, 0, n)
            if draw(st.booleans())
            else value[(slice(None),) * dimension + (slice(None, None, 2),)]
        )
    if draw(st.booleans()):
        value = value.contiguous()
    return value.permute(draw(st.permutations(range(value.ndim))))


@settings(deadline=None, max_examples=80)
@given(
    case=st.sampled_from(FAMILY),
    values=st.lists(st.tuples(layouts(), dtypes), min_size=1, max_size=4),
    state_dtype=st.sampled_from([None, "float32", "float64", "bfloat16"]),
    transposed=st.booleans(),
)
@pytest.mark.slow
def test_any_layout_and_mix_of_dtypes_agrees_with_the_loop(case, values, state_dtype, transposed):
    (name, options), _ = case
    empty = [torch.empty_strided(x.shape, x.stride(), dtype=dtype) for x, dtype in values]
    params = [torch.nn.Parameter(x.copy_(value)) for x, (value, _) in zip(empty, values)]
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    fused = build(name, params, fused=True, state_dtype=state_dtype, **options)
    loop = build(name, twins, foreach=False, state_dtype=state_dtype, **options)
    for step in range(3):
        set_gradients(params, step)
        set_gradients(twins, step)
        if transposed:  # gradients need not lie in memory as their parameter does
            for p in params:
                p.grad = p.grad.mT.contiguous().mT if p.ndim > 1 else p.grad
        fused.step()
        loop.step()
    for p, q in zip(params, twins):
        dtype = p.dtype if state_dtype != "bfloat16" else torch.bfloat16
        assert_agree([p], [q], 3 * max(ROUNDING[p.dtype], ROUNDING[dtype]))
        for key, value in fused.state[p].items():
            assert (value.dtype, value.stride()) == (loop.state[q][key].dtype, loop.state[q][key].stride())
            assert_agree(
                [value], [loop.state[q][key]], 2 * max(ROUNDING.get(value.dtype, 0.0), ROUNDING[torch.float32])
            )


@family
def test_gradients_of_another_dtype_than_the_parameter_are_taken_as_they_are(name, options):
    for dtype, other in (
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float64),
    ):
        values = [torch.randn(300), torch.randn(5, 7)]
        params = [value.to(dtype) for value in values]
        twins = [p.clone() for p in params]
        step = torch.zeros(())
        buffers = {
            key: [torch.zeros_like(p, dtype=torch.float32) for p in params]
            for key in ("exp_avg", "exp_avg_sq", "exp_avg_short", "tau")
        }
        optimizer = build(name, [torch.nn.Parameter(torch.zeros(1))], lr=PEAK, **options)
        rule, s = numbers_of(optimizer, 0.0)
        buffers = {key: buffers[key] for key in rule.state(optimizer.param_groups[0])}
        grads = [gradient(value, index, 0).to(other) for index, value in enumerate(values)]
        layout = tables.Layout(params, grads, buffers, [None, None])
        form = optimizer.param_groups[0].get("form", "paper")
        for bucket in layout.buckets:
            cpu.update(bucket, [step] * len(bucket.members), rule, lambda _, s=s: {**s, **FIXED}, form)
        layout.put_back()
        for p, g in zip(twins, grads):
            zeros = {key: torch.zeros_like(p, dtype=torch.float32) for key in buffers}
            real = torch.promote_types(p.dtype, torch.float32)
            u, _ = rule.direction(torch, g.to(real), zeros, s)
            p.copy_(rules.descend(p.to(real), u, lr=s["lr"], decay=s["decay"], form=form))
        assert_agree(params, twins, ROUNDING[dtype])


def test_the_power_is_within_two_last_bits_over_the_whole_range_of_effective_time():
    rule = rules.Rule(
        lambda o: ("x",), lambda t, o: {}, lambda xp, g, state, s: (state["x"] ** s["y"], {"x": state["x"]})
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([2 ** (60 * torch.rand(200_000, generator=generator)), 1 + torch.rand(100_000, generator=generator)])
    for y in (1.0, 0.85, 0.5, 0.15, 0.01, 0.0, -0.2, -2.0, -30.0):
        p = torch.zeros_like(x)
        tensors = [p], [torch.zeros_like(x)], {"x": [x.clone()]}
        (bucket,) = tables.Layout(*tensors, [None]).buckets
        numbers = {"y": y, "lr": -1.0, "decay": 0.0, "ascent": 1.0}
        cpu.update(bucket, [torch.zeros(())], rule, lambda _, numbers=numbers: numbers, "paper")
        exact = x.double() ** float(np.float32(y))
        normal = exact > 2.0**-100
        assert float(((p.double() - exact) / exact)[normal].abs().max()) < max(2, 2 * abs(y)) * ULP
        assert (p[~normal] < 2.0**-80).all()


@family
def test_what_is_not_finite_is_not_hidden(name, options):
    params = [torch.nn.Parameter(torch.ones(40))]
    twins = clones(params)
    fused, loop = build(name, params, fused=True, **options), build(name, twins, foreach=False, **options)
    for step in range(3):
        set_gradients(params, step)
        for index, bad in enumerate([float("nan"), float("inf"), float("-inf")]):
            params[0].grad[index::20] = bad if step == 1 else 1.0
        twins[0].grad = params[0].grad.clone()
        fused.step()
        loop.step()
    assert not params[0][::20].isfinite().any()
    assert params[0][5:20].isfinite().all()
    assert_same([params[0].isfinite()], [twins[0].isfinite()])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def big(fused: bool) -> tuple[Any, list[torch.Tensor]]:
    """An optimizer whose step is enough for several threads."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(n, generator=generator)) for n in (5, 3 * cpu.RANGE + 11, 0, 77)]
    optimizer = adana.ADana(params, lr=PEAK, total_steps=T, fused=fused, foreach=False)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()
    return optimizer, [p.detach() for p in params]


@pytest.mark.parametrize("whose", ["torch's", "Python's"])
def test_any_number_of_threads_gives_the_same_numbers(two_threads, whose, monkeypatch):
    if whose == "Python's":
        monkeypatch.setattr(cpu, "torchs_threads", lambda: None)
    elif cpu.torchs_threads() is None:
        pytest.skip("torch has no GNU OpenMP here")
    _, several = big(True)
    torch.set_num_threads(1)
    assert_same(several, big(True)[1])
    assert_agree(several, big(False)[1], 1e-6)


def step_in_a_child(optimizer: Any, params: list[torch.Tensor], answer: Any) -> None:
    optimizer.step()  # nothing else: torch's own threads do not survive a fork
    answer.send_bytes(hashlib.sha256(params[1].numpy().tobytes()).digest())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_steps_though_its_parent_had_threads(two_threads):
    optimizer, params = big(True)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=step_in_a_child, args=(optimizer, params, there), daemon=True)
    child.start()
    assert here.poll(120), "the child waits for threads it does not have"
    found = here.recv_bytes()
    child.join()
    optimizer.step()
    assert found == hashlib.sha256(params[1].numpy().tobytes()).digest()


@family
def test_a_checkpoint_passes_between_the_loop_foreach_and_fused(name, options):
    ways = [{"foreach": False}, {"fused": True}, {"foreach": True}, {"fused": True}]
    params = parameters(name)
    whole = clones(params)
    reference = build(name, whole, foreach=False, **options)
    train(reference, whole, range(12))
    saved = None
    for index, way in enumerate(ways):
        optimizer = build(name, params, **way, **options)
        if saved is not None:
            optimizer.load_state_dict(saved)
            optimizer.param_groups[0].update({"foreach": None, "fused": None, **way})
        train(optimizer, params, range(3 * index, 3 * index + 3))
        saved = copy.deepcopy(optimizer.state_dict())
    assert_agree(params, whole, 1e-5)
    for p, q in zip(params, whole):
        assert optimizer.state[p].keys() == reference.state[q].keys()


@family
def test_a_resumed_fused_run_continues_bit_for_bit(name, options):
    params = parameters(name)
    optimizer = build(name, params, fused=True, **options)
    train(optimizer, params, range(4))
    twins, saved = clones(params), copy.deepcopy(optimizer.state_dict())
    train(optimizer, params, range(4, 8))
    twin = build(name, twins, fused=True, **options)
    twin.load_state_dict(saved)
    train(twin, twins, range(4, 8))
    assert_same(twins, params)


@family
def test_every_parameter_keeps_its_own_clock(name, options):
    def sometimes(params: Any, step: int) -> None:
        set_gradients(params, step)
        for index, p in enumerate(params):
            if step % (index + 1):
                p.grad = None

    params = parameters(name)
    twins = clones(params)
    fused, loop = build(name, params, fused=True, **options), build(name, twins, foreach=False, **options)
    train(fused, params, range(12), sometimes)
    train(loop, twins, range(12), sometimes)
    assert [float(fused.state[p]["step"]) for p in params] == [float(loop.state[q]["step"]) for q in twins]
    assert_agree(params, twins, 1e-6)


def test_a_correction_that_has_run_out_for_one_parameter_still_holds_for_another():
    """1 - beta2^(t+1) is exactly 1 after some sixty steps at beta2 = 0.5, and 0.5 at the first."""
    params = [torch.nn.Parameter(torch.randn(9)) for _ in range(2)]
    twins = clones(params)
    for optimizer, targets in (
        (adana.AdamW(params, lr=PEAK, total_steps=T, betas=(0.9, 0.5), fused=True), params),
        (adana.AdamW(twins, lr=PEAK, total_steps=T, betas=(0.9, 0.5), foreach=False), twins),
    ):
        for step in range(64):
            targets[0].grad = gradient(targets[0], 0, step)
            targets[1].grad = gradient(targets[1], 1, step) if step > 61 else None
            optimizer.step()
    assert_agree(params, twins, 1e-6)


@family
def test_autograd_notices_that_the_parameter_changed(name, options):
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = build(name, [p], fused=True, **options)
    loss = (p * p).sum()
    p.grad = torch.ones(4)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def _elsewhere(x: torch.Tensor) -> torch.Tensor:
    return x.detach().clone()


def _transposed(x: torch.Tensor) -> torch.Tensor:
    return x.detach().mT.contiguous().mT if x.ndim > 1 else x


DISTURBANCES: dict[str, Any] = {
    "gradients elsewhere": lambda o, p: setattr(p, "grad", _elsewhere(p.grad)),
    "gradients in another order": lambda o, p: setattr(p, "grad", _transposed(p.grad)),
    "a gradient missing": lambda o, p: setattr(p, "grad", None if p.ndim == 1 else p.grad),
    "parameters elsewhere": lambda o, p: setattr(p, "data", _elsewhere(p)),
    "parameters in another order": lambda o, p: setattr(p, "data", _transposed(p)),
    "state elsewhere": lambda o, p: o.state[p].update(exp_avg=_elsewhere(o.state[p]["exp_avg"])),
    "state in place": lambda o, p: o.state[p]["exp_avg"].mul_(0.5),
    "a checkpoint loaded": lambda o, p: o.load_state_dict(copy.deepcopy(o.state_dict())),
    "state in another format": lambda o, p: o.convert_state("bfloat16"),
    "float64 state": lambda o, p: o.convert_state("float64"),
    "another learning rate": lambda o, p: o.param_groups[0].update(lr=0.5 * PEAK),
}


@pytest.mark.filterwarnings("ignore:the averages were rounded")
@pytest.mark.parametrize("what", DISTURBANCES)
@every_device
def test_a_step_finds_its_tensors_wherever_they_have_gone_since_the_last(device, what):
    """What one step found out about its tensors is not believed of the next."""
    kept = []
    for way in ({"fused": True}, {"foreach": False}):
        params = [torch.nn.Parameter(p.detach().to(device)) for p in parameters("adana")]
        optimizer = build("adana", params, **way, total_steps=T)
        for step in range(4):
            set_gradients(params, step)
            if step == 2:
                for p in params:
                    DISTURBANCES[what](optimizer, p)
            optimizer.step()
        kept.append([p.detach() for p in params])
    assert_agree(*kept, 1e-2 if "another format" in what else 1e-6)


def test_no_gradient_is_kept_from_being_freed():
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = build("adana", [p], fused=True, total_steps=T)
    p.grad = torch.ones(4)
    gone = weakref.ref(p.grad)
    optimizer.step()
    p.grad = None
    assert gone() is None


# --- when it is taken -----------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    seen = []
    taken = kernels.fused_update
    monkeypatch.setattr("adana.optim.update.fused_update", lambda *a, **k: (seen.append(1), taken(*a, **k)))
    return seen


def took(calls: list[int], **options: Any) -> bool:
    calls.clear()
    params = options.pop("params", None) or [torch.nn.Parameter(torch.ones(3))]
    optimizer = adana.ADana(params, lr=PEAK, total_steps=T, **options)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    return bool(calls)


def test_fused_is_the_default_on_the_cpu_where_nothing_else_was_asked_for(calls, monkeypatch):
    assert took(calls)
    assert took(calls, fused=True)
    assert took(calls, capturable=True)
    assert not took(calls, fused=False)
    assert not took(calls, foreach=False)
    assert not took(calls, foreach=True)
    assert not took(calls, differentiable=True, params=[torch.ones(3)])
    assert not took(calls, kappa=51.0), "out of the range of the power"
    monkeypatch.setattr(kernels, "_installed", lambda module: False)
    assert not took(calls)


def test_a_first_step_in_a_capture_is_not_fused_unless_asked_for(calls, monkeypatch):
    """Its kernels would read tables that nobody has made."""
    params = [torch.nn.Parameter(torch.ones(3))]
    optimizer = adana.ADana(params, lr=PEAK, total_steps=T, capturable=True)
    params[0].grad = torch.ones(3)
    for capturing, fused in ((True, False), (False, True), (True, True)):
        calls.clear()
        monkeypatch.setattr("adana.optim.update.capturing", lambda now=capturing: now)
        optimizer.step()
        assert bool(calls) == fused


def test_a_subclass_of_tensor_takes_the_loop(calls):
    class Other(torch.Tensor):
        pass

    assert not took(calls, params=[torch.ones(3).as_subclass(Other)])


@needs_gpu
def test_fused_is_the_default_on_a_gpu(calls):
    assert took(calls, params=[torch.nn.Parameter(torch.ones(3, device="cuda"))])
    assert not took(calls, params=[torch.nn.Parameter(torch.ones(3, device="cuda"))], foreach=True)


def test_fused_says_what_it_lacks(monkeypatch):
    with pytest.raises(RuntimeError, match="fused kernel for meta"):
        adana.ADana([torch.nn.Parameter(torch.ones(3, device="meta"))], lr=PEAK, total_steps=T, fused=True)
    optimizer = adana.ADana([torch.nn.Parameter(torch.ones(3))], lr=PEAK, total_steps=T, fused=True)
    monkeypatch.setattr(kernels, "_installed", lambda module: False)
    for fused in (
        lambda: adana.ADana([torch.nn.Parameter(torch.ones(3))], lr=PEAK, total_steps=T, fused=True),
        optimizer.step,
    ):
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
        with pytest.raises(RuntimeError, match=r"pip install 'adana\[fused\]'"):
            fused()


def test_a_group_may_be_fused_beside_one_that_is_not(calls):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    adana.ADana(
        [{"params": params[:1], "fused": True}, {"params": params[1:], "foreach": False}], lr=PEAK, total_steps=T
    )
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        adana.ADana([{"params": params, "fused": True}], lr=PEAK, total_steps=T, foreach=True)


def test_the_matrices_of_muon_take_the_loop_and_its_fallback_is_fused(calls):
    params = [torch.nn.Parameter(torch.ones(3, 3)), torch.nn.Parameter(torch.ones(3))]
    groups = [{"params": params[:1], "kind": "hidden"}, {"params": params[1:], "kind": "other"}]
    optimizer = adana.Muon(groups, lr=PEAK, total_steps=T, fused=True)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert len(calls) == 1


@pytest.mark.slow
def test_building_a_fused_optimizer_does_not_load_the_compiler():
    code = (
        "import sys, torch, adana; p = torch.nn.Parameter(torch.ones(3));"
        "o = adana.ADana([p], lr=0.1, total_steps=9, fused=True); print('llvmlite' in sys.modules);"
        "p.grad = torch.ones(3); o.step(); print('llvmlite' in sys.modules, 'adana.optim.kernels.gpu' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
