"""Text as byte tokens in memory, split into training and held-out parts, with batches addressed by step."""

from __future__ import annotations

import functools
import hashlib
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adana.data.batches import evenly_spaced, random_starts
from adana.data.reading import MAX_INVALID, TextFile

__all__ = [
    "VALIDATION_TOKENS",
    "Corpus",
    "batch",
    "library_files",
    "standard_library",
    "text_files",
    "validation_windows",
]

HELD_OUT = 0.05
VALIDATION_TOKENS = 65_536
VOCABULARY = 256
SEPARATOR = b"\0"

# What differs between distributions of the same Python: packages beside the library, and its test suites,
# which some systems leave out.
_NOT_LIBRARY = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class Corpus:
    """Byte tokens of a text.

    Attributes:
        name: what it is, in words.
        train: uint8 tokens to train on.
        held_out: uint8 tokens of files (or file endings) never trained on.
        sha256: of both parts: the identity of the text, whatever its files are called.
    """

    name: str
    train: np.ndarray
    held_out: np.ndarray
    sha256: str


def _corpus(name: str, train: np.ndarray, held_out: np.ndarray) -> Corpus:
    digest = hashlib.sha256(b"".join(hashlib.sha256(part.data).digest() for part in (train, held_out))).hexdigest()
    return Corpus(name, train, held_out, digest)


def is_held_out(name: str) -> bool:
    """Whether a file is held out: decided by a hash of its name alone, the same on every machine.

    >>> is_held_out("argparse.py"), is_held_out("ast.py")
    (False, True)
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % round(1 / HELD_OUT) == 0


def library_files() -> dict[str, Path]:
    """The ``.py`` files of the running interpreter's standard library by name, in order.

    Its test suites are left out: some distributions do not ship them, and the text should be the same on all.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*.py")
        if not _NOT_LIBRARY.intersection(path.relative_to(root).parts) and not path.name.startswith("_sysconfigdata")
    }
    return dict(sorted(files.items()))


@functools.lru_cache(maxsize=1)
def standard_library() -> Corpus:
    """The standard library's source files, about one file in twenty held out."""
    texts: dict[bool, list[bytes]] = {False: [], True: []}
    for name, path in library_files().items():
        texts[is_held_out(name)].append(path.read_bytes())
    train, held_out = (np.frombuffer(SEPARATOR.join(texts[out]), dtype=np.uint8) for out in (False, True))
    return _corpus("the Python standard library", train, held_out)


def text_files(paths: Sequence[str | Path]) -> Corpus:
    """Any text files; the last 5 % of each is held out. They are held in memory once, as bytes.

    A byte-order mark of UTF-8, UTF-16 or UTF-32 decides how a file is read; without one its bytes are taken as they
    are, and the name of the corpus says how many of them are not UTF-8 text.

    Raises:
        ValueError: more than 1 % of a file is not UTF-8 text, or it changes while it is read.
        OSError: a file cannot be read, or is no regular file.
    """
    remedy = "make a data folder of it (adana data build --source text --max-invalid 1) and train on that"
    files = [TextFile(path, max_invalid=MAX_INVALID, remedy=remedy) for path in paths]
    cuts = [file.length - round(file.length * HELD_OUT) for file in files]
    between = max(0, len(files) - 1)
    train = np.zeros(sum(cuts) + between, dtype=np.uint8)  # zeros are separators
    held_out = np.zeros(sum(file.length for file in files) - sum(cuts) + between, dtype=np.uint8)
    at = out = not_text = 0
    for file, cut in zip(files, cuts):
        read = 0
        for chunk, invalid in file.chunks():
            not_text += invalid
            if read + len(chunk) > file.length:
                break
            content = np.frombuffer(chunk, dtype=np.uint8)
            inside = max(0, min(cut - read, len(chunk)))
            train[at + read : at + read + inside] = content[:inside]
            first = out + max(0, read - cut)
            held_out[first : first + len(chunk) - inside] = content[inside:]
            read += len(chunk)
        if read != file.length:
            raise ValueError(f"{file.path} changed while it was read: try again when nothing writes to it")
        at, out = at + cut + 1, out + file.length - cut + 1
    train.flags.writeable = held_out.flags.writeable = False
    name = ", ".join(str(path) for path in paths)
    return _corpus(name + (f" ({not_text:,} bytes are not UTF-8 text)" if not_text else ""), train, held_out)


def batch(tokens: np.ndarray, *, step: int, seed: int, batch_size: int, seq_len: int) -> np.ndarray:
    """Batch number ``step``: ``batch_size`` random windows of ``seq_len + 1`` tokens, as int64.

    A pure function of its arguments: a run that goes on at a step need not go through the steps before it.

    Args:
        tokens: the training tokens, one-dimensional, longer than ``seq_len``.
        step: 0-based number of the batch.
        seed: of the data order.
        batch_size: windows.
        seq_len: tokens that the model sees; the window holds one more, the last target.

    Returns:
        Array of shape (batch_size, seq_len + 1).

    Source: Section F.2 (random windows over the stream).
    """
    starts = random_starts(len(tokens), step=step, seed=seed, batch_size=batch_size, seq_len=seq_len)
    windows: np.ndarray = tokens[starts[:, None] + np.arange(seq_len + 1)].astype(np.int64)
    return windows


def validation_windows(held_out: np.ndarray, *, seq_len: int, tokens: int = VALIDATION_TOKENS) -> np.ndarray:
    """The fixed validation set: evenly spaced windows, the same whatever the batch size or the seed.

    Args:
        held_out: held-out tokens, longer than ``seq_len``.
        seq_len: tokens a window predicts.
        tokens: how many predictions in all, at most; fewer where the text is shorter.

    Returns:
        Array of shape (windows, seq_len + 1), int64.
    """
    starts = evenly_spaced(len(held_out), seq_len=seq_len, tokens=tokens)
    windows: np.ndarray = held_out[starts[:, None] + np.arange(seq_len + 1)].astype(np.int64)
    return windows
