"""What the pages show runs as it stands: Python from top to bottom, commands as far as their options are read."""

from __future__ import annotations

import ast
import importlib
import io
import re
import shlex
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from adana import cli
from adana.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What a reader has before the page begins stands in a comment that no page shows: <!-- python ... -->.
BLOCK = re.compile(r"^(?:```python|<!-- python)\n(.*?)^(?:```|-->)$", re.MULTILINE | re.DOTALL)
IMPORTED = "<!-- the imports are tested: "  # and why the rest is not, in the line above a block
COMMAND = re.compile(r"^(?: {4}|\$ )((?:torchrun .* )?(?:-m )?adana [a-z].*)$", re.MULTILINE)


def pages_with(pattern: re.Pattern[str]) -> list[object]:
    return [
        pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES if pattern.search(page.read_text())
    ]


@pytest.mark.parametrize("page", pages_with(BLOCK))
def test_the_python_on_a_page_runs_from_top_to_bottom(page):
    text = page.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") + text.count("<!-- python\n")
    names: dict[str, object] = {"__name__": page.name}
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("error", UserWarning)  # a page should not show what the package warns of
        for block in blocks:
            line = text.count("\n", 0, block.start(1))
            tree = ast.parse("\n" * line + block[1], str(page))
            if text[: block.start()].rstrip().rsplit("\n", 1)[-1].startswith(IMPORTED):
                tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(tree, str(page), "exec", dont_inherit=True), names)


class Read(Exception):
    """The options were read."""


def commands(page: Path) -> list[list[str]]:
    found = []
    for line in COMMAND.findall(page.read_text().replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        words = words[words.index("adana") + 1 :]
        found.append(words[: words.index(">")] if ">" in words else words)
    return found


@pytest.fixture
def only_read(monkeypatch, tmp_path):
    """Have every command stop when its options are read."""
    monkeypatch.chdir(tmp_path)
    for name in cli.COMMANDS:
        module = importlib.import_module(f"adana.cli.{name.replace('-', '_')}")

        def read(*arguments, parse=module.parse, **more):
            parse(*arguments, **more)
            raise Read

        monkeypatch.setattr(module, "parse", read)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_every_command_ends_with_examples_that_are_commands(name, only_read, capsys):
    assert EXAMPLES[name]
    for line, _ in EXAMPLES[name]:
        words = shlex.split(line)
        assert words[:2] == ["adana", name]
        with pytest.raises(Read):
            cli.main(words[1:])
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert capsys.readouterr().out.endswith(f"{EXAMPLES[name][-1][1]}\n")


@pytest.mark.parametrize("page", pages_with(COMMAND))
def test_every_command_on_a_page_is_one(page, only_read, capsys):
    for words in commands(page):
        if {"--help", "...", "…"} & set(words) or any(word.isupper() for word in words):
            continue
        try:
            said = cli.main(words)
        except Read:
            continue
        assert said == 2, words
        # Only the reader has it: a recipe, a run folder, a module.
        assert re.search("no recipe '|cannot be imported", capsys.readouterr().err), words


@pytest.mark.slow
def test_the_walk_from_race_to_plan_fits_and_plans_what_its_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    page = ROOT / "docs" / "lab.md"
    walked = [words for words in commands(page) if words[0] in ("fit", "plan")]
    for words in walked:
        assert cli.main([*words, *(["--bootstrap", "20"] if "--law" in words and words[0] == "fit" else [])]) == 0, (
            words
        )
    said = capsys.readouterr().out
    for number in ("4,464", "0.00127"):
        assert number in said
        assert number in page.read_text()
    assert (tmp_path / "six.json").is_file()
