"""A dataset: a folder of shards, some to train on and some held out, and a ``dataset.json`` that lists them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data import text
from adana.data.batches import Batches, Order, TokenStream, evenly_spaced
from adana.data.shards import Shard, ShardHeader, open_shard
from adana.data.tokenizer import Bytes, Tokenizer
from adana.files import Damaged, read_json, seal

__all__ = ["MANIFEST", "SPLITS", "TokenDataset", "bits_per_byte", "from_corpus", "manifest", "open_dataset"]

FORMAT = 2
MANIFEST = "dataset.json"
SPLITS = ("train", "validation")
OWN = "manifest_sha256"
"""In the manifest: the hash of all else in it."""
_ANEW = "build the dataset anew"


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
        sha256: the data's identity, known at every start without reading the tokens of a folder.

            It changes with any token, with the tokenizer, and with what is trained on and what is held out. It does not
            cover the data's name and the notes on where the text is from.

            Of a folder (``--data``): SHA-256 over the checksums of its shards, split by split, in order; a shard's
            checksum covers its tokens and its header with the tokenizer's fingerprint, so that the same tokens in
            shards of another size are other data. It is computed from what is in the folder at this start:
            ``dataset.json`` must agree with its own hash, and each shard's header and length with ``dataset.json``.
            That the tokens of a shard still have its checksum is seen by ``open_dataset(verify=True)``.

            Of text (``--text``) and of the standard library: SHA-256 over both parts, computed from the files at this
            start; another Python has other files.
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


def manifest(
    name: str,
    tokenizer: Tokenizer,
    headers: Mapping[str, Mapping[str, ShardHeader]],
    *,
    invalid_bytes: int = 0,
    cuts: Mapping[str, int] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What ``dataset.json`` holds.

    Args:
        name: what text it is, in words.
        tokenizer: made the tokens.
        headers: of the shards of each split, by file name, in order.
        invalid_bytes: bytes of the text that were not UTF-8, or zero.
        cuts: how many cuts long documents were read with, and how many changed tokens.
        about: where the text is from.
    """
    found = {
        "format": FORMAT,
        "name": name,
        "sha256": _identity({split: [header.sha256 for header in headers[split].values()] for split in SPLITS}),
        "tokenizer": {
            "name": tokenizer.name,
            "fingerprint": tokenizer.fingerprint,
            "vocabulary": tokenizer.vocabulary,
            "end_of_text": tokenizer.end_of_text,
        },
        **{
            split: _counts(headers[split].values())
            | {"shards": {file: header.sha256 for file, header in headers[split].items()}}
            for split in SPLITS
        },
        "invalid_bytes": invalid_bytes,
        "cuts": dict(cuts or {"made": 0, "changed": 0}),
        "about": dict(about or {}),
    }
    return found | {OWN: seal(found)}


def _identity(checksums: Mapping[str, list[str]]) -> str:
    return hashlib.sha256(json.dumps([checksums[split] for split in SPLITS]).encode()).hexdigest()


def _counts(headers: Iterable[ShardHeader]) -> dict[str, int]:
    found = list(headers)
    return {
        "tokens": sum(header.count for header in found),
        "documents": sum(header.documents for header in found),
        "text_bytes": sum(header.text_bytes for header in found),
    }


def open_dataset(folder: str | Path, *, verify: bool = True) -> TokenDataset:
    """Open a folder of shards.

    Args:
        folder: as :func:`~adana.data.writing.write_dataset` left it.
        verify: compare every shard's checksum, which reads all of it once. One process of a run is enough.

    Raises:
        ValueError: not a dataset; a ``dataset.json`` that was changed; or a shard that is missing, truncated, corrupt,
            of another tokenizer or of another dataset. The message names it.
        OSError: a file cannot be read, or is no regular file.

    Example:
        >>> import tempfile
        >>> from adana.data.reading import Piece
        >>> from adana.data.writing import write_dataset
        >>> folder = tempfile.mkdtemp() + "/letters"
        >>> documents = [Piece(b"a" * 90, held_out=False), Piece(b"b" * 60, held_out=True)]
        >>> dataset = write_dataset(documents, Bytes(), folder, name="letters")
        >>> len(dataset.train), dataset.validation_windows(seq_len=20).shape
        (91, (3, 21))
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        found = read_json(path, says="is corrupt", then=_ANEW)
    except FileNotFoundError:
        kind = Damaged if folder.exists() else ValueError
        raise kind(
            f"{folder} is not a dataset: it has no {MANIFEST} (it is written last, by `adana data build`)"
        ) from None
    if found.get("format") != FORMAT:
        raise ValueError(f"{path} is of format {found.get('format')}; this version of adana reads {FORMAT}: {_ANEW}")
    try:
        shards: dict[str, dict[str, str]] = {split: dict(found[split]["shards"]) for split in SPLITS}
        sealed = _identity({split: list(shards[split].values()) for split in SPLITS})
        tokenizer, name, sha256 = dict(found["tokenizer"]), str(found["name"]), str(found["sha256"])
        given = tuple(tokenizer[key] for key in ("name", "fingerprint", "vocabulary", "end_of_text"))
        for number in (found["invalid_bytes"], found["cuts"]["made"], found["cuts"]["changed"]):
            int(number)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{path} is corrupt: {_ANEW}") from None
    if sealed != sha256:
        raise ValueError(
            f"{path} was changed after it was written: its shards have the hash {sealed[:12]}, not {sha256[:12]} as it "
            f"says; put the old file back, or {_ANEW}"
        )
    opened: dict[str, list[Shard]] = {}
    for split in SPLITS:
        opened[split] = []
        for file, checksum in shards[split].items():
            shard = _shard(folder, file, verify)
            header = shard.header
            if (header.tokenizer, header.fingerprint, header.vocabulary, header.end_of_text) != given:
                raise ValueError(
                    f"{shard.path} holds tokens of tokenizer {header.tokenizer} ({header.fingerprint[:12]}), "
                    f"{MANIFEST} says {tokenizer['name']} ({str(tokenizer['fingerprint'])[:12]}): {_ANEW}"
                )
            if header.sha256 != checksum:
                raise ValueError(f"{shard.path} belongs to another dataset: its checksum is not the one in {MANIFEST}")
            opened[split].append(shard)
        counts = _counts(shard.header for shard in opened[split])
        if not counts["tokens"] or any(found[split].get(key) != value for key, value in counts.items()):
            raise ValueError(f"{path} is corrupt: its {split} part has other shards than it says; {_ANEW}")
    own = found.pop(OWN, None)
    if own is not None and own != seal(found):
        raise ValueError(f"{path} was changed after it was written: put the old file back, or {_ANEW}")
    return TokenDataset(
        name=name,
        train=_stream(opened["train"]),
        validation=_stream(opened["validation"]),
        vocabulary=int(tokenizer["vocabulary"]),
        end_of_text=int(tokenizer["end_of_text"]),
        tokenizer=str(tokenizer["name"]),
        fingerprint=str(tokenizer["fingerprint"]),
        bytes_per_token=counts["text_bytes"] / counts["tokens"],
        sha256=sha256,
    )


def _shard(folder: Path, file: str, verify: bool) -> Shard:
    if Path(file).name != file or "\0" in file:
        raise ValueError(f"{folder / MANIFEST} is corrupt: {file!r} is not a file of its folder")
    try:
        return open_shard(folder / file, verify=verify)
    except FileNotFoundError:
        raise ValueError(f"{folder / file} is missing: {_ANEW}") from None


def _stream(shards: list[Shard]) -> TokenStream:
    return TokenStream([shard.tokens for shard in shards], [shard.check for shard in shards])
