"""Files of text in pieces: however long a document is, little of it is in memory at a time.

1. ``find_files`` gives the files; 2. a ``TextFile`` reads one as UTF-8, a chunk or a line at a time, whatever its
byte-order mark says, and counts what is not text; 3. ``in_pieces`` cuts a document where tokens stay as they are.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from adana.files import Damaged, naming

__all__ = ["Piece", "TextFile", "bytes_not_text", "find_files", "in_pieces", "regular"]

CHUNK = 1 << 20  # bytes read at a time
PIECE = 1 << 18  # bytes of a piece, at most
LONGEST_LINE = 256_000_000  # bytes of one JSON line: its parser needs all of it at once
MAX_INVALID = 0.01

_TAIL = 1 << 16  # how far back from a full piece a place to cut is looked for
# Best before the space after a word: tokenizers that mark the beginning of a text do not mark a space. Then before
# another break after a word; and, in scripts that use no spaces, after a letter or digit.
_PLACES = [re.compile(r".*[^\W_](?=" + after, re.DOTALL) for after in (r" )", r"[\n\r\t])", r"[\W_])")]
# At the end of what was read so far: it may go on in what is read next.
_LAST_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,2}\Z")

# In this order: UTF-16's mark is the beginning of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Piece(NamedTuple):
    """A document, or a part of one that is too long to be read at once.

    Attributes:
        text: bytes of UTF-8, without zero bytes.
        held_out: whether the document is kept from training.
        last: whether the document ends here.
        invalid: bytes read for this piece that were not UTF-8 text, zero bytes included.
    """

    text: bytes
    held_out: bool
    last: bool = True
    invalid: int = 0


def bytes_not_text(chunk: bytes) -> int:
    """How many bytes are zero or do not belong to a character in UTF-8.

    >>> bytes_not_text("café".encode()), bytes_not_text("café".encode("latin-1")), bytes_not_text(b"a\\0b\\0")
    (0, 1, 2)
    """
    zeros = chunk.count(0)
    if chunk.isascii():
        return zeros
    try:
        chunk.decode()
    except UnicodeDecodeError:
        return zeros + len(chunk) - len(chunk.decode(errors="ignore").encode())
    return zeros


def in_pieces(chunks: Iterable[bytes], size: int | None = None) -> Iterator[tuple[bytes, bool]]:
    """The text of one document in pieces, each with whether it is the last.

    A cut is before the space, or else the line break, after a word: there, the tokenizers in use cut anyway before they
    merge, so that the tokens of the pieces are those of the whole. Where the last 64 KiB of a piece have no such place,
    the cut is after any letter or digit that no letter or digit follows; where they have none of those either (a long
    line of base64), between any two characters, and a tokenizer may give other tokens beside that cut.

    Args:
        chunks: the text, UTF-8, in parts of any length.
        size: bytes of a piece, at most; default 256 KiB.

    Example:
        >>> list(in_pieces([b"one two", b" three"], 9))
        [(b'one two', False), (b' three', True)]
    """
    size = size or PIECE
    rest = b""
    for chunk in chunks:
        rest += chunk
        start = 0
        while len(rest) - start > size:
            end = _place_to_cut(rest, start, start + size)
            yield rest[start:end], False
            start = end
        rest = rest[start:]
    if rest:
        yield rest, True


def _place_to_cut(text: bytes, start: int, stop: int) -> int:
    """The last good place in ``text[start:stop]``, which does not begin with it."""
    end = stop
    while end > max(start + 1, stop - 3) and text[end] & 0xC0 == 0x80:  # not in the middle of a character
        end -= 1
    first = max(start, end - _TAIL)
    tail = text[first:end].decode(errors="surrogateescape")
    for place in _PLACES:
        found = place.match(tail)
        if found:
            return first + len(found[0].encode(errors="surrogateescape"))
    return end


def regular(path: str | Path) -> Path:
    """The path, if it is of a regular file: a device or a pipe may never end.

    Raises:
        OSError: there is no such file, or it is a folder, a device or a pipe; the error names it.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a device or a pipe, not a regular file", str(path))
    return Path(path)


