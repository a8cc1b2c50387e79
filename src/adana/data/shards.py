"""Tokens on disk: a memory-mapped file that knows what it holds.

A shard is 4,096 bytes of header (a line of magic, then JSON) and little-endian unsigned integers. It is written
under another name, synced, and renamed: a file with the shard's name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.reading import regular
from adana.data.tokenizer import Tokenizer
from adana.files import naming, parse_json, sync

__all__ = ["Shard", "ShardHeader", "ShardWriter", "open_shard"]

MAGIC = b"adana tokens\n"
HEADER_BYTES = 4096
FORMAT = 1


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        format: version of the file format.
        tokenizer: its name.
        fingerprint: hash of all that decides the tokens it gives.
        vocabulary: tokens are below this.
        end_of_text: the token after each document.
        dtype: ``uint8``, ``uint16`` or ``uint32``: the smallest that holds the vocabulary.
        count: tokens, those between documents included.
        documents: how many end here.
        text_bytes: bytes of text the tokens stand for; the end of a document counts as one.
        sha256: of the tokens and of the header's other fields.
    """

    format: int
    tokenizer: str
    fingerprint: str
    vocabulary: int
    end_of_text: int
    dtype: str
    count: int
    documents: int
    text_bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """An open shard: its tokens are read from disk as they are used."""

    path: Path
    header: ShardHeader
    tokens: np.ndarray
    mapped: mmap.mmap

    def check(self) -> None:
        """See that the file is still as long as it was: reading mapped memory beyond its end kills the process.

        Raises:
            OSError: it is shorter; the error names it.
        """
        size = self.mapped.size()  # of the file as it is now, a microsecond
        if size < len(self.mapped):
            raise OSError(
                errno.EIO,
                f"was cut short while it was in use: {size:,} bytes, where there were {len(self.mapped):,}; put the "
                "whole file back",
                str(self.path),
            )


def smallest_dtype(vocabulary: int) -> str:
    """The narrowest unsigned integer that holds every token of a vocabulary.

    >>> smallest_dtype(256), smallest_dtype(50304), smallest_dtype(151936)
    ('uint8', 'uint16', 'uint32')
    """
    return next(name for name in ("uint8", "uint16", "uint32") if vocabulary - 1 <= np.iinfo(name).max)


def _sealed(header: dict[str, Any]) -> bytes:
    return json.dumps({name: value for name, value in header.items() if name != "sha256"}, sort_keys=True).encode()


