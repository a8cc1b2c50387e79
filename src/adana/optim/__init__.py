"""Torch optimizers made from :mod:`adana.schedules` and :mod:`adana.rules`."""

from adana.optim.family import (
    AdamW,
    ADana,
    AdEMAMix,
    Dana,
    DanaMK4,
    DanaStar,
    DanaStarMK4,
    LogAdamW,
    LogNAdamW,
)
from adana.optim.muon import Muon

__all__ = [
    "ADana",
    "AdEMAMix",
    "AdamW",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LogAdamW",
    "LogNAdamW",
    "Muon",
]
