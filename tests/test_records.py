"""Records: what is written is read back, and what is not one is refused by its place and value."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pytest

from adana.records import Record


@dataclass(frozen=True)
class Law(Record):
    a: float
    d: float

    def __post_init__(self) -> None:
        if not self.a > 0:
            raise ValueError(f"a must be above 0, got {self.a}")


@dataclass(frozen=True)
class Thing(Record):
    INLINE: ClassVar = ("law",)
    DERIVED: ClassVar = ("title",)

    name: str
    law: Law
    others: tuple[Law, ...]
    pair: tuple[float, int]
    by_name: dict[str, Law]
    kind: Literal["x", "y"] = "x"
    seed: int | None = None
    flags: tuple[bool, ...] = ()
    options: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        return self.name.title()


THING = Thing("a thing", Law(1.0, -0.5), (Law(2.0, 0.0),), (0.5, 3), {"b": Law(3.0, 1.0)}, options={"betas": [0.9]})
PLAIN = {
    "name": "a thing",
    "a": 1.0,
    "d": -0.5,
    "others": [{"a": 2.0, "d": 0.0}],
    "pair": [0.5, 3],
    "by_name": {"b": {"a": 3.0, "d": 1.0}},
    "kind": "x",
    "seed": None,
    "flags": [],
    "options": {"betas": [0.9]},
    "title": "A Thing",
}


def test_a_record_is_written_with_its_inline_keys_beside_the_others_and_read_back():
    assert THING.to_json() == PLAIN
    assert Thing.from_json(json.loads(json.dumps(PLAIN))) == THING


def test_keys_that_have_a_default_may_be_missing_and_unknown_ones_are_passed_over():
    short = {name: PLAIN[name] for name in ("name", "a", "d", "others", "pair", "by_name")} | {"colour": "red"}
    assert Thing.from_json(short) == replace(THING, options=None)


WRONG = [
    ({"name": None}, "name must be a string, got None"),
    ({"a": "1"}, "a must be a number, got '1'"),
    ({"a": True}, "a must be a number, got True"),
    ({"a": math.inf}, "a must be a finite number, got inf"),
    ({"a": 10**400}, "a must be a number, got 1000"),
    ({"a": -1}, "a must be above 0, got -1.0"),
    ({"others": {"a": 1}}, r"others must be a list, got \{'a': 1\}"),
    ({"others": [{"a": 1, "d": 1}, {"a": 1}]}, r"others\[1\].d is missing"),
    ({"others": [{"a": 0, "d": 1}]}, r"others\[0\]: a must be above 0, got 0.0"),
    ({"others": [7]}, r"others\[0\] must be an object, got 7"),
    ({"pair": [1.0]}, "pair must be a list of 2, got 1"),
    ({"pair": [1.0, 1.5]}, r"pair\[1\] must be a whole number, got 1.5"),
    ({"by_name": [1]}, "by_name must be an object"),
    ({"by_name": {"b": 1}}, r"by_name.b must be an object, got 1"),
    ({"kind": "z"}, "kind must be 'x' or 'y', got 'z'"),
    ({"seed": "one"}, "seed must be a whole number, got 'one'"),
    ({"flags": [1]}, r"flags\[0\] must be true or false, got 1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_what_is_no_record_is_refused_by_file_place_and_value(changes, message):
    with pytest.raises(ValueError, match=f"^file.json: {message}"):
        Thing.from_json(PLAIN | changes, "file.json")


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match=r"^file.json: it must be an object, got \[1\]"):
        Thing.from_json([1], "file.json")
