from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adana.cli import main
from adana.data.dataset import open_dataset
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
    "an exponent of FineWeb": (["--source", "fineweb", "--exponent", "0.5"], "--exponent is for --source santa-fe"),
    "an impossible exponent": (["--source", "santa-fe", "--exponent", "1.5"], "got 1.5"),
    "everything held out": (["--source", "installed", "--held-out-every", "1"], "got 1"),
    "an unknown tokenizer": (["--tokenizer", "gpt3"], "'gpt3'"),
    "a tokenizer that is not there": (["--tokenizer", "no/such.json"], "no/such.json"),
    "a tokenizer file that is none": (["--tokenizer", "FILES/a.json"], "a.json"),
    "a vocabulary for bytes": (["--vocabulary", "300"], "--vocabulary is for --tokenizer train"),
    "a vocabulary below bytes": (["--tokenizer", "train", "--vocabulary", "100"], "got 100"),
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


def test_a_bad_line_of_the_data_fails_with_exit_code_1_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\nnot json\n')
    command = ["data", "build", "--source", "jsonl", "--files", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "a")]
    assert main(command) == 1
    printed = capsys.readouterr().err
    assert "a.jsonl, line 2: not JSON" in printed
    assert printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


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


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_polite_kill_leave_nothing_behind(tmp_path, kill):
    command = [sys.executable, "-m", "adana", "data", "build", "--source", "santa-fe", "--documents", "1000000"]
    process = subprocess.Popen(
        [*command, "--shard-tokens", "100000", "--out", str(tmp_path / "a")],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs deaf to Ctrl-C, and tests run by one would pass that on.
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
