"""A dataset: a folder of shards, some to train on and some held out, and a ``dataset.json`` written last.

The folder is made under another name and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data import text
from adana.data.batches import Batches, Order, TokenStream, evenly_spaced
from adana.data.shards import Shard, ShardHeader, ShardWriter, open_shard, sync
from adana.data.sources import Document
from adana.data.tokenizer import Bytes, Tokenizer

__all__ = ["Progress", "TokenDataset", "bits_per_byte", "from_corpus", "open_dataset", "write_dataset"]

FORMAT = 1
MANIFEST = "dataset.json"
SPLITS = ("train", "validation")
_ENCODE_BYTES = 4_000_000  # of text handed to a tokenizer at a time: enough for its threads, little in memory


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Loss in a unit that tokenizers share: ``nats / (ln 2 * bytes per token)``.

    Args:
        nats_per_token: cross-entropy.
        bytes_per_token: of the text it was measured on, :attr:`TokenDataset.bytes_per_token`.

    >>> round(bits_per_byte(2.772588722239781, 4.0), 6)
    1.0
    """
    return nats_per_token / (math.log(2) * bytes_per_token)


@dataclass(frozen=True)
class TokenDataset:
    """Tokens to train on and tokens never trained on.

    Attributes:
        name: what text it is, in words.
        train: training tokens.
        validation: held-out tokens.
        vocabulary: tokens are below this; the least ``vocab_size`` a model needs.
        end_of_text: the token between documents.
        tokenizer: its name.
        fingerprint: hash of all that decides its tokens.
        bytes_per_token: of the held-out text.
        sha256: of all the tokens, so that results name what they were measured on.
    """

    name: str
    train: TokenStream
    validation: TokenStream
    vocabulary: int
    end_of_text: int
    tokenizer: str
    fingerprint: str
    bytes_per_token: float
    sha256: str

    def batches(self, *, batch_size: int, seq_len: int, seed: int = 0, order: Order = "random") -> Batches:
        """The training batches by step; see :class:`~adana.data.batches.Batches`."""
        return Batches(self.train, batch_size, seq_len, seed, order)

    def validation_windows(self, *, seq_len: int, tokens: int = text.VALIDATION_TOKENS) -> np.ndarray:
        """The fixed validation set: at most ``tokens // seq_len`` windows, evenly spaced over the held-out text.

        Returns:
            int64 of shape (windows, seq_len + 1), whatever the batch size, the seed or the number of ranks.

        Raises:
            ValueError: the held-out text is shorter than one window.
        """
        length = len(self.validation)
        if length <= seq_len:
            raise ValueError(
                f"a sequence of seq_len={seq_len} needs {seq_len + 1:,} tokens and the held-out text has {length:,}: "
                "use a shorter seq_len or more text"
            )
        return self.validation.windows(evenly_spaced(length, seq_len=seq_len, tokens=tokens), seq_len + 1)

    def require(self, *, vocab_size: int | None = None, tokenizer: Tokenizer | None = None) -> None:
        """Refuse a model or a tokenizer that these tokens do not fit.

        Raises:
            ValueError: the model knows fewer tokens than there are, or the tokenizer gives others.
        """
        if vocab_size is not None and vocab_size < self.vocabulary:
            raise ValueError(
                f"{self.name} holds tokens of {self.tokenizer} up to a vocabulary of {self.vocabulary:,}; a model of "
                f"vocab_size={vocab_size:,} does not know them all: use vocab_size={self.vocabulary}"
            )
        if tokenizer is not None and tokenizer.fingerprint != self.fingerprint:
            raise ValueError(
                f"{self.name} was made with tokenizer {self.tokenizer} ({self.fingerprint[:12]}), not with "
                f"{tokenizer.name} ({tokenizer.fingerprint[:12]})"
            )


def from_corpus(corpus: text.Corpus) -> TokenDataset:
    """The race's byte corpora as a dataset, without a file.

    >>> dataset = from_corpus(text.standard_library())
    >>> dataset.vocabulary, dataset.bytes_per_token
    (256, 1.0)
    """
    tokenizer = Bytes()
    return TokenDataset(
        name=corpus.name,
        train=TokenStream([corpus.train]),
        validation=TokenStream([corpus.held_out]),
        vocabulary=tokenizer.vocabulary,
        end_of_text=tokenizer.end_of_text,
        tokenizer=tokenizer.name,
        fingerprint=tokenizer.fingerprint,
        bytes_per_token=1.0,
        sha256=corpus.sha256,
    )


@dataclass(frozen=True)
class Progress:
    """How far a dataset is: documents and bytes of text read, tokens written to train and to validation."""

    documents: int
    text_bytes: int
    train_tokens: int
    validation_tokens: int


