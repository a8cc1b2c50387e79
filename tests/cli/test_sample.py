"""``adana sample``: text from a run's newest checkpoint."""

from __future__ import annotations

import json

import pytest

from adana.cli import main
from tests.data.files import write_tiktoken

TRAIN = (
    "train small --heads 1 --layers 1 --seq-len 16 --batch-size 2 --steps 4 --text words.txt --lr 1e-3 "
    "--validation-tokens 64 --out run --device cpu"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("sample")
    (where / "words.txt").write_text(" ".join(f"word{n * n % 97}" for n in range(4000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        assert main(TRAIN.split()) == 0
    return where / "run"


def _sampled(capsys, *words):
    capsys.readouterr()
    assert main(["sample", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("more", [[], ["--temperature", "0"], ["--top-k", "3"]])
def test_the_same_seed_writes_the_same_text_after_the_prompt(folder, more, capsys):
    one, other = (_sampled(capsys, str(folder), "--prompt", "word", "--tokens", "40", *more) for _ in range(2))
    assert one == other
    assert one["text"].startswith("word")
    assert 0 < one["tokens"] <= 40


def test_another_seed_writes_another_text(folder, capsys):
    assert len({_sampled(capsys, str(folder), "--tokens", "40", "--seed", seed)["text"] for seed in "012"}) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--tokens", "0"], "--tokens must be between"),
        (["RUN", "--temperature", "nan"], "temperature must be"),
        (["RUN", "--top-k", "0"], "top_k must be"),
        (["RUN", "--seed=-1"], "--seed must be"),
    ],
)
def test_what_cannot_be_is_one_line(folder, words, said, capsys):
    assert main(["sample", *(str(folder) if word == "RUN" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_a_run_without_a_checkpoint_is_one_line(folder, tmp_path, capsys):
    (tmp_path / "run.json").write_text((folder / "run.json").read_text())
    assert main(["sample", str(tmp_path)]) == 2
    assert "has no checkpoint" in capsys.readouterr().err


def test_a_run_on_tokens_of_a_vocabulary_file_needs_that_file_no_more(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text(" ".join(f"word{n * n % 97}" for n in range(4000)))
    vocabulary = write_tiktoken(tmp_path / "tiny.tiktoken")
    assert (
        main(
            [
                "data",
                "build",
                "--source",
                "text",
                "--files",
                "words.txt",
                "--tokenizer",
                str(vocabulary),
                "--out",
                "tokens",
            ]
        )
        == 0
    )
    assert main(TRAIN.replace("--text words.txt", "--data tokens").split()) == 0
    vocabulary.unlink()
    assert _sampled(capsys, "run", "--prompt", "word")["text"].startswith("word")
