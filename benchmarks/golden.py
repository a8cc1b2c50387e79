"""Whether a change left every loss equal to the last bit: a short run of every optimizer, and a short race.

Losses depend on the processor and on torch's version, so they are not committed as truth for everybody: write them
before a change and compare after it, on one machine.

    python benchmarks/golden.py write golden.json
    python benchmarks/golden.py compare golden.json      # exit code 1 where a loss differs
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from adana.cli import main

RATES = {"muon": 0.01}
STEPS = 20
RACE_STEPS = 100


def names() -> list[str]:
    """Every optimizer that can be trained."""
    from adana.catalog import trainable

    return list(trainable())


def command(*words: str) -> Any:
    """What a command prints with ``--json``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*words, "--json"])
    if code:
        raise SystemExit(f"adana {' '.join(words)} ended with exit code {code}")
    return json.loads(printed.getvalue())


def measure(optimizers: list[str]) -> dict[str, Any]:
    """Losses along a run of every optimizer, and of every lane of a race."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in optimizers:
            lr = next((rate for part, rate in RATES.items() if part in name), 0.002)
            run = command(
                *("train", "small", "--optimizer", name, "--lr", str(lr), "--steps", str(STEPS)),
                *("--evaluations", "4", "--validation-tokens", "8192", "--out", f"{folder}/{name}"),
            )
            found[name] = {"curve": run["curve"], "train_curve": run["train_curve"]}
            print(f"{name:16} {run['final_loss']!r}", flush=True)
        race = command("race", "--steps", str(RACE_STEPS), "--workers", "1", "--out", f"{folder}/race")
        found["race"] = {
            f"{curve['optimizer']} x {curve['horizon']:g}": curve["points"]
            for curve in sorted(race["curves"], key=lambda curve: (curve["optimizer"], curve["horizon"]))
        }
        print("race", {name: points[-1][1] for name, points in found["race"].items()}, flush=True)
    return found


def run(argv: list[str]) -> int:
    if len(argv) != 2 or argv[0] not in ("write", "compare"):
        print(__doc__)
        return 2
    torch.set_num_threads(1)
    path = Path(argv[1])
    if argv[0] == "write":
        path.write_text(json.dumps({"torch": torch.__version__, "losses": measure(names())}, indent=1) + "\n")
        return 0
    before = json.loads(path.read_text())["losses"]
    now = json.loads(json.dumps(measure([name for name in before if name != "race"])))
    different = [name for name in before if now[name] != before[name]]
    print(
        f"{len(before) - len(different)} of {len(before)} equal to the bit"
        + (f"; not: {different}" if different else "")
    )
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
