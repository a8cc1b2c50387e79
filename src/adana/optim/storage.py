"""How numbers are kept between steps: decoded before a rule, encoded after it, here and nowhere else.

Rounding noise in an average of growing memory adds up, and an average rounded to nearest stands still once
its weight is below half a step of the format. So everything narrower than float32 is rounded
stochastically, and the 16-bit formats spend their bits where log-time averages need them:

``"bfloat16"``
    Every average in bfloat16.
``"int16"``
    Rows of a parameter (dimension 0) are cut into blocks of 256 elements; a block has one float32 scale an
    average. ``exp_avg_sq`` and ``tau`` become unsigned floats (:func:`encode_magnitude`), signed averages
    are stored relative to the root of the stored second moment, ``r = m / sqrt(v)``, by a square law
    (:func:`encode_signed`). What does not save memory stays wide: vectors, scalars, rows of under 4 elements.

Random numbers are a pure function of ``(seed, step, parameter, element)`` (:func:`random_words`), so a
resumed run rounds as the uninterrupted one does, and a shard as its part of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BLOCK", "FORMATS", "PARAM_ROUNDINGS", "Bits", "Place", "Randomness", "Stored", "decode", "encode"]

FORMATS = ("float32", "float64", "bfloat16", "int16")
PARAM_ROUNDINGS = ("stochastic", "nearest", "kahan")
BLOCK = 256
COMPENSATION = "compensation"
MAGNITUDES = ("exp_avg_sq", "tau")  # never negative, and needed to a relative precision
NARROW = (torch.bfloat16, torch.float16)
Word = Any  # a 32-bit integer: a Python number in [0, 2^32) or a 0-d int32 tensor

# --- random numbers -----------------------------------------------------------------------------------


def _signed(word: int) -> int:
    """The int32 of the same bits."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


FIRST, SECOND, GOLDEN = 0x7FEB352D, _signed(0x846CA68B), 0x9E3779B9


def mix(word: Word) -> Word:
    """A bijection of 32-bit words in which every bit depends on all (C. Wellons' lowbias32).

    >>> hex(mix(1))
    '0x688990c0'
    """
    if isinstance(word, Tensor):
        word = word ^ ((word >> 16) & 0xFFFF)
        word = word * FIRST
        word = word ^ ((word >> 15) & 0x1FFFF)
        word = word * SECOND
        return word ^ ((word >> 16) & 0xFFFF)
    word ^= word >> 16
    word = word * FIRST & 0xFFFFFFFF
    word ^= word >> 15
    word = word * 0x846CA68B & 0xFFFFFFFF
    return word ^ word >> 16


def start(seed: int, parameter: int) -> int:
    """What a parameter's random sequences have in common at all steps; see :func:`key`."""
    return int(mix(mix(seed ^ GOLDEN) ^ parameter))


def key(seed: int, parameter: int, step: Any, stream: int) -> tuple[Word, Word]:
    """The two words that select a sequence of :func:`random_words`.

    Args:
        seed: ``rounding_seed`` of the group, in [0, 2^32).
        parameter: position of the parameter in the optimizer.
        step: finished updates: a number, or a 0-d tensor where it must stay on the device.
        stream: which of a step's sequences.
    """
    common = start(seed, parameter)
    if isinstance(step, Tensor):
        first = mix((2 * step.to(torch.int32) + stream) ^ _signed(common))
        return first, mix(first ^ _signed(GOLDEN))
    first = mix(common ^ (2 * int(step) + stream) & 0xFFFFFFFF)
    return first, mix(first ^ GOLDEN)


def random_words(key: tuple[Word, Word], elements: Tensor) -> Tensor:
    """One 32-bit word for each element number (int32, modulo 2^32); spends ``elements``."""
    first, second = (word if isinstance(word, Tensor) else _signed(word) for word in key)
    x = elements
    x ^= first
    x ^= (x >> 16) & 0xFFFF
    x *= FIRST
    x ^= second
    x ^= (x >> 15) & 0x1FFFF
    x *= SECOND
    x ^= (x >> 16) & 0xFFFF
    return x


