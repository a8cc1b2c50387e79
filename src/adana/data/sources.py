"""Where text comes from: documents, each to train on or held out, in an order that is always the same."""

from __future__ import annotations

import codecs
import hashlib
import importlib
import itertools
import json
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adana.data import text
from adana.data.reading import CHUNK, MAX_INVALID, Piece, TextFile, bytes_not_text, find_files, in_pieces, regular
from adana.files import naming

__all__ = [
    "FineWeb",
    "InstalledPackages",
    "JSONLines",
    "Parquet",
    "Source",
    "StandardLibrary",
    "TextFiles",
    "first_bytes",
    "is_held_out",
]

# What people write in packages; data tables and minified scripts are not text.
_WRITTEN = {".py", ".pyi", ".pyx", ".pxd", ".md", ".rst", ".txt", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"}


class Source(ABC):
    """Documents, the same ones in the same order each time they are asked for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, in words."""

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """Read them one after the other, each whole or, if it is long, in pieces of at most 256 KiB."""

    def about(self) -> dict[str, Any]:
        """All that decides the documents, for ``dataset.json``."""
        kind = type(self).__name__
        return {"source": kind, **{key: _plain(value) for key, value in asdict(self).items()}}  # type: ignore[call-overload]


def _plain(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, tuple) else value


def check_share(every: int) -> None:
    if every < 2:
        raise ValueError(f"held_out_every must be at least 2 (one document in so many is held out), got {every}")


def is_held_out(content: bytes, every: int) -> bool:
    """Whether a document is held out: by a hash of its contents, so that no copy of it is ever trained on."""
    return _falls_out(hashlib.sha256(content).digest(), every)


def _falls_out(digest: bytes, every: int) -> bool:
    return int.from_bytes(digest[:8], "big") % every == 0


@dataclass(frozen=True)
class StandardLibrary(Source):
    """The ``.py`` files of the running Python's standard library, split as the race splits them.

    >>> next(StandardLibrary().pieces()).held_out
    False
    """

    @property
    def name(self) -> str:
        return "the Python standard library"

    def pieces(self) -> Iterator[Piece]:
        for name, path in text.library_files().items():
            yield Piece(path.read_bytes(), text.is_held_out(name))


@dataclass(frozen=True)
class InstalledPackages(Source):
    """Source code and prose of every installed package: hundreds of megabytes where a deep-learning stack is.

    Files that are not UTF-8, are empty, or repeat another's contents are left out; the order is that of their paths.

    Args:
        held_out_every: one file in so many is held out, by its contents.
        folders: where packages are; default this Python's.
    """

    held_out_every: int = 20
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.held_out_every)

    @property
    def name(self) -> str:
        return "the installed Python packages"

    def pieces(self) -> Iterator[Piece]:
        paths = sysconfig.get_paths()
        seen: set[bytes] = set()
        for folder in self.folders or sorted({paths["purelib"], paths["platlib"]}):
            root = Path(folder)
            files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.suffix in _WRITTEN}
            for name in sorted(files):
                digest = _digest_of_text(files[name])
                if digest is not None and digest not in seen:
                    seen.add(digest)
                    yield from _document(TextFile(files[name]).chunks(), _falls_out(digest, self.held_out_every))


