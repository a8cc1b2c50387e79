from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
import torch

from adana.data import text
from adana.data.batches import TokenStream
from adana.data.dataset import bits_per_byte, from_corpus, open_dataset
from adana.data.reading import Piece
from adana.data.santa_fe import SantaFe
from adana.data.shards import open_shard
from adana.data.sources import JSONLines
from adana.data.tokenizer import Bytes, load_tokenizer, train_tokenizer
from adana.data.writing import Progress, write_dataset
from tests.data.files import texts, write_jsonl, write_tiktoken

DOCUMENTS = [Piece(text.encode(), held_out=i % 5 == 0) for i, text in enumerate(texts(100))]


def write(folder, documents=DOCUMENTS, tokenizer=None, **options):
    return write_dataset(documents, tokenizer or Bytes(), folder, name="letters", **options)


def stream(tokens) -> np.ndarray:
    return tokens.windows(np.array([0]), len(tokens))[0]


@pytest.mark.parametrize("shard_tokens", [1, 500, 10**6])
def test_a_dataset_is_its_documents_in_order_however_it_is_cut(tmp_path, shard_tokens):
    dataset = write(tmp_path / "a", shard_tokens=shard_tokens)
    for part, held_out in ((dataset.train, False), (dataset.validation, True)):
        expected = b"".join(document.text + b"\0" for document in DOCUMENTS if document.held_out == held_out)
        assert stream(part).astype(np.uint8).tobytes() == expected
    *full, last = (open_shard(path).header.count for path in sorted((tmp_path / "a").glob("train-*.tokens")))
    longest = max(len(document.text) for document in DOCUMENTS) + 1
    assert all(shard_tokens <= count < shard_tokens + longest for count in full)
    assert 0 < last < shard_tokens + longest
    assert len(full) + 1 == {1: 80, 500: 11, 10**6: 1}[shard_tokens]


def test_a_dataset_opened_again_is_the_one_that_was_written(tmp_path):
    dataset = write(tmp_path / "a", shard_tokens=500)
    again = open_dataset(tmp_path / "a")
    assert (stream(dataset.train) == stream(again.train)).all()
    for name in ("name", "vocabulary", "end_of_text", "tokenizer", "fingerprint", "bytes_per_token", "sha256"):
        assert getattr(again, name) == getattr(dataset, name)


def test_the_hash_is_of_all_the_tokens(tmp_path):
    first = write(tmp_path / "a").sha256
    assert write(tmp_path / "b").sha256 == first
    changed = [*DOCUMENTS[:-1], Piece(b"something else", held_out=False)]
    assert write(tmp_path / "c", changed).sha256 != first


def test_the_hash_is_of_the_split_and_the_tokenizer_too_and_not_of_the_name(tmp_path):
    first = write(tmp_path / "a").sha256
    assert write_dataset(DOCUMENTS, Bytes(), tmp_path / "b", name="other", about={"x": 1}).sha256 == first
    swapped = [Piece(document.text, not document.held_out) for document in DOCUMENTS]
    assert write(tmp_path / "c", swapped).sha256 != first

    class Other(Bytes):
        fingerprint = "0" * 64

    assert write(tmp_path / "d", tokenizer=Other()).sha256 != first


@pytest.mark.parametrize("tokens", [1, 1000, 3000, 10**9])
def test_so_many_training_tokens_are_written_to_the_end_of_a_document(tmp_path, tokens):
    longest = max(len(document.text) for document in DOCUMENTS) + 1
    written = len(write(tmp_path / "a", tokens=tokens, documents=DOCUMENTS).train)
    everything = sum(len(document.text) + 1 for document in DOCUMENTS if not document.held_out)
    assert written == everything or tokens <= written < tokens + longest
    assert written <= everything


def test_reading_stops_where_there_are_enough_tokens(tmp_path):
    """An endless source, and one that is being downloaded."""

    def endless():
        while True:
            yield from DOCUMENTS

    assert len(write(tmp_path / "a", endless(), tokens=2000).train) < 2200


@pytest.mark.slow
def test_progress_adds_up(tmp_path):
    seen: list[Progress] = []
    source = SantaFe(count=120, statements=20_000)
    dataset = write(tmp_path / "a", source.pieces(), report=seen.append)
    assert len(seen) > 2
    assert [p.text_bytes for p in seen] == sorted(p.text_bytes for p in seen)
    assert (seen[-1].train_tokens, seen[-1].validation_tokens) == (len(dataset.train), len(dataset.validation))
    assert seen[-1].documents == 120


