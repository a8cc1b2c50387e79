"""Where text comes from: documents, each to train on or held out, in an order that is always the same."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import itertools
import json
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adana.data import text

__all__ = [
    "Document",
    "FineWeb",
    "InstalledPackages",
    "JSONLines",
    "Parquet",
    "SantaFe",
    "Source",
    "StandardLibrary",
    "TextFiles",
]

# What people write in packages; data tables and minified scripts are not text.
_WRITTEN = {".py", ".pyi", ".pyx", ".pxd", ".md", ".rst", ".txt", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"}


class Document(NamedTuple):
    """A text in UTF-8, and whether it is kept from training."""

    text: bytes
    held_out: bool


class Source(ABC):
    """Documents, the same ones in the same order each time they are asked for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, in words."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """Read them, one after the other."""

    def about(self) -> dict[str, Any]:
        """All that decides the documents, for ``dataset.json``."""
        kind = type(self).__name__
        return {"source": kind, **{key: _plain(value) for key, value in asdict(self).items()}}  # type: ignore[call-overload]


def _plain(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, tuple) else value


def _share(every: int) -> None:
    if every < 2:
        raise ValueError(f"held_out_every must be at least 2 (one document in so many is held out), got {every}")


def is_held_out(content: bytes, every: int) -> bool:
    """Whether a document is held out: by a hash of its contents, so that no copy of it is ever trained on."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % every == 0


@dataclass(frozen=True)
class StandardLibrary(Source):
    """The ``.py`` files of the running Python's standard library, split as the race splits them.

    >>> documents = StandardLibrary().documents()
    >>> next(documents).held_out
    False
    """

    @property
    def name(self) -> str:
        return "the Python standard library"

    def documents(self) -> Iterator[Document]:
        for name, path in text.library_files().items():
            yield Document(path.read_bytes(), text.is_held_out(name))


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
        _share(self.held_out_every)

    @property
    def name(self) -> str:
        return "the installed Python packages"

    def documents(self) -> Iterator[Document]:
        paths = sysconfig.get_paths()
        seen: set[bytes] = set()
        for folder in self.folders or sorted({paths["purelib"], paths["platlib"]}):
            root = Path(folder)
            files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.suffix in _WRITTEN}
            for name in sorted(files):
                try:
                    content = files[name].read_bytes()
                    content.decode()
                except (OSError, UnicodeDecodeError):  # a broken link, a binary with a text's name
                    continue
                digest = hashlib.sha256(content).digest()
                if content and digest not in seen:
                    seen.add(digest)
                    yield Document(content, is_held_out(content, self.held_out_every))


