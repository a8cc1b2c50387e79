"""Torch optimizers made from :mod:`adana.schedules` and :mod:`adana.rules`."""

from adana.optim import adamw as _adamw
from adana.optim import adana as _adana
from adana.optim import ademamix as _ademamix
from adana.optim import amcs as _amcs
from adana.optim import dana as _dana
from adana.optim import dana_star as _dana_star
from adana.optim import muon as _muon

# A class is exported by the `__all__` of its own file.
from adana.optim.adamw import *  # noqa: F403
from adana.optim.adana import *  # noqa: F403
from adana.optim.ademamix import *  # noqa: F403
from adana.optim.amcs import *  # noqa: F403
from adana.optim.dana import *  # noqa: F403
from adana.optim.dana_star import *  # noqa: F403
from adana.optim.muon import *  # noqa: F403

__all__: list[str] = []
__all__ += _adamw.__all__
__all__ += _adana.__all__
__all__ += _ademamix.__all__
__all__ += _amcs.__all__
__all__ += _dana.__all__
__all__ += _dana_star.__all__
__all__ += _muon.__all__