def find_files(paths: Sequence[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files as given; of a folder, the files in it and in its folders with one of the suffixes, by name.

    Raises:
        OSError: there is no such file, it is no regular file, or a folder cannot be read or has no such file.
        ValueError: no paths.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            walk = os.walk(path, onerror=fail)
            inside = sorted(
                Path(folder, name) for folder, _, names in walk for name in names if name.endswith(suffixes)
            )
        if not inside:
            raise FileNotFoundError(errno.ENOENT, f"no {' or '.join(suffixes)} files in this folder", str(path))
        found += map(regular, inside)
    if not found:
        raise ValueError("no files given")
    return found


class TextFile:
    """A file of text, read as UTF-8.

    A byte-order mark of UTF-8, UTF-16 or UTF-32 decides how it is read and is no part of the text.

    Args:
        path: a regular file; one whose name ends in ``.gz`` is decompressed.
        max_invalid: share of the text's bytes that may be other than UTF-8, or zero, in :meth:`chunks`.
        remedy: what an error says to do about a file with more of them.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """

    def __init__(self, path: str | Path, *, max_invalid: float = 1.0, remedy: str = "") -> None:
        self.path, self.max_invalid, self.remedy = regular(path), max_invalid, remedy
        with self._open() as file:
            start = file.read(4)
        mark, self.encoding = next(((m, e) for m, e in _MARKS if start.startswith(m)), (b"", "utf-8"))
        self._mark = len(mark)

    @functools.cached_property
    def length(self) -> int:
        """Bytes of the text in UTF-8; reads it all where the file is in another form."""
        if self.encoding == "utf-8" and not self.path.name.endswith(".gz"):
            return max(0, self.path.stat().st_size - self._mark)
        return sum(map(len, self._decoded()))

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """The text in parts of about a megabyte that end between characters, each with its bytes that are not text.

        Raises:
            ValueError: more of it than ``max_invalid`` is not text.
            OSError: it cannot be read.
        """
        seen = 0
        for chunk in self._decoded():
            # What UTF-16 and UTF-32 cannot mean was decoded as the replacement character.
            invalid = bytes_not_text(chunk) + (0 if self.encoding == "utf-8" else chunk.count("\ufffd".encode()))
            seen += invalid
            if seen > self.max_invalid * self.length:
                raise Damaged(
                    f"{self.path} is not UTF-8 text: at least {seen:,} of its {self.length:,} bytes are zero or no "
                    f"UTF-8, more than {100 * self.max_invalid:.3g} %. Convert it (for example with iconv -f LATIN1 "
                    f"-t UTF-8)" + (f", or {self.remedy}" if self.remedy else "")
                )
            yield chunk, invalid

    def _decoded(self) -> Iterator[bytes]:
        with self._open() as file:
            file.read(self._mark)
            if self.encoding != "utf-8":
                text = io.TextIOWrapper(file, encoding=self.encoding, errors="replace", newline="\n")
                while characters := text.read(CHUNK):
                    yield characters.encode()
                return
            rest = b""
            while read := file.read(CHUNK):
                chunk = rest + read
                unfinished = _LAST_CHARACTER.search(chunk, max(0, len(chunk) - 3))
                end = unfinished.start() if unfinished else len(chunk)
                rest = chunk[end:]
                if end:
                    yield chunk[:end]
            if rest:
                yield rest

    def lines(self) -> Iterator[bytes]:
        """The text line by line.

        Raises:
            ValueError: a line of more than 256 MB; the message names it.
            OSError: it cannot be read.
        """
        with self._open() as file:
            file.read(self._mark)
            lines: IO[bytes] | IO[str] = file
            if self.encoding != "utf-8":
                lines = io.TextIOWrapper(file, encoding=self.encoding, errors="replace", newline="\n")
            number = 0
            while line := lines.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ValueError(
                        f"{self.path}, line {number}: longer than {LONGEST_LINE:,} bytes; give so long a text as a file"
                    )
                yield line if isinstance(line, bytes) else line.encode()

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        """The file's bytes; whatever goes wrong while it is open names it."""
        with naming(self.path), contextlib.ExitStack() as stack:
            try:
                if self.path.name.endswith(".gz"):
                    yield stack.enter_context(gzip.open(self.path, "rb"))  # type: ignore[arg-type]
                else:
                    yield stack.enter_context(self.path.open("rb"))
            except EOFError:
                raise ValueError(f"{self.path} is cut short: its compressed data has no end; fetch it again") from None
            except (gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"{self.path} is corrupt or not gzip ({error}): fetch it again") from None
