"""The Triton kernels give the loop's numbers: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import torch

import adana
import adana.optim.group_checks
from adana.optim import kernels
from adana.optim.kernels import generate
from adana.optim.kernels.trace import trace
from tests.optim.cases import PLAIN, PLAIN_IDS
from tests.optim.tensors import MATRIX_RULES, assert_same, gradient, needs_gpu

# The interpreter runs every kernel once, and not once in each test process.
pytestmark = pytest.mark.xdist_group("the interpreter")

ROUNDING = {"torch.float64": 1e-14, "torch.float32": 2e-6, "torch.bfloat16": 8e-3, "torch.float16": 1e-3}


def test_the_committed_kernels_are_what_the_rules_say():
    committed = pathlib.Path(generate.__file__).with_name("generated.py").read_text()
    assert committed == generate.source(), "run python -m adana.optim.kernels.generate"


def test_every_elementwise_rule_and_option_has_a_kernel():
    names = set(generate.graphs())
    assert {"adana", "adana_short_corrected", "dana", "dana_mk4", "dana_star_mk4", "released_star"} < names


@pytest.mark.parametrize("bad", [lambda xp, g, s, n: (g if g > 0 else -g, {}), lambda xp, g, s, n: (xp.cos(g), {})])
def test_a_rule_that_is_not_made_of_what_kernels_know_is_refused(bad):
    with pytest.raises((TypeError, AttributeError)):
        trace(bad, (), (), frozenset(), "paper")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    pytest.importorskip("triton")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment["TRITON_INTERPRET"] = "1" if request.param == "cpu" else "0"
    command = [sys.executable, "-m", "tests.optim.beside_loop"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def assert_close(one: dict[str, Any]) -> None:
    for dtype, difference in one["parameters"].items():
        assert difference <= ROUNDING[dtype], dtype
    assert one["state"] <= 1e-6


@pytest.mark.parametrize("case_id", [i for (name, _), i in zip(PLAIN, PLAIN_IDS) if name not in MATRIX_RULES])
def test_every_rule_agrees_with_the_loop(case_id, found):
    assert_close(found["plain"][case_id])


def test_options_mixed_dtypes_and_steps_kept_on_the_device_agree_as_well(found):
    others = {case_id: one for case_id, one in found["plain"].items() if case_id not in PLAIN_IDS}
    assert len(others) == 11
    for one in others.values():
        assert_close(one)


# The greatest share of stored numbers that a last bit of float32 may push to a neighbour; of the rest none may move.
# Signed codes go through three quick roots and a division of a GPU. Where each is off by as much as it may be (two last
# bits), that moves the number that is rounded at random by 4e-3 of a step at the most, 2e-3 in the mean of all codes;
# some of these tensors have 2,000 elements, so that chance may double a share.
SHARES = {"exp_avg int16": 5e-3, "exp_avg_short int16": 5e-3, "tau int16": 1e-3, "p bfloat16": 1e-3, "p float16": 1e-3}
# Beside a tensor's largest number. A float64 parameter reads codes that were decoded in float32.
NEAR = {"p float32": 2e-6, "p float64": 1e-7, "sum float32": 6e-5, "tau float32": 1e-6}


def assert_stored_alike(found: dict[str, dict[str, float]]) -> None:
    for key, one in found.items():
        if key.endswith("_scale float32"):
            assert one["most"] <= 6e-7, key  # 2^-23 and 2^-22.9 of the two quick roots, and four roundings
        elif key in NEAR:
            assert one["most"] <= NEAR[key], key
        else:
            share = SHARES.get(key, 0.0)
            assert one["unequal"] <= share * one["count"] + (share > 0), key
            assert one["most"] <= 1, key


@pytest.mark.parametrize("kind", ["int16", "bfloat16"])
@pytest.mark.parametrize("case_id", [i for (name, _), i in zip(PLAIN, PLAIN_IDS) if name not in MATRIX_RULES])
def test_every_rule_stores_what_the_loop_stores(case_id, kind, found):
    one = found["stored"][f"{case_id}-{kind}"]
    assert one[f"exp_avg {kind}"]["count"] > 1000
    assert_stored_alike(one)


def test_every_way_of_storing_is_the_loops_also_where_steps_stay_on_the_device(found):
    others = {case_id: one for case_id, one in found["stored"].items() if case_id.rpartition("-")[0] not in PLAIN_IDS}
    assert len(others) == 8 + sum(name not in MATRIX_RULES for name, _ in PLAIN)
    for one in others.values():
        assert_stored_alike(one)


def test_what_is_not_finite_is_not_hidden_by_a_code(found):
    for kernels_say, loop_says in found["finite"]:
        assert kernels_say == loop_says
        finite, _ = kernels_say
        assert not any(parameter[1][270] for parameter in finite)


def test_magnitude_codes_are_the_loops_to_the_bit(found):
    assert found["magnitudes"] == [True] * 4


def test_signed_codes_are_right_on_average(found):
    """A GPU's root is off by 2^-23, 0.004 of a step at the largest codes; the sum of it and a fraction is rounded."""
    assert found["signed"]["off"] <= 8e-3
    assert found["signed"]["unequal"] <= 5e-3
    assert found["signed"]["most"] <= 1
    assert found["signed"]["largest"] >= 32766  # of a block's largest number: no code is beyond the last one


