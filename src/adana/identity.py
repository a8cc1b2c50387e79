"""What makes two runs the same: their settings as values, whichever way they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["as_text", "digest", "plain"]

_EXACT = 2**53
"""Whole numbers up to here are floats without loss."""


def plain(value: Any) -> Any:
    """A setting's value as it is compared: 1 as 1.0, tuples as lists, names in order.

    >>> plain({"weight_decay": 1, "betas": (0, 0.95)})
    {'betas': [0.0, 0.95], 'weight_decay': 1.0}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _EXACT:
        return float(value)
    return value


def as_text(settings: Mapping[str, Any]) -> str:
    """Settings as a text that is the same where they are.

    >>> as_text({"options": {"b": 1, "a": (2.0,)}}) == as_text({"options": {"a": [2], "b": 1.0}})
    True
    """
    return json.dumps(plain(settings), sort_keys=True)


def digest(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name settings: they end the name of a run's folder."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