class _Split:
    """The shards of one split, a new one begun when one is full."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer, shard_tokens: int) -> None:
        self.folder, self.name, self.tokenizer, self.shard_tokens = folder, name, tokenizer, shard_tokens
        self.headers: dict[str, ShardHeader] = {}
        self.tokens = 0
        self._writer: ShardWriter | None = None

    def append(self, tokens: np.ndarray, text_bytes: int) -> None:
        if self._writer is None:
            path = self.folder / f"{self.name}-{len(self.headers):05d}.tokens"
            self._writer = ShardWriter(path, self.tokenizer)
        self._writer.append(tokens, text_bytes=text_bytes)
        self.tokens += len(tokens) + 1
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
    documents: Iterable[Document],
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
        documents: texts, each to train on or held out.
        tokenizer: makes the tokens; what it can save of itself goes into the folder.
        folder: must not exist, or be empty.
        name: what text it is, in words.
        tokens: stop after the document that reaches so many training tokens; None reads all.
        shard_tokens: a shard ends after the document that reaches so many.
        about: anything else to note in ``dataset.json``.
        report: called after each handful of documents.

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
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    temporary.mkdir()
    splits = {split: _Split(temporary, split, tokenizer, shard_tokens) for split in SPLITS}
    try:
        seen = text_bytes = 0
        for handful in _handfuls(documents):
            for document, encoded in zip(handful, tokenizer.encode([document.text for document in handful])):
                if tokens is not None and splits["train"].tokens >= tokens:
                    break
                splits["validation" if document.held_out else "train"].append(encoded, len(document.text))
                seen += 1
                text_bytes += len(document.text)
            report(Progress(seen, text_bytes, splits["train"].tokens, splits["validation"].tokens))
            if tokens is not None and splits["train"].tokens >= tokens:
                break
        for split, part in splits.items():
            part.finish()
            if not part.headers:
                raise ValueError(
                    f"{name} left nothing {'to train on' if split == 'train' else 'held out'} "
                    f"({seen:,} documents read): give more text, or hold out another share"
                )
        tokenizer.save(temporary)
        manifest = _manifest(name, tokenizer, splits, about or {})
        path = temporary / MANIFEST
        path.write_text(json.dumps(manifest, indent=1) + "\n")
        sync(path)
        sync(temporary)
        os.replace(temporary, folder)
        sync(folder.parent)
    except BaseException:  # Ctrl-C too
        for part in splits.values():
            with contextlib.suppress(OSError):
                part.discard()
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return open_dataset(folder, verify=False)


def _handfuls(documents: Iterable[Document]) -> Iterator[list[Document]]:
    handful: list[Document] = []
    size = 0
    for document in documents:
        handful.append(document)
        size += len(document.text)
        if size >= _ENCODE_BYTES:
            yield handful
            handful, size = [], 0
    if handful:
        yield handful


def _manifest(name: str, tokenizer: Tokenizer, splits: dict[str, _Split], about: dict[str, Any]) -> dict[str, Any]:
    parts = {
        split: {
            "tokens": sum(header.count for header in part.headers.values()),
            "documents": sum(header.documents for header in part.headers.values()),
            "text_bytes": sum(header.text_bytes for header in part.headers.values()),
            "shards": {file: header.sha256 for file, header in part.headers.items()},
        }
        for split, part in splits.items()
    }
    digest = hashlib.sha256()
    for part in splits.values():
        for header in part.headers.values():
            digest.update(bytes.fromhex(header.sha256))
    return {
        "format": FORMAT,
        "name": name,
        "sha256": digest.hexdigest(),
        "tokenizer": {
            "name": tokenizer.name,
            "fingerprint": tokenizer.fingerprint,
            "vocabulary": tokenizer.vocabulary,
            "end_of_text": tokenizer.end_of_text,
        },
        **parts,
        "about": about,
    }


def open_dataset(folder: str | Path, *, verify: bool = True) -> TokenDataset:
    """Open a folder of shards.

    Args:
        folder: as :func:`write_dataset` left it.
        verify: compare every shard's checksum, which reads all of it once. One process of a run is enough.

    Raises:
        ValueError: not a dataset, or a shard that is missing, truncated, corrupt, of another tokenizer or of
            another dataset; the message names it.
        OSError: a file cannot be read.

    Example:
        >>> import tempfile
        >>> from adana.data.sources import Document
        >>> folder = tempfile.mkdtemp() + "/letters"
        >>> documents = [Document(b"a" * 90, held_out=False), Document(b"b" * 60, held_out=True)]
        >>> dataset = write_dataset(documents, Bytes(), folder, name="letters")
        >>> len(dataset.train), dataset.validation_windows(seq_len=20).shape
        (91, (3, 21))
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        raise ValueError(f"{folder} is not a dataset: it has no {MANIFEST} (it is written last, by `adana data build`)")
    try:
        manifest = json.loads(path.read_text())
        shards = {split: dict(manifest[split]["shards"]) for split in SPLITS}
        tokenizer = manifest["tokenizer"]
        name, sha256 = str(manifest["name"]), str(manifest["sha256"])
        vocabulary, end_of_text = int(tokenizer["vocabulary"]), int(tokenizer["end_of_text"])
        made_with, fingerprint = str(tokenizer["name"]), str(tokenizer["fingerprint"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is corrupt: build the dataset anew") from None
    opened: dict[str, list[Shard]] = {}
    for split in SPLITS:
        opened[split] = []
        for file, checksum in shards[split].items():
            if Path(file).name != file:
                raise ValueError(f"{path} is corrupt: {file!r} is not a file of its folder")
            if not (folder / file).exists():
                raise ValueError(f"{folder / file} is missing: build the dataset anew")
            shard = open_shard(folder / file, verify=verify)
            if (shard.header.fingerprint, shard.header.vocabulary) != (fingerprint, vocabulary):
                raise ValueError(
                    f"{shard.path} holds tokens of tokenizer {shard.header.tokenizer} "
                    f"({shard.header.fingerprint[:12]}), the dataset those of {made_with} ({fingerprint[:12]})"
                )
            if shard.header.sha256 != checksum:
                raise ValueError(f"{shard.path} belongs to another dataset: its checksum is not the one in {MANIFEST}")
            opened[split].append(shard)
    held_out = [shard.header for shard in opened["validation"]]
    return TokenDataset(
        name=name,
        train=TokenStream([shard.tokens for shard in opened["train"]]),
        validation=TokenStream([shard.tokens for shard in opened["validation"]]),
        vocabulary=vocabulary,
        end_of_text=end_of_text,
        tokenizer=made_with,
        fingerprint=fingerprint,
        bytes_per_token=sum(header.text_bytes for header in held_out) / sum(header.count for header in held_out),
        sha256=sha256,
    )
