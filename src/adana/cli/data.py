"""``adana data``: text into shards of tokens, and what is in them."""

from __future__ import annotations

import glob
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from adana.cli import Failed, UsageError
from adana.cli.arguments import parse
from adana.cli.tables import say, show_table, terminal
from adana.cli.words import one_line
from adana.data import sources
from adana.data.dataset import MANIFEST, SPLITS, open_dataset
from adana.data.santa_fe import SantaFe
from adana.data.shards import open_shard
from adana.data.sources import Source
from adana.data.tokenizer import LEAST_TRAINED, MOST_TRAINED, Tokenizer, load_tokenizer, train_tokenizer
from adana.data.writing import Progress, write_dataset
from adana.files import read_json
from adana.tables import Column, tabulate

DESCRIPTION = "Tokenize text into shards (build), or look at shards (inspect)."
TRAINED_ON = 100_000_000  # bytes that a tokenizer is trained on, at most


@dataclass(frozen=True)
class Build:
    """Tokenize a text into a folder of memory-mapped shards, part of it held out for validation.

    The folder appears when it is whole; Ctrl-C leaves nothing behind. It does not write over anything.
    """

    source: Literal["stdlib", "installed", "text", "jsonl", "parquet", "fineweb", "santa-fe"] = "stdlib"
    """Sources of your Python (stdlib), of all installed packages too (installed), your files (text, jsonl, parquet),
    FineWeb from the Hugging Face hub, or random statements about ever more facts (santa-fe)."""
    files: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """With --source text, jsonl or parquet: files, or folders of them."""
    column: str | None = None
    """Field that holds the text; default "text" (jsonl, parquet, fineweb)."""
    max_invalid: float | None = None
    """Share of a text file's bytes that may be zero or not UTF-8; a file with more is refused. Default 0.01."""
    sample: str | None = None
    """Part of FineWeb: sample-10BT (the default), sample-100BT, sample-350BT, a crawl's name; "default" for all."""
    repository: str | None = None
    """A data set laid out as FineWeb: its name on the hub, or a folder; default HuggingFaceFW/fineweb."""
    revision: str | None = None
    """Commit of the repository, so that a later build reads the same documents; default the newest."""
    exponent: float | None = None
    """santa-fe: how fast the number of facts grows with the text (its Hilberg exponent); default 0.88."""
    symbols: int | None = None
    """santa-fe: number of facts; default 1,000,000."""
    documents: int | None = None
    """santa-fe: documents, of 1,000 statements each; default 10,000."""
    seed: int | None = None
    """santa-fe: random seed; default 0."""
    tokenizer: str = "bytes"
    """bytes, gpt2, train (make a BPE vocabulary of this text), a .tiktoken file, or a tokenizers .json file."""
    vocabulary: int | None = None
    """Tokens in the vocabulary of --tokenizer train; default 8192."""
    end_of_text: str | None = None
    """Name of the token that ends a text in a tokenizer .json file; default one of the usual names."""
    held_out_every: int | None = None
    """Hold out one document in this many (of text files: the end of each); default 20, FineWeb 1,000."""
    tokens: int | None = None
    """Stop at this many training tokens, once something is held out; default: read everything."""
    shard_tokens: int = 100_000_000
    """Tokens per shard (one file of tokens): it ends at the next end of a document, or inside a long one."""
    out: Path | None = None
    """Folder to make; default data/SOURCE-TOKENIZER."""
    json: bool = False
    """Print what was made as JSON on standard output."""


@dataclass(frozen=True)
class Inspect:
    """Say what shards hold, and whether they are whole."""

    paths: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH...", help_behavior_hint="(required)")
    ]
    """Folders made by build, or single shards."""
    verify: bool = True
    """Read everything and compare checksums."""
    json: bool = False
    """Print it as JSON on standard output."""


def run(argv: Sequence[str]) -> int:
    commands: Any = (
        Annotated[Build, tyro.conf.subcommand("build", prefix_name=False)]
        | Annotated[Inspect, tyro.conf.subcommand("inspect", prefix_name=False)]
    )
    options: Build | Inspect = parse(commands, "data", DESCRIPTION, argv)
    try:
        return _build(options, argv) if isinstance(options, Build) else _inspect(options)
    except (ValueError, ImportError) as error:
        raise Failed(one_line(error)) from None
    except KeyboardInterrupt:
        print("adana data: stopped; nothing was written", file=sys.stderr)
        return 130