@pytest.mark.parametrize("kind", ["bytes", "tiktoken", "trained"])
def test_bytes_per_token_are_those_of_the_held_out_text(tmp_path, kind):
    tokenizer = {
        "bytes": Bytes,
        "tiktoken": lambda: load_tokenizer(str(write_tiktoken(tmp_path / "tiny.tiktoken"))),
        "trained": lambda: train_tokenizer((document.text for document in DOCUMENTS), 300),
    }[kind]()
    dataset = write(tmp_path / "a", tokenizer=tokenizer)
    held_out = [document.text for document in DOCUMENTS if document.held_out]
    tokens = sum(len(encoded) + 1 for encoded in tokenizer.encode(held_out))
    assert len(dataset.validation) == tokens
    assert dataset.bytes_per_token == (sum(map(len, held_out)) + len(held_out)) / tokens
    assert (dataset.bytes_per_token == 1) == (kind == "bytes")


def test_chance_over_bytes_is_eight_bits_a_byte():
    assert bits_per_byte(math.log(256), 1.0) == pytest.approx(8)
    assert bits_per_byte(math.log(50304), 4.0) == pytest.approx(math.log2(50304) / 4)


def test_the_validation_set_is_fixed_and_the_races_on_bytes(tmp_path):
    dataset = write(tmp_path / "a")
    windows = dataset.validation_windows(seq_len=32, tokens=640)
    assert windows.shape == (20, 33)
    held_out = stream(dataset.validation).astype(np.uint8)
    assert (windows == text.validation_windows(held_out, seq_len=32, tokens=640)).all()


def test_the_default_corpus_is_a_dataset_without_files():
    corpus = text.standard_library()
    dataset = from_corpus(corpus)
    assert (dataset.sha256, dataset.vocabulary, dataset.bytes_per_token) == (corpus.sha256, 256, 1.0)
    mine = dataset.batches(batch_size=4, seq_len=256, seed=3).batch(11)
    assert (mine == text.batch(corpus.train, step=11, seed=3, batch_size=4, seq_len=256)).all()
    assert (dataset.validation_windows(seq_len=256) == text.validation_windows(corpus.held_out, seq_len=256)).all()


def test_a_batch_is_ready_for_torch(tmp_path):
    windows = torch.from_numpy(write(tmp_path / "a").batches(batch_size=2, seq_len=16).batch(0))
    assert (windows.dtype, windows.shape) == (torch.int64, (2, 17))


def test_a_sequence_longer_than_the_text_is_one_clear_line(tmp_path):
    dataset = write(tmp_path / "a")
    with pytest.raises(ValueError, match=r"seq_len=100000 needs 100,001 tokens and the training text has \d,\d+"):
        dataset.batches(batch_size=1, seq_len=100_000)
    with pytest.raises(ValueError, match=r"seq_len=100000 needs 100,001 tokens and the held-out text has \d+"):
        dataset.validation_windows(seq_len=100_000)


def test_a_model_or_tokenizer_that_does_not_fit_is_refused(tmp_path):
    trained = train_tokenizer((document.text for document in DOCUMENTS), 300)
    dataset = write(tmp_path / "a", tokenizer=trained)
    dataset.require(vocab_size=384, tokenizer=trained)
    dataset.require(vocab_size=50304)
    with pytest.raises(ValueError, match=r"vocabulary of 384; a model of vocab_size=256 .* use vocab_size=384"):
        dataset.require(vocab_size=256)
    other = train_tokenizer((document.text for document in DOCUMENTS[:50]), 300)
    with pytest.raises(ValueError, match=r"made with tokenizer trained \(\w{12}\), not with trained \(\w{12}\)"):
        dataset.require(tokenizer=other)


def test_a_trained_tokenizer_stays_with_its_tokens(tmp_path):
    trained = train_tokenizer((document.text for document in DOCUMENTS), 300)
    dataset = write(tmp_path / "a", tokenizer=trained)
    dataset.require(tokenizer=load_tokenizer(str(tmp_path / "a" / "tokenizer.json"), end_of_text="<|endoftext|>"))


