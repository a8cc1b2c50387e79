"""The help of a command as tyro writes it, with defaults and placeholders in plain words."""

from __future__ import annotations

import contextlib
import re
import types
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

__all__ = ["plain_help"]

IN_WORDS = re.compile(r"(.*?)[;.]? ?\bdefault:? (.+)\.", re.IGNORECASE | re.DOTALL)
NAMES = {"True": "yes", "False": "no"}
PLACEHOLDERS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}


@contextlib.contextmanager
def plain_help() -> Iterator[None]:
    """Have tyro's help show ``INT...`` for ``[INT [INT ...]]``, and say in words what an empty default means.

    A text that ends in "; default all." becomes "(default: all)"; where none says it, an empty default is "none".
    """
    registry, asking = ConstructorRegistry(), False

    def plain(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not is_dataclass(info.type):
            return None
        asking = True  # tyro's own rules, and not this one again
        try:
            found = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(found, StructConstructorSpec):
            return None
        return replace(found, fields=tuple(_plain(field) for field in found.fields))

    registry.struct_rule(plain)
    with registry:
        yield


def _plain(field: StructFieldSpec) -> StructFieldSpec:
    if is_dataclass(field.default):  # options of its own
        return field
    own: tuple[Any, ...] = getattr(field.type, "__metadata__", ())
    said = next((one.help for one in own if getattr(one, "help", None)), field.helptext)
    text = " ".join(((said() if callable(said) else said) or "").split())
    found = IN_WORDS.match(text)
    meaning = found[2] if found else "none"

    def default(value: str) -> str:
        return f"(default: {meaning if value in ('', 'None') else NAMES.get(value) or _short(value)})"

    ours = tyro.conf.arg(metavar=_placeholder(field.type), help_behavior_hint=default)
    kind: Any = get_args(field.type)[0] if own else field.type
    # The later wins: what the field says itself, but for the text.
    parts = (kind, ours, *own, tyro.conf.arg(help=f"{found[1]}." if found else text))
    annotated: Any = Annotated
    return replace(field, type=annotated[parts])


def _short(number: str) -> str:
    """A number of many zeros as 3.5e+14; any other text as it is."""
    return f"{float(number):g}" if re.fullmatch(r"\d{7,}\.0", number) else number


def _placeholder(kind: Any) -> str | None:
    """What stands for an option's value; nothing where tyro's own says it well."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        rest = [one for one in get_args(kind) if one is not type(None)]
        if rest == [bool]:
            return "{True,False}"
        kind = rest[0] if len(rest) == 1 else kind
    if get_origin(kind) is Literal:
        return f"{{{','.join(str(one) for one in get_args(kind) if one is not None)}}}"
    if get_origin(kind) is tuple:
        each = [_placeholder(one) for one in get_args(kind) if one is not Ellipsis]
        return None if None in each else " ".join(map(str, each)) + ("..." if get_args(kind)[-1] is Ellipsis else "")
    return PLACEHOLDERS.get(kind)