def _build(options: Build, argv: Sequence[str]) -> int:
    out = options.out or Path("data") / f"{options.source}-{Path(options.tokenizer).stem}"
    source = _source(options)
    _check(options, out)
    console = terminal(stderr=True)
    for left in sorted(out.parent.glob(f".{glob.escape(out.name[:64])}.*.partial")):
        say(console, f"{left} is of a build that is under way, or was killed; remove it if none is under way")
    with _interruptible():
        tokenizer = _tokenizer(options, source, console)
        with _board(console) as report:
            write_dataset(
                source.pieces(),
                tokenizer,
                out,
                name=source.name,
                tokens=options.tokens,
                shard_tokens=options.shard_tokens,
                about={**source.about(), "command": shlex.join(["adana", "data", *argv])},
                report=report,
            )
    return _show([out], verify=False, as_json=options.json)


def _source(options: Build) -> Source:
    """The source with the options given for it.

    Raises:
        UsageError: an option of another source; an impossible value.
    """
    names = {
        "stdlib": (sources.StandardLibrary, {}),
        "installed": (sources.InstalledPackages, {"held_out_every"}),
        "text": (sources.TextFiles, {"files", "held_out_every", "max_invalid"}),
        "jsonl": (sources.JSONLines, {"files", "column", "held_out_every"}),
        "parquet": (sources.Parquet, {"files", "column", "held_out_every"}),
        "fineweb": (sources.FineWeb, {"column", "sample", "repository", "revision", "held_out_every"}),
        "santa-fe": (SantaFe, {"exponent", "symbols", "documents", "seed", "held_out_every"}),
    }
    renamed = {"files": "paths", "documents": "count"}
    kind, takes = names[options.source]
    every = set().union(*(names for _, names in names.values()))
    given = {name: getattr(options, name) for name in sorted(every) if getattr(options, name) not in (None, ())}
    for name in given:
        if name not in takes:
            users = ", ".join(source for source, (_, takes) in names.items() if name in takes)
            raise UsageError(f"--{name.replace('_', '-')} is for --source {users}, not for {options.source}")
    if "files" in takes and not options.files:
        raise UsageError(f"--source {options.source} needs --files")
    try:
        source: Source = kind(**{renamed.get(name, name): value for name, value in given.items()})
        return source
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check(options: Build, out: Path) -> None:
    """Refuse what is known to fail before anything is read."""
    for file in options.files:
        if not Path(file).exists():
            raise UsageError(f"{file}: no such file or folder")
    for name in ("tokens", "shard_tokens"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if options.vocabulary is not None and options.tokenizer != "train":
        raise UsageError("--vocabulary is for --tokenizer train; other tokenizers have their own")
    if options.vocabulary is not None and not LEAST_TRAINED <= options.vocabulary <= MOST_TRAINED:
        raise UsageError(
            f"--vocabulary must be at least {LEAST_TRAINED} (the bytes and the end of text) and at most "
            f"{MOST_TRAINED:,}, got {options.vocabulary}"
        )
    if options.end_of_text is not None and not options.tokenizer.endswith(".json"):
        raise UsageError("--end-of-text is for a tokenizer .json file")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} already exists: choose another folder with --out, or remove it")