def spoil(folder, what):
    shard = folder / "train-00001.tokens"
    manifest = folder / "dataset.json"
    if what == "bit":
        content = bytearray(shard.read_bytes())
        content[-7] ^= 4
        shard.write_bytes(content)
    elif what == "cut":
        shard.write_bytes(shard.read_bytes()[:-3])
    elif what == "missing":
        shard.unlink()
    elif what == "swapped":
        shard.replace(folder / "aside")
        (folder / "train-00002.tokens").replace(shard)
        (folder / "aside").replace(folder / "train-00002.tokens")
    elif what == "other":
        trained = train_tokenizer((document.text for document in DOCUMENTS), 300)
        write(folder.parent / "other", tokenizer=trained)
        (folder.parent / "other" / "train-00000.tokens").replace(shard)
    elif what == "elsewhere":
        manifest.write_text(manifest.read_text().replace("train-00001.tokens", "../a.tokens"))
    elif what == "unfinished":
        manifest.unlink()
    elif what == "half":
        manifest.write_text(manifest.read_text()[:100])
    elif what == "number":
        manifest.write_text("7")
    elif what == "deep":
        manifest.write_text("[" * 100_000 + "]" * 100_000)
    elif what == "old":
        edit(manifest, lambda found: found.update(format=1))
    elif what == "lost":
        edit(manifest, lambda found: found["train"]["shards"].pop("train-00001.tokens"))
    elif what == "validation is train":
        edit(manifest, lambda found: found.update(validation=found["train"]))
    elif what == "moved":
        edit(manifest, move)
    elif what == "reordered":
        edit(manifest, lambda found: found["train"].update(shards=dict(reversed(found["train"]["shards"].items()))))
    elif what == "counts":
        edit(manifest, lambda found: found["validation"].update(text_bytes=1))
    elif what == "tokenizer":
        edit(manifest, lambda found: found["tokenizer"].update(end_of_text=7))
    elif what == "type":
        edit(manifest, lambda found: found.update(cuts=[]))
    elif what == "cuts":
        edit(manifest, lambda found: found["cuts"].update(changed=7))
    elif what == "name":
        edit(manifest, lambda found: found.update(name="another"))
    elif what == "pipe":
        shard.unlink()
        os.mkfifo(shard)


def edit(manifest, change) -> None:
    found = json.loads(manifest.read_text())
    change(found)
    manifest.write_text(json.dumps(found))


