"""Every option of every command at values at the edge of what can be written: a result, or one line.

    python -m tests.cli.fuzz                  # all of them; exit code 1 where one falls
    python -m tests.cli.fuzz plan train       # of these commands
    python -m tests.cli.fuzz fit --every 4 --first 1        # one command line in four

What a command would train is not trained. ``adana theory``, which computes for real, has a test of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import re
import resource
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from adana.cli import main
from adana.train.run import Interrupted
from tests.report.folders import ladder_csv

SECONDS, WAITED = 120, 1800
"""A command hangs that computes longer than this, or waits longer: a busy machine makes it wait, not compute."""
VALUES = (
    *("", " ", "0", "1", "-1", "2147483648", "1" + "0" * 21, "9" * 400, "1e308", "-1e308", "1e-308", "nan", "inf"),
    *(
        "x" * 300,
        "[/a]",
        "\x1b[31mx",
        "a\nb",
        "[" * 5000,
        "\udcff",
        ".",
        "DEVICE",
        "nowhere",
        "a=b",
        "kappa=" + "9" * 400,
    ),
    *("kappa=" + "[" * 5000, "kappa=nan", "adana=1e308", "None", "é"),
)

TRAINS = "--heads 1 --layers 1 --seq-len 16 --batch-size 2 --steps 8"
BASES = {
    "race": f"{TRAINS} --text words.txt --workers 1",
    "train": f"small {TRAINS} --text words.txt --lr 1e-3 --validation-tokens 64 --out run",
    "train of a plan": f"small {TRAINS} --text words.txt --lr 1e-3 --validation-tokens 64 --dry-run",
    "sweep": f"{TRAINS} --text words.txt --optimizers adana --validation-tokens 64 --workers 1",
    "ladder": "--heads 1 2 3 --predict 4 --head-dim 4 --seq-len 16 --text words.txt --workers 1 --device cpu",
    "data build": "--source text --files words.txt --out data",
    "data inspect": "data",
    "fit": "runs.csv --law loss --bootstrap 2",
    "report": "runs.csv --bootstrap 2",
    "plan": "--heads 6",
    "sample": "nowhere",
    "export": "nowhere",
    "export-optimizer": "adana",
    "doctor": "torch.nn:Identity",
    "inspect hilberg": "words.txt",
    "inspect noise": "nowhere",
    "inspect optimizer": "nowhere",
    "inspect spectrum": "nowhere",
    "completion": "bash",
}
WORDS = (
    *("train", "sweep", "data inspect", "fit", "report", "sample", "export-optimizer", "doctor"),
    *("inspect hilberg", "inspect noise", "inspect optimizer", "inspect spectrum", "completion"),
)
"""Commands that take words without an option: the values at the edge are tried there too."""


@dataclass(frozen=True)
class Case:
    """A command line to try."""

    command: str
    arguments: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return [*self.command.split(" of ")[0].split(), *self.arguments]


def options_of(command: str) -> list[str]:
    """The options that the command's help lists."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([*command.split(" of ")[0].split(), "--help"])
    return sorted(set(re.findall(r"^[│ ]*(?:-\w[^-\n]*, )?(--[a-z][a-z0-9-]*)", shown.getvalue(), re.M)) - {"--help"})


def cases(command: str) -> Iterator[Case]:
    """All command lines of a command."""
    base = BASES[command].split()
    for option in options_of(command):
        start = base.index(option) if option in base else len(base)
        end = next((i for i in range(start + 1, len(base)) if base[i].startswith("--")), len(base))
        rest = [*base[:start], *base[end:]]
        for value in VALUES:
            given = [f"{option}={value}"] if value[:1] == "-" or not value else [option, value]
            yield Case(command, (*rest, *given))
        yield Case(command, (*rest, option))
    if command in WORDS:
        for value in VALUES:
            yield Case(command, (value, *(base if base[0].startswith("--") else base[1:])))


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, what it wrote, and what a person would see as a traceback."""

    code: object
    printed: str
    said: str
    traceback: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with how it ended, or ""."""
        if self.traceback:
            return self.traceback
        if self.code not in (0, 1, 2, 130):
            return f"exit code {self.code}"
        if "\x1b" in self.printed + self.said:
            return "an escape reached the terminal"
        said = [line for line in self.said.splitlines() if not re.match(r"adana [\w-]+: warning: ", line)]
        if self.code in (1, 2) and (len(said) != 1 or not said[0].startswith("adana")):
            return f"exit code {self.code} with {len(said)} lines: {self.said[-500:]}"
        return self.said if "Traceback" in self.printed + self.said else ""


def ended(words: Sequence[str]) -> Ended:
    """Run a command in this process, and see how it ends."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    code: object = None
    fell = ""
    before = {number: signal.signal(number, _too_long) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITED)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        fell = traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ended(code, _text(out), _text(err), fell)


def fault(case: Case) -> str:
    """What is wrong with how a command line ends, or ""."""
    with _nothing_trained():
        return ended([str(Path("device").absolute()) if word == "DEVICE" else word for word in case.words]).fault


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


class _Hang(BaseException):
    """So that no command takes it for an error of its own."""


def _too_long(number: int, frame: object) -> None:
    raise _Hang(f"not over after {SECONDS if number == signal.SIGPROF else WAITED} s")


@contextlib.contextmanager
def _nothing_trained() -> Iterator[None]:
    """The work of hours is as if it were interrupted at once."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("adana.train.run.train", side_effect=Interrupted))
        for name in ("race.race", "race.race_search", "sweep.sweep", "sweep.race_search", "ladder.climb"):
            stack.enter_context(mock.patch(f"adana.cli.{name}", side_effect=KeyboardInterrupt))
        yield


@contextlib.contextmanager
def prepared(text: str) -> Iterator[None]:
    """A folder of its own with a text, runs and a device, as the current folder."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("words.txt").write_text(text)
            ladder_csv(Path("runs.csv"), rates=(1.0,))
            try:  # a node of its own: what replaced the machine's /dev/full would harm everybody
                os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 7))
            except OSError:
                os.mkfifo("device")
            yield
        finally:
            os.chdir(here)


def text() -> str:
    return " ".join(f"word{n * n % 97}" for n in range(4000))


def run(commands: Sequence[str], every: int = 1, first: int = 0) -> int:
    """Try all cases, or one in so many; prints what falls."""
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    fell = 0
    for command in commands:
        tried = 0
        options = len(options_of(command))
        for case in itertools.islice(cases(command), first % every, None, every):
            tried += 1
            with prepared(text()):
                said = fault(case)
            if said:
                fell += 1
                print(f"FELL {[word[:60] for word in case.words]}\n{said}", flush=True)
        print(f"{command}: {tried} command lines, {options} options", flush=True)
    print(f"{fell} fell")
    return 1 if fell else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of which commands; default all")
    parser.add_argument("--every", type=int, default=1, help="try one command line in so many")
    parser.add_argument("--first", type=int, default=0, help="the first to try")
    given = parser.parse_args()
    chosen = [name for name in BASES if not given.names or name.split()[0] in given.names]
    sys.exit(run(chosen, given.every, given.first))
