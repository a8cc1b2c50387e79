"""``adana export``: a run as a folder that another library loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.common import refusing
from adana.train.export import NotEqual, export_run

DESCRIPTION = (
    "Write the model of a run's newest checkpoint as a folder that transformers loads: weights as safetensors, "
    "config, tokenizer. Where transformers is installed, its logits are compared with the run's, and a folder that is "
    "not the same model is not kept."
)


@dataclass(frozen=True)
class Options:
    """Options of ``adana export``."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run that has a checkpoint: those of adana train have."""
    to: Literal["transformers"] = "transformers"
    """For which library."""
    out: Path | None = None
    """Folder to make; default RUN/transformers."""
    arch: str | None = None
    """Your own architecture as package.module:NAME, where the run has one."""
    json: bool = False
    """Print what was written as JSON."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "export", DESCRIPTION, argv)
    out = options.run / options.to if options.out is None else options.out
    try:
        with refusing():
            found = export_run(options.run, out)
    except FileExistsError as error:
        raise UsageError(str(error)) from None
    except (ImportError, NotEqual, NotImplementedError) as error:
        raise Failed(str(error)) from None
    if options.json:
        print(json.dumps({**asdict(found), "folder": str(found.folder)}, indent=1))
        return 0
    print(f"wrote {found.folder}: {found.model}, {found.parameters:,} parameters, and its tokenizer")
    if found.difference is None:
        print("not compared, as transformers is not installed here: pip install transformers, and export again")
    else:
        print(f"transformers' logits are those of the run (largest difference {found.difference:.1e})")
    if found.note:
        print(found.note)
    print(f"load it: transformers.AutoModelForCausalLM.from_pretrained({str(found.folder)!r})")
    return 0
