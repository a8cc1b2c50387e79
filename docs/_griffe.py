"""Has the reference show our examples as such: Griffe knows the heading in the plural only, and wants one."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

import griffe

BARE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)  # a doctest without a heading, up to the next empty line


class Examples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = BARE.sub(lambda found: f"Examples:\n{indent(found[0], '    ')}", text)
