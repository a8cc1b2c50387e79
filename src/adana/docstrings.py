"""Argument texts: said once for many functions, and read back from a docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["arguments", "documented"]

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


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Descriptions of a function's arguments by name, from the ``Args:`` of its docstring, each in one line.

    >>> def f(step):
    ...     '''Do nothing.
    ...
    ...     Args:
    ...         step: Updates
    ...             already done.
    ...
    ...     Returns:
    ...         Nothing.
    ...     '''
    >>> arguments(f)
    {'step': 'Updates already done.'}
    """
    found: dict[str, str] = {}
    name, inside = "", False
    for line in (inspect.getdoc(function) or "").splitlines():
        depth = len(line) - len(line.lstrip())
        if not depth:
            inside = line.startswith("Args:") or (inside and not line)
        elif inside and depth == 4:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif inside:
            found[name] += " " + line.strip()
    return found
