"""Fused kernels store as the loop does: the same random bits, the same codes but for a last bit of float32.

Averages need no root and no power on the way to where they are stored, so bfloat16 averages and second moments
are the loop's to the bit. Signed codes lie relative to a root, and torch's is a last bit off here and there;
every comparison starts from equal state, so that such a bit cannot grow.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adana
from adana.optim import kernels, places, randomness
from adana.optim.formats import scales_shape
from adana.optim.kernels import cpu
from tests.optim.cases import CASES, CLASSES, IDS, STORED, STORED_IDS, T, build
from tests.optim.tensors import MATRIX_RULES, assert_same, clones, gradient, train

pytest.importorskip("llvmlite")

every_case = pytest.mark.parametrize(
    ("name", "options"),
    [case for case in CASES if case[0] not in MATRIX_RULES],
    ids=[case_id for case, case_id in zip(CASES, IDS) if case[0] not in MATRIX_RULES],
)
family = pytest.mark.parametrize(
    ("name", "options"),
    [case for case in STORED if case[0] not in MATRIX_RULES],
    ids=[case_id for case, case_id in zip(STORED, STORED_IDS) if case[0] not in MATRIX_RULES],
)
FORMATS: list[tuple[torch.dtype, str | None, str]] = [
    (torch.bfloat16, None, "stochastic"),
    (torch.float16, None, "stochastic"),
    (torch.bfloat16, "bfloat16", "kahan"),
    (torch.float32, "bfloat16", "stochastic"),
    (torch.float64, "bfloat16", "stochastic"),
    (torch.float32, "int16", "stochastic"),
    (torch.float64, "int16", "stochastic"),
    (torch.bfloat16, "int16", "nearest"),
    (torch.float16, "int16", "kahan"),
]
FORMAT_IDS = [f"{str(dtype)[6:]}-{state}-{rounding}" for dtype, state, rounding in FORMATS]
formats = pytest.mark.parametrize("storage_format", FORMATS, ids=FORMAT_IDS)
narrow = pytest.mark.parametrize("storage_format", [FORMATS[2], FORMATS[5]], ids=[FORMAT_IDS[2], FORMAT_IDS[5]])

# Rows under, at, above and far above a block, rows shorter than a vector, and what keeps no codes.
SHAPES = ((), (7,), (0, 5), (3, 5), (30, 100), (4, 256), (9, 257), (2, 1100), (6, 5, 3, 3), (3, 2))
# The greatest share of stored numbers that a last bit of float32 may push to a neighbour.
SHARES = {"exp_avg": 2e-3, "exp_avg_short": 3e-3, "tau": 1e-3, "p": 1e-3}


def parameters(dtype: torch.dtype, shapes: Any = SHAPES, seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    values = [0.1 * torch.randn(shape, generator=generator) for shape in shapes]
    values.append(torch.randn(20, 30, generator=generator).t())
    return [torch.nn.Parameter(value.to(dtype)) for value in values]


def options_of(storage_format: Any) -> dict[str, Any]:
    _, state_dtype, rounding = storage_format
    return {"state_dtype": state_dtype, "param_rounding": rounding, "rounding_seed": 5}


def set_gradients(params: Any, step: int) -> None:
    for index, p in enumerate(params):
        p.grad = gradient(p, index, step)


def both(params: Any, make: Any, steps: int = 3, start: int = 0) -> Any:
    """Steps of the loop and of the kernels from the loop's state, and what was stored, by name."""
    twins = clones(params)
    loop, fused = make(params, foreach=False), make(twins, fused=True)
    for step in range(start, start + steps):
        set_gradients(params, step)
        for p, q in zip(params, twins):
            q.grad = p.grad.clone()
            q.detach().copy_(p.detach())
            for key, value in loop.state.get(p, {}).items():
                if key in fused.state[q]:
                    fused.state[q][key].copy_(value)
        loop.step()
        fused.step()
        for p, q in zip(params, twins):
            yield "p", p.detach(), q.detach(), step
            assert loop.state[p].keys() == fused.state[q].keys()
            for key, value in loop.state[p].items():
                yield key, value, fused.state[q][key], step


