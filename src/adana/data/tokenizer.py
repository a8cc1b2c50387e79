"""Bytes of text to tokens: bytes as they are, GPT-2's BPE, any `tokenizers` file, or one trained on the corpus."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.byte_level import byte_level
from adana.data.reading import regular
from adana.files import naming, write_text

__all__ = [
    "Bytes",
    "GPT2",
    "HuggingFace",
    "Tokenizer",
    "load_tokenizer",
    "saved_tokenizer",
    "train_tokenizer",
]

END_OF_TEXT = "<|endoftext|>"
# The names under which published vocabularies keep their end of text.
_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eot_id|>", "[SEP]")
# GPT-2's rule for cutting text into words before merging.
_GPT2_WORDS = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LEAST_TRAINED, MOST_TRAINED = 257, 1_000_000  # tokens of a vocabulary that is trained here
_PADDING = 128  # of the vocabulary: GPT-2's 50,257 become the paper's 50,304


def padded(vocabulary: int) -> int:
    """The next multiple of 128: matrix units multiply such sizes fastest.

    >>> padded(50257)
    50304
    """
    return -(-vocabulary // _PADDING) * _PADDING


class Tokenizer(ABC):
    """Texts to tokens.

    Attributes:
        name: what it is, in words.
        vocabulary: tokens are below this; what a model's ``vocab_size`` should be.
        end_of_text: the token written after each document; never the encoding of a text.
        fingerprint: hash of all that decides the tokens.
    """

    name: str
    vocabulary: int
    end_of_text: int
    fingerprint: str

    @abstractmethod
    def encode(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        """Tokens of each text, which is UTF-8; what is not decodes to the replacement character.

        Raises:
            ValueError: the tokenizer cannot encode a text.
        """

    @abstractmethod
    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """The text of tokens."""

    def definition(self) -> str:
        """The same tokenizer as a ``tokenizer.json`` of Hugging Face's `tokenizers`.

        Raises:
            ImportError: tokenizers is not installed.
        """
        raise NotImplementedError(f"the tokenizer {self.name} has no form as a tokenizer.json")

    def save(self, folder: Path) -> None:  # noqa: B027 - most have nothing to save
        """Put into a folder what is needed to load it again, where that is not its name alone."""


class Bytes(Tokenizer):
    """Every byte is a token; the end of a text is byte 0. A zero byte within a text is dropped.

    >>> Bytes().encode([b"ab"])[0].tolist()
    [97, 98]
    """

    name = "bytes"
    vocabulary = 256
    end_of_text = 0
    fingerprint = hashlib.sha256(b"bytes").hexdigest()

    def encode(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(text.replace(b"\0", b""), dtype=np.uint8) for text in texts]

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        return np.asarray(tokens).astype(np.uint8).tobytes()

    def definition(self) -> str:
        # No token for a zero byte within a text: it is dropped there, too.
        return byte_level({bytes([byte]): byte for byte in range(1, 256)}, END_OF_TEXT, self.end_of_text)


class GPT2(Tokenizer):
    """GPT-2's byte-pair encoding by `tiktoken`, its vocabulary padded to 50,304.

    Args:
        file: a vocabulary in tiktoken's format (a base64 token and its rank per line), such as OpenAI's
            ``r50k_base.tiktoken``; None downloads GPT-2's or takes it from tiktoken's cache.

    Raises:
        ImportError: tiktoken is not installed.
        ValueError: the file is no such vocabulary.
        OSError: the file cannot be read, or the vocabulary not downloaded.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        tiktoken = _library("tiktoken", "GPT-2's vocabulary")
        if file is None:
            self.name = "gpt2"
            try:
                self._encoding = tiktoken.get_encoding("gpt2")
            except OSError as error:  # requests' errors are OSErrors
                raise OSError(
                    f"GPT-2's vocabulary could not be downloaded ({type(error).__name__}): get r50k_base.tiktoken "
                    "where there is a network, and pass the file as the tokenizer"
                ) from None
        else:
            self.name = Path(file).name
            ranks = _read_ranks(Path(file))
            self._encoding = tiktoken.Encoding(
                self.name, pat_str=_GPT2_WORDS, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: len(ranks)}
            )
        self.end_of_text = int(self._encoding.eot_token)
        self.vocabulary = padded(self.end_of_text + 1)
        digest = hashlib.sha256(b"gpt2")
        for token in self._tokens():
            digest.update(len(token).to_bytes(4, "big") + token)
        self.fingerprint = digest.hexdigest()

    def encode(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        # "Ordinary": a text that spells the end-of-text token does not end there.
        strings = [text.decode(errors="replace") for text in texts]
        batch = self._encoding.encode_ordinary_batch(strings, num_threads=os.cpu_count() or 1)
        return [np.asarray(tokens, dtype=np.uint32) for tokens in batch]

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        known = [token for token in np.asarray(tokens).tolist() if token <= self.end_of_text]
        text: bytes = self._encoding.decode_bytes(known)
        return text

    def definition(self) -> str:
        return byte_level({token: rank for rank, token in enumerate(self._tokens())}, END_OF_TEXT, self.end_of_text)

    def save(self, folder: Path) -> None:
        lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(self._tokens()))
        write_text(folder / "tokenizer.tiktoken", "".join(lines))

    def _tokens(self) -> list[bytes]:
        return [self._encoding.decode_single_token_bytes(rank) for rank in range(self.end_of_text)]


