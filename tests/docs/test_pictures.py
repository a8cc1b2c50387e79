"""The pictures of the pages show the numbers that are committed."""

from __future__ import annotations

import re

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def script():
    return pages.script("pictures")


def test_every_picture_shows_what_is_computed_today(script):
    for name in script["PICTURES"]:
        (shown,) = re.findall(r"<dc:description>(\w+)", (ROOT / "docs" / f"{name}.svg").read_text())
        assert shown == script["numbers"](script["drawn"](name)), f"{name}: python benchmarks/pictures.py draws it anew"


def test_every_picture_stands_on_a_page(script):
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    for name in script["PICTURES"]:
        assert any(re.search(rf"!\[[^\]]+\]\((docs/)?{name}\.svg\)", text) for text in texts), name
