"""What the site takes from outside docs/: its home, lists of optimizers and commands, and files that pages link to."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from adana.catalog import OPTIMIZERS
from adana.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]

# Pages of the site whose text has its home elsewhere in the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "results.md": "results/README.md",
}

LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)(?=[)#\s])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files from outside docs/."""
    for name, home in ELSEWHERE.items():
        files.append(File.generated(config, name, content=_moved((ROOT / home).read_text(), home, name)))
    files.append(File.generated(config, "reference/optimizers.md", content=_optimizers()))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    for file in list(files.documentation_pages()):
        for target in LINK.findall(file.content_string):
            path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), target))
            copy = _copy(path)
            if not path.startswith("docs/") and (ROOT / path).is_file() and copy not in files.src_uris:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / path)))
            elif path.startswith("docs/files/") and path[5:] not in files.src_uris:
                source = path.removeprefix("docs/files/").removesuffix(".txt")
                files.append(File.generated(config, path[5:], abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Point links that leave docs/ to the copies."""
    uri = page.file.src_uri
    return markdown if uri in ELSEWHERE else _moved(markdown, f"docs/{uri}", uri)


def _optimizers() -> str:
    """The reference of every class in the catalogue, and of what goes with them."""
    homes = dict.fromkeys(f"{one.torch_module}.{one.torch_class}" for one in OPTIMIZERS.values() if one.torch)
    also = ["adana.optim.groups.param_groups", "adana.optim.convert.from_adamw", "adana.suggestions.suggest"]
    also.append("adana.suggestions.omega_from_adamw")
    head = (
        "# Optimizers for PyTorch\n\nEach is a `torch.optim.Optimizer`. [What they have in common](../optimizers.md).\n"
    )
    return "\n".join([head, *(f"::: {home}\n" for home in [*homes, *also])])


def _commands() -> str:
    """What ``--help`` prints of every command."""
    parts = ["# Commands\n"]
    for name, summary in COMMANDS.items():
        shown = io.StringIO()
        os.environ["COLUMNS"] = "100"
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            main([name, "--help"])
        parts.append(
            f"## adana {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{shown.getvalue().rstrip()}\n```\n"
        )
    return "\n".join(parts)


def _moved(text: str, home: str, uri: str) -> str:
    """A page's text with the links of its home in the repository made links of its place on the site."""

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), match[1]))
        pages = {source: name for name, source in ELSEWHERE.items()}
        if path in pages:
            target = pages[path]
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif (ROOT / path).is_file():
            target = _copy(path)
        else:
            return match[1]
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return LINK.sub(link, text)


def _copy(path: str) -> str:
    """Where the site keeps a file of the repository: text that a browser shows, not another page."""
    return f"files/{path}.txt" if path.endswith((".md", ".py", ".toml")) else f"files/{path}"
