"""Print the Triton kernel of every rule: ``python -m adana.optim.kernels.generate > generated.py``.

Triton compiles source text it finds in a file, so the traced rules are printed into ``generated.py``, which
is kept with the code to be read and reviewed; a test prints it again and compares.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from adana import catalog, rules
from adana.catalog import Optimizer
from adana.optim.kernels.tables import graph_of
from adana.optim.kernels.trace import GRADIENT, PARAMETER, Graph, Node
from adana.optim.randomness import LANES
from adana.optim.storage import MAGNITUDES

__all__ = ["kernel_name", "source"]

_HEADER = '''"""The rules as Triton kernels. Printed by `python -m adana.optim.kernels.generate`; do not edit.

Each program updates some blocks of one tensor. ``owner[program]`` is the program's tensor; a tensor's line in
``table`` holds the address of each of its arrays, its number of elements, its first program and its row in
``numbers``, which holds what is the same for all elements, as float64, number by number, the step at last.
``places`` is what only rounding looks into (see triton_formats.py). ``EVEN`` says of all tensors that their first
elements have numbers that are multiples of a block's length, and so have their rows where codes are kept.
"""

# ruff: noqa
# fmt: off
# mypy: ignore-errors

import triton
import triton.language as tl

from adana.optim.kernels.triton_formats import (
    FIRST_SCALE, blocks_of, compensation_of, elements, length_of, load, load_magnitude, load_parameter, load_signed,
    random_key, random_words, scales_of, store_magnitude, store_parameter, store_signed,
)
from adana.optim.kernels.triton_math import power, quotient, root, sign
'''
_WRITE = '''@triton.jit(do_not_specialize=[f"w{{k}}" for k in range({words})])
def write_{name}(at, {parameters}):
    """Set words of a table from a launch's arguments: no copy from the host, which a captured graph may find gone."""
