from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana.cli import main
from adana.data.dataset import open_dataset
from adana.tables import printable
from tests.data.files import texts, write_fineweb, write_jsonl, write_parquet, write_tiktoken


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "words.txt").write_text("\n".join(texts(300)))
    write_jsonl(folder / "a.jsonl", texts(300))
    write_parquet(folder / "a.parquet", texts(300))
    write_fineweb(folder / "fineweb", texts(300))
    write_tiktoken(folder / "tiny.tiktoken")
    return folder


BUILDS = {
    "standard library": [],
    "text": ["--source", "text", "--files", "FILES/words.txt"],
    "json lines": ["--source", "jsonl", "--files", "FILES/a.jsonl", "--column", "text"],
    "parquet": ["--source", "parquet", "--files", "FILES/a.parquet", "--held-out-every", "5"],
    "fineweb": ["--source", "fineweb", "--repository", "FILES/fineweb", "--held-out-every", "10"],
    "another sample": [
        *["--source", "fineweb", "--sample", "sample-100BT", "--repository", "FILES/fineweb"],
        *["--held-out-every", "2"],
    ],
    "santa fe": [
        "--source",
        "santa-fe",
        "--documents",
        "30",
        "--exponent",
        "0.6",
        "--seed",
        "4",
        "--held-out-every",
        "5",
    ],
    "tiktoken": ["--source", "jsonl", "--files", "FILES/a.jsonl", "--tokenizer", "FILES/tiny.tiktoken"],
    "trained": ["--source", "jsonl", "--files", "FILES/a.jsonl", "--tokenizer", "train", "--vocabulary", "300"],
}


def arguments(files: Path, options: list[str]) -> list[str]:
    return [option.replace("FILES", str(files)) for option in options]