class Place(NamedTuple):
    """Which elements of which parameter a tensor holds.

    Attributes:
        parameter: position of the parameter in the optimizer.
        first: number of the tensor's first element among those of the whole parameter, row by row.
        strides: elements between neighbours along each dimension, where the tensor is not a run of rows.
    """

    parameter: int
    first: int = 0
    strides: tuple[int, ...] | None = None

    def elements(self, shape: torch.Size, device: torch.device) -> Tensor:
        first = _signed(self.first)
        if self.strides is None:
            return torch.arange(math.prod(shape), dtype=torch.int32, device=device).view(shape) + first
        numbers = torch.full(shape, first, dtype=torch.int32, device=device)
        for dim, (size, stride) in enumerate(zip(shape, self.strides)):
            steps = torch.arange(size, dtype=torch.int32, device=device) * _signed(stride)
            numbers += steps.view(-1, *[1] * (len(shape) - 1 - dim))
        return numbers


def place(p: Any, parameter: int) -> Place:
    """Where the elements that this rank holds of a parameter stand in the whole of it."""
    if not sharded(p):
        return Place(parameter)
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offsets = compute_local_shape_and_global_offset(p.shape, p.device_mesh, p.placements)
    strides = tuple(math.prod(p.shape[dim + 1 :]) for dim in range(p.ndim))
    first = sum(offset * stride for offset, stride in zip(offsets, strides))
    return Place(parameter, first, None if tuple(shape[1:]) == tuple(p.shape[1:]) else strides)


def real_place(at: Place, p: Tensor) -> Place:
    """The place of a complex tensor's real view."""
    if not p.is_complex():
        return at
    strides = None if at.strides is None else (*(2 * stride for stride in at.strides), 1)
    return Place(at.parameter, 2 * at.first, strides)


# Which 16 bits round what: two sequences a step, two halves of a word.
LANES = {
    "exp_avg": (0, 0),
    "momentum_buffer": (0, 0),
    "exp_avg_sq": (0, 16),
    "parameter": (1, 0),
    COMPENSATION: (1, 0),
    "tau": (1, 16),
    "exp_avg_short": (1, 16),
}


class Randomness(NamedTuple):
    """What the random numbers of one parameter at one step are a function of.

    Attributes:
        seed: ``rounding_seed`` of the group.
        step: finished updates, a number or a 0-d tensor.
        place: what the tensors to be rounded hold.
    """

    seed: int
    step: Any
    place: Place


class Bits:
    """16 random bits an element, the words behind them made when first asked for."""

    def __init__(self, randomness: Randomness) -> None:
        self._of = randomness
        self._words: dict[int, Tensor] = {}

    def __call__(self, name: str, like: Tensor) -> Tensor:
        """For rounding the tensor of that name, as int32."""
        stream, shift = LANES[name]
        if stream not in self._words:
            seed, step, at = self._of
            elements = at.elements(like.shape, like.device)
            self._words[stream] = random_words(key(seed, at.parameter, step, stream), elements)
        half = self._words[stream] >> shift
        half &= 0xFFFF
        return half


def to_nearest(name: str, like: Tensor) -> int:
    """In place of :class:`Bits`: the half that makes every rounding one to nearest."""
    return 0x8000


# --- formats ------------------------------------------------------------------------------------------


def round_bfloat16(x: Tensor, bits: Any) -> Tensor:
    """bfloat16 neighbours of ``x``, the nearer the likelier, so that the mean is ``x``.

    ``bits`` are 16 random bits, or 2^15 for rounding to nearest. Not-a-number and infinity stay.
    """
    x = x.to(torch.float32)
    rounded = x.view(torch.int32) + bits
    rounded &= -0x10000
    rounded = rounded.view(torch.float32)
    return torch.where(torch.isfinite(x), rounded, x).to(torch.bfloat16)


def round_float16(x: Tensor, bits: Any) -> Tensor:
    """The same for float16, whose spacing stays at 2^-24 below 2^-14."""
    x = x.to(torch.float32)
    rounded = ((x.view(torch.int32) + (bits >> 3)) & -0x2000).view(torch.float32)
    subnormal = torch.floor(x * 2.0**24 + (bits + 0.5) * 2.0**-16) * 2.0**-24
    rounded = torch.where(x.abs() < 2.0**-14, subnormal, rounded)
    return torch.where(torch.isfinite(x), rounded, x).to(torch.float16)


