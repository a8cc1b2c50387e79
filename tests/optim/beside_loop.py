"""Runs the Triton kernels beside the loop and prints how they compare, as JSON.

    TRITON_INTERPRET=1 python -m tests.optim.beside_loop   # without a GPU
    python -m tests.optim.beside_loop                      # on one, as the package does

A script for :mod:`tests.optim.test_fused_triton`: the interpreter must be asked for before Triton is
imported, and torch's compiler, which other tests use, must not be handed an interpreting Triton.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
import triton
import triton.language as tl

import adana
import adana.optim.update
from adana.optim import formats, places, randomness
from adana.optim.kernels import gpu, tables, triton_formats
from tests.optim.cases import PLAIN, PLAIN_IDS, T, build
from tests.optim.tensors import MATRIX_RULES, clones, gradient, parameters, set_gradients

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
MORE = [
    ("adana", {"beta3": 0.9}),
    ("adana", {"beta2": 0.95, "beta3": 0.9, "maximize": True}),
    ("adana", {"gradient_term": False, "damping": "linear"}),
    ("dana-mk4", {"kappa": 1.2}),
    ("dana-star-mk4", {"clip_snr": 0.1, "kappa": 0.5}),
]


def patch_the_language_once() -> None:
    """The interpreter patches Triton's language again at every call of a helper, which takes a third of its time."""
    from triton.runtime import interpreter

    patch, kept = interpreter._patch_lang, []
    patched: set[frozenset[str]] = set()

    def once(function: Any) -> Any:
        modules = frozenset(name for name, value in function.__globals__.items() if value in (tl, tl.core))
        if modules not in patched:
            patched.add(modules)
            kept.append(patch(function))
        return interpreter._LangPatchScope()  # which has nothing to undo

    interpreter._patch_lang = once


def lay_out(params: Any, grads: Any, steps: Any, buffers: Any, places: Any, param_rounding: str) -> tables.Layout:
    """What the package does for a GPU, done for tensors that lie on the CPU."""
    return tables.Layout(params, grads, buffers, places, param_rounding)


def fused_update(
    layout: tables.Layout, steps: Any, rule: Any, scalars: Any, *, lr: Any, form: str, maximize: bool, capturable: bool,
    seed: int, counts: Any = None,
) -> None:  # fmt: skip
    """The same."""
    rate = lr if capturable else float(lr)
    for bucket in layout.buckets:
        gpu.update(
            bucket,
            [steps[k] for k in bucket.members],
            rule,
            lambda step, largest=bucket.largest_gradient: {
                **scalars(step, rate),
                "ascent": -1.0 if maximize else 1.0,
                "largest": largest,
            },
            form,
            capturable=capturable,
            seed=seed,
            counts=None if counts is None else [counts[k] for k in bucket.members],
        )
    layout.put_back()


def compare(name: str, options: dict[str, Any], dtypes: list[torch.dtype], *, capturable: bool) -> Any:
    """Largest difference from the loop, relative to a tensor's largest element, by parameter and by state."""
    params = [p for seed, dtype in enumerate(dtypes) for p in parameters(name, dtype, seed=seed)]
    params.append(torch.nn.Parameter(torch.randn(gpu.PLAIN.block + 48, generator=torch.Generator().manual_seed(9))))
    params = [torch.nn.Parameter(p.detach().to(DEVICE)) for p in params]
    twins = clones(params)
    lr: Any = torch.tensor(0.02, dtype=torch.float64, device=DEVICE) if capturable else 0.02
    fused = build(name, params, lr=lr, fused=True, capturable=capturable, **options)
    loop = build(name, twins, lr=0.02, foreach=False, **options)
    for step in range(2):
        for targets, optimizer in ((params, fused), (twins, loop)):
            set_gradients(targets, step)
            targets[step % 3].grad = None  # so that clocks differ
            optimizer.step()

    def difference(a: Any, b: Any) -> float:
        a, b = a.detach(), b.detach()
        assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return (
            float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30)) if a.numel() else 0.0
        )

    states = [
        difference(fused.state[p][key], loop.state[q][key]) for p, q in zip(params, twins) for key in loop.state[q]
    ]
    by_dtype: dict[str, float] = {}
    for p, q in zip(params, twins):
        by_dtype[str(p.dtype)] = max(by_dtype.get(str(p.dtype), 0.0), difference(p, q))
    return {"parameters": by_dtype, "state": max(states)}


