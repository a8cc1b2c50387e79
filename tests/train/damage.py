"""Every file of a run, of data and of a law with its bytes altered: a right result, or one line that names the file.

    python -m tests.train.damage                                    # all cases; exit code 1 where one falls
    python -m tests.train.damage --every 20 --out damage.json       # one case in twenty; counts as JSON
    python -m tests.train.damage laws data --add --out damage.json  # two kinds; counts added to those of the file

A file is cut, zeroed, has single bits flipped, gives way to other JSON (another file's, nested deeply, of another
kind), to nothing, to a folder or to a pipe. Then a command reads it: it must end as if nothing had happened, to the
last digit, or in one line with the file's name. In a second kind each value inside a JSON file is replaced and the
checksum made to fit, as somebody would who forges it: nothing can see that, and no value may end in a traceback or
without end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from adana.files import SEAL, seal, write_json, write_sealed
from tests.cli.fuzz import Ended, ended, text
from tests.lab.engines import ThreadExecutor
from tests.report.folders import ladder_csv

TRAIN = "train small --lr 3e-3 --heads 1 --head-dim 8 --layers 1 --seq-len 16 --batch-size 2 --steps 12"
TRAIN += " --validation-tokens 64 --evaluations 3 --save-every 4 --device cpu --set weight_decay=0.5"
SWEEP = "sweep --heads 1 --head-dim 8 --layers 1 --seq-len 16 --batch-size 2 --steps 8 --validation-tokens 64"
SWEEP += " --text words.txt --optimizers adana --fine None --workers 1 --stop-hopeless --evaluations 2 --json"
SWEEP += " --device cpu"
FLIPS = 16
FORGED = 48
"""Values of a JSON file that are replaced, at most."""
VALUES: tuple[Any, ...] = (None, -1, 2**63, 1e308, "x", "../x", [], {}, True)


@dataclass(frozen=True)
class Subject:
    """A folder, the files in it that are damaged, and the command that reads them.

    Attributes:
        files: patterns of the files.
        command: what reads them.
        result: what must be as it was where the command ends well; None where a changed byte is another question.
        make: makes the folder, which is the current one.
    """

    files: tuple[str, ...]
    command: str
    result: Callable[[Ended], object] | None
    make: Callable[[], None]


# --- what is damaged ------------------------------------------------------------------------------------


def _words() -> None:
    Path("words.txt").write_text(text())


def _done(command: str) -> None:
    _words()
    end = ended(command.split())
    assert end.code == 0, end


def _stopped() -> None:
    """A run with checkpoints at 4 and 8 that ended without a word."""
    _done(f"{TRAIN} --text words.txt --out run --keep-last 9")
    for path in (Path("run/result.json"), Path("run/checkpoints/step-00000012")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _finished() -> None:
    _done(f"{TRAIN} --text words.txt --out run")


def _swept() -> None:
    _done(SWEEP)
    run = next(Path("runs/sweep").glob("*/*/result.json")).parent
    (run / "result.json").unlink()
    write_sealed(run / "stopped.json", {"step": 4, "loss": 5.5, "reason": "worse than the median"})
    assert ended(SWEEP.split()).code == 0


def _built() -> None:
    _done("data build --source text --files words.txt --out data --tokenizer train --vocabulary 300")


def _laws() -> None:
    ladder_csv(Path("runs.csv"), rates=(0.5, 1.0, 2.0))
    for law in ("lr", "loss"):
        assert ended(f"fit runs.csv --law {law} --bootstrap 2 --output {law}.json".split()).code == 0


def _recipe() -> None:
    _words()
    from adana.train.recipe import Recipe

    write_json("recipe.json", Recipe("adana", 1e-3, {"weight_decay": 1.0}, head_dim=8, text=("words.txt",)).to_json())


def _table() -> None:
    ladder_csv(Path("runs.csv"), rates=(1.0,))


def _of_run(end: Ended) -> object:
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    return _of_result(end), [line["loss"] for line in lines]


def _of_result(end: Ended) -> object:
    found = json.loads(Path("run/result.json").read_text())
    return [found[name] for name in ("final_loss", "curve", "train_curve")]


def _printed(end: Ended) -> object:
    return end.printed


CHECKPOINT = "run/checkpoints/step-00000008"
SUBJECTS = {
    "a stopped run": Subject(
        ("run/run.json", "run/.lock", f"{CHECKPOINT}/*"),
        f"{TRAIN} --text words.txt --out run --keep-last 9",
        _of_run,
        _stopped,
    ),
    "its metrics": Subject(
        ("run/metrics.jsonl",), f"{TRAIN} --text words.txt --out run --keep-last 9", _of_result, _stopped
    ),
    "a finished run": Subject(
        ("run/run.json", "run/result.json"), f"{TRAIN} --text words.txt --out run", _printed, _finished
    ),
    "a finished run in a report": Subject(
        ("run/run.json", "run/result.json", "run/metrics.jsonl"),
        "report run --out page.html --bootstrap 2 --json",
        _printed,
        _finished,
    ),
    "weights to start from": Subject(
        (f"{CHECKPOINT}/*",),
        f"{TRAIN} --text words.txt --init-from {CHECKPOINT} --out other --seed 1 --dry-run",
        _printed,
        _stopped,
    ),
    "a sweep": Subject(
        ("runs/sweep/*/adana-lr0.001953-*/result.json", "runs/sweep/*/*/stopped.json", "results/sweep.json"),
        SWEEP,
        _printed,
        _swept,
    ),
    "data": Subject(("data/*",), "data inspect data --json", _printed, _built),
    "data of a run": Subject(("data/*",), f"{TRAIN} --data data --out run", _of_result, _built),
    "laws": Subject(("lr.json", "loss.json"), "plan --heads 6 --law lr.json loss.json --json", None, _laws),
    "a recipe": Subject(("recipe.json",), "train recipe.json --dry-run", None, _recipe),
    "a table of runs": Subject(("runs.csv",), "fit runs.csv --law loss --bootstrap 2 --json", None, _table),
}


# --- how ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One damage to one file."""

    subject: str
    file: Path
    kind: str
    what: str
    do: Callable[[Path], None]


