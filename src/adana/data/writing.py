"""Documents to a folder of shards, a few megabytes at a time.

The folder is made under another name and renamed when it is whole.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.dataset import MANIFEST, SPLITS, TokenDataset, manifest, open_dataset
from adana.data.reading import Piece
from adana.data.shards import ShardHeader, ShardWriter
from adana.data.tokenizer import Tokenizer
from adana.files import sync, write_json

__all__ = ["Progress", "write_dataset"]

_ENCODE_BYTES = 4_000_000  # of text handed to a tokenizer at a time: enough for its threads, little in memory
_BESIDE = 512  # bytes on each side of a cut that are encoded together and apart
_WITHIN_CHARACTER = bytes(range(0x80, 0xC0))  # bytes that go on with a character of UTF-8


@dataclass(frozen=True)
class Progress:
    """How far a dataset is.

    Attributes:
        documents: read to their end.
        text_bytes: bytes of text read.
        train_tokens: tokens written to train.
        validation_tokens: tokens written to validation.
        invalid_bytes: bytes read that were not UTF-8, or zero.
        cuts: made in documents too long to be read at once.
        cuts_changed: those of them beside which tokens differ from the document's encoded whole.
    """

    documents: int = 0
    text_bytes: int = 0
    train_tokens: int = 0
    validation_tokens: int = 0
    invalid_bytes: int = 0
    cuts: int = 0
    cuts_changed: int = 0


class _Cuts:
    """Counts the cuts that long documents were read with, and those beside which tokens changed.

    The text beside a cut is encoded once more, together and apart.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.made = self.changed = 0
        self._left: bytes | None = None

    def see(self, text: bytes, ends: bool) -> None:
        if self._left is not None:
            left, right = self._left, text[:_BESIDE]
            apart_left, apart_right, together = self.tokenizer.encode([left, right, left + right])
            self.made += 1
            self.changed += not np.array_equal(np.concatenate([apart_left, apart_right]), together)
        self._left = None if ends else text[-_BESIDE:].lstrip(_WITHIN_CHARACTER)


class _Split:
    """The shards of one split, a new one begun when one is full."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self.folder, self.name, self.tokenizer, self.shard_tokens = folder, name, tokenizer, shard_tokens
        self.headers: dict[str, ShardHeader] = {}
        self.tokens = 0
        self.within_document = False
        self._writer: ShardWriter | None = None

    def append(self, tokens: np.ndarray, text_bytes: int, ends: bool) -> None:
        if self._writer is None:
            path = self.folder / f"{self.name}-{len(self.headers):05d}.tokens"
            self._writer = ShardWriter(path, self.tokenizer)
        self._writer.append(tokens, text_bytes=text_bytes, ends=ends)
        self.tokens += len(tokens) + ends
        self.within_document = not ends
        if self._writer.count >= self.shard_tokens:
            self.finish()

    def finish(self) -> None:
        if self._writer is not None:
            self.headers[self._writer.path.name] = self._writer.close()
            self._writer = None

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()


def write_dataset(
    pieces: Iterable[Piece],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    name: str,
    tokens: int | None = None,
    shard_tokens: int = 100_000_000,
    about: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> TokenDataset:
    """Tokenize documents into a folder of shards, which appears when it is whole and not before.

    Args:
        pieces: of documents, each to train on or held out.
        tokenizer: makes the tokens; what it can save of itself goes into the folder.
        folder: must not exist, or be empty.
        name: what text it is, in words.
        tokens: stop after the piece that reaches so many training tokens, once a document is held out; None reads all.
        shard_tokens: a shard ends after the piece that reaches so many.
        about: anything else to note in ``dataset.json``.
        report: called after each handful of pieces.

    Returns:
        The dataset, opened.

    Raises:
        ValueError: the folder has something in it; the documents leave nothing to train on or nothing held out.
        OSError: a file cannot be written; nothing is left behind.
    """
    folder = Path(folder)
    for label, value in (("tokens", tokens), ("shard_tokens", shard_tokens)):
        if value is not None and value < 1:
            raise ValueError(f"{label} must be at least 1, got {value}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} already exists and is not an empty folder: choose another, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name[:64]}.{secrets.token_hex(8)}.partial")
    temporary.mkdir()
    splits = {split: _Split(temporary, split, tokenizer, shard_tokens) for split in SPLITS}
    try:
        read = _fill(pieces, tokenizer, splits, tokens or math.inf, report)
        for split, part in splits.items():
            part.finish()
            if not part.headers:
                raise ValueError(
                    f"{name} left nothing {'to train on' if split == 'train' else 'held out'} "
                    f"({read.documents:,} documents read): give more text, or hold out another share"
                )
        tokenizer.save(temporary)
        headers = {split: part.headers for split, part in splits.items()}
        cuts = {"made": read.cuts, "changed": read.cuts_changed}
        found = manifest(name, tokenizer, headers, invalid_bytes=read.invalid_bytes, cuts=cuts, about=about)
        write_json(temporary / MANIFEST, found)
        sync(temporary)
        os.replace(temporary, folder)
        sync(folder.parent)
    except BaseException as error:  # Ctrl-C too
        for part in splits.values():
            part.discard()
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and str(error.filename).startswith(str(temporary)):
            # The temporary name means nothing to the user.
            path = str(error.filename).replace(str(temporary), str(folder), 1)
            raise OSError(error.errno, error.strerror, path) from None
        raise
    return open_dataset(folder, verify=False)


def _fill(
    pieces: Iterable[Piece],
    tokenizer: Tokenizer,
    splits: dict[str, _Split],
    most: float,
    report: Callable[[Progress], None],
) -> Progress:
    """Write pieces to their splits until the training split has ``most`` tokens and something is held out."""
    train, validation = splits["train"], splits["validation"]
    cuts, progress = _Cuts(tokenizer), Progress()
    # Once there is enough to train on, only something held out may still be missing.
    wanted = (piece for piece in pieces if piece.held_out or train.tokens < most)
    for handful in _handfuls(wanted):
        documents, text_bytes, invalid = progress.documents, progress.text_bytes, progress.invalid_bytes
        for piece, encoded in zip(handful, tokenizer.encode([piece.text for piece in handful])):
            enough = train.tokens >= most
            if enough and (not piece.held_out or (validation.tokens and not validation.within_document)):
                continue
            ends = piece.last or (not piece.held_out and train.tokens + len(encoded) >= most)
            cuts.see(piece.text, ends)
            (validation if piece.held_out else train).append(encoded, len(piece.text), ends)
            documents += ends
            text_bytes += len(piece.text)
            invalid += piece.invalid
        progress = Progress(documents, text_bytes, train.tokens, validation.tokens, invalid, cuts.made, cuts.changed)
        report(progress)
        if train.tokens >= most and validation.tokens and not validation.within_document:
            break
    return progress


def _handfuls(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    handful: list[Piece] = []
    size = 0
    for piece in pieces:
        handful.append(piece)
        size += len(piece.text)
        if size >= _ENCODE_BYTES:
            yield handful
            handful, size = [], 0
    if handful:
        yield handful
