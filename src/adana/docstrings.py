"""Argument texts that mean the same in many functions, said once and shown in each docstring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["documented"]

_T = TypeVar("_T", bound=Any)


def documented(texts: Mapping[str, str]) -> Callable[[_T], _T]:
    """Decorator that replaces each docstring line ``{name}`` by ``texts[name]``.

    >>> @documented({"step": "    step: updates already done."})
    ... def f(step):
    ...     '''Do nothing.
    ...
    ...     Args:
    ...         {step}
    ...     '''
    >>> print(f.__doc__.splitlines()[3])
        step: updates already done.
    """

    def fill(obj: _T) -> _T:
        lines = []
        for line in (obj.__doc__ or "").splitlines():
            word = line.strip()
            lines.append(texts[word[1:-1]] if word[:1] == "{" and word[-1:] == "}" else line)
        obj.__doc__ = "\n".join(lines)
        return obj

    return fill
