"""The formats narrower than float32: how numbers become bfloat16, float16 or 16-bit codes, and numbers again."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "BLOCK",
    "blocks_of",
    "decode_magnitude",
    "decode_signed",
    "encode_magnitude",
    "encode_signed",
    "name_of",
    "round_bfloat16",
    "round_float16",
    "scales_shape",
    "unblocked",
]

BLOCK = 256


def name_of(dtype: torch.dtype) -> str:
    """A dtype's name without the library's."""
    return str(dtype).removeprefix("torch.")


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
    """The same for float16, whose spacing stays at 2^-24 below 2^-14: what lies there is rounded 2^-14 higher up."""
    x = x.to(torch.float32)
    size = x.abs()
    lift = torch.where(size < 2.0**-14, 2.0**-14, 0.0)
    rounded = (((size + lift).view(torch.int32) + (bits >> 3)) & -0x2000).view(torch.float32) - lift
    return torch.where(torch.isfinite(x), rounded.copysign(x), x).to(torch.float16)


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
        bits: 16 random bits per element (int32), or 2^15 for rounding to nearest.
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
        bits: 16 random bits per element (int32), or 2^15 for rounding to nearest.
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


def blocks_of(x: Tensor) -> Tensor:
    """Rows cut into blocks, the last one filled up with zeros."""
    rows = x.reshape(x.shape[0], -1)
    length = rows.shape[1]
    if length <= BLOCK:
        return rows[:, None]
    if length % BLOCK:
        rows = F.pad(rows, (0, -length % BLOCK))
    return rows.view(rows.shape[0], -1, BLOCK)


def unblocked(blocks: Tensor, shape: torch.Size) -> Tensor:
    rows = blocks.reshape(blocks.shape[0], -1)
    return rows[:, : math.prod(shape[1:])].reshape(shape)


def scales_shape(shape: torch.Size) -> tuple[int, int]:
    """One scale a block: (dimension 0, blocks of a row)."""
    return shape[0], -(-math.prod(shape[1:]) // BLOCK)