def test_rows_alone_are_rounded_as_their_part_of_the_whole(found):
    assert len(found["parts"]) == 3 * (5 + 3)
    assert all(found["parts"])


class Launches:
    """In the place of a Triton kernel: remembers that it was launched, and how."""

    def __init__(self, seen: list[Any], name: str) -> None:
        self.seen, self.name = seen, name

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments, **options: self.seen.append((self.name, grid, options))


@pytest.mark.parametrize(
    ("dtype", "state_dtype", "rounding"),
    [(torch.float32, None, "nearest"), (torch.bfloat16, "bfloat16", "kahan"), (torch.bfloat16, "int16", "stochastic")],
)
def test_a_step_is_one_launch_and_asks_the_device_for_nothing(dtype, state_dtype, rounding, monkeypatch):
    """On the meta device, where every number that is read is an error."""
    gpu = pytest.importorskip("adana.optim.kernels.gpu")
    for module in (adana.optim.group_checks, kernels):
        monkeypatch.setattr(module, "missing", lambda device: None)
    seen: list[Any] = []
    for name in ("adana", "write_few", "write_many"):
        monkeypatch.setattr(gpu.generated, name, Launches(seen, name))
    params = [torch.nn.Parameter(torch.empty(5, 600, dtype=dtype, device="meta")) for _ in range(100)]
    optimizer = adana.ADana(
        params, lr=0.02, total_steps=60, fused=True, capturable=True, state_dtype=state_dtype, param_rounding=rounding
    )
    for p in params:
        p.grad = torch.empty_like(p)
    optimizer.step()
    programs = {None: 3, "bfloat16": 1, "int16": 2}[state_dtype]  # 3,000 elements, or 15 blocks of codes
    assert [(grid, options["enable_fp_fusion"]) for name, grid, options in seen if name == "adana"] == [
        ((100 * programs,), False)
    ]
    seen.clear()
    optimizer.step()
    assert [name for name, *_ in seen] == ["adana"]


@needs_gpu
@pytest.mark.parametrize("state_dtype", ["bfloat16", "int16"])
def test_a_captured_step_rounds_as_the_step_it_stands_for(state_dtype):
    kept = []
    for captured in (False, True):
        generator = torch.Generator().manual_seed(0)
        shapes = ((7,), (5, 600), (64, 256))
        params = [torch.nn.Parameter(torch.randn(x, generator=generator).bfloat16().cuda()) for x in shapes]
        optimizer = adana.ADana(
            params, lr=0.01, total_steps=60, fused=True, capturable=True, state_dtype=state_dtype
        )  # fmt: skip
        for p in params:
            p.grad = torch.zeros_like(p)
        graph = None
        for step in range(6):
            for index, p in enumerate(params):
                p.grad.copy_(gradient(p.detach().cpu(), index, step))
            if captured and step == 3:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    optimizer.step()
            graph.replay() if graph else optimizer.step()
        kept.append([x.cpu() for p in params for x in (p.detach(), *optimizer.state[p].values())])
    assert_same(*kept)


