"""Holds what a page says beside the raw results that it was measured in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def results(name: str) -> Any:
    """A file of raw results."""
    return json.loads((ROOT / "results" / name).read_text())


def page(name: str) -> str:
    """A page of the docs."""
    return (ROOT / "docs" / name).read_text()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as a page writes it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("| ---", "|---").replace("--- |", "---|")


def shows(name: str, block: str) -> bool:
    """Whether a page has these lines as they stand."""
    return block in page(name)


def says(name: str, sentence: str) -> bool:
    """Whether a page has this sentence, however its lines are broken."""
    return " ".join(sentence.split()) in " ".join(page(name).split())