def _read_ranks(path: Path) -> dict[bytes, int]:
    # Not by tiktoken's own loader: it keeps what it once read under this path, whatever the file holds now.
    ranks: dict[bytes, int] = {}
    with naming(path):
        content = regular(path).read_bytes()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(
                f"{path}, line {number}: not a base64 token and its rank, as tiktoken's files have"
            ) from None
    if sorted(ranks.values()) != list(range(len(ranks))) or len(ranks) < 256:
        raise ValueError(f"{path}: ranks must be 0, 1, 2, ... and hold at least the 256 bytes; found {len(ranks):,}")
    return ranks


class HuggingFace(Tokenizer):
    """A file of Hugging Face's `tokenizers` (``tokenizer.json``); the vocabulary is padded to a multiple of 128.

    Args:
        definition: the file's contents.
        name: what to call it.
        end_of_text: its end-of-text token as text; None looks for the usual names.

    Raises:
        ImportError: tokenizers is not installed.
        ValueError: this is no such file, or it has no such token.
    """

    def __init__(self, definition: str, *, name: str, end_of_text: str | None = None) -> None:
        tokenizers = _library("tokenizers", "tokenizer files")
        self.name, self._definition = name, definition
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises Exception itself
            raise ValueError(f"{name} is not a file of Hugging Face tokenizers: {error}") from None
        # A text that spells a special token does not become one.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        found = [
            name for name in ((end_of_text,) if end_of_text else _ENDS) if self._tokenizer.token_to_id(name) is not None
        ]
        if not found:
            raise ValueError(
                f"{self.name} has no token {end_of_text!r}"
                if end_of_text
                else f"{self.name} has none of the usual end-of-text tokens ({', '.join(_ENDS)}): say which it is"
            )
        self.end_of_text = int(self._tokenizer.token_to_id(found[0]))
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.vocabulary = padded(highest + 1)
        self.fingerprint = hashlib.sha256(f"{found[0]}\n{definition}".encode()).hexdigest()

    def encode(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        strings = [text.decode(errors="replace") for text in texts]
        try:
            batch = self._tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        except Exception as error:  # the library raises Exception itself
            raise ValueError(f"tokenizer {self.name} cannot encode this text: {error}") from None
        return [np.asarray(one.ids, dtype=np.uint32) for one in batch]

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        text: str = self._tokenizer.decode(np.asarray(tokens).tolist(), skip_special_tokens=False)
        return text.encode()

    def definition(self) -> str:
        return self._definition

    def save(self, folder: Path) -> None:
        write_text(folder / "tokenizer.json", self._definition)


def train_tokenizer(texts: Iterable[bytes], vocabulary: int) -> HuggingFace:
    """Train a byte-level BPE on texts.

    Args:
        texts: what to learn the merges from; of the training part only.
        vocabulary: tokens, the end of text included; at least the 256 bytes and that one.

    Raises:
        ImportError: tokenizers is not installed.
        ValueError: a vocabulary below 257 or above a million.

    Example:
        >>> tokenizer = train_tokenizer([b"low lower lowest"] * 10, 270)
        >>> tokenizer.decode(tokenizer.encode([b"lowest"])[0])
        b'lowest'
    """
    if not LEAST_TRAINED <= vocabulary <= MOST_TRAINED:
        raise ValueError(
            f"vocabulary must hold the 256 bytes and the end of text, so at least {LEAST_TRAINED}, and at most "
            f"{MOST_TRAINED:,}, got {vocabulary}"
        )
    _library("tokenizers", "training a tokenizer")
    from tokenizers import Tokenizer as Model
    from tokenizers import decoders, models, pre_tokenizers, trainers

    model = Model(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator((text.decode(errors="replace") for text in texts), trainer=trainer)
    return HuggingFace(model.to_str(), name="trained", end_of_text=END_OF_TEXT)


def load_tokenizer(name: str, *, end_of_text: str | None = None) -> Tokenizer:
    """A tokenizer by what a command line says: ``bytes``, ``gpt2``, a ``.tiktoken`` file or a ``.json`` file.

    Raises:
        ImportError, OSError: as the tokenizers do.
        ValueError: none of these, or a file that is not what its name says.

    >>> load_tokenizer("bytes").vocabulary
    256
    """
    if name == "bytes":
        return Bytes()
    if name == "gpt2":
        return GPT2()
    if name.endswith(".tiktoken"):
        return GPT2(name)
    if name.endswith(".json"):
        with naming(name):
            content = regular(name).read_bytes()
        try:
            return HuggingFace(content.decode("utf-8-sig"), name=Path(name).name, end_of_text=end_of_text)
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not a file of Hugging Face tokenizers: it is not UTF-8") from None
    raise ValueError(f"unknown tokenizer {name!r}: 'bytes', 'gpt2', a .tiktoken file or a tokenizers .json file")


def saved_tokenizer(folder: Path) -> Path | None:
    """The file that :meth:`Tokenizer.save` put into a folder; None where it put none.

    >>> saved_tokenizer(Path("no such folder"))
    """
    names = ("tokenizer.json", "tokenizer.tiktoken")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _library(name: str, what: str) -> Any:
    """Import a library of the extra ``data``."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"{what} needs {name}: pip install 'adana[data]'") from None