@needs_gpu
@pytest.mark.parametrize("state_dtype", ["bfloat16", "int16"])
def test_second_moments_on_a_gpu_are_the_loops_to_the_bit(state_dtype):
    kept = []
    for way in ({"fused": True}, {"foreach": False}):
        params = [torch.nn.Parameter(torch.zeros(shape, device="cuda")) for shape in ((7,), (5, 600), (64, 256))]
        optimizer = adana.DanaStarMK4(params, lr=0.01, total_steps=60, state_dtype=state_dtype, **way)
        for step in range(4):
            for index, p in enumerate(params):
                p.grad = gradient(p.detach().cpu(), index, step).cuda()
            optimizer.step()
        kept.append([optimizer.state[p]["exp_avg_sq"].cpu() for p in params])
    assert_same(*kept)


COMPILE = """
import json, re, sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from adana.optim.kernels import generated, gpu

TABLES = {"table": "*i64", "places": "*i64", "owner": "*i32", "numbers": "*fp64", "rows": "i32"}
found = []
for name, parameter, average, rounding in json.loads(sys.argv[1]):
    kernel = getattr(generated, name)
    arrays = [x.removesuffix("_type") for x in kernel.arg_names if x.endswith("_type")]
    stored = dict.fromkeys(arrays, average) | dict.fromkeys("pg", parameter)
    shape = gpu.CODED if average == "int16" else gpu.PLAIN if average == "float32" else gpu.ROUNDED
    fixed = {"real": tl.float32, "WHOLE": True, "EVEN": True, "BLOCK": shape.block, "BLOCKS": shape.blocks}
    fixed |= {"rounding": rounding}
    fixed |= {"rounded": rounding != "nearest" or average != "float32"}
    fixed |= {f"{x}_type": getattr(tl, kind) for x, kind in stored.items()}
    source = ASTSource(
        fn=kernel,
        signature={x: TABLES.get(x, "constexpr") for x in kernel.arg_names},
        constexprs={(kernel.arg_names.index(x),): value for x, value in fixed.items()},
    )
    options = {"num_warps": shape.warps, "enable_fp_fusion": False}
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    found.append({
        "stored": [*stored.values(), *(["bfloat16"] if rounding == "kahan" else [])],
        "gradient": parameter,
        "loads": [len(re.findall(rf"ld[.]global[.]v{n}[.]b32", text)) for n in (4, 2)],
        "stores": [len(re.findall(rf"st[.]global[.]v{n}[.]b32", text)) for n in (4, 2)],
        "elements": shape.block // (32 * shape.warps),
        "fused": len(re.findall(r"fma[.]rn[.]f32", text)),
    })
json.dump(found, sys.stdout)
"""
PLAINLY = ("float32", "float32", "nearest")
KERNELS = [
    ("adana", *PLAINLY),
    ("dana_star_mk4", *PLAINLY),
    ("adana", "float32", "int16", "nearest"),
    ("dana_mk4", "bfloat16", "bfloat16", "kahan"),
    ("dana_mk4", "bfloat16", "float32", "stochastic"),
]
NARROWLY = [("float16", "int16", "stochastic"), ("bfloat16", "bfloat16", "stochastic")]
MORE_KERNELS = [(name, *kinds) for name in generate.graphs() for kinds in (PLAINLY, *NARROWLY)]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int16": 2}


def vectors(kinds: list[str], elements: int, beside: list[str] | None = None) -> list[int]:
    """How many accesses of 16 bytes and of 8 it takes where 16 bytes of the widest array are taken at a time."""
    widest = max(BYTES[kind] for kind in beside or kinds)
    counts = [0, 0]
    for kind in kinds:
        width = 16 * BYTES[kind] // widest
        counts[width == 8] += BYTES[kind] * elements // width
    return counts


@pytest.mark.parametrize("wanted", [KERNELS, pytest.param(MORE_KERNELS, marks=pytest.mark.slow)])
def test_kernels_compile_for_a_gpu_and_move_whole_vectors(wanted):
    """Compiled for an H100 without one: each array read once and written once, 16 bytes a load and a store.

    What is not the widest goes as many elements at a time as 16 bytes hold of the widest.
    """
    pytest.importorskip("triton")
    compiling = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(wanted)], capture_output=True, text=True, env=compiling
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, one in zip(wanted, json.loads(done.stdout), strict=True):
        assert one["loads"] == vectors(one["stored"], one["elements"]), name
        read_only = vectors([one["gradient"]], one["elements"], one["stored"])
        assert one["stores"] == [x - y for x, y in zip(one["loads"], read_only)], name
        assert one["fused"] == 0, name
