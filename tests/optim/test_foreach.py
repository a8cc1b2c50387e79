"""foreach=True is the loop, faster: the same numbers, no more memory than torch's own AdamW."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import adana
from tests.optim.cases import CASES, IDS, PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import MATRIX_RULES, assert_agree, assert_same, clones, parameters, set_gradients, train

STEPS = 30
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
# Muon's matrices take the loop whatever `foreach` says; its fallback has a test of its own.
ELEMENTWISE = [(case, case_id) for case, case_id in zip(PLAIN, PLAIN_IDS) if case[0] not in MATRIX_RULES]
ELEMENTWISE_CASES = [case for case, _ in ELEMENTWISE]
ELEMENTWISE_IDS = [case_id for _, case_id in ELEMENTWISE]


def pair(name: str, params: list[Any], **options: Any) -> tuple[Any, list[Any], Any, list[Any]]:
    """The same problem twice: by the loop and by foreach."""
    twins = clones(params)
    return (
        build(name, params, foreach=False, **options),
        params,
        build(name, twins, foreach=True, **options),
        twins,
    )


def assert_pair_agrees(loop: Any, params: list[Any], each: Any, twins: list[Any], tolerance: float) -> None:
    assert_agree(twins, params, tolerance)
    for p, q in zip(params, twins):
        assert loop.state[p].keys() == each.state[q].keys()
        assert_agree(each.state[q].values(), loop.state[p].values(), tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_foreach_agrees_with_the_loop_to_rounding(name, options, dtype):
    loop, params, each, twins = pair(name, parameters(name, dtype), **options)
    start = clones(params)
    train(loop, params, range(STEPS))
    train(each, twins, range(STEPS))
    assert all((p - s).abs().max() > 1e-3 for p, s in zip(params, start) if p.numel())
    assert_pair_agrees(loop, params, each, twins, ROUNDING[dtype])


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_foreach_agrees_with_the_loop_when_the_step_stays_on_the_device(name, options):
    loop, params, _, _ = pair(name, parameters(name, torch.float64), **options)
    twins = clones(params)
    each = build(name, twins, lr=torch.tensor(0.02, dtype=torch.float64), foreach=True, capturable=True, **options)
    train(loop, params, range(12))
    train(each, twins, range(12))
    assert_pair_agrees(loop, params, each, twins, 1e-12)


@pytest.mark.parametrize("capturable", [False, True], ids=["read", "capturable"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
def test_foreach_agrees_with_the_loop_on_narrow_parameters_with_float32_state(name, options, dtype, capturable):
    loop, params, each, twins = pair(name, parameters(name, dtype), capturable=capturable, **options)
    train(loop, params, range(10))
    train(each, twins, range(10))
    assert_agree(twins, params, ROUNDING[dtype])
    for p, q in zip(params, twins):
        for key, value in each.state[q].items():
            assert value.dtype == (torch.int64 if key == "step" else torch.float32)
            # The state sees the gradients only, never the parameter's rounding.
            assert_agree([value], [loop.state[p][key]], ROUNDING[torch.float32])


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
def test_foreach_agrees_with_the_loop_on_narrow_state(name, options):
    loop, params, each, twins = pair(name, parameters(name), state_dtype=torch.bfloat16, **options)
    train(loop, params, range(10))
    train(each, twins, range(10))
    # A last bit of bf16 state may round the other way, and averages carry it on.
    assert_pair_agrees(loop, params, each, twins, 2e-2)


@pytest.mark.parametrize("capturable", [False, True], ids=["read", "capturable"])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE_CASES, ids=ELEMENTWISE_IDS)
def test_foreach_agrees_with_the_loop_on_complex_parameters(name, options, capturable):
    loop, params, each, twins = pair(name, parameters(name, torch.complex128), capturable=capturable, **options)
    train(loop, params, range(10))
    train(each, twins, range(10))
    assert_pair_agrees(loop, params, each, twins, 1e-12)


@pytest.mark.parametrize("capturable", [False, True], ids=["read", "capturable"])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE_CASES, ids=ELEMENTWISE_IDS)
def test_foreach_agrees_with_the_loop_on_mixed_dtypes_in_one_group(name, options, capturable):
    dtypes = [torch.float64, torch.bfloat16, torch.complex64, torch.float32, torch.float16]
    params = [p for i, dtype in enumerate(dtypes) for p in parameters(name, dtype, seed=i)]
    loop, params, each, twins = pair(name, params, capturable=capturable, **options)
    train(loop, params, range(10))
    train(each, twins, range(10))
    for p, q in zip(params, twins):
        assert_agree([q], [p], ROUNDING.get(p.dtype, 2e-5))


@pytest.mark.parametrize("capturable", [False, True], ids=["read", "capturable"])
@pytest.mark.parametrize(("name", "options"), PLAIN, ids=PLAIN_IDS)
def test_foreach_keeps_a_clock_for_every_parameter(name, options, capturable):
    def sometimes(params: Any, step: int) -> None:
        set_gradients(params, step)
        for index, p in enumerate(params):
            if step % (index + 1):
                p.grad = None

    loop, params, each, twins = pair(name, parameters(name, torch.float64), capturable=capturable, **options)
    train(loop, params, range(STEPS), sometimes)
    train(each, twins, range(STEPS), sometimes)
    assert [float(each.state[q]["step"]) for q in twins] == [-(-STEPS // (i + 1)) for i in range(len(twins))]
    assert_pair_agrees(loop, params, each, twins, 1e-12)


def test_foreach_serves_the_fallback_of_muon():
    def groups(params: list[Any]) -> list[dict[str, Any]]:
        return [{"params": params[3:], "kind": "hidden"}, {"params": params[:3], "kind": "other"}]

    params = parameters("adamw", torch.float64)
    twins = clones(params)
    loop = adana.Muon(groups(params), lr=0.02, total_steps=T, fallback=adana.DanaStarMK4, foreach=False)
    each = adana.Muon(groups(twins), lr=0.02, total_steps=T, fallback=adana.DanaStarMK4, foreach=True)
    train(loop, params, range(STEPS))
    train(each, twins, range(STEPS))
    assert_pair_agrees(loop, params, each, twins, 1e-12)


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE_CASES, ids=ELEMENTWISE_IDS)
def test_foreach_never_writes_to_the_gradients(name, options):
    for dtype in (torch.float64, torch.bfloat16):
        params = parameters(name, dtype)
        set_gradients(params, 0)
        before = [p.grad.clone() for p in params]
        build(name, params, foreach=True, maximize=True, **options).step()
        assert_same([p.grad for p in params], before)


def kernels(optimizer: Any) -> set[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    found = {event.name for event in profile.events() if event.name.startswith("aten::_foreach")}
    return found - {"aten::_foreach_add_"}  # steps are counted so, whatever the way


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE_CASES, ids=ELEMENTWISE_IDS)
def test_foreach_default_is_torchs_own_where_nothing_is_fused(name, options, monkeypatch):
    monkeypatch.setattr("adana.optim.update.lay_out", lambda *_: "not here")
    params = parameters(name)
    set_gradients(params, 0)
    assert not kernels(build(name, params, **options)), "on the CPU torch takes the loop"
    assert kernels(build(name, params, foreach=True, **options))
    monkeypatch.setattr("adana.optim.update._default_to_fused_or_foreach", lambda *_: (False, True))
    assert kernels(build(name, params, **options))


def peak_of_temporaries(optimizer: Any, params: list[Any]) -> int:
    """Most bytes alive at once in a step beyond what was there before, the kernels' own scratch included."""
    for step in range(2):
        set_gradients(params, step)
        optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert live == 0, "a step in place leaves nothing behind"
    return peak


@pytest.mark.parametrize("maximize", [False, True], ids=["minimize", "maximize"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE_CASES, ids=ELEMENTWISE_IDS)
def test_foreach_needs_no_more_memory_than_torchs_adamw(name, options, dtype, maximize):
    params = [torch.nn.Parameter(torch.randn(32, 32).to(dtype)) for _ in range(12)]
    theirs = peak_of_temporaries(torch.optim.AdamW(params, foreach=True, maximize=maximize), params)
    ours = peak_of_temporaries(build(name, params, foreach=True, maximize=maximize, **options), params)
    # A kernel wraps its Python numbers in 0-d tensors: a few bytes that depend on the dtype.
    assert ours <= theirs + 64