@pytest.mark.parametrize("options", BUILDS.values(), ids=BUILDS.keys())
@pytest.mark.slow
def test_every_source_and_tokenizer_ends_in_a_dataset_that_inspect_finds_whole(files, options, tmp_path, capsys):
    out = tmp_path / "made"
    assert main(["data", "build", *arguments(files, options), "--out", str(out), "--json"]) == 0
    (built,) = json.loads(capsys.readouterr().out)
    dataset = open_dataset(out)
    assert built["sha256"] == dataset.sha256
    assert [part["tokens"] for part in built["parts"]] == [len(dataset.train), len(dataset.validation)]
    assert built["about"]["command"].startswith("adana data build")
    assert main(["data", "inspect", str(out), "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)
    assert seen == built | {"verified": True}


def test_the_table_names_the_text_and_its_tokens(files, tmp_path, capsys):
    options = arguments(files, BUILDS["parquet"])
    assert main(["data", "build", *options, "--out", str(tmp_path / "a"), "--shard-tokens", "4000"]) == 0
    printed = capsys.readouterr().out
    assert "a.parquet" in printed
    assert "vocabulary 256" in printed
    assert main(["data", "inspect", str(tmp_path / "a"), str(tmp_path / "a" / "train-00001.tokens")]) == 0
    printed = capsys.readouterr().out
    assert "train-00001" in printed
    assert printed.count("checksums match") == 2


def test_tokens_bound_what_is_read(files, tmp_path, capsys):
    options = arguments(files, BUILDS["json lines"])
    assert main(["data", "build", *options, "--out", str(tmp_path / "a"), "--tokens", "2000", "--json"]) == 0
    (built,) = json.loads(capsys.readouterr().out)
    assert 2000 <= built["parts"][0]["tokens"] < 2200


REFUSED = {
    "an unknown source": (["--source", "wikipedia"], "wikipedia"),
    "no files": (["--source", "parquet"], "needs --files"),
    "a file that is not there": (["--source", "text", "--files", "no/such.txt"], "no/such.txt"),
    "files for the library": (["--files", "FILES/words.txt"], "--files is for --source text, jsonl, parquet"),
    "a column of text": (["--source", "text", "--files", "FILES/words.txt", "--column", "x"], "--column is for"),
    "a share of JSON": (
        ["--source", "jsonl", "--files", "FILES/a.jsonl", "--max-invalid", "1"],
        "--max-invalid is for",
    ),
    "an impossible share": (["--source", "text", "--files", "FILES/words.txt", "--max-invalid", "2"], "got 2"),
    "too many facts": (["--source", "santa-fe", "--symbols", "9" * 12], "symbols must be at most 100,000,000"),
    "an exponent of FineWeb": (["--source", "fineweb", "--exponent", "0.5"], "--exponent is for --source santa-fe"),
    "an impossible exponent": (["--source", "santa-fe", "--exponent", "1.5"], "got 1.5"),
    "everything held out": (["--source", "installed", "--held-out-every", "1"], "got 1"),
    "an unknown tokenizer": (["--tokenizer", "gpt3"], "'gpt3'"),
    "a tokenizer that is not there": (["--tokenizer", "no/such.json"], "no/such.json"),
    "a tokenizer file that is none": (["--tokenizer", "FILES/a.json"], "a.json"),
    "a vocabulary for bytes": (["--vocabulary", "300"], "--vocabulary is for --tokenizer train"),
    "a vocabulary below bytes": (["--tokenizer", "train", "--vocabulary", "100"], "got 100"),
    "a vocabulary of billions": (["--tokenizer", "train", "--vocabulary", "9" * 30], "at most 1,000,000"),
    "an end of text for bytes": (["--end-of-text", "</s>"], "--end-of-text is for"),
    "no tokens": (["--tokens", "0"], "--tokens must be at least 1, got 0"),
    "no shard": (["--shard-tokens", "-1"], "--shard-tokens must be at least 1, got -1"),
    "a folder in use": (["--out", "FILES"], "already exists"),
}


@pytest.mark.parametrize(("options", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_arguments_are_one_line_with_exit_code_2_and_write_nothing(files, options, told, tmp_path, capsys):
    (files / "a.json").write_text("{}")
    command = ["data", "build", *arguments(files, options)]
    if "--out" not in options:
        command += ["--out", str(tmp_path / "out")]
    try:
        code = main(command)
    except SystemExit as stopped:  # tyro's own
        code = stopped.code
    printed = capsys.readouterr().err
    assert code == 2
    assert told in printed
    assert list(tmp_path.iterdir()) == []


def build(source: str, file: Path, out: Path, *options: str) -> list[str]:
    return ["data", "build", "--source", source, "--files", str(file), "--out", str(out), *options]


def write_unfit(folder: Path) -> dict[str, tuple[str, Path, str]]:
    """Files that cannot be read as what they are given for: source, file, and what is said."""
    whole = gzip.compress(b'{"text": "hello"}\n' * 1000)
    contents = {
        "bad line": ("a.jsonl", b'{"text": "fine"}\nnot json\n', "a.jsonl, line 2: not JSON"),
        "deep line": ("deep.jsonl", b"[" * 100_000 + b"\n", "deep.jsonl, line 1: nested too deeply"),
        "cut gzip": ("cut.jsonl.gz", whole[:-20], "cut.jsonl.gz is cut short"),
        "foreign gzip": ("page.jsonl.gz", b"<html>404</html>", "page.jsonl.gz is corrupt or not gzip"),
        "no parquet": ("a.parquet", b"PAR1", "a.parquet is corrupt or not Parquet"),
        "latin-1": ("a.txt", "Größe ".encode("latin-1") * 99, "a.txt is not UTF-8 text"),
        "latin-1 lines": ("latin.jsonl", '{"text": "Größe"}'.encode("latin-1"), "latin.jsonl, line 1: not UTF-8"),
    }
    found = {}
    for what, (name, content, told) in contents.items():
        (folder / name).write_bytes(content)
        source = "text" if name.endswith(".txt") else "parquet" if name.endswith(".parquet") else "jsonl"
        found[what] = (source, folder / name, told)
    os.mkfifo(folder / "pipe.txt")
    found["pipe"] = ("text", folder / "pipe.txt", "pipe.txt: is a device or a pipe, not a regular file")
    (folder / "empty").mkdir()
    found["empty folder"] = ("text", folder / "empty", "empty: no .txt or .md files in this folder")
    return found


def test_data_that_cannot_be_read_fails_in_one_line_that_names_it_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for what, (source, file, told) in write_unfit(tmp_path / "in").items():
        assert main(build(source, file, tmp_path / "out" / "a")) == 1, what
        printed = capsys.readouterr().err
        assert told in printed
        assert printed.count("\n") == 1
        assert list((tmp_path / "out").iterdir()) == []


def test_text_that_is_not_utf_8_is_taken_as_it_is_where_that_is_asked_for(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("Größe ".encode("latin-1") * 99)
    assert main(build("text", tmp_path / "a.txt", tmp_path / "a", "--max-invalid", "1")) == 0
    assert "198 bytes of the text are zero or no UTF-8" in capsys.readouterr().out
    assert main(build("text", tmp_path / "a.txt", tmp_path / "b", "--max-invalid", "1", "--json")) == 0
    assert json.loads(capsys.readouterr().out)[0]["invalid_bytes"] == 198


def test_cuts_that_changed_tokens_are_said(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adana.data.reading.PIECE", 1000)
    (tmp_path / "a.txt").write_text("momlog" * 2000)
    options = ["--tokenizer", str(files / "tiny.tiktoken")]
    assert main(build("text", tmp_path / "a.txt", tmp_path / "a", *options)) == 0
    assert re.search(r"\d+ of 1\d cuts in long documents changed the tokens beside them", capsys.readouterr().out)


def test_a_bound_of_tokens_holds_within_one_file_and_leaves_something_held_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adana.data.reading.PIECE", 1000)
    (tmp_path / "a.txt").write_text("\n".join(texts(2000)))
    assert main(build("text", tmp_path / "a.txt", tmp_path / "a", "--tokens", "5000", "--json")) == 0
    train, validation = json.loads(capsys.readouterr().out)[0]["parts"]
    assert 5000 <= train["tokens"] <= 6001
    assert validation["tokens"] > 5000


@pytest.mark.parametrize("name", ["[draft].txt", "[bold]a[\\].txt", ":warning:.txt", "\x1b[31mred\x1b[0m.txt"])
def test_names_are_printed_as_they_are_and_never_command_the_terminal(tmp_path, capsys, name):
    (tmp_path / name).write_text(" ".join(texts(50)))
    assert main(build("text", tmp_path / name, tmp_path / f"made {name}", "--tokenizer", "train")) == 0
    assert main(["data", "inspect", str(tmp_path / f"made {name}")]) == 0
    assert main(["data", "inspect", str(tmp_path / f"made {name}" / "train-00000.tokens")]) == 0
    (tmp_path / f"made {name}" / "train-00000.tokens").write_text("spoilt")
    assert main(["data", "inspect", str(tmp_path / f"made {name}")]) == 1
    captured = capsys.readouterr()
    shown = printable(name)
    assert captured.out.count(f"made {shown}") >= 3
    assert shown in captured.err.splitlines()[0], "while a tokenizer is trained"
    assert "\x1b" not in captured.out + captured.err
    assert f"{shown}/train-00000.tokens is not a shard" in captured.err
    assert captured.err.count("\n") == 2


def test_what_a_killed_build_left_is_named_to_the_next(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(" ".join(texts(50)))
    (tmp_path / ".a.0123456789abcdef.partial").mkdir()
    (tmp_path / ".other.0123456789abcdef.partial").mkdir()
    assert main(build("text", tmp_path / "a.txt", tmp_path / "a")) == 0
    printed = capsys.readouterr().err
    assert ".a.0123456789abcdef.partial" in printed
    assert ".other." not in printed


def test_inspect_names_what_is_spoilt(files, tmp_path, capsys):
    out = tmp_path / "a"
    assert main(["data", "build", *arguments(files, BUILDS["json lines"]), "--out", str(out)]) == 0
    shard = out / "train-00000.tokens"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    assert main(["data", "inspect", str(out)]) == 1
    assert "train-00000.tokens is corrupt" in capsys.readouterr().err
    assert main(["data", "inspect", str(out), "--no-verify"]) == 0
    assert main(["data", "inspect", str(files)]) == 1
    assert main(["data", "inspect", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("verify", [[], ["--no-verify"]])
def test_inspect_holds_a_folder_to_its_own_hash(files, tmp_path, capsys, verify):
    out = tmp_path / "a"
    built = ["data", "build", *arguments(files, BUILDS["json lines"]), "--shard-tokens", "1000", "--out", str(out)]
    assert main(built) == 0
    manifest = json.loads((out / "dataset.json").read_text())
    manifest["validation"] = manifest["train"]
    (out / "dataset.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["data", "inspect", str(out), *verify]) == 1
    printed = capsys.readouterr().err
    assert "dataset.json was changed after it was written" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("closed", ["folder", "dataset.json", "train-00000.tokens"])
def test_a_folder_that_may_not_be_read_is_one_line_that_names_it(files, tmp_path, capsys, monkeypatch, closed):
    out = tmp_path / "a"
    assert main(["data", "build", *arguments(files, BUILDS["json lines"]), "--out", str(out)]) == 0
    capsys.readouterr()
    system = {"open": os.open, "stat": os.stat}

    def refuse(call):
        def refused(path, *rest, **options):
            name = os.fspath(path) if isinstance(path, (str, Path)) else ""
            if name.startswith(str(out / ("" if closed == "folder" else closed))) and name != str(out):
                raise PermissionError(13, "Permission denied", name)
            return system[call](path, *rest, **options)

        return refused

    for call in system:  # root may read everything
        monkeypatch.setattr(os, call, refuse(call))
    code = main(["data", "inspect", str(out)])
    monkeypatch.undo()
    printed = capsys.readouterr().err
    assert code == 1
    assert f"{out}/{'dataset.json' if closed == 'folder' else closed}: Permission denied" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_polite_kill_leave_nothing_behind(tmp_path, kill):
    command = [sys.executable, "-m", "adana", "data", "build", "--source", "santa-fe", "--documents", "1000000"]
    process = subprocess.Popen(
        [*command, "--shard-tokens", "100000", "--out", str(tmp_path / "a")],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with Ctrl-C ignored, and tests run by one would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 600  # only ends a hang
    while not list(tmp_path.rglob("train-00001.tokens")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(kill)
    _, printed = process.communicate(timeout=600)
    assert process.returncode == 130, printed
    assert "nothing was written" in printed
    assert "Traceback" not in printed
    assert os.listdir(tmp_path) == []


def test_the_command_needs_no_torch():
    code = (
        "import sys, adana.cli.data; print(sorted({'torch', 'pyarrow', 'datasets', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


EDGE = ["", " ", "0", "-1", "1", "2147483648", "1" * 400, "1e400", "nan", "-inf", "1e-320", "None", "/dev/null"]
EDGE += ["/dev/full", "/proc/none/x", "x" * 300, "\x1b[31m", "[/a]", "..", "\udcff", "*", "PIPE", "FILES/a.json"]
OPTIONS = {
    "text": ["files", "max-invalid", "held-out-every", "tokens", "shard-tokens", "out", "tokenizer"],
    "jsonl": ["files", "column"],
    "parquet": ["files", "column"],
    "santa-fe": ["exponent", "symbols", "seed", "documents", "vocabulary", "end-of-text"],
}


@pytest.mark.parametrize("source", OPTIONS)
def test_a_value_at_the_edge_is_taken_or_refused_in_one_line(files, tmp_path, capsys, monkeypatch, source):
    """A share of what was tried by hand: every option with every value of the list, 3,400 commands."""
    (files / "a.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    file = {"text": "words.txt", "jsonl": "a.jsonl", "parquet": "a.parquet"}.get(source)
    given = ["--files", str(files / file)] if file else ["--symbols", "1000"]
    base = ["data", "build", "--source", source, "--tokens", "100", *given]
    for number, option in enumerate(OPTIONS[source]):
        for value in EDGE[number % 3 :: 3]:
            if option == "documents" and value.isdigit():
                continue  # as many as were asked for
            more = ["--tokenizer", "train"] if option == "vocabulary" else []
            given = value.replace("PIPE", str(tmp_path / "pipe")).replace("FILES", str(files))
            out = [] if option == "out" else ["--out", "out"]
            code = main([*base, *more, *out, f"--{option}", given])
            printed = capsys.readouterr().err
            assert code in (0, 1, 2), (option, value)
            assert printed.count("error:") == (code > 0), (option, value)
            assert printed.count("\n") <= 1 + bool(more), (option, value)
            assert "\x1b" not in printed
            shutil.rmtree("out", ignore_errors=True)


@pytest.mark.parametrize("command", [[], ["build"], ["inspect"]], ids=str)
def test_help_is_printed_where_the_terminal_has_no_utf_8(command):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "adana", "data", *command, "--help"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "usage: adana data" in done.stdout