# The magnitude code: the float32 bits of x/scale, counted from 2^-59 on. The 28 octaves under the scale's own
# keep 11 bits of mantissa (steps of 2^-11 to 2^-12 of the value), the 32 below those keep 8.
BOTTOM = (127 - 59) << 23
KNEE = 32 << 23
LOW_CODES = 1 << 13
ABOVE_KNEE = (KNEE >> 12) - LOW_CODES


def encode_magnitude(x: Tensor, bits: Any) -> tuple[Tensor, Tensor]:
    """Codes (int16) and scales of non-negative blocks: unsigned floats with an exponent window a block.

    The scale is the power of two at or below the block's largest value, at least 2^-67. Zero is code 0; a
    value above zero never becomes zero: what lies below scale * 2^-59 is lifted there, so that a second
    moment is never underestimated into a huge update. The grid is the same whatever the scale, so a value
    that does not change is not rounded again. A block with a value that is not finite decodes to NaN whole.

    Args:
        x: float32, blocks along the last dimension.
        bits: 16 random bits an element (int32), or 2^15 for rounding to nearest.
    """
    top = x.amax(-1, keepdim=True)
    scale = (top.view(torch.int32) & 0x7F800000).view(torch.float32).clamp(min=2.0**-67)
    scale = torch.where(top == 0, 0.0, torch.where(torch.isfinite(top), scale, math.nan))
    n = (x / torch.where(scale == 0, 1.0, scale)).view(torch.int32) - BOTTOM
    n.clamp_(min=1 << 15)
    fine = ((n + (bits >> 4)) >> 12) - ABOVE_KNEE
    coarse = (n + (bits >> 1)) >> 15
    code = torch.where(n >= KNEE, fine, coarse).clamp_(max=0xFFFF).masked_fill_(x == 0, 0)
    return code.to(torch.int16), scale


def decode_magnitude(codes: Tensor, scale: Tensor) -> Tensor:
    """The float32 values of :func:`encode_magnitude`."""
    code = codes.to(torch.int32) & 0xFFFF
    n = torch.where(code < LOW_CODES, code << 15, (code + ABOVE_KNEE) << 12)
    return (n + BOTTOM).view(torch.float32).masked_fill_(code == 0, 0.0) * scale


LEVELS = 32767


def encode_signed(x: Tensor, bits: Any) -> tuple[Tensor, Tensor]:
    """Codes (int16) and scales of signed blocks by a square law: ``x = c |c| scale``.

    Steps grow with the root of the value, so that one large element costs its block little. ``scale`` is
    the largest magnitude over 32767^2; zero is code 0. A block with a value that is not finite decodes to
    values that are not finite.

    Args:
        x: float32, blocks along the last dimension.
        bits: 16 random bits an element (int32), or 2^15 for rounding to nearest.
    """
    scale = x.abs().amax(-1, keepdim=True) * (1.0 / LEVELS**2)
    scale = torch.where(scale < 2.0**-126, 0.0, scale)
    q = x.abs() * torch.where(scale == 0, 0.0, 1 / scale)
    below = q.sqrt().floor_()
    room = 2 * below + 1  # between below^2 and (below + 1)^2: unbiased in x, not in its root
    up = (q - below * below) + room * ((bits + 0.5) * 2.0**-16) >= room
    code = (below + up).clamp_(max=LEVELS)
    return torch.where(x < 0, -code, code).to(torch.int16), scale


def decode_signed(codes: Tensor, scale: Tensor) -> Tensor:
    """The float32 values of :func:`encode_signed`."""
    c = codes.to(torch.float32)
    return c * c.abs() * scale


def _blocks(x: Tensor) -> Tensor:
    """Rows cut into blocks, the last one filled up with zeros."""
    rows = x.reshape(x.shape[0], -1)
    length = rows.shape[1]
    if length <= BLOCK:
        return rows[:, None]
    if length % BLOCK:
        rows = F.pad(rows, (0, -length % BLOCK))
    return rows.view(rows.shape[0], -1, BLOCK)


