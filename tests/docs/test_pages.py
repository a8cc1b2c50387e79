"""What the pages show runs as it stands."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["jax.md", "models.md"])
def test_the_python_on_a_page_runs_from_top_to_bottom(page):
    text = (DOCS / page).read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    names: dict[str, object] = {"__name__": page}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a page should not show what the package warns of
        for block in blocks:
            line = text.count("\n", 0, block.start(1))
            exec(compile("\n" * line + block[1], str(DOCS / page), "exec", dont_inherit=True), names)
