"""Machine instructions of the CPU kernels per vector register of elements, and bytes per element.

    python benchmarks/cpu_instructions.py

Compiled for this processor, whose registers hold 16 elements with AVX-512 and 8 with AVX2. Counted is the loop over
whole vectors, which is all but the last few elements of a tensor. Divisions and roots are
counted apart: a processor begins one of them in several cycles only, and most others one or two per cycle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
import torch
from llvmlite import ir

import adana
from adana.optim.kernels import cpu
from adana.optim.kernels import llvm as emitter

SHAPE = (64, 256)
KERNELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ADana": (adana.ADana, {}),
    "DanaMK4": (adana.DanaMK4, {}),
    "AdEMAMix": (adana.AdEMAMix, {}),
    "DanaStar": (adana.DanaStar, {}),
    "DanaStarMK4": (adana.DanaStarMK4, {}),
    "DanaStar, tau float16": (adana.DanaStar, {"tau_dtype": "float16"}),
    "DanaStarMK4, tau float16": (adana.DanaStarMK4, {"tau_dtype": "float16"}),
}
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int16": 2}


def kernel_of(make: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The graph and the storage that a step of float32 parameters is compiled from."""
    asked: list[tuple[Any, Any]] = []
    compiled = cpu.compiled

    def remember(graph: Any, storage: Any) -> Any:
        asked.append((graph, storage))
        return compiled(graph, storage)

    p = torch.nn.Parameter(torch.ones(SHAPE))
    p.grad = torch.ones(SHAPE)
    cpu.compiled = remember
    try:
        make([p], lr=1e-3, total_steps=100, **options).step()
    finally:
        cpu.compiled = compiled
    return asked[0]


def blocks(assembly: str) -> Iterator[list[str]]:
    """Runs of instructions between labels."""
    found: list[str] = []
    for line in assembly.splitlines():
        if re.match(r"\S+:", line):
            yield found
            found = []
        elif line.startswith("\t") and not line.startswith("\t."):
            found.append(line.strip())
    yield found


def counted(make: Any, options: dict[str, Any]) -> dict[str, float]:
    graph, storage = kernel_of(make, options)
    module = ir.Module()
    emitter._emit(module, graph, storage)
    assembly = emitter._machine().emit_assembly(llvm.parse_assembly(str(module)))
    loop = max(blocks(assembly), key=lambda block: sum("mm" in x for x in block))
    lanes = emitter._lanes(graph, storage)
    registers = lanes // (emitter._register_bytes() // 4)
    read = sum(BYTES[kind] for _, kind in storage.arrays)
    written = sum(BYTES[kind] for name, kind in storage.arrays if name in graph.outputs)

    def per_register(pattern: str) -> float:
        return sum(bool(re.match(pattern, x)) for x in loop) / registers

    return {
        "bytes": read + written,
        "instructions": per_register("."),
        "divisions and roots": per_register(r"v?(div|sqrt)p"),
        "through the stack": per_register(r".*\(%r[sb]p\)"),
    }


def main() -> None:
    rows = {name: counted(*one) for name, one in KERNELS.items()}
    print(json.dumps({"cpu": llvm.get_host_cpu_name(), "llvm": llvm.llvm_version_info, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