class ShardWriter:
    """Writes one shard; it appears under its name when closed, whole, and not before.

    Args:
        path: the shard's file.
        tokenizer: whose tokens these are.

    Example:
        >>> import tempfile, pathlib
        >>> from adana.data.tokenizer import Bytes
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.tokens"
        >>> with ShardWriter(path, Bytes()) as writer:
        ...     writer.append(Bytes().encode([b"hello"])[0], text_bytes=5)
        >>> open_shard(path).tokens.tolist()
        [104, 101, 108, 108, 111, 0]
    """

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        self.path, self.tokenizer = path, tokenizer
        self.count = self.documents = self.text_bytes = 0
        self.dtype = smallest_dtype(tokenizer.vocabulary)
        self._temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        self._hash = hashlib.sha256()
        with naming(path):
            self._file = self._temporary.open("xb")  # a new file, never one that a link leads to
            self._file.write(bytes(HEADER_BYTES))

    def append(self, tokens: np.ndarray, *, text_bytes: int, ends: bool = True) -> None:
        """Add a document and the end-of-text token, or a part of a document.

        Args:
            tokens: one-dimensional.
            text_bytes: bytes of text that they stand for.
            ends: whether the document ends here; only then an end-of-text token follows, and counts as one byte.

        Raises:
            ValueError: a token outside the vocabulary.
            OSError: it cannot be written; the error names the shard.
        """
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.tokenizer.vocabulary:
            raise ValueError(
                f"tokenizer {self.tokenizer.name} gave token {tokens.max()}, outside its vocabulary of "
                f"{self.tokenizer.vocabulary:,}"
            )
        dtype = np.dtype(self.dtype).newbyteorder("<")
        data = np.ascontiguousarray(tokens, dtype).data
        end = np.full(int(ends), self.tokenizer.end_of_text, dtype).tobytes()
        self._hash.update(data)
        self._hash.update(end)
        with naming(self.path):
            self._file.write(data)
            self._file.write(end)
        self.count += len(tokens) + ends
        self.documents += ends
        self.text_bytes += text_bytes + ends

    def close(self) -> ShardHeader:
        """Write the header, sync, rename."""
        header: dict[str, Any] = {
            "format": FORMAT,
            "tokenizer": self.tokenizer.name,
            "fingerprint": self.tokenizer.fingerprint,
            "vocabulary": self.tokenizer.vocabulary,
            "end_of_text": self.tokenizer.end_of_text,
            "dtype": self.dtype,
            "count": self.count,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
        }
        self._hash.update(_sealed(header))
        header["sha256"] = self._hash.hexdigest()
        line = MAGIC + json.dumps(header).encode()
        if len(line) > HEADER_BYTES:
            raise ValueError(f"tokenizer name {self.tokenizer.name!r} is too long for a shard's header")
        with naming(self.path):
            self._file.seek(0)
            self._file.write(line.ljust(HEADER_BYTES, b" "))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self.path)
            sync(self.path.parent)
        return ShardHeader(**header)

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # a full disk, once more
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def open_shard(path: str | Path, *, verify: bool = True) -> Shard:
    """Memory-map a shard.

    Args:
        path: its file.
        verify: read it all once and compare its checksum. The header and the length are always checked.

    Raises:
        ValueError: not a shard, truncated, or corrupt; the message names the file.
        OSError: it cannot be read, or is no regular file.
    """
    path = regular(path)
    with naming(path), path.open("rb") as file:
        start = file.read(HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
        if not start.startswith(MAGIC):
            raise ValueError(f"{path} is not a shard of tokens: it does not start as one")
        header = _header(start[len(MAGIC) :], path)
        dtype = np.dtype(header.dtype).newbyteorder("<")
        expected = HEADER_BYTES + header.count * dtype.itemsize
        if size != expected:
            what = "truncated" if size < expected else "corrupt"
            raise ValueError(f"{path} is {what}: {size:,} bytes where its header says {expected:,}; build it anew")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    shard = Shard(path, header, np.frombuffer(mapped, dtype, header.count, HEADER_BYTES), mapped)
    if verify:
        digest = hashlib.sha256()
        for first in range(0, header.count, 1 << 22):
            shard.check()
            digest.update(shard.tokens[first : first + (1 << 22)].data)
        digest.update(_sealed(asdict(header)))
        if digest.hexdigest() != header.sha256:
            raise ValueError(f"{path} is corrupt: its checksum does not match; build it anew")
    return shard


def _header(line: bytes, path: Path) -> ShardHeader:
    try:
        found = parse_json(line)
        header = _checked(found) if found["format"] == FORMAT else None
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is corrupt: its header cannot be read; build it anew") from None
    if header is None:
        raise ValueError(f"{path} is a shard of format {found['format']}; this version of adana reads {FORMAT}")
    return header


def _checked(found: dict[str, Any]) -> ShardHeader:
    """Types that json leaves open; a KeyError or TypeError is a corrupt header."""
    kinds = {"int": int, "str": str}
    header = ShardHeader(**{field.name: found[field.name] for field in fields(ShardHeader)})
    for field in fields(header):
        value = getattr(header, field.name)
        if type(value) is not kinds[str(field.type)] or (isinstance(value, int) and value < 0):
            raise TypeError(field.name)
    if header.dtype not in ("uint8", "uint16", "uint32"):
        raise TypeError("dtype")
    return header
