"""What the tests of runs share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adana.train.run import Execution

CPU = Execution(device="cpu", log_every=1, save_every=None)


def stop_after(steps: int):
    """A `should_stop` that stops once, after that many calls."""
    calls = iter(range(1, 10**9))
    return lambda: next(calls) == steps


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> dict[int, float]:
    """Training loss by step; a step that was written twice fails."""
    found = lines(folder)
    assert [line["step"] for line in found] == sorted({line["step"] for line in found})
    return {line["step"]: line["loss"] for line in found}


def validation(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["validation_loss"]) for line in lines(folder) if "validation_loss" in line]