def _unblocked(blocks: Tensor, shape: torch.Size) -> Tensor:
    rows = blocks.reshape(blocks.shape[0], -1)
    return rows[:, : math.prod(shape[1:])].reshape(shape)


# --- the state of a parameter -------------------------------------------------------------------------


def scale_name(name: str) -> str:
    return name + "_scale"


def coded(state_dtype: str | None, shape: torch.Size) -> bool:
    """Whether a parameter of this shape keeps its averages as codes: where that saves memory."""
    return state_dtype == "int16" and len(shape) >= 2 and math.prod(shape[1:]) >= 4


def scales_shape(shape: torch.Size) -> tuple[int, int]:
    """One scale a block: (dimension 0, blocks of a row)."""
    return shape[0], -(-math.prod(shape[1:]) // BLOCK)


def new_scales(p: Any) -> Tensor:
    """Scales of a coded average, zero, laid out over ranks as the parameter.

    Raises:
        ValueError: the parameter is sharded across its blocks.
    """
    if not sharded(p):
        return torch.zeros(scales_shape(p.shape), dtype=torch.float32, device=p.device)
    from torch.distributed.tensor import DTensor

    parts = math.prod(p.device_mesh.size(i) for i, x in enumerate(p.placements) if getattr(x, "dim", 0) != 0)
    if parts > 1 and (p.ndim != 2 or p.shape[1] % (BLOCK * parts)):
        raise ValueError(
            f"state_dtype='int16' keeps a scale for {BLOCK} elements of a row, which {tuple(p.placements)} would cut: "
            f"shard a parameter of shape {tuple(p.shape)} along dimension 0, or use state_dtype='bfloat16' for it"
        )
    local = p.to_local()
    rows, blocks = scales_shape(local.shape) if local.numel() else (0, 0)
    shape = torch.Size(scales_shape(p.shape))
    zeros = torch.zeros((rows, blocks) if rows else (0, shape[1]), dtype=torch.float32, device=local.device)
    return DTensor.from_local(zeros, p.device_mesh, p.placements, run_check=False, shape=shape, stride=(shape[1], 1))


def sharded(x: Any) -> bool:
    """Whether this rank may hold but a part of a tensor."""
    return hasattr(x, "to_local")


def shard(x: Any, like: Any) -> Tensor:
    """What this rank holds of a distributed tensor, laid out as another: all that elementwise rules need."""
    if not sharded(x):
        return x  # type: ignore[no-any-return]
    if x.placements != like.placements:
        x = x.redistribute(like.device_mesh, like.placements)
    return x.to_local()  # type: ignore[no-any-return]


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
        codes, scale = _blocks(x), stored[scale_name(name)][..., None]
        if name in MAGNITUDES:
            value = decode_magnitude(codes, scale)
            if name == "exp_avg_sq":
                root = value.sqrt()
        else:
            value = decode_signed(codes, scale)
            if root is not None:
                value *= root
        values[name] = _unblocked(value, x.shape).to(dtype)
    return {name: values[name] for name in stored if name in values}


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
            target.copy_(round_bfloat16(x, bits(name, x)))
        elif target.dtype != torch.int16:
            target.copy_(x)
        else:
            noise = bits(name, x)
            noise = _blocks(noise) if isinstance(noise, Tensor) else noise
            blocks = _blocks(x.to(torch.float32))
            if name in MAGNITUDES:
                codes, scale = encode_magnitude(blocks, noise)
                if name == "exp_avg_sq":
                    root = decode_magnitude(codes, scale).sqrt_()
                    root.masked_fill_(root == 0, math.inf)  # no second moment: no first one either
            else:
                codes, scale = encode_signed(blocks if root is None else blocks / root, noise)
            target.copy_(_unblocked(codes, target.shape))
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
                own[COMPENSATION].copy_(round_bfloat16(p - target, bits(COMPENSATION, p)))
            else:
                rounded = round_bfloat16 if target.dtype == torch.bfloat16 else round_float16
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


def rounds(p: Tensor, state_dtype: str | None, param_rounding: str) -> bool:
    """Whether storing a parameter or its averages takes more than a plain copy."""
    return state_dtype in ("bfloat16", "int16") or (p.dtype in NARROW and param_rounding != "nearest")


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
