"""What a fit says, as frozen dataclasses that are written as JSON and read back.

1. :mod:`adana.scaling.fitting` makes them from runs: :class:`LearningRateLaws`, :class:`LossLaws`,
   :class:`Multipliers`, :class:`DampingLaws`.
2. ``adana fit --json`` prints their ``to_json``; :func:`read_fit` reads such a file, for ``adana plan --law``.
3. :mod:`adana.scaling.presentation` says them in tables and sentences; :mod:`adana.scaling.planning` plans by them.

Needs no SciPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adana.files import Damaged, read_json
from adana.scaling.fits.batch import BatchLaws, BatchRow, OptimizerBatch
from adana.scaling.fits.losses import (
    Exponents,
    Form,
    FormName,
    FormTest,
    Formula,
    HoldOut,
    LossFit,
    LossLaws,
    OptimizerLoss,
    OtherForm,
    Outlier,
    PredictedLoss,
    Residual,
    Starts,
)
from adana.scaling.fits.others import (
    Budget,
    DampingFit,
    DampingLaws,
    DampingPoint,
    MultiplierRow,
    Multipliers,
    OptimizerDamping,
)
from adana.scaling.fits.overtraining import OptimizerOvertraining, Overtraining, TokenMultiplier
from adana.scaling.fits.rate_batch import Best, OptimizerRateBatch, PowerLaw, RateBatchLaws
from adana.scaling.fits.rates import (
    Cost,
    LearningRateFit,
    LearningRateLaws,
    OptimizerRate,
    PredictedRate,
    RateIntervals,
    RatePoint,
    Sensitivity,
    SizeCurvature,
)
from adana.scaling.fits.size_tokens import (
    Extremes,
    IsoFlop,
    IsoFlops,
    OptimizerSizeTokens,
    Optimum,
    SizeTokensLaw,
    SizeTokensLaws,
    SizeTokensPoint,
    Worth,
)

__all__ = [
    "Best",
    "OptimizerRateBatch",
    "PowerLaw",
    "RateBatchLaws",
    "OptimizerOvertraining",
    "Overtraining",
    "TokenMultiplier",
    "Extremes",
    "IsoFlop",
    "IsoFlops",
    "OptimizerSizeTokens",
    "Optimum",
    "SizeTokensLaw",
    "SizeTokensLaws",
    "SizeTokensPoint",
    "Worth",
    "Budget",
    "BatchLaws",
    "BatchRow",
    "Cost",
    "DampingFit",
    "DampingLaws",
    "DampingPoint",
    "Exponents",
    "Fit",
    "Form",
    "FormName",
    "FormTest",
    "Formula",
    "HoldOut",
    "LearningRateFit",
    "LearningRateLaws",
    "LossFit",
    "LossLaws",
    "MultiplierRow",
    "Multipliers",
    "OptimizerBatch",
    "OptimizerDamping",
    "OptimizerLoss",
    "OptimizerRate",
    "OtherForm",
    "Outlier",
    "PredictedLoss",
    "PredictedRate",
    "RateIntervals",
    "RatePoint",
    "Residual",
    "Sensitivity",
    "SizeCurvature",
    "Starts",
    "from_json",
    "read_fit",
    "without_samples",
]

Fit = (
    LearningRateLaws | LossLaws | Multipliers | DampingLaws | SizeTokensLaws | Overtraining | RateBatchLaws | BatchLaws
)
KINDS: dict[str, type[Fit]] = {
    kind.law: kind
    for kind in (
        LearningRateLaws,
        LossLaws,
        Multipliers,
        DampingLaws,
        SizeTokensLaws,
        Overtraining,
        RateBatchLaws,
        BatchLaws,
    )
}


def from_json(data: Any, where: str = "") -> Fit:
    """A fit from what ``adana fit --json`` prints.

    Args:
        data: the parsed JSON.
        where: what it is from, such as a file, for the message of an error.

    Raises:
        ValueError: it is no such thing; the message names the place, the field and the value.

    >>> from_json({"law": "lr", "laws": []}, "lr.json")
    Traceback (most recent call last):
    ValueError: lr.json: tokens_per_parameter is missing: make it again with `adana fit --law lr --json`
    """
    before = f"{where}: " if where else ""
    law = data.get("law") if isinstance(data, Mapping) else None
    if not isinstance(law, str) or law not in KINDS:
        raise ValueError(f"{before}it is not what `adana fit --json` prints")
    try:
        return KINDS[law].from_json(data)
    except ValueError as error:
        raise ValueError(f"{before}{error}: make it again with `adana fit --law {law} --json`") from None


def read_fit(path: Path) -> Fit:
    """A fit from a file that ``adana fit --output`` wrote.

    Raises:
        Damaged: it is no such file; the message names it, the field and the value.
        OSError: it cannot be read.
    """
    found = read_json(path, says="cannot be read as a fit")
    try:
        return from_json(found, str(path))
    except ValueError as error:
        raise Damaged(str(error)) from None


def without_samples(fit: Fit) -> dict[str, Any]:
    """A fit as plain data without the samples of its bootstrap, which are most of it."""
    data: dict[str, Any] = fit.to_json()
    for law in data.get("laws", ()):
        law.pop("samples", None)
        for other in law.get("others", ()):
            other.pop("samples")
    return data