def _digest_of_text(path: Path) -> bytes | None:
    """Of the contents; None if they are no UTF-8, or nothing: a broken link, a binary file with a text's name."""
    digest, decoder, size = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with regular(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
                digest.update(chunk)
                size += len(chunk)
        decoder.decode(b"", final=True)
    except (OSError, UnicodeDecodeError):
        return None
    return digest.digest() if size else None


@dataclass(frozen=True)
class TextFiles(Source):
    """Plain text files, each a document; the last part of each is held out.

    A byte-order mark of UTF-8, UTF-16 or UTF-32 decides how a file is read; without one it is UTF-8.

    Args:
        paths: files, or folders of ``.txt`` and ``.md`` files.
        held_out_every: one byte in so many, at the end of each file.
        max_invalid: share of a file's bytes that may be zero or no UTF-8; a file with more is refused.
    """

    paths: tuple[str | Path, ...]
    held_out_every: int = 20
    max_invalid: float = MAX_INVALID

    def __post_init__(self) -> None:
        check_share(self.held_out_every)
        if not 0 <= self.max_invalid <= 1:
            raise ValueError(f"max_invalid is a share and must be from 0 to 1, got {self.max_invalid}")

    @property
    def name(self) -> str:
        return _listed(self.paths)

    def pieces(self) -> Iterator[Piece]:
        remedy = "take it as it is with --max-invalid 1"
        for path in find_files(self.paths, (".txt", ".md")):
            file = TextFile(path, max_invalid=self.max_invalid, remedy=remedy)
            halves = _cut_in_two(file.chunks(), file.length - round(file.length / self.held_out_every))
            for held_out, part in itertools.groupby(halves, key=lambda half: half[0]):
                yield from _document(((chunk, invalid) for _, chunk, invalid in part), held_out)


def _cut_in_two(chunks: Iterable[tuple[bytes, int]], cut: int) -> Iterator[tuple[bool, bytes, int]]:
    """Each chunk, with whether it is beyond ``cut`` bytes; the one that the cut falls in becomes two."""
    before = 0
    for chunk, invalid in chunks:
        inside = max(0, min(cut - before, len(chunk)))
        before += len(chunk)
        while 0 < inside < len(chunk) and chunk[inside] & 0xC0 == 0x80:  # not in the middle of a character
            inside -= 1
        if inside:
            yield False, chunk[:inside], invalid
        if inside < len(chunk):
            yield True, chunk[inside:], 0 if inside else invalid


@dataclass(frozen=True)
class JSONLines(Source):
    """JSON objects, one a line, gzipped or not; a document is one field of each.

    Args:
        paths: files, or folders of ``.jsonl`` and ``.jsonl.gz`` files.
        column: the field that holds the text.
        held_out_every: one document in so many is held out, by its contents.
    """

    paths: tuple[str | Path, ...]
    column: str = "text"
    held_out_every: int = 20

    def __post_init__(self) -> None:
        check_share(self.held_out_every)

    @property
    def name(self) -> str:
        return _listed(self.paths)

    def pieces(self) -> Iterator[Piece]:
        for path in find_files(self.paths, (".jsonl", ".jsonl.gz")):
            for number, line in enumerate(TextFile(path).lines(), 1):
                if line.strip():
                    where = f"{path}, line {number}"
                    row = _row(line, where)
                    if not isinstance(row, dict) or self.column not in row:
                        columns = _listed(row) if isinstance(row, dict) else "no fields"
                        raise ValueError(f"{where}: no field {self.column!r}; there is {columns}")
                    yield from _value(row[self.column], self.held_out_every, where, self.column)


def _row(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{where}: not UTF-8; convert the file (for example with iconv -f LATIN1 -t UTF-8)") from None
    except ValueError:
        raise ValueError(f"{where}: not JSON") from None
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply to be read") from None


@dataclass(frozen=True)
class Parquet(Source):
    """Parquet files; a document is one row of a column of strings. Only that column is read.

    Args:
        paths: files, or folders of ``.parquet`` files.
        column: the column that holds the text.
        held_out_every: one document in so many is held out, by its contents.
    """

    paths: tuple[str | Path, ...]
    column: str = "text"
    held_out_every: int = 20

    def __post_init__(self) -> None:
        check_share(self.held_out_every)

    @property
    def name(self) -> str:
        return _listed(self.paths)

    def pieces(self) -> Iterator[Piece]:
        _need("pyarrow", "reading Parquet")
        import pyarrow
        import pyarrow.parquet

        for path in find_files(self.paths, (".parquet",)):
            with naming(path):
                try:
                    # By default whole row groups are read at once.
                    with pyarrow.parquet.ParquetFile(path, buffer_size=CHUNK) as file:
                        if self.column not in file.schema_arrow.names:
                            names = _listed(file.schema_arrow.names)
                            raise ValueError(f"{path}: no column {self.column!r}; there is {names}")
                        for batch in file.iter_batches(batch_size=64, columns=[self.column]):
                            for value in batch.column(0).to_pylist():
                                yield from _value(value, self.held_out_every, str(path), self.column)
                except UnicodeDecodeError:
                    raise ValueError(f"{path}: {self.column!r} holds text that is not UTF-8") from None
                except (pyarrow.ArrowException, OSError) as error:
                    if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the decoder's
                        raise
                    raise ValueError(f"{path} is corrupt or not Parquet: {_first_line(error)}") from None


@dataclass(frozen=True)
class FineWeb(Source):
    """FineWeb by Hugging Face `datasets`, streamed: nothing is kept but the shards made of it.

    Args:
        sample: ``"sample-10BT"``, ``"sample-100BT"``, ``"sample-350BT"``, a crawl such as ``"CC-MAIN-2024-10"``,
            or ``"default"`` for all.
        column: the column that holds the text.
        held_out_every: one document in so many is held out, by its contents.
        repository: another data set of the same shape: its name on the hub, or a folder.
        revision: of the repository; name a commit for documents that never change.

    Source: Penedo et al. 2024, the paper's training text.
    """

    sample: str = "sample-10BT"
    column: str = "text"
    held_out_every: int = 1000
    repository: str = "HuggingFaceFW/fineweb"
    revision: str | None = None

    def __post_init__(self) -> None:
        check_share(self.held_out_every)

    @property
    def name(self) -> str:
        return f"{self.repository} ({self.sample})"

    def pieces(self) -> Iterator[Piece]:
        datasets = _need("datasets", "FineWeb")
        try:
            rows = datasets.load_dataset(
                self.repository, name=self.sample, split="train", streaming=True, revision=self.revision
            )
            columns = rows.column_names
            if columns is not None and self.column in columns:
                rows = rows.select_columns([self.column])
        except ValueError as error:  # an unknown sample; the library lists those there are
            raise ValueError(f"{self.repository}: {error}") from None
        except (ConnectionError, FileNotFoundError) as error:
            raise OSError(f"{self.repository} cannot be reached: {error}") from None
        except Exception as error:  # the library and what it stands on raise all kinds
            raise OSError(f"{self.repository} cannot be opened: {_first_line(error)}") from None
        if columns is not None and self.column not in columns:
            raise ValueError(f"{self.repository}: no column {self.column!r}; there is {_listed(columns)}")
        left = iter(rows)
        while True:
            try:
                row = next(left)
            except StopIteration:
                return
            except Exception as error:
                raise OSError(f"{self.repository} cannot be read to its end: {_first_line(error)}") from None
            yield from _value(row[self.column], self.held_out_every, self.repository, self.column)


def _value(value: Any, every: int, where: str, column: str) -> Iterator[Piece]:
    """A document that is one string."""
    if value is None or value == "":
        return
    if not isinstance(value, str):
        raise ValueError(f"{where}: {column!r} holds {type(value).__name__}, not text")
    content = value.encode(errors="replace")  # JSON can spell halves of characters
    halves = len(value) - len(value.encode(errors="ignore").decode())
    yield from _document([(content, halves + bytes_not_text(content))], is_held_out(content, every))


def _document(chunks: Iterable[tuple[bytes, int]], held_out: bool) -> Iterator[Piece]:
    """The pieces of one document, from its text and the number of bytes of it that are not text."""
    count = 0

    def texts() -> Iterator[bytes]:
        nonlocal count
        for chunk, invalid in chunks:
            count += invalid
            yield chunk.replace(b"\0", b"")  # the byte tokenizer's end of a text, and no character of any

    for content, last in in_pieces(texts()):
        yield Piece(content, held_out, last, count)
        count = 0


def first_bytes(pieces: Iterable[Piece], limit: int) -> Iterator[bytes]:
    """The first ``limit`` bytes of training text: what a tokenizer is trained on."""
    for piece in itertools.filterfalse(lambda piece: piece.held_out, pieces):
        content, _ = next(in_pieces([piece.text], limit), (b"", True))
        yield content
        limit -= len(content)
        if limit <= 0 or len(content) < len(piece.text):
            return


def _listed(names: Iterable[object]) -> str:
    """Names, of which a file may have thousands, in a line."""
    found = list(names)
    return ", ".join(map(str, found[:20])) + (f" and {len(found) - 20:,} others" if len(found) > 20 else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _need(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"{what} needs {name}: pip install 'adana[data]'") from None
