"""The elementwise optimizers, each in a file with its relatives."""

from adana.optim.adamw import AdamW, LogAdamW, LogNAdamW
from adana.optim.adana import ADana
from adana.optim.ademamix import AdEMAMix
from adana.optim.amcs import AMCS
from adana.optim.dana import Dana, DanaMK4
from adana.optim.dana_star import DanaStar, DanaStarMK4

__all__ = [
    "AMCS",
    "ADana",
    "AdEMAMix",
    "AdamW",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LogAdamW",
    "LogNAdamW",
]
