"""``adana sample``: text from a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from adana.cli import UsageError
from adana.cli.arguments import parse
from adana.cli.common import pick_device, refusing
from adana.train.sampling import load_model, load_run_tokenizer, sample

DESCRIPTION = "Write text with the model of a run's newest checkpoint."
MOST = 100_000


@dataclass(frozen=True)
class Options:
    """Options of ``adana sample``."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run that has a checkpoint: those of adana train have."""
    prompt: str | None = None
    """What the text begins with; default nothing."""
    tokens: int = 200
    """Tokens to write, at most; the text may end before."""
    temperature: float = 0.8
    """Logits are divided by it; 0 takes the likeliest token."""
    top_k: int | None = None
    """Draw from this many likeliest tokens; default all."""
    seed: int = 0
    """Seed of the draws: the same seed gives the same text."""
    arch: str | None = None
    """Your own architecture as package.module:NAME, where the run has one."""
    device: str | None = None
    """cpu, cuda or mps; default cuda where there is one."""
    json: bool = False
    """Print prompt, text and number of tokens as JSON."""


def run(argv: Sequence[str]) -> int:
    options = parse(Options, "sample", DESCRIPTION, argv)
    if not 1 <= options.tokens <= MOST:
        raise UsageError(f"--tokens must be between 1 and {MOST:,}, got {options.tokens}")
    if not 0 <= options.seed < 1 << 63:
        raise UsageError(f"--seed must be between 0 and 2**63 - 1, got {options.seed}")
    device = pick_device(options.device)
    with refusing():
        model, recipe = load_model(options.run, device=device)
        tokenizer = load_run_tokenizer(recipe)
        prompt = (options.prompt or "").encode("utf-8", "surrogateescape")
        before = tokenizer.encode([prompt])[0].tolist() if prompt else []
        drawn = list(
            sample(
                model,
                before or [tokenizer.end_of_text],
                count=options.tokens,
                context=recipe.seq_len,
                end=tokenizer.end_of_text,
                known=min(model.config.vocab_size, tokenizer.vocabulary),
                temperature=options.temperature,
                top_k=options.top_k,
                seed=options.seed,
            )
        )
    text = tokenizer.decode([*before, *drawn]).decode("utf-8", "replace")
    if options.json:
        print(json.dumps({"prompt": options.prompt or "", "text": text, "tokens": len(drawn)}, indent=1))
    else:
        print("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text))
    return 0
