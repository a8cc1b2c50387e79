from __future__ import annotations

import json
import os
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data.shards import HEADER_BYTES, MAGIC, ShardWriter, open_shard, smallest_dtype
from adana.data.tokenizer import Tokenizer


class Numbers(Tokenizer):
    """Tokens are what the test says."""

    name = "numbers"
    fingerprint = "0" * 64

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary, self.end_of_text = vocabulary, vocabulary - 1

    def encode(self, texts):
        return [np.frombuffer(text, np.uint8) for text in texts]

    def decode(self, tokens):
        return bytes(tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@given(
    documents=st.lists(st.lists(st.integers(0, 199), max_size=9), max_size=6),
    vocabulary=st.sampled_from([201, 256, 257, 65536, 65537, 2**32]),
)
def test_a_shard_gives_back_its_documents_each_with_its_end(folder, documents, vocabulary):
    path = folder / "a.tokens"
    with ShardWriter(path, Numbers(vocabulary)) as writer:
        for document in documents:
            writer.append(np.array(document, dtype=np.int64), text_bytes=2 * len(document))
    shard = open_shard(path)
    assert shard.tokens.tolist() == [token for document in documents for token in (*document, vocabulary - 1)]
    assert shard.header.dtype == smallest_dtype(vocabulary) == shard.tokens.dtype.name
    assert shard.header.count == len(shard.tokens)
    assert shard.header.documents == len(documents)
    assert shard.header.text_bytes == sum(2 * len(document) + 1 for document in documents)


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "a.tokens"
    with ShardWriter(path, Numbers(50304)) as writer:
        for i in range(20):
            writer.append(np.arange(i * 100, i * 100 + 99), text_bytes=400)
    return path


def test_tokens_are_mapped_and_cannot_be_written(shard):
    opened = open_shard(shard)
    tokens = opened.tokens
    mapped = np.frombuffer(opened.mapped, np.uint8)
    assert np.shares_memory(tokens, mapped)
    assert len(mapped) == shard.stat().st_size
    assert shard.stat().st_size == HEADER_BYTES + 2 * 2000
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


@pytest.mark.parametrize("keep", [0, 5, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, -2, -1])
def test_a_truncated_shard_is_named_and_refused_even_unverified(shard, keep):
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.tokens is (truncated|not a shard|corrupt)"):
        open_shard(shard, verify=False)


def test_a_shard_with_more_than_it_says_is_refused(shard):
    shard.write_bytes(shard.read_bytes() + b"\0\0")
    with pytest.raises(ValueError, match=r"a\.tokens is corrupt"):
        open_shard(shard, verify=False)


@given(st.data())
@settings(max_examples=60)
def test_no_flipped_bit_of_a_shard_goes_unseen(folder, data):
    """Of the tokens or of what the header says of them; the padding between is nobody's."""
    path = folder / "flipped.tokens"
    with ShardWriter(path, Numbers(300)) as writer:
        writer.append(np.arange(250), text_bytes=1000)
    content = bytearray(path.read_bytes())
    said = len(content[:HEADER_BYTES].rstrip())
    meaningful = [*range(said), *range(HEADER_BYTES, len(content))]
    content[data.draw(st.sampled_from(meaningful))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"flipped\.tokens"):
        open_shard(path)


def rewrite(path, **changes) -> None:
    content = path.read_bytes()
    header = asdict(open_shard(path).header) | changes
    line = MAGIC + json.dumps({name: value for name, value in header.items() if value is not ...}).encode()
    path.write_bytes(line.ljust(HEADER_BYTES) + content[HEADER_BYTES:])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 2}, r"a shard of format 2; .* reads 1"),
        ({"dtype": "O"}, "header cannot be read"),
        ({"dtype": "float32"}, "header cannot be read"),
        ({"count": -5}, "header cannot be read"),
        ({"count": "2000"}, "header cannot be read"),
        ({"count": 1e3}, "header cannot be read"),
        ({"tokenizer": 7}, "header cannot be read"),
        ({"sha256": ...}, "header cannot be read"),
        ({"name": json.loads("[" * 500 + "]" * 500)}, "header cannot be read"),
        ({"vocabulary": 50257}, "checksum"),
        ({"documents": 19}, "checksum"),
        ({"dtype": "uint8"}, r"is corrupt: 8,096 bytes where its header says 6,096"),
    ],
    ids=str,
)
def test_a_header_that_says_something_else_is_refused(shard, changes, told):
    rewrite(shard, **changes)
    with pytest.raises(ValueError, match=rf"a\.tokens.*{told}"):
        open_shard(shard)


