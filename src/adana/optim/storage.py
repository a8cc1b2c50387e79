"""How numbers are kept between steps: decoded before a rule, encoded after it, here and nowhere else.

Rounding noise in an average of growing memory adds up, and an average rounded to nearest stands still once
its weight is below half a step of the format. So everything narrower than float32 is rounded
stochastically, and the 16-bit formats spend their bits where log-time averages need them:

``"bfloat16"``
    Every average in bfloat16.
``"int16"``
    Rows of a parameter (dimension 0) are cut into blocks of 256 elements; a block has one float32 scale an
    average. ``exp_avg_sq`` and ``tau`` become unsigned floats (:func:`~adana.optim.formats.encode_magnitude`),
    signed averages are stored relative to the root of the stored second moment, ``r = m / sqrt(v)``, by a square
    law (:func:`~adana.optim.formats.encode_signed`). What does not save memory stays wide: vectors, scalars, rows
    of under 4 elements.

``tau_dtype="float16"`` stores ``tau`` alone so, where it is not a code. It lies between 0 and 1, needs no more range
than float16 has, and what is below ``1/t`` of it is read as ``1/t``.

:mod:`adana.optim.formats` has the formats, :mod:`adana.optim.randomness` the random bits, and
:mod:`adana.optim.places` says which elements of a parameter this rank holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from adana import rules
from adana.optim import formats
from adana.optim.places import Place, shard, sharded
from adana.optim.randomness import COMPENSATION, Bits, Randomness

__all__ = [
    "FORMATS",
    "StateFormat",
    "TAU_FORMATS",
    "TauFormat",
    "NARROW",
    "PARAM_ROUNDINGS",
    "ParamRounding",
    "Stored",
    "coded",
    "decode",
    "encode",
    "names",
    "narrow_state",
    "new_scales",
    "rounds",
    "scale_name",
    "split",
]

StateFormat = Literal["float32", "float64", "bfloat16", "int16"]
TauFormat = Literal["float16"]
ParamRounding = Literal["stochastic", "nearest", "kahan"]
FORMATS: tuple[str, ...] = get_args(StateFormat)
TAU_FORMATS: tuple[str, ...] = get_args(TauFormat)
PARAM_ROUNDINGS: tuple[str, ...] = get_args(ParamRounding)
MAGNITUDES = ("exp_avg_sq", "tau")  # never negative, and needed to a relative precision
NARROW = (torch.bfloat16, torch.float16)


def scale_name(name: str) -> str:
    return name + "_scale"


def coded(state_dtype: str | None, shape: torch.Size) -> bool:
    """Whether a parameter of this shape keeps its averages as codes: where that saves memory."""
    return state_dtype == "int16" and len(shape) >= 2 and math.prod(shape[1:]) >= 4


def new_scales(p: Any) -> Tensor:
    """Scales of a coded average, zero, laid out over ranks as the parameter.

    Raises:
        ValueError: the parameter is sharded across its blocks.
    """
    if not sharded(p):
        return torch.zeros(formats.scales_shape(p.shape), dtype=torch.float32, device=p.device)
    from torch.distributed.tensor import DTensor

    parts = math.prod(p.device_mesh.size(i) for i, x in enumerate(p.placements) if getattr(x, "dim", 0) != 0)
    if parts > 1 and (p.ndim != 2 or p.shape[1] % (formats.BLOCK * parts)):
        raise ValueError(
            f"state_dtype='int16' keeps a scale for {formats.BLOCK} elements of a row, which "
            f"{tuple(p.placements)} would cut: shard a parameter of shape {tuple(p.shape)} along "
            "dimension 0, or use state_dtype='bfloat16' for it"
        )
    local = p.to_local()
    rows, blocks = formats.scales_shape(local.shape) if local.numel() else (0, 0)
    shape = torch.Size(formats.scales_shape(p.shape))
    zeros = torch.zeros((rows, blocks) if rows else (0, shape[1]), dtype=torch.float32, device=local.device)
    return DTensor.from_local(zeros, p.device_mesh, p.placements, run_check=False, shape=shape, stride=(shape[1], 1))


def decode(stored: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The averages in the arithmetic's dtype; those already stored in it are handed out themselves.

    Args:
        stored: averages by name, codes together with their ``<name>_scale``.
        dtype: of the arithmetic.
    """
    values: dict[str, Tensor] = {}
    root: Tensor | None = None
    for name in sorted((n for n in stored if not n.endswith("_scale")), key=lambda n: n not in MAGNITUDES):
        x = stored[name]
        if x.dtype != torch.int16 or not x.numel():
            values[name] = x.to(dtype)
            continue
        codes, scale = formats.blocks_of(x), stored[scale_name(name)][..., None]
        if name in MAGNITUDES:
            value = formats.decode_magnitude(codes, scale)
            if name == "exp_avg_sq":
                root = value.sqrt()
        else:
            value = formats.decode_signed(codes, scale)
            if root is not None:
                value *= root
        values[name] = formats.unblocked(value, x.shape).to(dtype)
    return {name: values[name] for name in stored if name in values}


