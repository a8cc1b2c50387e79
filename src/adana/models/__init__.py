"""Decoder-only models of the paper's ladders, your own architectures, and their sizes in numbers.

A configuration (:class:`EnokiConfig`, :class:`Qwen3Config`) follows from one number, ``heads``; :func:`build` makes its
model, :func:`count` counts its parameters without making it. :class:`Architecture` is what there is to know of one.
"""

from adana.models.architectures import (
    Architecture,
    Equations,
    architecture,
    architecture_of,
    build,
    model_name,
    printed_equations,
    register,
)
from adana.models.config import DecoderConfig
from adana.models.enoki import Enoki, EnokiConfig
from adana.models.layers import Decoder
from adana.models.qwen3 import Qwen3, Qwen3Config
from adana.models.sizes import Counts, count, flops_per_token, horizon, petaflop_days, petaflop_hours

__all__ = [
    "Architecture",
    "Counts",
    "Decoder",
    "DecoderConfig",
    "Enoki",
    "EnokiConfig",
    "Equations",
    "Qwen3",
    "Qwen3Config",
    "architecture",
    "architecture_of",
    "build",
    "count",
    "flops_per_token",
    "horizon",
    "model_name",
    "petaflop_days",
    "petaflop_hours",
    "printed_equations",
    "register",
]
