"""``adana export-optimizer``: one optimizer as a single file without dependencies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.single_file import FILES, source

DESCRIPTION = (
    "Print an optimizer as one Python file that imports nothing but torch, for repositories that take no dependencies. "
    "Its updates are those of the package."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana export-optimizer``."""

    optimizer: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OPTIMIZER")]
    """adana, or adamw-dw: AdamW whose weight decay fades in log time."""
    json: bool = False
    """Print the name, the file's name and its text as JSON."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "export-optimizer", DESCRIPTION, argv)
    try:
        text = source(options.optimizer)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.json:
        print(json.dumps({"optimizer": options.optimizer, "file": FILES[options.optimizer], "source": text}, indent=1))
    else:
        print(text, end="")
    return 0
