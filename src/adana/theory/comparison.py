"""Simulation beside prediction: what every part of the bench returns, and what tables and plots read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from adana.theory.checks import Floats

__all__ = ["Comparison", "ComparedCurve", "compact", "plain"]


@dataclass(frozen=True)
class ComparedCurve:
    """One simulated quantity and its prediction at the same points.

    Attributes:
        label: of the curve.
        x: where, (n,).
        simulated: measured values, (n,).
        predicted: the theory's values, (n,), or None where it has none.
        standard_error: of the measured values, (n,), or None where they are single runs.
        diverged_at: step of divergence, or None.
    """

    label: str
    x: Floats
    simulated: Floats
    predicted: Floats | None = None
    standard_error: Floats | None = None
    diverged_at: int | None = None

    @property
    def max_relative(self) -> float | None:
        """Largest relative deviation, ``max |simulated/predicted - 1|``."""
        if self.predicted is None:
            return None
        with np.errstate(all="ignore"):  # equal zeros agree; what diverged gives infinity or NaN
            gap = np.abs(self.simulated - self.predicted)
            return float(np.max(np.where(gap == 0, 0, gap / np.abs(self.predicted))))

    @property
    def max_z(self) -> float | None:
        """Largest deviation in standard errors, over the points where one is known."""
        if self.predicted is None or self.standard_error is None:
            return None
        # Runs that start alike differ by rounding there, which is no standard error.
        known = self.standard_error > 1e-12 * np.abs(self.simulated)
        if not known.any():
            return None
        with np.errstate(all="ignore"):
            return float(np.max(np.abs((self.simulated - self.predicted)[known] / self.standard_error[known])))


@dataclass(frozen=True)
class Comparison:
    """Curves of one experiment.

    Attributes:
        title: what is compared.
        x_label: of the points.
        y_label: of the values.
        curves: simulated and predicted.
        notes: what a reader must know to judge them: range of validity, what is approximate.
        numbers: single results, such as fitted exponents, by name.
        logarithmic: whether both axes are best drawn so.
        laws: whether predictions are bounds, or laws drawn through one point, from which curves may stand off.
        drawing: what a plot shows: ``"phase-diagram"``, ``"phase-map"``, or ``""`` for the curves.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[ComparedCurve, ...]
    notes: tuple[str, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    logarithmic: bool = True
    laws: bool = False
    drawing: str = ""

    def document(self) -> dict[str, Any]:
        """As plain data for JSON: arrays as lists, values that are not finite as None."""
        document = asdict(self)
        del document["drawing"]
        for row, curve in zip(document["curves"], self.curves):
            row |= {"max_relative": curve.max_relative, "max_z": curve.max_z}
        made: dict[str, Any] = plain(document)
        return made


def plain(value: Any) -> Any:
    """Data that JSON has: arrays as lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def compact(value: Any) -> str:
    """JSON of any data, indented, with lists of numbers on one line."""
    return _compact(plain(value), "")


def _compact(value: Any, indent: str) -> str:
    within = indent + " "
    if isinstance(value, dict) and value:
        rows = [f"{within}{json.dumps(key)}: {_compact(item, within)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(within + _compact(item, within) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