def compare(name: str, options: dict[str, Any], params: Any, storage_format: Any, steps: int = 3) -> None:
    moved: dict[str, list[int]] = {}

    def make(targets: Any, **way: Any) -> Any:
        return build(name, targets, **way, **options_of(storage_format), **options)

    for key, a, b, _ in both(params, make, steps):
        assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        if key == randomness.COMPENSATION:
            continue  # what is left of the parameter, whose own last bits show in it
        if key.endswith("_scale"):
            torch.testing.assert_close(a, b, rtol=4e-7, atol=0)
        elif a.dtype in (torch.int16, torch.bfloat16, torch.float16):
            counts = moved.setdefault(key, [0, 0])
            counts[0] += int((a != b).sum())
            counts[1] += a.numel()
            if a.dtype == torch.int16 and a.numel():
                off = (a.int() - b.int()).abs()
                assert int(torch.minimum(off, 65536 - off).max()) <= 1
        else:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    for key, (unequal, count) in moved.items():
        most = 0.0 if key == "exp_avg_sq" or (storage_format[1] == "bfloat16" and key != "p") else SHARES[key]
        assert unequal <= most * count + (most > 0), key


@formats
@family
def test_kernels_store_what_the_loop_stores(name, options, storage_format):
    compare(name, options, parameters(storage_format[0]), storage_format)


@every_case
def test_every_option_is_stored_as_the_loop_stores_it(name, options):
    compare(name, options, parameters(torch.bfloat16), (torch.bfloat16, "int16", "stochastic"))


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple), min_size=1, max_size=6),
    wide=st.integers(1, 900),
    storage_format=st.sampled_from(FORMATS),
    name=st.sampled_from(["adana", "dana", "dana-star-mk4", "ademamix"]),
)
@pytest.mark.slow
def test_any_shape_is_stored_as_the_loop_stores_it(shapes, wide, storage_format, name):
    compare(name, {"total_steps": T}, parameters(storage_format[0], [*shapes, (2, wide)]), storage_format, steps=2)


@family
def test_kahan_keeps_the_same_sum(name, options):
    for storage_format in ((torch.bfloat16, None, "kahan"), (torch.float16, "int16", "kahan")):
        params = parameters(storage_format[0])
        found: dict[int, list[Any]] = {}

        def make(targets: Any, storage_format: Any = storage_format, **way: Any) -> Any:
            return build(name, targets, **way, **options_of(storage_format), **options)

        for key, a, b, step in both(params, make):
            found.setdefault(step, []).append((key, a.float(), b.float()))
        for pairs in found.values():
            whole: list[Any] = []
            for key, a, b in pairs:
                if key == "p":
                    whole.append([a, b])
                elif key == randomness.COMPENSATION:
                    whole[-1][0], whole[-1][1] = whole[-1][0] + a, whole[-1][1] + b
            for a, b in whole:
                spacing = torch.finfo(storage_format[0]).eps
                torch.testing.assert_close(a, b, rtol=spacing * 2.0**-7, atol=1e-7)


def test_groups_of_their_own_seed_and_parameters_of_their_own_clock_round_as_in_the_loop():
    def make(params: Any, **way: Any) -> Any:
        groups = [{"params": params[i::3], "rounding_seed": seed} for i, seed in enumerate((0, 7, 2**32 - 1))]
        return adana.ADana(groups, lr=0.02, total_steps=T, state_dtype="bfloat16", **way)

    params = [torch.nn.Parameter(torch.randn(1 + i % 5, 1 + i % 37)) for i in range(120)]
    twins = clones(params)
    fused, loop = make(params, fused=True), make(twins, foreach=False)
    for step in range(5):
        for targets, optimizer in ((params, fused), (twins, loop)):
            set_gradients(targets, step)
            for index, p in enumerate(targets):
                if step % (1 + index % 3):
                    p.grad = None
            optimizer.step()
    for key in ("exp_avg", "exp_avg_sq"):
        assert_same([fused.state[p][key] for p in params], [loop.state[q][key] for q in twins])


