"""Standard streams as they may be found, and what is printed of text that is not ours."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from adana.cli import COMMANDS, Failed, main
from adana.cli.streams import Output, going_on
from adana.cli.words import one_line, plain, shortened
from adana.files import Damaged

ADANA = [sys.executable, "-m", "adana"]


def start(words, redirected, **environment):
    """A command of its own, in a shell that redirects its streams."""
    quoted = " ".join(f"'{word}'" for word in [*ADANA, *words])
    return subprocess.run(
        ["bash", "-c", f"{quoted} {redirected}"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_help_is_printed_where_the_terminal_has_no_utf_8():
    code = f"""
import sys
import warnings
from adana.cli import main
for command in {[*COMMANDS]!r} + ["theory plrf", "data build"]:
    try: main([*command.split(), "--help"])
    except SystemExit as stopped: assert not stopped.code
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode("ascii").count("usage: adana") == len(COMMANDS) + 2


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "adana plan: error: standard output: No space left on device\n"),
        ("| true", 0, ""),  # the shell's code is that of true
    ],
)
@pytest.mark.slow
def test_an_output_that_is_closed_full_or_not_read_is_no_traceback(redirected, code, said):
    done = start(["plan", "--heads", "6"], redirected)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_command_without_a_name_that_nobody_reads_is_no_traceback():
    assert start([], "| true").stderr == ""


def test_a_closed_stream_is_opened_on_nothing_and_its_number_goes_to_no_file(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""
import os
from adana.cli.streams import open_standard_streams
open_standard_streams()
file = open({str(tmp_path / "data")!r}, "w")
os.write(1, b"what a library prints")
assert file.fileno() > 2
""")
    done = subprocess.run(["bash", "-c", f"'{sys.executable}' '{program}' >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "data").read_text() == ""


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_work_of_hours_goes_on_without_an_output_that_is_full(monkeypatch, capsys):
    output = Output(Full())
    monkeypatch.setattr(sys, "stdout", output)
    with going_on():
        print("a line")
        print("another")
    with pytest.raises(OSError, match="standard output"):
        print("the result")
    monkeypatch.undo()
    assert capsys.readouterr().err == "adana: standard output: No space left on device; the work goes on without it\n"


# --- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Failed("it is not there"), "it is not there"),
        (Damaged("run.json is damaged"), "run.json is damaged"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), "runs/a: No space left on device"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 8 TiB"), "out of memory: Unable to allocate 8 TiB"),
        (OverflowError("int too large to convert to float"), "a number is too large: int too large to convert to"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply: maximum recursion depth"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_the_world_does_is_one_line_with_exit_code_1(error, line, monkeypatch, capsys):
    def fails(argv):
        raise error

    monkeypatch.setattr("adana.cli.plan.run", fails)
    assert main(["plan"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"adana plan: error: {line}")
    assert said.count("\n") == 1


def test_a_fault_of_the_package_keeps_its_traceback(monkeypatch):
    def fails(argv):
        raise KeyError("lr")

    monkeypatch.setattr("adana.cli.plan.run", fails)
    with pytest.raises(KeyError):
        main(["plan"])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [[""], ["  "], ["--out", ""], ["--out="], ["x", "--json", ""]])
def test_an_empty_word_is_refused(command, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([command, *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"adana {command}: error: ")
    assert "is empty: is a variable of your shell not set?" in said
    assert list(tmp_path.iterdir()) == []


# What the command line holds, what is said of it.
REFUSED = [
    (["race", "--heads", "x"], "--heads takes a whole number, got x"),
    (["race", "--heads=\x1b[31mx"], "--heads takes a whole number, got \\x1b[31mx"),
    (["race", "--heads", "[/a]"], "--heads takes a whole number, got [/a]"),
    (["race", "--heads", "9" * 5000], f"--heads takes a whole number, got {shortened('9' * 5000)}"),
    (["race", "--layers", "3.5"], "--layers takes None or a whole number, got 3.5"),
    (["race", "--headz", "3"], "unknown option --headz: do you mean --heads?"),
    (["race", "--horizons", "a", "b", "--json"], "--horizons takes numbers, got a b"),
    (["race", "--seeds"], "--seeds needs a value"),
    (["race", "--text"], "--text has no values: give it one or more, or leave it out"),
    (["race", "words"], "words is not expected here"),
    (["race", "--seeds", "99999999"], "--seeds 99999999 makes 399,999,996 runs, more than the 10,000 of one race"),
    (["fit", "runs.csv"], "name a law with --law, or say --describe to see which can be fitted"),
    (
        ["fit", "runs.csv", "--law", "foo"],
        "--law takes batch, damping, loss, lr, lr-batch, multiplier, overtraining or tokens, got foo",
    ),
    (["plan"], "name a size with --heads, or a budget with --budget"),
    (["data"], "name a subcommand: build or inspect"),
    (["data", "build", "--source", "x"], "--source takes stdlib, installed, text, jsonl, parquet, fineweb or santa-fe"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(row[0])[:40] for row in REFUSED])
def test_what_cannot_be_read_is_said_with_the_option_its_value_and_what_is_allowed(words, line, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"adana {words[0]}: error: {line}")
    assert said.count("\n") == 1


def test_text_that_is_not_ours_is_one_line_without_commands_to_the_terminal():
    assert plain("a\x1b[31mb\nc\x07\u202ed") == "a\\x1b[31mb c\\x07\\u202ed"
    assert len(plain("x" * 10**6)) <= 2000
    assert one_line(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000)).startswith("xxx")


def test_nothing_that_a_command_prints_is_read_as_markup():
    from adana.cli.tables import say, terminal

    console: Console = terminal()
    console.file = io.StringIO()
    say(console, "pip install 'adana[report]' [/a] :smile:", style="")
    console.print("[draft].txt")
    assert console.file.getvalue() == "pip install 'adana[report]' [/a] :smile:\n[draft].txt\n"


# What there is for an input; the exit code of every command that reads such a one.
INPUTS = {
    "a recipe": (["train FILE --lr 1e-3 --dry-run", "sweep FILE"], "recipe.json"),
    "a data folder": (
        ["train small --data FILE --lr 1e-3 --dry-run", "sweep --data FILE", "ladder --data FILE", "data inspect FILE"],
        "data/dataset.json",
    ),
    "a text": (
        ["train small --text FILE --lr 1e-3 --dry-run", "race --text FILE", "data build --source text --files FILE"],
        "text.txt",
    ),
    "runs": (["fit FILE --law lr", "report FILE"], "runs.csv"),
    "a law": (["plan --heads 6 --law FILE"], "law.json"),
}
LINES = [(line, name) for lines, name in INPUTS.values() for line in lines]


@pytest.mark.parametrize(("line", "name"), LINES, ids=[line for line, _ in LINES])
def test_input_that_is_not_there_is_2_and_one_that_cannot_be_read_is_1_in_every_command(
    line, name, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = line.replace("FILE", name.split("/")[0]).split()
    assert main(words) == 2
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"\x80\x00\x81" * 10)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert name.split("/")[0] in said


def test_a_warning_is_one_line_without_a_place_in_our_source(monkeypatch, capsys):
    def warns(argv):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("weights change sign", stacklevel=1)
        return 0

    monkeypatch.setattr("adana.cli.plan.run", warns)
    monkeypatch.setattr(warnings, "showwarning", lambda *what: sys.stderr.write(warnings.formatwarning(*what[:4])))
    assert main(["plan"]) == 0
    assert capsys.readouterr().err == "adana plan: warning: weights change sign\n"
