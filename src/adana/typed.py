"""Dataclasses from JSON: every name known, every value of its type."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar

__all__ = ["checked", "from_mapping"]

T = TypeVar("T")


def from_mapping(kind: type[T], found: Mapping[str, Any], *, what: str = "") -> T:
    """A dataclass from a mapping, such as a JSON object; lists become tuples where the field is one.

    Args:
        kind: the dataclass.
        found: values by the names of its fields.
        what: what the message calls it, such as "a recipe"; default the class.

    Raises:
        ValueError: a name that it does not have, a value of another type, or one that is missing.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: float
    ...     name: str = ""
    >>> from_mapping(Point, {"x": 2})
    Point(x=2, name='')
    >>> from_mapping(Point, {"x": "2"})
    Traceback (most recent call last):
    ValueError: x must be a number, got '2'
    """
    what = what or f"a {kind.__name__}"
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in found.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1)
            raise ValueError(f"{what} has no {name!r}" + (f": do you mean {near[0]!r}?" if near else ""))
        values[name] = checked(name, value, hints[name])
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{what} needs {one.name!r}, which is missing")
    return kind(**values)


def checked(name: str, value: Any, hint: Any) -> Any:
    """A value of a type; lists become tuples where the type is one.

    Args:
        name: what the message calls it.
        value: plain data.
        hint: a type, as in an annotation.

    Raises:
        ValueError: it is of another type.
    """
    found = _as_tuples(value, hint)
    if not _fits(found, hint):
        shown = repr(value)
        raise ValueError(f"{name} must be {_in_words(hint)}, got {shown if len(shown) < 100 else shown[:100] + '...'}")
    return found


def _as_tuples(value: Any, hint: Any) -> Any:
    """Lists as the hint has them: JSON knows no tuples."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, list) and origin is tuple:
        each = inner[0] if inner[-1:] == (Ellipsis,) else None
        return tuple(_as_tuples(one, each or (inner[i] if i < len(inner) else None)) for i, one in enumerate(value))
    if isinstance(value, list) and origin is list:
        return [_as_tuples(one, inner[0]) for one in value]
    if origin in (types.UnionType, typing.Union):
        return next((new for one in inner if _fits(new := _as_tuples(value, one), one)), value)
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(one, inner[0]) for one in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is list:
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, float) or (_whole(value) and abs(value) < 2**1000)
    if hint is int:
        return _whole(value)
    return isinstance(value, hint)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _in_words(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_in_words(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    words = {float: "a number", int: "a whole number", str: "a string", bool: "true or false", types.NoneType: "null"}
    if hint in words:
        return words[hint]
    if origin is dict:
        return "an object"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}"
    return "a list of strings" if inner and inner[0] is str else "a list"
