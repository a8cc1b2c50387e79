"""The Triton kernels give the loop's numbers, as far as can be said without a GPU: in Triton's interpreter."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from adana.optim.kernels import generate
from adana.optim.kernels.trace import trace
from tests.optim.cases import PLAIN, PLAIN_IDS

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


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    pytest.importorskip("triton")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.optim.interpreted"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def assert_close(one: dict[str, Any]) -> None:
    for dtype, difference in one["parameters"].items():
        assert difference <= ROUNDING[dtype], dtype
    assert one["state"] <= 1e-6


@pytest.mark.parametrize("case_id", [i for (name, _), i in zip(PLAIN, PLAIN_IDS) if name != "muon"])
def test_every_rule_agrees_with_the_loop_in_the_interpreter(case_id, found):
    assert_close(found[case_id])


def test_options_mixed_dtypes_and_steps_kept_on_the_device_agree_as_well(found):
    others = {case_id: one for case_id, one in found.items() if case_id not in PLAIN_IDS}
    assert len(others) == 11
    for one in others.values():
        assert_close(one)


COMPILE = """
import json, re, sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from adana.optim.kernels import generated, gpu

TABLES = {"table": "*i64", "owner": "*i32", "numbers": "*fp64", "rows": "i32"}
found = {}
for name in sys.argv[1:]:
    kernel = getattr(generated, name)
    arrays = [x.removesuffix("_type") for x in kernel.arg_names if x.endswith("_type")]
    fixed = {"real": tl.float32, "WHOLE": True, "BLOCK": gpu.BLOCK} | {f"{x}_type": tl.float32 for x in arrays}
    source = ASTSource(
        fn=kernel,
        signature={x: TABLES.get(x, "constexpr") for x in kernel.arg_names},
        constexprs={(kernel.arg_names.index(x),): value for x, value in fixed.items()},
    )
    options = {"num_warps": gpu.WARPS}
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    found[name] = {
        "arrays": len(arrays),
        "loads": len(re.findall(r"ld[.]global[.]v4[.]", text)),
        "stores": len(re.findall(r"st[.]global[.]v4[.]", text)),
        "per thread": gpu.BLOCK // (32 * gpu.WARPS) // 4,
    }
json.dump(found, sys.stdout)
"""


@pytest.mark.parametrize(
    "names", [("adana", "dana_star_mk4"), pytest.param(tuple(generate.graphs()), marks=pytest.mark.slow)]
)
def test_kernels_compile_for_a_gpu_and_move_whole_vectors(names):
    """Compiled for an H100 without one: 16 bytes a load and a store, each array read once and written once."""
    pytest.importorskip("triton")
    compiling = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE, *names], capture_output=True, text=True, env=compiling)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, one in json.loads(done.stdout).items():
        assert one["loads"] == one["arrays"] * one["per thread"], name
        assert one["stores"] == (one["arrays"] - 1) * one["per thread"], name
