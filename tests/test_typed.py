from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from adana.typed import from_mapping


@dataclass
class Thing:
    number: float
    count: int | None = None
    kind: Literal["a", "b"] = "a"
    words: tuple[str, ...] = ()
    points: list[tuple[int, float]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    whether: bool = False


def test_lists_become_what_the_fields_are():
    found = from_mapping(Thing, {"number": 1, "words": ["x"], "points": [[1, 2.0], [3, 4]], "options": {"a": [1]}})
    assert found == Thing(1, words=("x",), points=[(1, 2.0), (3, 4)], options={"a": [1]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": True}, "number must be a number, got True"),
        ({"number": 10**400}, "number must be a number, got 1000"),
        ({"count": 1.5}, "count must be a whole number or null, got 1.5"),
        ({"kind": "c"}, "kind must be 'a' or 'b', got 'c'"),
        ({"words": "x"}, "words must be a list of strings, got 'x'"),
        ({"words": [1]}, "words must be a list of strings"),
        ({"points": [[1, 2, 3]]}, "points must be a list, got"),
        ({"points": [["1", 2]]}, "points must be a list, got"),
        ({"options": []}, r"options must be an object, got \[\]"),
        ({"whether": 1}, "whether must be true or false, got 1"),
        ({"nubmer": 1}, "a Thing has no 'nubmer': do you mean 'number'?"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(Thing, {"number": 1.0} | changes)


def test_a_name_that_is_missing_is_named():
    with pytest.raises(ValueError, match="a thing needs 'number', which is missing"):
        from_mapping(Thing, {}, what="a thing")