def test_another_file_is_not_taken_for_a_shard(tmp_path):
    (tmp_path / "a.tokens").write_bytes(b"PK\x03\x04" + bytes(9000))
    with pytest.raises(ValueError, match="is not a shard"):
        open_shard(tmp_path / "a.tokens")
    with pytest.raises(OSError, match="missing"):
        open_shard(tmp_path / "missing")


@pytest.mark.parametrize("token", [-1, 300, 70000])
def test_a_token_outside_the_vocabulary_is_refused_and_nothing_is_left(tmp_path, token):
    with (
        pytest.raises(ValueError, match=r"numbers gave token .* outside its vocabulary of 300"),
        ShardWriter(tmp_path / "a.tokens", Numbers(300)) as writer,
    ):
        writer.append(np.array([1, token]), text_bytes=2)
    assert list(tmp_path.iterdir()) == []


@given(parts=st.lists(st.tuples(st.lists(st.integers(0, 199), max_size=5), st.booleans()), max_size=8))
def test_a_document_in_parts_is_the_document(folder, parts):
    """Only its last part has an end, which is a token, a byte and a document."""
    with ShardWriter(folder / "parts.tokens", Numbers(300)) as writer:
        for tokens, ends in parts:
            writer.append(np.array(tokens, dtype=np.uint32), text_bytes=2 * len(tokens), ends=ends)
    shard = open_shard(folder / "parts.tokens")
    assert shard.tokens.tolist() == [token for tokens, ends in parts for token in (*tokens, *[299] * ends)]
    assert shard.header.documents == sum(ends for _, ends in parts)
    assert shard.header.text_bytes == sum(2 * len(tokens) + ends for tokens, ends in parts)


def test_a_shard_cut_short_while_it_is_in_use_is_an_error_that_names_it(shard):
    """And not a signal that ends the process without a word, as reading such memory is."""
    opened = open_shard(shard, verify=False)
    opened.check()
    with shard.open("r+b") as file:
        file.truncate(HEADER_BYTES + 100)
    with pytest.raises(OSError, match=r"was cut short while it was in use: 4,196 bytes, .* 8,096.*a\.tokens"):
        opened.check()


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_a_shard_is_a_regular_file(tmp_path, what):
    path = tmp_path / "a.tokens"
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}[what](path)
    with pytest.raises(OSError, match=r"(is a folder|is a device or a pipe).*a\.tokens"):
        open_shard(path)


def test_a_full_disk_names_the_shard(tmp_path):
    writer = ShardWriter(tmp_path / "a.tokens", Numbers(300))
    writer._file.close()
    writer._file = open("/dev/full", "wb")  # noqa: SIM115 - every write fails
    with pytest.raises(OSError, match=r"No space left on device: .*/a\.tokens"):
        writer.append(np.arange(200).repeat(1000), text_bytes=200_000)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_planted_link(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    (tmp_path / ".guessed.tmp").symlink_to("precious")
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path / "a.tokens", Numbers(300))
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_shard_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    """Looked for while it is written, and the disk filling up at the last moment."""
    writer = ShardWriter(tmp_path / "a.tokens", Numbers(300))
    writer.append(np.arange(200), text_bytes=200)
    assert not (tmp_path / "a.tokens").exists()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        writer.close()
    assert not (tmp_path / "a.tokens").exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    """The other way round, a power cut leaves the name on an empty file."""
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("sync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b))[1])
    with ShardWriter(tmp_path / "a.tokens", Numbers(300)) as writer:
        writer.append(np.arange(3), text_bytes=3)
    assert events == ["sync", "rename", "sync"]


def test_tokens_are_little_endian_whatever_the_machine(shard):
    assert shard.read_bytes()[HEADER_BYTES : HEADER_BYTES + 4] == b"\x00\x00\x01\x00"
