"""Torch optimizers made from :mod:`adana.schedules` and :mod:`adana.rules`."""

from adana.optim import family as _family
from adana.optim import muon as _muon
from adana.optim.family import *  # noqa: F403 - a class is exported by the `__all__` of its own file
from adana.optim.muon import *  # noqa: F403

__all__: list[str] = []
__all__ += _family.__all__
__all__ += _muon.__all__