def move(found) -> None:
    """The last shard of train to the front of validation: the same checksums in the same order."""
    file, checksum = found["train"]["shards"].popitem()
    found["validation"]["shards"] = {file: checksum} | found["validation"]["shards"]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("cuts", r"dataset\.json was changed after it was written: put the old file back"),
        ("name", r"dataset\.json was changed after it was written: put the old file back"),
        ("bit", r"train-00001\.tokens is corrupt: its checksum"),
        ("cut", r"train-00001\.tokens is truncated"),
        ("missing", r"train-00001\.tokens is missing"),
        ("swapped", r"train-00001\.tokens belongs to another dataset"),
        ("other", r"train-00001\.tokens holds tokens of tokenizer trained"),
        ("elsewhere", r"dataset\.json is corrupt: '\.\./a\.tokens'"),
        ("unfinished", r"is not a dataset: it has no dataset\.json"),
        ("half", r"dataset\.json is corrupt"),
        ("number", r"dataset\.json is corrupt"),
        ("deep", r"dataset\.json is corrupt \(it is nested"),
        ("old", r"dataset\.json is of format 1; this version of adana reads 2: build the dataset anew"),
        ("lost", r"dataset\.json was changed after it was written: .* hash \w{12}, not \w{12}"),
        ("validation is train", r"dataset\.json was changed after it was written"),
        ("moved", r"dataset\.json was changed after it was written"),
        ("reordered", r"dataset\.json was changed after it was written"),
        ("counts", r"dataset\.json is corrupt: its validation part has other shards"),
        ("tokenizer", r"train-00000\.tokens holds tokens of tokenizer bytes"),
        ("type", r"dataset\.json is corrupt"),
        ("pipe", r"is a device or a pipe, not a regular file.*train-00001\.tokens"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_a_spoilt_dataset_is_refused_and_what_is_wrong_is_named(tmp_path, what, told, verify):
    write(tmp_path / "a", shard_tokens=500)
    spoil(tmp_path / "a", what)
    if what == "bit" and not verify:
        assert open_dataset(tmp_path / "a", verify=False)  # only reading everything shows it
        return
    with pytest.raises((ValueError, OSError), match=told):
        open_dataset(tmp_path / "a", verify=verify)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_shard_cut_short_under_a_run_ends_the_next_batch_with_its_name(tmp_path, part):
    write(tmp_path / "a", shard_tokens=500)
    dataset = open_dataset(tmp_path / "a")
    batches = dataset.batches(batch_size=64, seq_len=100)
    assert batches.batch(0).shape == (64, 101)
    with (tmp_path / "a" / f"{part}-00001.tokens").open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(OSError, match=rf"cut short while it was in use.*{part}-00001\.tokens"):
        batches.batch(1) if part == "train" else dataset.validation_windows(seq_len=100)


def test_only_the_shards_of_a_batch_are_looked_at(tmp_path):
    """There may be thousands."""
    looked = []
    arrays = [np.arange(10 * i, 10 * i + 10) for i in range(9)]
    tokens = TokenStream(arrays, [lambda i=i: looked.append(i) for i in range(9)])
    tokens.windows(np.array([35, 31, 8, 80]), 5)
    assert sorted(looked) == [0, 1, 3, 8]


def test_a_piece_in_which_the_last_token_asked_for_falls_ends_its_document(tmp_path):
    """One file may be larger than all that is wanted of it."""
    pieces = [Piece(b"a" * 100, False, last=False)] * 50 + [Piece(b"a", False), Piece(b"b" * 30, True, last=False)]
    pieces += [Piece(b"b" * 30, True), Piece(b"c" * 30, True), Piece(b"a", False)]
    dataset = write(tmp_path / "a", pieces, tokens=950)
    assert stream(dataset.train).tolist() == [97] * 1000 + [0]
    assert stream(dataset.validation).tolist() == [98] * 60 + [0], "the first document held out, and no more"


def test_a_shard_ends_within_a_long_document(tmp_path):
    pieces = [Piece(b"a" * 100, False, last=i == 9) for i in range(10)] + [Piece(b"b", True)]
    dataset = write(tmp_path / "a", pieces, shard_tokens=250)
    counts = [open_shard(path).header.count for path in sorted((tmp_path / "a").glob("train-*"))]
    assert counts == [300, 300, 300, 101]
    assert stream(dataset.train).tolist() == [97] * 1000 + [0]


def fail_after(documents, count, error):
    for i, document in enumerate(documents):
        if i == count:
            raise error
        yield document


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left"), ValueError("bad line")], ids=repr)
def test_whatever_stops_it_leaves_nothing(tmp_path, error, monkeypatch):
    monkeypatch.setattr("adana.data.writing._ENCODE_BYTES", 500)  # so that shards are on disk by then
    with pytest.raises(type(error)):
        write(tmp_path / "a", fail_after(DOCUMENTS, 60, error), shard_tokens=300)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_end_leaves_nothing(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if str(target).endswith("validation-00000.tokens"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space.*/a/validation-00000\.tokens'"):
        write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_appears_only_when_it_is_whole(tmp_path):
    def watched():
        for document in DOCUMENTS:
            assert not (tmp_path / "a").exists()
            yield document

    write(tmp_path / "a", watched(), shard_tokens=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert not [path.name for path in (tmp_path / "a").iterdir() if path.name.startswith(".")]


def test_what_is_in_a_folder_is_not_written_over(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="already exists"):
        write(tmp_path / "a")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="already exists"):
        write(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert len(write(tmp_path / "empty").train)


@pytest.mark.parametrize(("held_out", "told"), [(False, "left nothing held out"), (True, "left nothing to train on")])
def test_a_dataset_without_one_of_its_parts_is_refused(tmp_path, held_out, told):
    with pytest.raises(ValueError, match=told):
        write(tmp_path / "a", [Piece(b"only this", held_out)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tokens", "shard_tokens"])
def test_no_tokens_at_all_cannot_be_asked_for(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        write(tmp_path / "a", **{name: 0})


def test_the_folder_says_where_its_tokens_come_from(tmp_path):
    source = JSONLines((write_jsonl(tmp_path / "a.jsonl", texts(100)),), held_out_every=5)
    write(tmp_path / "a", source.pieces(), about=source.about())
    manifest = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert manifest["about"]["source"] == "JSONLines"
    assert manifest["train"]["documents"] + manifest["validation"]["documents"] == 100
    assert manifest["train"]["tokens"] == manifest["train"]["text_bytes"]


def test_a_dataset_of_a_version_that_gave_its_manifest_no_hash_opens(tmp_path):
    made = write(tmp_path / "a")
    edit(tmp_path / "a" / "dataset.json", lambda found: found.pop("manifest_sha256"))
    assert open_dataset(tmp_path / "a").sha256 == made.sha256
