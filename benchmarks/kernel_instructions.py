"""Machine instructions an element of the Triton kernels on an H100: ``python benchmarks/kernel_instructions.py``.

Needs Triton with its own disassembler, and no GPU. Slow paths that are rarely taken are counted as well.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import tempfile
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adana.optim.kernels import generated, gpu

TABLES = {"table": "*i64", "places": "*i64", "owner": "*i32", "numbers": "*fp64", "rows": "i32"}
STORED = {
    "float32": (tl.float32, tl.float32, "nearest"),
    "bfloat16 parameters and state": (tl.bfloat16, tl.bfloat16, "stochastic"),
    "int16 state": (tl.float32, tl.int16, "nearest"),
}


def compiled(name: str, parameter: Any, average: Any, rounding: str) -> Any:
    kernel = getattr(generated, name)
    types = {x: average for x in kernel.arg_names if x.endswith("_type")} | {"p_type": parameter, "g_type": parameter}
    shape = gpu.CODED if average == tl.int16 else gpu.PLAIN
    fixed = {"real": tl.float32, "WHOLE": True, "EVEN": True, "BLOCK": shape.block, "BLOCKS": shape.blocks}
    fixed |= {"rounding": rounding, **types}
    fixed["rounded"] = average != tl.float32
    source = ASTSource(
        fn=kernel,
        signature={x: TABLES.get(x, "constexpr") for x in kernel.arg_names},
        constexprs={(kernel.arg_names.index(x),): value for x, value in fixed.items()},
    )
    options = {"num_warps": shape.warps, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def instructions(cubin: bytes) -> int:
    disassembler = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([disassembler, "-c", file.name], capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"/\*[0-9a-f]{4,}\*/", text))


def main() -> None:
    each = gpu.BLOCK // (32 * gpu.WARPS)
    print(f"triton {triton.__version__}, sm_90")
    for name in ("adana", "dana_star_mk4"):
        for words, kinds in STORED.items():
            print(f"{name}, {words}: {instructions(compiled(name, *kinds).asm['cubin']) / each:.0f}")


if __name__ == "__main__":
    main()
