"""Machine instructions an element of the Triton kernels on an H100: ``python benchmarks/kernel_instructions.py``.

Needs Triton with its own disassembler, and no GPU. Counted are those that are executed where no root or division takes
its slow path, which is a call; what is outside of a kernel's loop is shared by the blocks of a program.
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


def shape_of(average: Any) -> gpu.Shape:
    return gpu.CODED if average == tl.int16 else gpu.PLAIN if average == tl.float32 else gpu.ROUNDED


def compiled(name: str, parameter: Any, average: Any, rounding: str) -> Any:
    kernel = getattr(generated, name)
    types = {x: average for x in kernel.arg_names if x.endswith("_type")} | {"p_type": parameter, "g_type": parameter}
    shape = shape_of(average)
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


def disassembled(cubin: bytes) -> str:
    disassembler = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([disassembler, "-c", file.name], capture_output=True, text=True, check=True).stdout


def executed(text: str) -> tuple[int, int]:
    """Instructions outside of the loop and in it, without the runs between labels and branches that make a call."""
    runs: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        label = re.match(r"\s*(\.L_x_\d+|\$\S+):", line)
        instruction = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line)
        if label and label[1].startswith("$"):
            break  # functions: the slow paths
        if label:
            runs.append((label[1], []))
        elif instruction:
            runs[-1][1].append(instruction[1])
            if " BRA " in f" {instruction[1]}":
                runs.append(("", []))
    taken = [(label, [x for x in run if "NOP" not in x]) for label, run in runs if not any("CALL" in x for x in run)]
    at = {label: k for k, (label, _) in enumerate(taken) if label}
    loop = range(0)
    for k, (_, run) in enumerate(taken):
        back = re.search(r"BRA `\((\S+)\)", run[-1]) if run else None
        if back and at.get(back[1], k) < k:
            loop = range(at[back[1]], k + 1)
    inside = sum(len(taken[k][1]) for k in loop)
    return sum(len(run) for _, run in taken) - inside, inside


def main() -> None:
    print(f"triton {triton.__version__}, sm_90")
    for name in ("adana", "dana_star_mk4"):
        for words, kinds in STORED.items():
            shape = shape_of(kinds[1])
            once, each = executed(disassembled(compiled(name, *kinds).asm["cubin"]))
            elements = shape.block // (32 * shape.warps)
            total = (each + once / shape.blocks if each else once) / elements
            print(f"{name}, {words}: {total:.0f}")


if __name__ == "__main__":
    main()
