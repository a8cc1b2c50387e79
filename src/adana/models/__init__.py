"""Decoder-only models of the paper's ladders, and the ladders in numbers.

A configuration (:class:`EnokiConfig`, :class:`Qwen3Config`) has one knob, ``heads``; :func:`build` makes its
model, :func:`count` counts its parameters without making it.
"""

from adana.models.config import DecoderConfig
from adana.models.enoki import Enoki, EnokiConfig
from adana.models.ladder import Counts, build, count, flops_per_token, horizon, petaflop_days, petaflop_hours
from adana.models.layers import Decoder
from adana.models.qwen3 import Qwen3, Qwen3Config

__all__ = [
    "Counts",
    "Decoder",
    "DecoderConfig",
    "Enoki",
    "EnokiConfig",
    "Qwen3",
    "Qwen3Config",
    "build",
    "count",
    "flops_per_token",
    "horizon",
    "petaflop_days",
    "petaflop_hours",
]