def _files(paths: Sequence[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files as given; of a folder, those with one of the suffixes, by name.

    Raises:
        FileNotFoundError: there is no such file, or the folder has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(file for file in path.rglob("*") if file.name.endswith(suffixes)) if path.is_dir() else [path]
        if not inside:
            raise FileNotFoundError(2, f"no {' or '.join(suffixes)} files in this folder", str(path))
        found += inside
    if not found:
        raise ValueError("no files given")
    return found


@dataclass(frozen=True)
class TextFiles(Source):
    """Plain text files, each a document; the last part of each is held out.

    Args:
        paths: files, or folders of ``.txt`` and ``.md`` files.
        held_out_every: one byte in so many, at the end of each file.
    """

    paths: tuple[str | Path, ...]
    held_out_every: int = 20

    def __post_init__(self) -> None:
        _share(self.held_out_every)

    @property
    def name(self) -> str:
        return ", ".join(map(str, self.paths))

    def documents(self) -> Iterator[Document]:
        for path in _files(self.paths, (".txt", ".md")):
            content = path.read_bytes()
            cut = len(content) - round(len(content) / self.held_out_every)
            while 0 < cut < len(content) and content[cut] & 0xC0 == 0x80:  # not in the middle of a character
                cut -= 1
            for part, held_out in ((content[:cut], False), (content[cut:], True)):
                if part:
                    yield Document(part, held_out)


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
        _share(self.held_out_every)

    @property
    def name(self) -> str:
        return ", ".join(map(str, self.paths))

    def documents(self) -> Iterator[Document]:
        for path in _files(self.paths, (".jsonl", ".jsonl.gz")):
            with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    try:
                        row = json.loads(line)
                    except ValueError:
                        raise ValueError(f"{path}, line {number}: not JSON") from None
                    if not isinstance(row, dict) or self.column not in row:
                        columns = ", ".join(row) if isinstance(row, dict) else "no fields"
                        raise ValueError(f"{path}, line {number}: no field {self.column!r}; there is {columns}")
                    yield from _document(row[self.column], self.held_out_every, f"{path}, line {number}", self.column)


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
        _share(self.held_out_every)

    @property
    def name(self) -> str:
        return ", ".join(map(str, self.paths))

    def documents(self) -> Iterator[Document]:
        _need("pyarrow", "reading Parquet")
        import pyarrow
        import pyarrow.parquet

        for path in _files(self.paths, (".parquet",)):
            try:
                with pyarrow.parquet.ParquetFile(path) as file:
                    if self.column not in file.schema_arrow.names:
                        names = ", ".join(file.schema_arrow.names)
                        raise ValueError(f"{path}: no column {self.column!r}; there is {names}")
                    for batch in file.iter_batches(batch_size=1024, columns=[self.column]):
                        for value in batch.column(0).to_pylist():
                            yield from _document(value, self.held_out_every, str(path), self.column)
            except (pyarrow.ArrowInvalid, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the decoder's
                    raise
                raise ValueError(f"{path} is corrupt or not Parquet: {str(error).splitlines()[0]}") from None


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
        _share(self.held_out_every)

    @property
    def name(self) -> str:
        return f"{self.repository} ({self.sample})"

    def documents(self) -> Iterator[Document]:
        datasets = _need("datasets", "FineWeb")
        try:
            rows = datasets.load_dataset(
                self.repository, name=self.sample, split="train", streaming=True, revision=self.revision
            )
        except ValueError as error:  # an unknown sample; the library lists those there are
            raise ValueError(f"{self.repository}: {error}") from None
        except (ConnectionError, FileNotFoundError) as error:
            raise OSError(f"{self.repository} cannot be reached: {error}") from None
        columns = rows.column_names
        if columns is not None:
            if self.column not in columns:
                raise ValueError(f"{self.repository}: no column {self.column!r}; there is {', '.join(columns)}")
            rows = rows.select_columns([self.column])
        for row in rows:
            yield from _document(row[self.column], self.held_out_every, self.repository, self.column)


@dataclass(frozen=True)
class SantaFe(Source):
    """Text whose Hilberg exponent is known: random statements about facts, of which there are ever more.

    A statement is a pair (k, z_k): k is drawn anew from a Zipf law, ``P(k) ~ k^(-1/exponent)``; the fact z_k is a
    fair bit, drawn once and the same ever after. A reader who remembers is surprised by the bit only the first time, so
    n statements hold an information of ``h n + A n^exponent`` bits. Written as ``"17+ 4- 17+ ..."``.

    Args:
        exponent: Hilberg exponent, in (0, 1).
        symbols: facts there are; as a process with infinitely many it behaves up to about ``symbols^(1/exponent)``
            statements.
        count: documents.
        statements: in each document.
        seed: of facts and statements.
        held_out_every: one document in so many is held out; the facts are the same in both parts.

    Source: Dębowski 2011, "On the Vocabulary of Grammar-Based Codes ..."; Section M.1 for the exponent.

    Example:
        >>> next(SantaFe(statements=4).documents()).text
        b'22937- 68+ 2926+ 177831+ '
    """

    exponent: float = 0.88
    symbols: int = 1_000_000
    count: int = 10_000
    statements: int = 1000
    seed: int = 0
    held_out_every: int = 20

    def __post_init__(self) -> None:
        _share(self.held_out_every)
        if not 0 < self.exponent < 1:
            raise ValueError(f"exponent must be between 0 and 1, got {self.exponent}")
        for name, least in (("symbols", 1), ("count", 1), ("statements", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def name(self) -> str:
        return f"a Santa Fe process of Hilberg exponent {self.exponent}"

    def probabilities(self) -> np.ndarray:
        """P(k) of k = 1, 2, ..., symbols."""
        weights = np.arange(1, self.symbols + 1, dtype=np.float64) ** (-1 / self.exponent)
        scaled: np.ndarray = weights / weights.sum()
        return scaled

    def facts(self) -> np.ndarray:
        """z_k of k = 1, 2, ..., symbols: zeros and ones."""
        return np.random.default_rng([self.seed, 0]).integers(0, 2, self.symbols, dtype=np.uint8)

    def subjects(self, number: int, cumulative: np.ndarray | None = None) -> np.ndarray:
        """The k of document ``number``, 1-based."""
        cumulative = np.cumsum(self.probabilities()) if cumulative is None else cumulative
        uniform = np.random.default_rng([self.seed, 1, number]).random(self.statements)
        k: np.ndarray = np.minimum(
            np.searchsorted(cumulative, uniform * cumulative[-1], side="right") + 1, self.symbols
        )
        return k

    def documents(self) -> Iterator[Document]:
        cumulative = np.cumsum(self.probabilities())
        signs = np.array(["-", "+"])[self.facts()]
        for number in range(self.count):
            k = self.subjects(number, cumulative)
            content = "".join(f"{i}{sign} " for i, sign in zip(k.tolist(), signs[k - 1].tolist())).encode()
            yield Document(content, is_held_out(number.to_bytes(8, "big"), self.held_out_every))


def _document(value: Any, every: int, where: str, column: str) -> Iterator[Document]:
    if value is None or value == "":
        return
    if not isinstance(value, str):
        raise ValueError(f"{where}: {column!r} holds {type(value).__name__}, not text")
    content = value.encode(errors="replace")  # JSON can spell halves of characters
    yield Document(content, is_held_out(content, every))


def _need(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"{what} needs {name}: pip install 'adana[data]'") from None


def first_bytes(documents: Iterator[Document], limit: int) -> Iterator[bytes]:
    """Training texts until they come to ``limit`` bytes; what a tokenizer is trained on."""
    total = 0
    for document in itertools.filterfalse(lambda document: document.held_out, documents):
        if total >= limit:
            return
        total += len(document.text)
        yield document.text
