"""Frozen dataclasses as JSON and back, every field checked in one place.

1. A dataclass that inherits :class:`Record` has ``to_json`` and ``from_json``; its fields may be numbers, strings,
   lists of them, and further records.
2. ``to_json`` gives plain data: a dictionary with a key for each field. The keys of a field named in ``INLINE`` stand
   beside the others, not below its name; names in ``DERIVED`` are properties that readers of the file want too.
3. ``from_json`` checks the type of every field (:func:`adana.typed.checked`) and raises a ValueError that names the
   place: the file, then the path of the field in it, then the value.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from adana.typed import checked

__all__ = ["Record"]

R = TypeVar("R", bound="Record")


class Record:
    """A dataclass that can be written as JSON and read back.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Point(Record):
    ...     lr: float
    ...     seeds: tuple[int, ...] = ()
    >>> Point(0.5, (1, 2)).to_json()
    {'lr': 0.5, 'seeds': [1, 2]}
    >>> Point.from_json({"lr": 1})
    Point(lr=1.0, seeds=())
    >>> Point.from_json({"lr": 1, "seeds": [0, "one"]}, "fit.json")
    Traceback (most recent call last):
    ValueError: fit.json: seeds[1] must be a whole number, got 'one'
    """

    DERIVED: ClassVar[tuple[str, ...]] = ()
    """Properties that are written beside the fields, and not read."""
    INLINE: ClassVar[tuple[str, ...]] = ()
    """Fields that are records, whose keys stand beside the other keys."""

    def to_json(self) -> Any:
        """Plain data: numbers, strings, lists and dictionaries."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _plain(getattr(self, field.name))
            if field.name in self.INLINE:
                out |= value
            else:
                out[field.name] = value
        return out | {name: _plain(getattr(self, name)) for name in self.DERIVED}

    @classmethod
    def from_json(cls: type[R], data: Any, where: str = "") -> R:
        """A record from what :meth:`to_json` gave. Keys that it does not have are passed over.

        Args:
            data: plain data.
            where: what the data are from, such as a file, for the message of an error.

        Raises:
            ValueError: a missing key, or a value of another type.
        """
        try:
            return cls._read(data, "")
        except ValueError as error:
            raise ValueError(f"{where}: {error}" if where else str(error)) from None

    @classmethod
    def _read(cls: type[R], data: Any, path: str) -> R:
        """As :meth:`from_json`, of the value at a path in the data."""
        if not isinstance(data, Mapping):
            raise ValueError(f"{path or 'it'} must be an object, got {_shown(data)}")
        hints, values = _hints(cls), {}  # type: ignore[arg-type]
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            below = f"{path}.{field.name}" if path else field.name
            if field.name in cls.INLINE:
                values[field.name] = _value(hints[field.name], data, path)
            elif field.name in data:
                values[field.name] = _value(hints[field.name], data[field.name], below)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise ValueError(f"{below} is missing")
        try:
            return cls(**values)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path}: {error}" if path else str(error)) from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _value(hint: Any, data: Any, path: str) -> Any:
    """Data as a value of a type: records are looked for inside, and everything else is checked as it is.

    Raises:
        ValueError: it is none.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rest = [one for one in inner if one is not type(None)]
        return None if data is None and len(rest) < len(inner) else _value(rest[0], data, path)
    if origin is tuple:
        return _tuple(inner, data, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise ValueError(f"{path} must be an object, got {_shown(data)}")
        return {str(name): _value(inner[1], item, f"{path}.{name}") for name, item in data.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint._read(data, path)
    found = checked(path, data, hint)
    if hint is float:
        if not math.isfinite(found):
            raise ValueError(f"{path} must be a finite number, got {found}")
        return float(found)
    return found


def _tuple(inner: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise ValueError(f"{path} must be a list, got {_shown(data)}")
    hints = [inner[0]] * len(data) if inner[1:] == (...,) else inner
    if len(data) != len(hints):
        raise ValueError(f"{path} must be a list of {len(hints)}, got {len(data)}")
    return tuple(_value(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(zip(hints, data)))


def _shown(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