def readable(state: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's state with the averages that are kept as codes in float32, and without the codes' scales."""
    coded = {name for name, x in state.items() if isinstance(x, Tensor) and x.dtype == torch.int16}
    scales = {scale_name(name) for name in coded}
    values = decode({name: x for name, x in state.items() if name in coded | scales}, torch.float32)
    return {name: values.get(name, x) for name, x in state.items() if name not in scales}


def encode(stored: Mapping[str, Tensor], new: Mapping[str, Tensor], bits: Callable[[str, Tensor], Any]) -> None:
    """Write the averages into their storage, rounded by ``bits``: :class:`Bits` or :func:`to_nearest`.

    The second moment goes first: signed averages are stored relative to what of it was stored, so that its
    rounding does not show in them.
    """
    root: Tensor | None = None
    for name in sorted(new, key=lambda n: n not in MAGNITUDES):
        x, target = new[name], stored[name]
        if target is x or not x.numel():
            continue
        if target.dtype == torch.bfloat16:
            target.copy_(formats.round_bfloat16(x, bits(name, x)))
        elif target.dtype == torch.float16:
            target.copy_(formats.round_float16(x, bits(name, x)))
        elif target.dtype != torch.int16:
            target.copy_(x)
        else:
            noise = bits(name, x)
            noise = formats.blocks_of(noise) if isinstance(noise, Tensor) else noise
            blocks = formats.blocks_of(x.to(torch.float32))
            if name in MAGNITUDES:
                codes, scale = formats.encode_magnitude(blocks, noise)
                if name == "exp_avg_sq":
                    root = formats.decode_magnitude(codes, scale).sqrt_()
                    root.masked_fill_(root == 0, math.inf)  # no second moment: no first one either
            else:
                codes, scale = formats.encode_signed(blocks if root is None else blocks / root, noise)
            target.copy_(formats.unblocked(codes, target.shape))
            stored[scale_name(name)].copy_(scale[..., 0])


# --- a parameter and all that is stored with it -------------------------------------------------------


def names(averages: Iterable[str], state_dtype: str | None, param_rounding: str) -> tuple[str, ...]:
    """What the state of a group's parameters may hold, ``step`` aside.

    >>> names(("exp_avg", "exp_avg_sq"), "int16", "stochastic")
    ('exp_avg', 'exp_avg_sq', 'exp_avg_scale', 'exp_avg_sq_scale')
    """
    averages = tuple(averages)
    scales = tuple(map(scale_name, averages)) if state_dtype == "int16" else ()
    return averages + scales + ((COMPENSATION,) if param_rounding == "kahan" else ())


class Stored:
    """One parameter (or some of its rows) with its averages, as they are stored.

    Args:
        p: the parameter.
        averages: by name, in their stored form.
        beside: scales of codes, and the compensation of the parameter where it keeps one, by name.
        randomness: where rounding takes its random bits from; None where plain copies store everything.
        param_rounding: one of ``PARAM_ROUNDINGS``; only float16 and bfloat16 parameters are rounded.
    """

    def __init__(
        self,
        p: Tensor,
        averages: Mapping[str, Tensor],
        beside: Mapping[str, Tensor],
        randomness: Randomness | None,
        param_rounding: str,
    ) -> None:
        self.p = p
        self.averages = averages
        self.beside = beside
        self.randomness = randomness
        self.param_rounding = param_rounding

    def compute_dtype(self) -> torch.dtype:
        """The dtype a rule runs in: at least float32, wide enough for the parameter and its averages."""
        dtype = torch.promote_types(self.p.dtype, torch.float32)
        for x in self.averages.values():
            dtype = torch.promote_types(dtype, x.dtype)
        return dtype

    def largest_gradient(self) -> float:
        """Beyond which a gradient's square could not be stored."""
        return rules.largest_gradient(map(formats.name_of, (x.dtype for x in self.averages.values())))

    def read(self, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        """Parameter and averages for the arithmetic; what is stored in its dtype is handed out itself."""
        p = self.p.to(dtype)
        if COMPENSATION in self.beside:
            p = p + self.beside[COMPENSATION]
        if not self.beside:
            return p, {name: x.to(dtype) for name, x in self.averages.items()}
        stored = {name: shard(x, x) for name, x in (*self.averages.items(), *self.beside.items())}
        stored.pop(COMPENSATION, None)
        values = decode(stored, dtype)
        whole: Any = self.p
        if not sharded(whole):
            return p, values
        from torch.distributed.tensor import DTensor

        mesh, placements = whole.device_mesh, whole.placements
        return p, {
            name: DTensor.from_local(x, mesh, placements, run_check=False, shape=p.shape, stride=p.stride())
            for name, x in values.items()
        }

    def write(self, p: Tensor, averages: Mapping[str, Tensor]) -> None:
        """Keep what the rule made of them, each rounded once."""
        if self.randomness is None:
            self.p.copy_(p)
            for name, x in averages.items():
                self.averages[name].copy_(x)
            return
        bits = Bits(self.randomness)
        own = {name: shard(x, x) for name, x in (*self.averages.items(), *self.beside.items())}
        target, p = shard(self.p, self.p), shard(p, self.p)
        if p is not target:
            if target.dtype not in NARROW or self.param_rounding == "nearest":
                target.copy_(p)
            elif COMPENSATION in own:
                target.copy_(p)
                own[COMPENSATION].copy_(formats.round_bfloat16(p - target, bits(COMPENSATION, p)))
            else:
                rounded = formats.round_bfloat16 if target.dtype == torch.bfloat16 else formats.round_float16
                target.copy_(rounded(p, bits("parameter", p)))
        encode(own, {name: shard(x, self.p) for name, x in averages.items()}, bits)

    def rows(self, start: int, stop: int) -> Stored:
        """Some rows of it, sharing memory."""
        if self.randomness is None:
            raise ValueError("what is not rounded has no need to be cut")
        seed, step, at = self.randomness
        stride = at.strides[0] if at.strides else math.prod(self.p.shape[1:])
        return Stored(
            self.p[start:stop],
            {name: x[start:stop] for name, x in self.averages.items()},
            {name: x[start:stop] for name, x in self.beside.items()},
            Randomness(seed, step, Place(at.parameter, at.first + start * stride, at.strides)),
            self.param_rounding,
        )


def narrow_state(group: Mapping[str, Any]) -> bool:
    """Whether a group's averages, or some of them, are stored in 16 bits."""
    return group["state_dtype"] in ("bfloat16", "int16") or group.get("tau_dtype") is not None


def rounds(p: Tensor, group: Mapping[str, Any], param_rounding: str) -> bool:
    """Whether storing a parameter or its averages takes more than a plain copy."""
    return narrow_state(group) or (p.dtype in NARROW and param_rounding != "nearest")


# Elements rounded at a time: what the dozen temporaries of a code need of a processor's cache, or of a GPU's memory.
_PART = {"cpu": 1 << 18}
_PART_ELSEWHERE = 1 << 24


def split(
    cells: list[Stored], grads: list[Tensor], steps: list[Tensor]
) -> tuple[list[Stored], list[Tensor], list[Tensor]]:
    """Large parameters that need rounding, cut into runs of rows, so that temporaries stay small."""
    if not any(cell.randomness for cell in cells):
        return cells, grads, steps
    pieces: list[tuple[Stored, Tensor, Tensor]] = []
    for cell, grad, step in zip(cells, grads, steps):
        part = _PART.get(cell.p.device.type, _PART_ELSEWHERE)
        if cell.p.numel() <= part or cell.p.ndim == 0 or cell.randomness is None:
            pieces.append((cell, grad, step))
            continue
        size = max(1, part // math.prod(cell.p.shape[1:]))
        for start in range(0, cell.p.shape[0], size):
            stop = min(start + size, cell.p.shape[0])
            pieces.append((cell.rows(start, stop), grad[start:stop], step))
    return [x[0] for x in pieces], [x[1] for x in pieces], [x[2] for x in pieces]
