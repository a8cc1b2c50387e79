"""Runs killed at random moments again and again, until they have ended: the losses of a run that nobody disturbed.

    python -m tests.train.kills                             # exit code 1 where a run differs
    python -m tests.train.kills --rounds 4 --out kills.json
    python -m tests.train.kills adana --add --out kills.json    # one configuration; counts added to those of the file

The process imports torch once and forks: each life of a run is `adana train` in a child, killed (KILL) or asked to end
(TERM) at a moment drawn from the time that an undisturbed run takes, also while it starts, saves or ends. Of two ranks,
KILL takes both, as torchrun does once one is gone; TERM goes to one of them alone, and both must save and end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from adana.cli import main
from tests.train.damage import counted

LIVES = 5
"""How often a run is killed at most; then it is left to end."""
BASE = "train small --lr 3e-3 --heads 1 --head-dim 16 --layers 1 --seq-len 32 --batch-size 2 --steps 40 --log-every 1"
BASE += " --validation-tokens 288 --save-every 3 --device cpu --text words.txt --set weight_decay=0.5"
CONFIGURATIONS = {
    "adana": "",
    "adana, released form": "--set form=released",
    "dana-star-mk4": "--optimizer dana-star-mk4",
    "muon-dw": "--optimizer muon-dw",
    "ademamix-dw": "--optimizer ademamix-dw --set delta=4",
    "adamw, permuted": "--optimizer adamw-dw --order permuted",
    "anytime": "--anytime --warmup-steps 3",
    "experts": "--experts 4 --active 2",
    "saved in the background": "--asynchronous True",
    "one of torch's": "--optimizer torch.optim:RMSprop",
    "two ranks, ddp": "--parallel ddp",
    "two ranks, fsdp": "--parallel fsdp",
}


def life(words: list[str], ranks: int, said: Path, store: Path) -> list[int]:
    """Start a run's processes; returns their numbers."""
    return [_fork(words, rank, ranks, said.with_suffix(f".{rank}"), store) for rank in range(ranks)]


def _fork(words: list[str], rank: int, ranks: int, said: Path, store: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        to = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, 1)
        os.dup2(to, 2)
        if ranks > 1:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{store.resolve()}", rank=rank, world_size=ranks
            )
        code = main(words)
        if ranks > 1:
            from adana.train.distributed import leave

            leave()
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def ends(processes: list[int]) -> list[int]:
    """Exit codes, a signal as a negative number; where a signal took one process, the others go too, as by torchrun."""
    codes: dict[int, int] = {}
    while len(codes) < len(processes):
        process, status = os.wait()
        codes[process] = os.waitstatus_to_exitcode(status)
        for other in processes if codes[process] < 0 else ():
            if other not in codes:
                os.kill(other, signal.SIGKILL)
    return [codes[process] for process in processes]


def numbers(folder: Path) -> list[Any]:
    """All that a run says, but for the time it took."""
    result = json.loads((folder / "result.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in result.items() if name not in ("sha256", "seconds")},
        [[line.get(name) for name in ("step", "loss", "grad_norm", "validation_loss")] for line in lines],
    ]


def killed(name: str, whole: float, draw: random.Random, counts: Counter[str]) -> list[str]:
    """Kill a run until it has ended; what is wrong with how it went."""
    words = [*BASE.split(), *CONFIGURATIONS[name].split(), "--out", "killed"]
    ranks = 2 if name.startswith("two ranks") else 1
    wrong = []
    for number in range(LIVES + 1):
        said, store = Path(f"said-{number}"), Path(f"store-{number}")
        kind = draw.choice((signal.SIGKILL, signal.SIGTERM))
        processes = life(words, ranks, said, store)
        began, early = time.time(), False
        if number < LIVES:
            time.sleep(draw.random() * whole * 0.7)
            early = not any(line.stat().st_mtime > began for line in Path("killed").glob("metrics.jsonl"))
            to = processes if kind == signal.SIGKILL else [processes[-1]]
            if not any(os.waitid(os.P_PID, one, os.WEXITED | os.WNOHANG | os.WNOWAIT) for one in processes):
                counts[f"{kind.name}, {'two ranks' if ranks > 1 else 'one process'}"] += 1
                saving = any(Path("killed").glob("checkpoints/.step-*.partial"))
                counts["while it saved"] += saving
                counts["before its first checkpoint"] += not any(Path("killed").glob("checkpoints/step-*"))
                for one in to:
                    os.kill(one, kind)
        codes = ends(processes)
        spoken = "".join(said.with_suffix(f".{rank}").read_text() for rank in range(ranks))
        # TERM is waited for from before the first step on; a rank that it takes earlier cannot save.
        fine = {0, -signal.SIGKILL} | ({-signal.SIGTERM, 143} if ranks == 1 or early else set())
        if "Traceback" in spoken or not set(codes) <= fine:
            wrong.append(f"{name}: {kind.name}: exit codes {codes}: {spoken[-600:]}")
        with contextlib.suppress(FileNotFoundError):
            if "finished" in spoken:
                break
    return wrong


def run(names: list[str], rounds: int, seed: int, out: Path | None, add: bool = False) -> int:
    """Kill runs of each configuration; prints what is wrong, and returns how much is."""
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("words.txt").write_text(" ".join(f"word{n * n % 97}" for n in range(4000)))
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([*BASE.split(), "--out", "warm"]) == 0  # whatever is imported late
        for name in names:
            words = [*BASE.split(), *CONFIGURATIONS[name].split()]
            ranks = 2 if name.startswith("two ranks") else 1
            for number in range(rounds):
                here = Path(place) / f"{list(CONFIGURATIONS).index(name)}-{number}"
                here.mkdir()
                os.chdir(here)
                Path("words.txt").symlink_to(Path(place) / "words.txt")
                began = time.monotonic()
                codes = ends(life([*words, "--out", "whole"], ranks, Path("said"), Path("store")))
                assert set(codes) == {0}, Path("said.0").read_text()
                spent = time.monotonic() - began
                mine = counts.setdefault(name, Counter())
                fell = killed(name, spent, random.Random(f"{seed} {name} {number}"), mine)
                if not Path("killed/result.json").exists() or numbers(Path("killed")) != numbers(Path("whole")):
                    fell.append(f"{name}: round {number}: it does not end as an undisturbed run")
                mine["runs"] += 1
                mine["runs equal to the bit"] += not fell
                for one in fell:
                    print(f"FELL {one}", flush=True)
                wrong += fell
            print(name, dict(counts[name]), flush=True)
        os.chdir("/")
    total = sum(counts.values(), Counter())
    print(dict(total), f"{len(wrong)} fell")
    if out is not None:
        mine = {"commands": [shlex.join(["python", "-m", "tests.train.kills", *sys.argv[1:]])]}
        counted(out, {**mine, "fell": wrong, "total": total, "counts": counts}, add)
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(CONFIGURATIONS), help="of what; default everything")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each configuration")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="write the counts as JSON here")
    parser.add_argument("--add", action="store_true", help="add the counts to those in --out")
    given = parser.parse_args()
    given.out = given.out and given.out.resolve()
    sys.exit(1 if run(given.names, given.rounds, given.seed, given.out, given.add) else 0)