# Rows under, at and above a block of codes, one parameter that parts between programs, and what keeps no codes.
SHAPES = ((7,), (3, 5), (2, 257))
MORE_SHAPES = ((), (0, 5), (3, 2), (5, 256), (3, 600), (2, 2, 3, 3), (5, 1300))
# Whole blocks of codes: less than a program's, a program's, more.
EVEN_SHAPES = ((7,), (3, 256), (2, 1024), (3, 4, 256))
F32, F64, BF16, F16 = torch.float32, torch.float64, torch.bfloat16, torch.float16
# Rule, parameters' dtypes, options; with "capturable" schedules and random sequences follow from the device's step.
STORED: dict[str, tuple[str, list[torch.dtype], dict[str, Any]]] = {
    **{f"{i}-int16": (name, [F32], {"state_dtype": "int16", **o}) for (name, o), i in zip(PLAIN, PLAIN_IDS)},
    **{
        f"{i}-bfloat16": (name, [BF16], {"state_dtype": "bfloat16", "param_rounding": "kahan", **o})
        for (name, o), i in zip(PLAIN, PLAIN_IDS)
    },
    "many-parameters-only": ("adana", [BF16, F16], {}),
    "wide": ("adana", [F64], {"state_dtype": "bfloat16"}),
    "corrected": ("adana", [F16], {"beta2": 0.95, "beta3": 0.9, "state_dtype": "int16", "maximize": True}),
    "many-capturable-codes": ("dana-star-mk4", [BF16], {"state_dtype": "int16", "capturable": True}),
    "capturable-kahan": (
        "dana-mk4", [F16], {"state_dtype": "int16", "param_rounding": "kahan", "capturable": True}
    ),
    "capturable-wide": ("adana", [F64], {"state_dtype": "int16", "capturable": True}),
    **{f"even-{i}": (name, [F32], {"state_dtype": "int16", **o}) for (name, o), i in zip(PLAIN, PLAIN_IDS)},
    "even-rounded": ("dana-star-mk4", [BF16, F16], {"state_dtype": "int16"}),
    "even-kahan": ("adana", [BF16], {"state_dtype": "int16", "param_rounding": "kahan", "capturable": True}),
}  # fmt: skip


def compare_stored(name: str, dtypes: list[torch.dtype], options: dict[str, Any], shapes: Any) -> Any:
    """What lies otherwise than the loop stores it from the same state, by name: how many, of how many, how far."""
    generator = torch.Generator().manual_seed(3)
    values = [(0.1 * torch.randn(shape, generator=generator), dtype) for dtype in dtypes for shape in shapes]
    columns = 1024 if shapes is EVEN_SHAPES else 260
    values.append((torch.randn(columns, 2, generator=generator).t(), dtypes[0]))
    params = [torch.nn.Parameter(value.to(DEVICE, dtype)) for value, dtype in values]
    twins = clones(params)
    options = {"total_steps": T, "rounding_seed": 2**32 - 5, **options}
    capturable = options.pop("capturable", False)
    loop = build(name, params, foreach=False, **options)
    lr: Any = torch.tensor(0.02, dtype=torch.float64, device=DEVICE) if capturable else 0.02
    fused = build(name, twins, lr=lr, fused=True, capturable=capturable, **options)
    found: dict[str, dict[str, float]] = {}
    for step in range(2):
        for index, (p, q) in enumerate(zip(params, twins)):
            p.grad = None if index % 3 == 1 and step == 0 else gradient(p, index, step)  # so that clocks differ
            q.grad = None if p.grad is None else p.grad.clone()
            q.detach().copy_(p.detach())
            for key, value in loop.state.get(p, {}).items():
                if key in fused.state[q]:
                    fused.state[q][key].copy_(value)
        loop.step()
        fused.step()
        for p, q in zip(params, twins):
            ours, theirs = ({"p": x.detach(), **state.get(x, {})} for x, state in ((q, fused.state), (p, loop.state)))
            assert ours.keys() == theirs.keys()
            if randomness.COMPENSATION in ours:
                for each in (ours, theirs):
                    each["sum"] = each["p"].float() + each.pop(randomness.COMPENSATION).float()
            for key, value in theirs.items():
                count(found, key, ours[key], value)
    return found


