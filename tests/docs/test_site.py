"""The site: built with warnings as errors, complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adana.catalog import OPTIMIZERS

mkdocs_config = pytest.importorskip("mkdocs.config")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    from mkdocs.commands.build import build

    build(mkdocs_config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        fetched = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"(https?:[^\"]+)|<link[^>]* href=\"(https?:[^\"]+)", page.read_text()
        )
        assert not fetched, page


def test_every_class_of_the_catalogue_has_a_page():
    pages = [page.read_text() for page in (ROOT / "docs" / "optimizers").glob("*.md")]
    for entry in OPTIMIZERS.values():
        if entry.torch:
            assert any(re.search(rf"\b{entry.torch_class}\b", page) for page in pages), entry.torch_class


def test_the_tests_that_the_page_names_exist():
    page = (ROOT / "docs" / "testing.md").read_text()
    for link in re.findall(r"\]\(\.\./(tests/[^)]+)\)", page):
        assert "def test_" in (ROOT / link).read_text(), link