def _tokenizer(options: Build, source: Source, console: Console) -> Tokenizer:
    if options.tokenizer == "train":
        size = options.vocabulary or 8192
        say(console, f"training a tokenizer of {size:,} tokens on {source.name}", style="dim")
        return train_tokenizer(sources.first_bytes(source.pieces(), TRAINED_ON), size)
    try:
        return load_tokenizer(options.tokenizer, end_of_text=options.end_of_text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    except FileNotFoundError:
        raise UsageError(f"{options.tokenizer}: no such file") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is treated as Ctrl-C: it leaves nothing behind either."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _board(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A live line on a terminal, a line every ten seconds elsewhere."""
    started = said = time.monotonic()

    def line(progress: Progress) -> str:
        speed = (progress.train_tokens + progress.validation_tokens) / max(1e-9, time.monotonic() - started)
        return (
            f"{progress.documents:,} documents, {progress.text_bytes / 1e6:,.1f} MB of text, {progress.train_tokens:,} "
            f"training and {progress.validation_tokens:,} held-out tokens, {speed:,.0f} tokens/s"
        )

    if console.is_terminal:
        spinner = Spinner("dots", "reading")
        with Live(spinner, console=console, refresh_per_second=8, transient=True):
            yield lambda progress: spinner.update(text=line(progress))
        return

    def print_line(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= 10:
            said = time.monotonic()
            print(line(progress), file=sys.stderr, flush=True)

    yield print_line


def _inspect(options: Inspect) -> int:
    if not options.paths:
        raise UsageError("name a folder made by `adana data build`, or shards")
    for path in options.paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    return _show(options.paths, verify=options.verify, as_json=options.json)


def _show(paths: Sequence[Path], *, verify: bool, as_json: bool) -> int:
    found = [_dataset(path, verify) if path.is_dir() else _shard(path, verify) for path in paths]
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    console = terminal()
    for entry in found:
        columns: list[Column[dict[str, Any]]] = [
            Column("", lambda part: part["part"]),
            Column("tokens", lambda part: part["tokens"], ","),
            Column("documents", lambda part: part["documents"], ","),
            Column("bytes per token", lambda part: part["bytes_per_token"], ".3f"),
            Column("shards", lambda part: part["shards"]),
        ]
        show_table(console, tabulate("data", f"{entry['path']}: {entry['name']}", entry["parts"], columns))
        if entry.get("invalid_bytes"):
            say(console, f"{entry['invalid_bytes']:,} bytes of the text are zero or no UTF-8")
        if "cuts" in entry and entry["cuts"]["changed"]:
            cuts = entry["cuts"]
            say(
                console,
                f"{cuts['changed']:,} of {cuts['made']:,} cuts in long documents changed the tokens beside them",
            )
        checked = "checksums match" if verify else "checksums not compared"
        say(console, f"sha256 {entry['sha256']}", style="dim")
        say(
            console,
            f"tokenizer {entry['tokenizer']} ({entry['fingerprint'][:12]}), vocabulary {entry['vocabulary']:,}, "
            f"{entry['dtype']}; {checked}",
            style="dim",
        )
    return 0


def _shard(path: Path, verify: bool) -> dict[str, Any]:
    header = open_shard(path, verify=verify).header
    part = {
        "part": path.stem,
        "tokens": header.count,
        "documents": header.documents,
        "bytes_per_token": header.text_bytes / max(1, header.count),
        "shards": 1,
    }
    common = _common(asdict(header)) | {"sha256": header.sha256, "verified": verify}
    return {"path": str(path), "name": "a shard", **common, "parts": [part]}


def _dataset(folder: Path, verify: bool) -> dict[str, Any]:
    dataset = open_dataset(folder, verify=verify)
    manifest = read_json(folder / MANIFEST)
    parts = [
        {
            "part": split,
            "tokens": manifest[split]["tokens"],
            "documents": manifest[split]["documents"],
            "bytes_per_token": manifest[split]["text_bytes"] / manifest[split]["tokens"],
            "shards": len(manifest[split]["shards"]),
        }
        for split in SPLITS
    ]
    header = open_shard(folder / next(iter(manifest["train"]["shards"])), verify=False).header
    common = _common(asdict(header)) | {"sha256": dataset.sha256, "verified": verify}
    cuts = {name: int(manifest["cuts"][name]) for name in ("made", "changed")}
    notes = {"invalid_bytes": int(manifest["invalid_bytes"]), "cuts": cuts, "about": manifest["about"]}
    return {"path": str(folder), "name": dataset.name, **common, "parts": parts, **notes}


def _common(header: dict[str, Any]) -> dict[str, Any]:
    return {name: header[name] for name in ("tokenizer", "fingerprint", "vocabulary", "end_of_text", "dtype")}
