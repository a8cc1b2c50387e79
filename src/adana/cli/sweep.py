"""``adana sweep``: where the race's learning rates come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adana.cli import UsageError
from adana.cli.setting import (
    Setting,
    check_optimizer,
    check_optimizers,
    check_setting,
    command_line,
    parse,
    pick_device,
    prepare,
)
from adana.lab.executors import LocalExecutor
from adana.lab.executors.base import EXECUTION
from adana.lab.race import FULL
from adana.lab.sweep import sweep
from adana.train.folder import InUse

DESCRIPTION = (
    "Search each optimizer's learning rate, weight decay and alternatives (AdamW's beta2, ADana's form) on "
    "the race's setting, by the paper's rule. An interrupted search goes on with the same command."
)


@dataclass(frozen=True)
class Sweep(Setting):
    """Options of ``adana sweep``."""

    optimizers: tuple[str, ...] = FULL
    """Whom to search; default everyone in the full race."""
    seed: int = 100
    """Of initial weights and data order; none that the race uses, so that it is not raced where it was tuned."""
    output: Path = Path("results/race-sweep")
    """Results go to OUTPUT.csv (a row a run) and OUTPUT.json (the best points)."""
    out: Path = Path("runs/sweep")
    """Folder of the runs."""
    json: bool = False
    """Print the best points as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    options = parse(Sweep, "sweep", DESCRIPTION, argv)
    check_setting(options)
    names = list(FULL) if list(options.optimizers) == ["all"] else list(dict.fromkeys(options.optimizers))
    check_optimizers(names)
    for name in names:
        check_optimizer(name, 1e-3, options.steps, {})
    device = pick_device(options.device)
    setting, corpus, runs, workers = prepare(options, options.out)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {options.output.parent}: {error.strerror}") from None
    stream = sys.stderr if options.json else sys.stdout
    workers = 1 if device != "cpu" and options.workers is None else workers
    print(f"{corpus.name}: runs in {runs}, {workers} at a time; results in {options.output}.csv", file=stream)
    try:
        with LocalExecutor(runs, workers=workers, execution=replace(EXECUTION, device=device)) as pool:
            bests = sweep(
                replace(setting, seed=options.seed, evaluations=1),
                names,
                pool,
                options.output,
                command=command_line("sweep", argv),
                report=lambda line: print(line, file=stream, flush=True),
            )
    except InUse as error:
        raise UsageError(f"{error}: wait for it, or choose another folder with --out") from None
    except KeyboardInterrupt:
        print(f"stopped; finished runs are kept in {runs}. The same command goes on from here.", file=stream)
        return 130
    if options.json:
        print(json.dumps([asdict(best) for best in bests], indent=1))
    return 0