'''
WORDS = {"few": 16, "many": 64}  # that one launch sets: a step's numbers, a table's lines

_BINDS = {"gt": 0, "lt": 0, "add": 2, "sub": 2, "mul": 4, "div": 4}
_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "gt": ">", "lt": "<"}


@functools.cache
def kernel_name(graph: Graph) -> str:
    """A name that says which parts the graph has."""
    used = {node.value for node in graph.needed() if node.op == "scalar"}
    parts = [graph.direction]
    if graph.direction == "released" and "tau" in graph.outputs:
        parts.append("star")
    if graph.direction == "released" and "clip_snr" in used:
        parts.append("mk4")
    if "exp_avg_short" in graph.outputs:
        parts.append("short")
    if "eps_root" in used:
        parts.append("rooted")
    if "correction_sq" in used:
        parts.append("corrected")
    return "_".join(parts)


def graphs() -> dict[str, Graph]:
    """The graph of every rule, form and option that has one of its own, by the name of its kernel."""
    found: dict[str, Graph] = {}
    for (name, form), rule in rules.RULES.items():
        if not rule.elementwise:
            continue
        for options in _choices(catalog.of_rule(name)):
            numbers = {**rule.scalars(5.0, options), "ascent": 1.0, "largest": 1.0}
            graph = graph_of(rule, rule.state(options), [numbers], form)
            found.setdefault(kernel_name(graph), graph)
    return found


def _choices(entry: Optimizer) -> Iterator[dict[str, Any]]:
    """Every set of options that may have a graph of its own: with and without each number that may be None."""
    options = {**entry.defaults(), "total_steps": 100.0}
    optional = [
        name
        for name, one in entry.options.items()
        if one.default is None and one.range is not None and one.range.below is not None
    ]
    for given in itertools.product((False, True), repeat=len(optional)):
        yield options | {name: 0.9 if there else None for name, there in zip(reversed(optional), given)}


def source() -> str:
    """The whole of ``generated.py``."""
    header = f"{_HEADER}\n\nWORDS = {tuple(WORDS.values())}"
    writes = (_write(*each) for each in WORDS.items())
    kernels = ("\n".join(_kernel(*each)) for each in graphs().items())
    return "\n\n".join([header, *writes, *kernels]) + "\n"


def _write(name: str, words: int) -> str:
    parameters = ", ".join(f"w{k}: tl.int64" for k in range(words))
    stores = (f"    tl.store(at + {k}, w{k})" for k in range(words))
    return _WRITE.format(name=name, words=words, parameters=parameters) + "\n".join(stores)


def _kernel(name: str, graph: Graph) -> Iterator[str]:
    averages = [key for key in graph.outputs if key != PARAMETER]
    arrays = [PARAMETER, GRADIENT, *averages]
    types = ", ".join(f"{array}_type: tl.constexpr" for array in arrays)
    fixed = f"real: tl.constexpr, {types}, rounded: tl.constexpr, rounding: tl.constexpr"
    shape = "WHOLE: tl.constexpr, EVEN: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr"
    yield "@triton.jit"
    yield f"def {name}(table, places, owner, numbers, rows, {fixed}, {shape}):"
    width = len(arrays) + 3
    yield "    program = tl.program_id(0)"
    yield "    tensor = tl.load(owner + program)"
    yield f"    line = table + {width} * tensor"
    yield f"    place = places + (FIRST_SCALE + {len(averages)}) * tensor"
    yield f"    size = tl.load(line + {len(arrays)})"
    yield f"    first = (program - tl.load(line + {len(arrays) + 1})) * (BLOCKS * BLOCK)"
    yield f"    row = numbers + tl.load(line + {len(arrays) + 2})"
    for k, array in enumerate(arrays):
        yield f"    {array}_at = tl.load(line + {k}).to(tl.pointer_type({array}_type))"
    yield "    if WHOLE:  # addresses, sizes and rows are multiples of 16: whole vectors are read and written"
    yield "        size = tl.multiple_of(size, 16)"
    for array in arrays:
        yield f"        {array}_at = tl.multiple_of({array}_at, 16)"
    average = f"{averages[0]}_type"
    yield f"    coded: tl.constexpr = {average} == tl.int16"
    wider = f"{average} if {average}.primitive_bitwidth > {PARAMETER}_type.primitive_bitwidth else {PARAMETER}_type"
    yield f"    widest: tl.constexpr = {wider}"
    yield "    length = length_of(place, coded, WHOLE)"
    yield "    left_at = compensation_of(place, rounding, WHOLE)"
    for k, key in enumerate(averages):
        yield f"    {key}_scales = scales_of(place, {k}, coded)"
    names: dict[int, str] = {}
    uniforms = graph.uniforms
    for k, node in enumerate(uniforms):
        names[node.index] = node.value if node.op == "scalar" else f"number_{k}"
        remark = "" if node.op == "scalar" else f"  # {_expression(node, {}, called=False)}"
        yield f"    {names[node.index]} = tl.load(row + {k} * rows).to(real){remark}"
    yield f"    step = tl.load(row + {len(uniforms)} * rows)"
    streams = sorted({LANES[key][0] for key in averages} | {LANES["parameter"][0]})
    for stream in streams:
        yield f"    first_{stream}, second_{stream}, number = random_key(place, step, {stream}, rounded)"
    yield "    for part in range(0, blocks_of(first, size, coded, EVEN, BLOCK, BLOCKS)):"
    where = "first, part, size, length, widest, coded, WHOLE, EVEN, BLOCK"
    yield f"        start, at, inside, codes, present = elements({where})"
    for stream in streams:
        key = f"first_{stream}, second_{stream}, number + start, at, rounded, EVEN"
        yield f"        words_{stream} = random_words({key})"
    yield f"        {GRADIENT} = load({GRADIENT}_at + start, at, inside).to(real)"
    yield f"        {PARAMETER} = load_parameter({PARAMETER}_at, left_at, start, at, inside, real)"
    by_need = sorted(averages, key=lambda key: key not in MAGNITUDES)  # what others are relative to comes first
    second = "exp_avg_sq" if "exp_avg_sq" in averages else "None"
    for key in by_need:
        where = f"{key}_at, {key}_scales, start, at, inside, codes, present"
        if key in MAGNITUDES:
            yield f"        {key} = load_magnitude({where}, real)"
        else:
            yield f"        {key} = load_signed({where}, {second}, real)"
    outputs = {node.index: f"{key}_new" for key, node in graph.outputs.items()}
    needed = graph.needed()
    uses = {node.index: sum(x is node for other in needed for x in other.args) for node in needed}
    steps = 0
    for node in needed:
        if node.uniform:
            continue
        if node.op == "array":
            names[node.index] = node.value
        elif node.index in outputs or uses[node.index] > 1 or node.op in ("sqrt", "where", "pow", "sign"):
            steps += 1
            names_now = outputs.get(node.index, f"x{steps}")
            yield f"        {names_now} = {_expression(node, names)}"
            names[node.index] = names_now
    words = f"words_{LANES['parameter'][0]}"
    yield f"        store_parameter({PARAMETER}_at, left_at, start, at, inside, {PARAMETER}_new, {words}, rounding)"
    for key in by_need:
        stream, shift = LANES[key]
        where = f"{key}_at, {key}_scales, start, at, inside, codes, present, {key}_new"
        bits = f"words_{stream}, {shift}, rounded"
        if key in MAGNITUDES:
            yield f"        {key}_kept = store_magnitude({where}, {bits})"
        else:
            yield f"        store_signed({where}, {f'{second}_kept' if second in averages else second}, {bits})"


def _expression(node: Node, names: Mapping[int, str], outer: str = "", called: bool = True) -> str:
    """As Python; ``called`` has divisions as calls that round as the rule's do."""
    if node.index in names:
        return names[node.index]
    if node.op in ("scalar", "array"):
        return str(node.value)
    if node.op == "constant":
        return repr(node.value)
    if node.op in _SYMBOLS and not (called and node.op == "div"):
        left, right = (_expression(x, names, node.op + after, called) for x, after in zip(node.args, ("", "_")))
        text = f"{left} {_SYMBOLS[node.op]} {right}"
        # As Python binds, and the right operand apart: what was computed first must be computed first here.
        return f"({text})" if outer and _BINDS[node.op] < _BINDS[outer[:3].strip("_")] + outer.endswith("_") else text
    call = {"sqrt": "root", "div": "quotient", "abs": "tl.abs", "where": "tl.where", "pow": "power", "sign": "sign"}
    return f"{call[node.op]}({', '.join(_expression(x, names, called=called) for x in node.args)})"


if __name__ == "__main__":
    sys.stdout.write(source())
