"""What the bench refuses, said the same way everywhere: the name, the value, what would do."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "NotSolved", "at_least", "covariance", "finite", "increasing", "integer", "positive", "vector"]

Floats = NDArray[np.floating[Any]]

_LARGEST = 1e100  # far beyond it squares overflow
_TOO_LARGE = 2**53  # from here on a float no longer holds every integer


class NotSolved(RuntimeError):
    """An equation that could not be solved at the given numbers."""


def finite(name: str, value: float) -> float:
    """``value`` as a float, if it is a number whose square is finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name} must lie within 1e100, got a longer integer") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if abs(number) > _LARGEST:
        raise ValueError(f"{name} must lie within {_LARGEST:g}, got {value!r}")
    return number


def positive(name: str, value: float) -> float:
    """``value`` as a float, if it is finite and above zero."""
    number = finite(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {value!r}")
    return number


def at_least(name: str, value: float, bound: float) -> float:
    """``value`` as a float, if it is finite and not below ``bound``."""
    number = finite(name, value)
    if number < bound:
        raise ValueError(f"{name} must be at least {bound:g}, got {value!r}")
    return number


def integer(name: str, value: int, least: int = 1) -> int:
    """``value`` as an int, if it is one, not below ``least`` and below 2^53. Floats and booleans are refused."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} must be an integer, at least {least}, got {value!r}")
    if number >= _TOO_LARGE:
        raise ValueError(f"{name} must be an integer below 2^53, got one of {number.bit_length()} bits")
    return number


def vector(name: str, value: ArrayLike, size: int | None = None, *, least: float | None = None) -> Floats:
    """``value`` as a finite float64 vector, of ``size`` entries not below ``least`` where these are given."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or (size is not None and array.size != size):
        wanted = "(n,)" if size is None else f"({size},)"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]} in it")
    if least is not None and (array < least).any():
        raise ValueError(f"{name} must not fall below {least:g}, got {array.min():g} in it")
    return array


def increasing(name: str, value: ArrayLike) -> Floats:
    """``value`` as a finite, strictly increasing float64 vector."""
    array = vector(name, value)
    if (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must increase strictly, got {array[:8]}")
    return array


def covariance(name: str, value: ArrayLike) -> Floats:
    """``value`` as a symmetric positive semi-definite float64 matrix with a positive diagonal."""
    matrix = np.asarray(value, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a square matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite")
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=1e-12 * np.abs(matrix).max()):
        raise ValueError(f"{name} must be symmetric, its largest asymmetry is {np.abs(matrix - matrix.T).max():.3g}")
    if (np.diagonal(matrix) <= 0).any():
        raise ValueError(f"{name} must have a positive diagonal, got {np.diagonal(matrix).min():.3g} on it")
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -1e-10 * eigenvalues[-1]:
        raise ValueError(f"{name} must be positive semi-definite, its smallest eigenvalue is {eigenvalues[0]:.3g}")
    return matrix
