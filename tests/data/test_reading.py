from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adana.data import reading, text
from adana.data.dataset import open_dataset
from adana.data.reading import Piece, TextFile, bytes_not_text, find_files, in_pieces
from adana.data.sources import JSONLines, Parquet, TextFiles, first_bytes
from adana.data.tokenizer import Bytes, HuggingFace, Tokenizer, load_tokenizer, train_tokenizer
from adana.data.writing import write_dataset
from tests.data.files import texts, write_tiktoken

# --- cutting --------------------------------------------------------------------------------------------

# Patterns that published tokenizers cut text by before they merge: GPT-4's and Qwen's, which Llama 3's is like.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
KINDS = ["bytes", "tiktoken", "trained", "cl100k", "qwen", "metaspace", "whitespace"]


def of_another_kind(kind: str) -> HuggingFace:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    model = Tokenizer(models.BPE(unk_token="[UNK]"))
    if kind in ("cl100k", "qwen"):
        split = pre_tokenizers.Split(Regex(CL100K if kind == "cl100k" else QWEN), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        model.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    elif kind == "metaspace":  # T5's, and SentencePiece's way
        model.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "prepend":  # Llama 2's: no words at all, and a mark before each text
        model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:  # BERT's
        model.normalizer = normalizers.Sequence(
            [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
        )
        model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[UNK]", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts(100), trainer=trainer)
    return HuggingFace(model.to_str(), name=kind)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Tokenizer]:
    file = write_tiktoken(tmp_path_factory.mktemp("bpe") / "tiny.tiktoken")
    made = {kind: of_another_kind(kind) for kind in ("cl100k", "qwen", "metaspace", "whitespace", "prepend")}
    trained = train_tokenizer((text.encode() for text in texts(200)), 300)
    return {"bytes": Bytes(), "tiktoken": load_tokenizer(str(file)), "trained": trained} | made


words = st.one_of(
    st.sampled_from(
        ["log", "moment", "don't", "we'll", "naïve", "日本語", "Größe", "2024", "3.14", "x_1", "№", "e\u0301"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
)
spaces = st.sampled_from([" ", "\n", "  ", "\n\n", " \n", "\r\n", "\t", ". ", ",\n", "\u3000", "\xa0 "])
prose = st.lists(st.tuples(words, spaces).map("".join), min_size=1, max_size=40).map("".join)


@given(content=prose.map(str.encode), size=st.integers(4, 60), parts=st.integers(1, 5))
@pytest.mark.slow
def test_pieces_are_the_text_in_order_and_end_between_characters(content, size, parts):
    chunks = [content[i * len(content) // parts : (i + 1) * len(content) // parts] for i in range(parts)]
    pieces = list(in_pieces(chunks, size))
    assert b"".join(piece for piece, _ in pieces) == content
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(0 < len(piece) <= size for piece, _ in pieces)
    assert all(piece.decode() for piece, _ in pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(content=prose)
def test_tokens_of_pieces_are_those_of_the_whole_text(tokenizers, kind, content):
    """Of any text in which every piece has a word that a space follows."""
    content = "log ".join(content[i : i + 20] + " mom\n" for i in range(0, len(content), 20)).encode()
    pieces = [piece for piece, _ in in_pieces([content], 120)]
    (whole,) = tokenizers[kind].encode([content])
    assert np.concatenate(tokenizers[kind].encode(pieces)).tolist() == whole.tolist()


@pytest.mark.parametrize("kind", ["bytes", "tiktoken", "trained", "cl100k", "qwen"])
def test_a_text_without_spaces_is_cut_after_a_letter_where_tokens_stay_too(tokenizers, kind):
    content = ("私はモーメンタムが好きです。最適化、" * 50).encode()
    pieces = [piece for piece, _ in in_pieces([content], 100)]
    assert len(pieces) > 20
    (whole,) = tokenizers[kind].encode([content])
    assert np.concatenate(tokenizers[kind].encode(pieces)).tolist() == whole.tolist()


def test_cuts_that_change_tokens_are_counted_and_others_are_not(tokenizers, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 1000)
    prose, endless = " ".join(texts(300)), "logmomentum" * 2000
    found = {}
    for kind, content in (("trained", prose), ("trained", endless), ("prepend", prose)):
        (tmp_path / "a.txt").write_text(content)
        folder = tmp_path / f"{kind}-{content[:3]}"
        write_dataset(TextFiles((tmp_path / "a.txt",)).pieces(), tokenizers[kind], folder, name="a")
        cuts = json.loads((folder / "dataset.json").read_text())["cuts"]
        assert cuts["made"] >= 15
        found[kind, content[:3]] = cuts["changed"] / cuts["made"]
    assert found["trained", "Doc"] == 0
    assert found["trained", "log"] > 0.3  # within a word, unless the merges happen to end there
    assert found["prepend", "Doc"] == 1  # this one marks the beginning of every text it is given


@pytest.mark.parametrize("kind", ["bytes", "trained"])
def test_a_long_document_is_the_same_dataset_as_without_cuts(tokenizers, tmp_path, monkeypatch, kind):
    (tmp_path / "a.txt").write_text("\n".join(texts(400)))
    rows = [{"text": "\n".join(texts(100 * i))} for i in range(9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {"text": TextFiles((tmp_path / "a.txt",)), "jsonl": JSONLines((tmp_path / "a.jsonl",), held_out_every=3)}
    for name, source in sources.items():
        whole = write_dataset(source.pieces(), tokenizers[kind], tmp_path / f"{name}-whole", name="a")
        monkeypatch.setattr(reading, "PIECE", 700)
        monkeypatch.setattr(reading, "CHUNK", 1234)
        cut = write_dataset(source.pieces(), tokenizers[kind], tmp_path / f"{name}-cut", name="a")
        monkeypatch.undo()
        assert cut.sha256 == whole.sha256, name
        made = [json.loads((tmp_path / f"{name}-{how}" / "dataset.json").read_text()) for how in ("whole", "cut")]
        assert made[0]["cuts"]["made"] == 0
        assert made[1]["cuts"] == {"made": made[1]["cuts"]["made"], "changed": 0}
        assert made[1]["cuts"]["made"] > 20


# --- memory ---------------------------------------------------------------------------------------------


class Measured(Bytes):
    """Bytes, with the most text that was ever handed over at once."""

    def __init__(self) -> None:
        self.most = 0

    def encode(self, texts):
        self.most = max(self.most, sum(map(len, texts)))
        return super().encode(texts)


def test_memory_does_not_grow_with_a_document(tmp_path):
    with (tmp_path / "a.txt").open("w") as file:
        for _ in range(400):
            file.write("".join(f"{text}\n" for text in texts(1500)))
    size = (tmp_path / "a.txt").stat().st_size
    assert size > 35_000_000
    tokenizer = Measured()
    peak = 0

    def report(progress):
        nonlocal peak
        peak = tracemalloc.get_traced_memory()[1]

    pieces = TextFiles((tmp_path / "a.txt",)).pieces()
    tracemalloc.start()
    write_dataset(pieces, tokenizer, tmp_path / "a", name="a", shard_tokens=10**7, report=report)
    tracemalloc.stop()
    assert 4_000_000 < peak < 20_000_000
    assert tokenizer.most < 5_000_000
    assert len(list((tmp_path / "a").glob("train-*"))) > 3  # no shard takes it all


def test_a_text_file_of_a_race_is_in_memory_once(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"log momentum\n" * 1_000_000)
    tracemalloc.start()
    corpus = text.text_files([tmp_path / "a.txt"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(corpus.train) + len(corpus.held_out) == 13_000_000
    assert peak < 1.4 * 13_000_000


@pytest.mark.parametrize("limit", [1, 100, 999, 1000, 1001, 5000])
def test_so_many_bytes_are_read_to_train_a_tokenizer_on_and_no_more(limit):
    read = 0

    def pieces():
        nonlocal read
        for content in [b"held " * 100, b"", *[b"word " * 20] * 100]:
            read += len(content)
            yield Piece(content, held_out=content.startswith(b"held"))

    used = b"".join(first_bytes(pieces(), limit))
    assert limit - 6 < len(used) <= limit
    assert read <= 500 + limit + 100
    assert (b"word " * 2000).startswith(used)


def test_a_line_too_long_to_be_parsed_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 1000)
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + json.dumps({"text": "x" * 1000}))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: longer than 1,000 bytes"):
        list(JSONLines((tmp_path / "a.jsonl",)).pieces())


# --- encodings ------------------------------------------------------------------------------------------

GERMAN = "Die Größe der Bäume übertrifft für gewöhnlich die Höhe, \U0001f333 sagt man.\n" * 300
MARKS = {
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("chunk", [999, 1 << 20])
def test_a_byte_order_mark_says_how_a_file_is_read(tmp_path, monkeypatch, encoding, chunk):
    monkeypatch.setattr(reading, "CHUNK", chunk)
    (tmp_path / "plain.txt").write_text(GERMAN)
    (tmp_path / "marked.txt").write_bytes(MARKS[encoding] + GERMAN.encode(encoding))
    rows = "".join(json.dumps({"text": f"{i}: Größe\u2028\u0085"}, ensure_ascii=False) + "\n" for i in range(50))
    (tmp_path / "plain.jsonl").write_text(rows)
    (tmp_path / "marked.jsonl").write_bytes(MARKS[encoding] + rows.encode(encoding))
    for kind, suffix in ((TextFiles, ".txt"), (JSONLines, ".jsonl")):
        plain, marked = (
            [(piece.held_out, piece.text) for piece in kind((tmp_path / f"{name}{suffix}",)).pieces()]
            for name in ("plain", "marked")
        )
        assert b"".join(content for _, content in marked) == b"".join(content for _, content in plain)
        assert [piece for piece in marked if piece[0]] == [piece for piece in plain if piece[0]]
    plain, marked = (text.text_files([tmp_path / f"{name}.txt"]) for name in ("plain", "marked"))
    assert marked.sha256 == plain.sha256
    assert marked.name == str(tmp_path / "marked.txt")


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (GERMAN.encode("latin-1", "replace"), 6 * 300),
        (GERMAN.encode("utf-16-le"), len(GERMAN)),  # without its mark
        (b"\x89PNG\r\n\x1a\n\0\xff" * 50, None),
    ],
    ids=["latin-1", "utf-16 without its mark", "binary"],
)
def test_what_is_not_utf_8_is_refused_by_name_with_the_way_to_go_on(tmp_path, content, count):
    (tmp_path / "fine.txt").write_text(GERMAN)
    (tmp_path / "old.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8 text: .* more than 1 %.*--max-invalid 1"):
        list(TextFiles((tmp_path,)).pieces())
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8 text: .* \(adana data build .*--max-invalid 1"):
        text.text_files([tmp_path / "fine.txt", tmp_path / "old.txt"])
    if count is not None:
        assert sum(piece.invalid for piece in TextFiles((tmp_path,), max_invalid=1).pieces()) >= count


def test_a_little_that_is_not_utf_8_is_counted_and_said(tmp_path):
    content = GERMAN.encode() + "Größe\0".encode("latin-1")
    (tmp_path / "a.txt").write_bytes(content)
    source = TextFiles((tmp_path / "a.txt",))
    pieces = list(source.pieces())
    assert sum(piece.invalid for piece in pieces) == 3
    assert b"".join(piece.text for piece in pieces) == content.replace(b"\0", b"")
    write_dataset(pieces, Bytes(), tmp_path / "a", name="a")
    found = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert found["invalid_bytes"] == 3
    assert open_dataset(tmp_path / "a").bytes_per_token == 1, "what is dropped is no text"
    assert text.text_files([tmp_path / "a.txt"]).name.endswith("a.txt (3 bytes are not UTF-8 text)")


@given(content=st.text().map(str.encode), junk=st.lists(st.sampled_from([b"\xff", b"\xc3", b"\0", b"\xed\xa0\x80"])))
def test_bytes_that_are_not_text_are_counted_one_by_one(content, junk):
    zeros = content.count(0)
    assert bytes_not_text(content) == zeros
    assert bytes_not_text(content + b" ".join(junk)) == zeros + sum(map(len, junk))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7])
def test_chunks_end_between_characters(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(reading, "CHUNK", chunk)
    (tmp_path / "a.txt").write_text("aé日\U0001f333" * 20)
    chunks = [content for content, invalid in TextFile(tmp_path / "a.txt").chunks() if not invalid]
    assert "".join(content.decode() for content in chunks) == "aé日\U0001f333" * 20


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match=f"max_invalid is a share and must be from 0 to 1, got {share}"):
        TextFiles(("a.txt",), max_invalid=share)


# --- files that are none --------------------------------------------------------------------------------

WHOLE = gzip.compress("".join(json.dumps({"text": f"hello {i} " * 20}) + "\n" for i in range(400)).encode())
BROKEN = {
    "cut": (WHOLE[: len(WHOLE) * 3 // 4], "is cut short"),
    "only begun": (WHOLE[:5], "is cut short"),
    "empty": (b"", None),
    "foreign": (b"<html>404</html>", "is corrupt or not gzip"),
    "checksum": (WHOLE[:-8] + bytes([WHOLE[-8] ^ 255]) + WHOLE[-7:], "is corrupt or not gzip"),
    "inside": (WHOLE[:100] + bytes(60) + WHOLE[160:], "is corrupt or not gzip"),
}


@pytest.mark.parametrize(("content", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_gzip_file_is_named(tmp_path, content, told):
    (tmp_path / "0.jsonl.gz").write_bytes(WHOLE)
    (tmp_path / "1.jsonl.gz").write_bytes(content)
    expected = contextlib.nullcontext() if told is None else pytest.raises(ValueError, match=rf"1\.jsonl\.gz {told}")
    with expected:
        list(JSONLines((tmp_path,)).pieces())


def test_an_error_of_the_disk_names_the_file_that_was_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x" * 100)

    class Failing:
        def read(self, size):
            raise OSError(5, "Input/output error")

        def __enter__(self):
            return self

        def __exit__(self, *exception): ...

    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: Failing())
    with pytest.raises(OSError, match=r"Input/output error.*a\.txt"):
        TextFile(tmp_path / "a.txt")


def test_folders_named_as_files_are_looked_into(tmp_path):
    """As Spark and Dask write them."""
    (tmp_path / "day.parquet").mkdir()
    (tmp_path / "notes.md" / "inner.txt").mkdir(parents=True)
    for name in ("day.parquet/part-0.parquet", "notes.md/a.txt", "notes.md/inner.txt/b.md", "z.txt"):
        (tmp_path / name).write_text("x")
    assert find_files([tmp_path], (".parquet",)) == [tmp_path / "day.parquet" / "part-0.parquet"]
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path], (".txt", ".md"))]
    assert found == ["notes.md/a.txt", "notes.md/inner.txt/b.md", "z.txt"]


@pytest.mark.parametrize("kind", [TextFiles, JSONLines, Parquet])
def test_pipes_devices_and_broken_links_are_named_and_never_waited_for(tmp_path, kind):
    suffix = {TextFiles: ".txt", JSONLines: ".jsonl", Parquet: ".parquet"}[kind]
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for path in (tmp_path, tmp_path / f"pipe{suffix}", "/dev/zero"):
        with pytest.raises(OSError, match="is a device or a pipe, not a regular file"):
            list(kind((path,)).pieces())
    (tmp_path / f"pipe{suffix}").unlink()
    (tmp_path / f"link{suffix}").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=f"link{suffix}"):
        list(kind((tmp_path,)).pieces())


def test_a_folder_that_may_not_be_read_is_named_and_not_empty(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    with pytest.raises(PermissionError, match="closed"):
        find_files([tmp_path], (".txt",))