def cases(name: str, folder: Path) -> Iterator[Case]:
    """All damages to the files of a subject, made in a folder."""
    for file in sorted({path for pattern in SUBJECTS[name].files for path in folder.glob(pattern)}):
        for kind, what, do in _damages(file, folder):
            yield Case(name, file.relative_to(folder), kind, what, do)


def _damages(file: Path, folder: Path) -> Iterator[tuple[str, str, Callable[[Path], None]]]:
    content = file.read_bytes()
    size, random_ = len(content), random.Random(file.name)
    for end in sorted({0, 1, size // 4, size // 2, size - 1} - {size, -1}):
        yield "cut", f"after {end} bytes", _writing(content[:end])
    for start, count in ((0, size), (random_.randrange(max(1, size)), 16)):
        there = content[start : start + count]
        if there.strip(b"\0"):
            zeroed = content[:start] + bytes(len(there)) + content[start + count :]
            yield "zeroed", f"{count} bytes from {start}", _writing(zeroed)
    for place in sorted(random_.randrange(size * 8) for _ in range(FLIPS if size else 0)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield "bit flipped", f"bit {place}", _writing(bytes(flipped))
    others = sorted(path for path in folder.rglob("*.json") if path.name != file.name)
    foreign = {"null": b"null", "list": b"[]", "object": b"{}", "number": b"3", "string": b'"x"'}
    foreign |= {str(path.relative_to(folder)): path.read_bytes() for path in others[:2]}
    foreign |= {"not UTF-8": b"\xff\xfe{\x00}\x00", "digits": b'{"step": ' + b"9" * 5000 + b"}"}
    for what, other in foreign.items():
        yield "foreign", what, _writing(other)
    for what, deep in (("lists", b"[" * 100_000), ("objects", b'{"a":' * 5000 + b"1" + b"}" * 5000)):
        yield "nested", what, _writing(deep)
    yield "no file", "missing", Path.unlink
    yield "no file", "a folder", _folder
    yield "no file", "a pipe", _pipe
    yield "no file", "a link to itself", _loop
    with_values = _json(content)
    if isinstance(with_values, dict):
        places = list(_leaves({key: value for key, value in with_values.items() if key != SEAL}))
        for place in random_.sample(places, min(FORGED, len(places))):
            for value in VALUES:
                yield "forged", f"{'.'.join(map(str, place))} = {value!r}", _forging(with_values, place, value)


def _writing(content: bytes) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        path.write_bytes(content)

    return do


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value has values, whole objects and lists among them."""
    if place:
        yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _leaves(inner, (*place, key))


def _forging(whole: dict[str, Any], place: tuple[Any, ...], value: Any) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        forged = json.loads(json.dumps(whole))
        at = forged
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value
        sealed = forged.pop(SEAL, None)
        path.write_text(json.dumps(forged if sealed is None else {SEAL: seal(forged), **forged}))

    return do


# --- whether ------------------------------------------------------------------------------------------


def outcome(case: Case, folder: Path, whole: Path, before: object) -> tuple[str, str]:
    """How a case ends, in one or two words, and what is wrong with it or ""."""
    subject = SUBJECTS[case.subject]
    _again(folder, whole)
    with _within(folder):
        case.do(case.file)
        end = ended(subject.command.split())
        if fault := _fault(end):
            return "fell", fault
        if end.code != 0:
            named = case.file.name in end.said or case.file.parent.name in end.said
            if named or case.kind == "forged" or subject.result is None:
                return "refused", ""
            return "unnamed", end.said
        if subject.result is None or case.kind == "forged":
            return "a result", ""
        if case.file.name == "stopped.json" and case.what == "missing":  # as is done to have the run go on
            return "a result", ""
        found = subject.result(end)
        return ("the same", "") if found == before else ("wrong", f"{found} and not {before}"[:600])


def _fault(end: Ended) -> str:
    """What is wrong with how a command ended; before its last line it may have said how far it was."""
    last = end.said.splitlines()[-1] + "\n" if end.code and end.said else end.said
    return replace(end, said=last).fault or ("a traceback" if "Traceback" in end.said else "")


def _again(folder: Path, whole: Path) -> None:
    """The folder as it was made: at the same place, for runs know where their text is."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)


class _within:
    """As contextlib.chdir, which Python 3.10 does not have."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.before = folder, Path.cwd()

    def __enter__(self) -> None:
        os.chdir(self.folder)

    def __exit__(self, *error: object) -> None:
        os.chdir(self.before)


def made(name: str, folder: Path, whole: Path) -> object:
    """Make a subject's folder, and a copy of it; what its command's result is when nothing is damaged."""
    subject = SUBJECTS[name]
    folder.mkdir()
    with _within(folder):
        subject.make()
        shutil.copytree(folder, whole)
        end = ended(subject.command.split())
        assert end.code == 0, end
        assert not _fault(end), end
        return None if subject.result is None else subject.result(end)


def run(names: list[str], every: int, first: int, out: Path | None, add: bool = False) -> int:
    """Try the cases; prints what falls, and returns how many did."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    fell = []
    with mock.patch("adana.cli.sweep.LocalExecutor", ThreadExecutor):
        for name in names:
            with tempfile.TemporaryDirectory() as place:
                folder, whole = Path(place).resolve() / "here", Path(place) / "whole"
                before = made(name, folder, whole)
                for number, case in enumerate(cases(name, whole)):
                    if number % every != first % every:
                        continue
                    how, said = outcome(case, folder, whole, before)
                    counts.setdefault(name, {}).setdefault(case.kind, Counter())[how] += 1
                    if said:
                        fell.append(f"{name}: {case.file}: {case.kind}: {case.what}: {how}")
                        print(f"FELL {fell[-1]}\n{said[-1500:]}", flush=True)
            print(name, json.dumps(counts.get(name, {})), flush=True)
    tried = sum(sum(one.values()) for kinds in counts.values() for one in kinds.values())
    print(f"{tried} cases, {len(fell)} fell")
    if out is not None:
        mine = {"commands": [shlex.join(["python", "-m", "tests.train.damage", *sys.argv[1:]])]}
        counted(out, {**mine, "cases": tried, "fell": fell, "outcomes": counts}, add)
    return len(fell)


def counted(out: Path, mine: dict[str, Any], add: bool) -> None:
    """Write what was counted, or add it to what a command before counted."""
    write_json(out, added(json.loads(out.read_text()), mine) if add and out.exists() else mine)


def added(one: Any, other: Any) -> Any:
    """Two JSON values of counts as one: numbers are summed, lists joined."""
    if isinstance(one, dict):
        names = [*one, *(name for name in other if name not in one)]
        return {
            name: added(one[name], other[name]) if name in one and name in other else {**other, **one}[name]
            for name in names
        }
    return one + other


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SUBJECTS), help="of what; default everything")
    parser.add_argument("--every", type=int, default=1, help="try one case in so many")
    parser.add_argument("--first", type=int, default=0, help="the first case to try")
    parser.add_argument("--out", type=Path, help="write the counts as JSON here")
    parser.add_argument("--add", action="store_true", help="add the counts to those in --out")
    given = parser.parse_args()
    sys.exit(1 if run(given.names, given.every, given.first, given.out, given.add) else 0)