def test_a_run_of_rows_is_rounded_as_its_part_of_the_whole():
    """What a shard is: the same parameter, elements counted from its first, though the count passes 2^32."""
    whole = torch.randn(12, 300).bfloat16()
    g = torch.randn(12, 300)
    first = 2**32 - 700
    rule = adana.rules.rule("adana", "paper")
    optimizer = adana.ADana([torch.nn.Parameter(whole)], lr=0.02, total_steps=T, weight_decay=0.0)

    def update(rows: slice) -> list[torch.Tensor]:
        p = whole[rows].clone()
        buffers = {}
        for name in ("exp_avg", "exp_avg_sq"):
            buffers[name] = [torch.zeros(p.shape, dtype=torch.int16)]
            buffers[name + "_scale"] = [torch.zeros(scales_shape(p.shape))]
        place = places.Place(3, first + rows.start * 300)
        grad, steps = g[rows].clone(), [torch.zeros(())]
        kernels.fused_update(
            kernels.lay_out([p], [grad], steps, buffers, [place], "stochastic"), steps, rule,
            lambda t, lr: {**rule.scalars(t, optimizer.param_groups[0]), "lr": lr, "decay": 0.0},
            lr=0.02, form="paper", maximize=False, capturable=False, seed=1,
        )  # fmt: skip
        return [p, *(buffer[0] for buffer in buffers.values())]

    parts = [update(slice(start, stop)) for start, stop in ((0, 2), (2, 3), (3, 12))]
    assert_same(update(slice(0, 12)), [torch.cat(pieces) for pieces in zip(*parts)])


@narrow
@family
def test_a_resumed_fused_run_continues_bit_for_bit(name, options, storage_format):
    options = {**options, **options_of(storage_format)}
    params = parameters(storage_format[0])
    optimizer = build(name, params, fused=True, **options)
    train(optimizer, params, range(3), set_gradients)
    twins, saved = clones(params), copy.deepcopy(optimizer.state_dict())
    train(optimizer, params, range(3, 6), set_gradients)
    twin = build(name, twins, fused=True, **options)
    twin.load_state_dict(saved)
    train(twin, twins, range(3, 6), set_gradients)
    assert_same(twins, params)


@narrow
def test_any_number_of_threads_gives_the_same_codes(storage_format):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            params = parameters(storage_format[0], [(3 * cpu.RANGE // 1000, 1001), (50, 3), (7,)])
            optimizer = adana.ADana(params, lr=0.02, total_steps=T, fused=True, **options_of(storage_format))
            train(optimizer, params, range(2), set_gradients)
            found.append([x for p in params for x in (p.detach(), *optimizer.state[p].values())])
    finally:
        torch.set_num_threads(before)
    assert_same(*found)


@narrow
@family
def test_what_is_not_finite_is_not_hidden(name, options, storage_format):
    for bad in (float("nan"), float("inf"), float("-inf")):
        found = []
        for way in ({"fused": True}, {"foreach": False}):
            p = torch.nn.Parameter(torch.ones(3, 300, dtype=storage_format[0]))
            optimizer = build(name, [p], **way, **options_of(storage_format), **options)
            for step in range(3):
                p.grad = torch.full_like(p, 0.5)
                if step == 1:
                    p.grad[1, 270] = bad
                optimizer.step()
            found.append(p.isfinite())
        assert not found[0][1, 270]
        assert found[0][0].all()
        assert_same(found[:1], found[1:])


def test_a_capturable_step_rounds_as_any_other():
    found = []
    for capturable in (False, True):
        params = parameters(torch.bfloat16)
        optimizer = adana.ADana(
            params, lr=0.02, total_steps=T, fused=True, capturable=capturable, state_dtype="int16"
        )  # fmt: skip
        train(optimizer, params, range(3), set_gradients)
        found.append([x for p in params for key, x in optimizer.state[p].items() if key != "step"] + params)
    assert_same(*found)


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in MATRIX_RULES])
def test_kernels_are_the_default_for_what_is_rounded(name, monkeypatch):
    seen = []
    taken = kernels.fused_update
    monkeypatch.setattr("adana.optim.update.fused_update", lambda *a, **k: (seen.append(1), taken(*a, **k)))
    p = torch.nn.Parameter(torch.ones(4, 9, dtype=torch.bfloat16))
    p.grad = torch.ones_like(p)
    build(name, [p], total_steps=T, state_dtype="int16").step()
    assert seen


def test_what_has_no_kernel_says_so(monkeypatch):
    x = torch.ones(2, 3)
    assert kernels.unfit([x], [None]) is None
    assert kernels.unfit([x], [places.Place(0, 6)]) is None
    assert "another dimension" in kernels.unfit([x], [places.Place(0, 0, (6, 1))])
    monkeypatch.setattr(kernels, "missing", lambda device: None)
    assert kernels.unfit([x.to("meta")], [places.Place(0)]) is None