def count(found: dict[str, dict[str, float]], key: str, a: Any, b: Any) -> None:
    assert (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
    if a.dtype == torch.int16:
        off = (a.int() - b.int()).abs()
        off = torch.minimum(off, 65536 - off)
    else:
        off = (a.double() - b.double()).abs() / b.double().abs().max().clamp(min=1e-30) if a.numel() else a
    here = found.setdefault(f"{key} {str(a.dtype)[6:]}", {"unequal": 0, "count": 0, "most": 0.0})
    here["unequal"] += int((off != 0).sum())
    here["count"] += a.numel()
    here["most"] = max(here["most"], float(off.max()) if a.numel() else 0.0)


def finite(state_dtype: str, dtype: torch.dtype) -> Any:
    """Which parameters are finite and which scales are not a number after a gradient that was not, both ways."""
    found = []
    for way in ({"fused": True}, {"foreach": False}):
        params = [torch.nn.Parameter(torch.ones(3, 300, dtype=dtype, device=DEVICE)) for _ in range(3)]
        optimizer = build("adana", params, total_steps=T, state_dtype=state_dtype, param_rounding="stochastic", **way)
        for step in range(3):
            for p, bad in zip(params, (float("nan"), float("inf"), -float("inf"))):
                p.grad = torch.full_like(p, 0.5)
                if step == 1:
                    p.grad[1, 270] = bad
            optimizer.step()
        scales = [x for p in params for key, x in optimizer.state[p].items() if key.endswith("_scale")]
        found.append([[p.isfinite().tolist() for p in params], [x.isnan().tolist() for x in scales]])
    return found


def in_parts(kind: torch.dtype, length: int, first: int) -> Any:
    """Rows of a parameter updated alone, beside the same rows of the whole, where the elements' count passes 2^32."""
    rule = adana.rules.rule("adana", "paper")
    whole, g = torch.randn(6, length).to(DEVICE, torch.bfloat16), torch.randn(6, length).to(DEVICE)
    options = adana.ADana([torch.nn.Parameter(whole)], lr=0.02, total_steps=T).param_groups[0]

    def update(start: int, stop: int) -> list[torch.Tensor]:
        p = whole[start:stop].clone()
        buffers = {}
        for name in ("exp_avg", "exp_avg_sq"):
            buffers[name] = [torch.zeros(p.shape, dtype=kind, device=DEVICE)]
            if kind == torch.int16:
                buffers[name + "_scale"] = [torch.zeros(formats.scales_shape(p.shape), device=DEVICE)]
        place = places.Place(3, first + start * length)
        grad = g[start:stop].clone()
        fused_update(
            tables.Layout([p], [grad], buffers, [place], "stochastic"), [torch.zeros(())], rule,
            lambda t, lr: {**rule.scalars(t, options), "lr": lr, "decay": 0.0},
            lr=0.02, form="paper", maximize=False, capturable=False, seed=1,
        )  # fmt: skip
        return [p, *(buffer[0] for buffer in buffers.values())]

    pieces = zip(*(update(start, stop) for start, stop in ((0, 1), (1, 3), (3, 6))))
    return [torch.equal(torch.cat(parts), x) for parts, x in zip(pieces, update(0, 6))]


@triton.jit
def magnitude_codes(x_at, bits_at, codes_at, scales_at, kept_at):  # type: ignore[no-untyped-def]
    block, at = tl.program_id(0), tl.arange(0, 256)
    x = tl.load(x_at + block * 256 + at)
    scale, inverse = triton_formats.magnitude_scale(triton_formats.largest(x, True))
    code = triton_formats.encode_magnitude(x, inverse, tl.load(bits_at + block * 256 + at))
    code = tl.where(x == 0.0, 0, code).to(tl.int16)
    tl.store(scales_at + block, scale)
    tl.store(codes_at + block * 256 + at, code)
    tl.store(kept_at + block * 256 + at, triton_formats.decode_magnitude(code, scale))


@triton.jit
def signed_codes(x_at, codes_at):  # type: ignore[no-untyped-def]
    bits = tl.program_id(1) * 4096 + tl.arange(0, 4096)
    x = tl.load(x_at + tl.program_id(0))
    tl.store(codes_at + tl.program_id(0) * 65536 + bits, triton_formats.encode_signed(x, 1.0, bits))


def magnitudes_alike() -> list[bool]:
    """Whether codes, scales and decoded values are the loop's to the bit, for all that a block may hold."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(280, 256, generator=generator) * 2.0 ** (-80 * torch.rand(280, 256, generator=generator))
    x *= 2.0 ** torch.linspace(-140, 127.9, 280, dtype=torch.float64)[:, None].float()
    x[:, 5], x[:, 6], x[:, 7] = 0.0, 1e-45, 2.0**-126
    x[::7] *= torch.rand(40, 256, generator=generator) < 0.01
    x[1, 3], x[2, 4], x[3], x[4, 9] = float("nan"), float("inf"), 0.0, -float("nan")
    bits = torch.randint(0, 1 << 16, x.shape, dtype=torch.int32, generator=generator)
    codes, scales = formats.encode_magnitude(x, bits)
    kept = formats.decode_magnitude(codes, scales)
    ours = [torch.empty_like(t, device=DEVICE) for t in (codes, scales, kept)]
    magnitude_codes[(len(x),)](x.to(DEVICE), bits.to(DEVICE), *ours, num_warps=1)
    held = scales[:, 0].isfinite()  # codes of a block that is not finite say nothing
    return [torch.equal(a.cpu()[held], b[held]) for a, b in zip(ours, (codes, scales, kept))] + [
        torch.equal(ours[1].cpu().isnan(), scales.isnan())
    ]


def signed_mean() -> dict[str, float]:
    """How far the mean code over all noise is from unbiased, in steps, and how many codes are not the loop's."""
    whole = torch.tensor([1.0, 2.0, 3.0, 31.0, 1000.0, 8191.0, 20001.0, 32766.0])
    q = torch.cat([whole**2, (whole**2).nextafter(whole * 0), (whole**2).nextafter(whole * 1e9)])
    q = torch.cat([q, 2.0 ** torch.linspace(-20, 29.9, 40), torch.tensor([0.0, 32767.0**2])])
    x = torch.where(torch.arange(len(q)) % 3 == 1, -q, q)
    codes = torch.empty(len(x), 65536, dtype=torch.int16, device=DEVICE)
    signed_codes[(len(x), 16)](x.to(DEVICE), codes)
    c = codes.cpu().double()
    off = ((c * c.abs()).mean(1) - x.double()).abs() / (2 * q.double().sqrt() + 1)
    block = torch.cat([x, torch.tensor([32767.0**2])]).expand(65536, -1)
    bits = torch.arange(65536, dtype=torch.int32)[:, None]
    theirs = formats.encode_signed(block, bits)[0][:, :-1].t().double()
    return {
        "off": float(off[:-1].max()),
        "unequal": float((c != theirs).double().mean()),
        "most": float((c - theirs).abs().max()),
        "largest": float(c[-1].min()),
    }


def shapes_of(case_id: str) -> tuple[tuple[int, ...], ...]:
    if case_id.startswith("even"):
        return EVEN_SHAPES
    return SHAPES + MORE_SHAPES if case_id.startswith("many") else SHAPES


def main() -> None:
    if DEVICE == "cpu":
        patch_the_language_once()
        adana.optim.update.lay_out, adana.optim.update.fused_update = lay_out, fused_update
    plain = {}
    for (name, options), case_id in zip(PLAIN, PLAIN_IDS):
        if name not in MATRIX_RULES:
            plain[case_id] = compare(name, options, [F32], capturable=False)
    for name, options in MORE:
        plain[f"{name}-{options}"] = compare(name, {"total_steps": T, **options}, [F32], capturable=False)
    for name in ("adana", "adamw", "dana-star-mk4"):
        options = {"total_steps": T, "param_rounding": "nearest"}
        plain[f"{name}-mixed"] = compare(name, options, [F64, BF16, F16], capturable=False)
        plain[f"{name}-capturable"] = compare(name, {"total_steps": T}, [F32], capturable=True)
    stored = {
        case_id: compare_stored(name, dtypes, options, shapes_of(case_id))
        for case_id, (name, dtypes, options) in STORED.items()
        if name not in MATRIX_RULES
    }
    places = ((300, 2**32 - 700), (512, 2**32 - 1280), (1024, 2**32 - 2048))
    parts = [same for kind in (torch.int16, torch.bfloat16) for place in places for same in in_parts(kind, *place)]
    others = {
        "finite": [finite("int16", F32), finite("bfloat16", BF16)],
        "parts": parts,
    }
    others |= {"magnitudes": magnitudes_alike(), "signed": signed_mean()}
    json.dump({"plain": plain, "stored": stored, **others}, sys.stdout)


if __name__ == "__main__":
    main()
