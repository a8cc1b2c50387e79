"""The code on docs/frameworks.md: run where its packages are installed, compiled elsewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
BLOCK = re.compile(r"^(?:```py|<!-- py)\n(.*?)^(?:```|-->)$", re.MULTILINE | re.DOTALL)
HEAD, *SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)


def _code(section: str) -> str:
    return "\n".join(BLOCK.findall(section))


WITH_CODE = [section for section in SECTIONS if _code(section)]


@pytest.mark.parametrize("section", WITH_CODE, ids=lambda section: section.partition("\n")[0])
def test_the_code_of_a_section_runs_where_its_packages_are(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = ast.parse(_code(HEAD) + "\n" + _code(section))
    code = compile(tree, str(PAGE), "exec", dont_inherit=True)
    needed = {name for node in ast.walk(tree) for name in _imported(node)}
    missing = sorted(name for name in needed if importlib.util.find_spec(name) is None)
    if missing or ("transformers" in needed and importlib.util.find_spec("accelerate") is None):
        pytest.skip(f"compiled only: {', '.join(missing) or 'accelerate'} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {"__name__": "page"})


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [(node.module or "").partition(".")[0]] if isinstance(node, ast.ImportFrom) else []


def test_every_block_is_tested():
    text = PAGE.read_text()
    assert len(WITH_CODE) >= 3
    assert len(BLOCK.findall(text)) == text.count("```py\n") + text.count("<!-- py\n")
    assert "```python" not in text
