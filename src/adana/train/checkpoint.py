"""Checkpoints: a folder a step, written by ``torch.distributed.checkpoint``, whole or not there at all.

``checkpoints/step-00001000/`` holds tensors in files of torch's (one a rank) and ``checkpoint.json``: the run's
facts, which tensor lies where, and the checksum of every file. It is written into a folder of another name, synced,
and renamed. Nothing in it is pickled: torch's own index would be, so ours takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import async_save, save
from torch.distributed.checkpoint.storage import WriteResult

from adana.files import sync

__all__ = ["CorruptCheckpoint", "Saver", "SavingFailed", "Spec", "checkpoints", "load", "read", "read_newest"]

FORMAT = 1
INDEX = "checkpoint.json"
_SINGLE = ".*assuming the intent is to (save|load) in a single process.*"
_NAME = re.compile(r"step-(\d+)")
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


class CorruptCheckpoint(ValueError):
    """A checkpoint that is not what was written."""


class SavingFailed(RuntimeError):
    """A checkpoint could not be written; those before it are whole."""


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's index.

    Attributes:
        path: its folder.
        step: updates done.
        facts: what the run wrote beside its tensors.
        tensors: name to shape and dtype.
    """

    path: Path
    step: int
    facts: dict[str, Any]
    tensors: dict[str, Spec]


def folder_of(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def checkpoints(root: Path) -> dict[int, Path]:
    """Whole checkpoints by step, oldest first."""
    found = {}
    for path in root.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


# --- writing --------------------------------------------------------------------------------------------


class _Writer(FileSystemWriter):
    """Torch's writer with an index in JSON; what it does last makes the checkpoint appear."""

    def __init__(self, root: Path, step: int, facts: dict[str, Any]) -> None:
        self.final = folder_of(root, step)
        self.temporary = root / f".{self.final.name}.partial"
        self.step, self.facts = step, facts
        super().__init__(self.temporary, single_file_per_rank=True, sync_files=True)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        places: dict[str, list[dict[str, Any]]] = {}
        for result in (one for each in results for one in each):
            info = result.storage_data
            place = {"file": info.relative_path, "offset": info.offset, "length": info.length}
            start = result.index.offset
            places.setdefault(result.index.fqn, []).append({**place, "start": list(start) if start else []})
        tensors = {}
        for name, one in metadata.state_dict_metadata.items():
            assert isinstance(one, TensorStorageMetadata), name
            tensors[name] = {
                "dtype": str(one.properties.dtype).removeprefix("torch."),
                "shape": list(one.size),
                "chunks": [[list(chunk.offsets), list(chunk.sizes)] for chunk in one.chunks],
                "places": places[name],
            }
        files = {path.name: _sha256(path) for path in sorted(self.temporary.glob("*.distcp"))}
        body = {"format": FORMAT, "step": self.step, "facts": self.facts, "files": files, "tensors": tensors}
        path = self.temporary / INDEX
        path.write_text(json.dumps({"sha256": _seal(body), **body}))
        sync(path)
        sync(self.temporary)
        if self.final.exists():  # of this very step, from before a stop
            shutil.rmtree(self.final)
        os.replace(self.temporary, self.final)
        sync(self.final.parent)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch warns that a single process is a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SINGLE)
        yield


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Saver:
    """Writes checkpoints, in the background where asked, and removes old ones.

    Args:
        root: folder of the checkpoints.
        keep_last: newest ones to keep.
        keep_every: keep those of every so many steps besides.
        asynchronous: let training go on while files are written (tensors are copied to the CPU first).
        group: process group with a CPU backend that nobody else talks on; None in a single process.
        first: whether this process removes old checkpoints and leftovers.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_last: int = 2,
        keep_every: int | None = None,
        asynchronous: bool = False,
        group: dist.ProcessGroup | None = None,
        first: bool = True,
    ) -> None:
        self.root, self.keep_last, self.keep_every = root, keep_last, keep_every
        self.asynchronous, self.group, self.first = asynchronous, group, first
        self.last: int | None = None
        self._pending: tuple[int, Future[Any]] | None = None
        if asynchronous and group is None:  # a warning of the writing thread, which nothing around `save` can catch
            warnings.filterwarnings("ignore", message=_SINGLE)
        if first:
            root.mkdir(parents=True, exist_ok=True)
            for leftover in root.glob(".step-*.partial"):  # of a process that was killed; we hold the run's lock
                shutil.rmtree(leftover, ignore_errors=True)

    def save(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, keep: bool = False) -> None:
        """Write a checkpoint; returns when it is whole or, asynchronously, when the tensors may change again.

        Args:
            step: updates done.
            tensors: name to tensor; distributed ones are stored in parts.
            facts: anything JSON holds, the same on every rank.
            keep: never remove it.

        Raises:
            SavingFailed: this checkpoint, or the one still being written, could not be written.
        """
        self.wait()
        writer = _Writer(self.root, step, {**facts, "keep": keep})
        planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        try:
            with _quiet():
                self._write(step, tensors, writer, planner)
        except (CheckpointException, OSError, RuntimeError) as error:
            self._fail(step, error)
        if not self.asynchronous:
            self._done(step)

    def _write(self, step: int, tensors: dict[str, Tensor], writer: _Writer, planner: DefaultSavePlanner) -> None:
        if not self.asynchronous:
            save(tensors, storage_writer=writer, planner=planner, process_group=self.group, no_dist=self.group is None)
            return
        pending: Any = async_save(tensors, storage_writer=writer, planner=planner, process_group=self.group)
        self._pending = step, getattr(pending, "upload_completion", pending)

    def wait(self) -> None:
        """Wait for what is being written.

        Raises:
            SavingFailed: it could not be written.
        """
        if self._pending is None:
            return
        step, pending = self._pending
        self._pending = None
        try:
            pending.result()
        except (CheckpointException, OSError, RuntimeError) as error:
            self._fail(step, error)
        self._done(step)

    def remove_all(self) -> None:
        """Leave no checkpoint behind."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _done(self, step: int) -> None:
        self.last = step
        if not self.first:
            return
        whole = checkpoints(self.root)
        for number in list(whole)[: -self.keep_last]:
            if (self.keep_every is None or number % self.keep_every) and not _is_kept(whole[number]):
                shutil.rmtree(whole[number], ignore_errors=True)

    def _fail(self, step: int, error: BaseException) -> None:
        if self.first:
            shutil.rmtree(self.root / f".{folder_of(self.root, step).name}.partial", ignore_errors=True)
        last = next(reversed(checkpoints(self.root)), None)
        whole = "there is none before it" if last is None else f"the last whole one is of step {last}"
        raise SavingFailed(
            f"the checkpoint of step {step} could not be written to {self.root} ({_cause(error)}; "
            f"{shutil.disk_usage(self.root).free / 2**30:.1f} GiB free); {whole}"
        ) from error


def _cause(error: BaseException) -> str:
    """The first line of what really happened; torch wraps it once a rank."""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = next(iter(error.failures.items()))
        return (f"rank {rank}: " if len(error.failures) > 1 or rank else "") + _cause(inner)
    below: BaseException | None = error
    while below is not None:  # torch's archive reports a full disk as a wrong position, on top of the real error
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _is_kept(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return bool(json.loads((path / INDEX).read_text())["facts"]["keep"])
    return False


# --- reading --------------------------------------------------------------------------------------------


def read(path: Path, *, verify: bool = True) -> Checkpoint:
    """A checkpoint's index, its files compared with their checksums.

    Raises:
        CorruptCheckpoint: a file is missing, truncated or altered; the message names it.
        ValueError: there is no checkpoint.
    """
    body = _index(path)
    if verify:
        for name, checksum in body["files"].items():
            file = path / name
            if not file.exists():
                raise CorruptCheckpoint(f"{file} is missing: the checkpoint is not whole")
            if _sha256(file) != checksum:
                raise CorruptCheckpoint(f"{file} is corrupt or truncated: its checksum does not match")
    tensors = {name: Spec(tuple(one["shape"]), _DTYPES[one["dtype"]]) for name, one in body["tensors"].items()}
    return Checkpoint(path, body["step"], body["facts"], tensors)


def _index(path: Path) -> dict[str, Any]:
    file = path / INDEX
    if not file.exists():
        what = CorruptCheckpoint if _NAME.fullmatch(path.name) else ValueError
        raise what(f"{path} is not a checkpoint: it has no {INDEX}")
    try:
        body: dict[str, Any] = json.loads(file.read_text())
        checksum = body.pop("sha256")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError, KeyError):
        raise CorruptCheckpoint(f"{file} is corrupt or truncated: it cannot be read") from None
    if body.get("format") != FORMAT:
        raise ValueError(f"{file} is of format {body.get('format')!r}; this version of adana reads {FORMAT}")
    if _seal(body) != checksum:
        raise CorruptCheckpoint(f"{file} is corrupt: its checksum does not match")
    return body


def read_newest(root: Path, *, use_previous: bool = False, verify: bool = True) -> Checkpoint | None:
    """The newest checkpoint, or None.

    Args:
        root: folder of the checkpoints.
        use_previous: set a corrupt one aside (under a name that says so) and take the one before.
        verify: as in :func:`read`.

    Raises:
        CorruptCheckpoint: it is not whole, and ``use_previous`` is off or there is none before it.
    """
    found = checkpoints(root)
    bad: list[Path] = []
    for path in reversed(found.values()):
        try:
            whole = read(path, verify=verify)
        except CorruptCheckpoint as error:
            if not use_previous:
                before = " (--use-previous goes on from the one before)" if len(found) > 1 else ""
                raise CorruptCheckpoint(f"{error}{before}") from None
            bad.append(path)
            continue
        for one in bad:
            os.replace(one, one.with_name(f"corrupt-{one.name}"))
        return whole
    if bad:
        raise CorruptCheckpoint(f"no checkpoint in {root} is whole: {', '.join(path.name for path in bad)}")
    return None


class _Reader(FileSystemReader):
    """Torch's reader with our index in the place of its pickled one."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        tensors: dict[str, Any] = {}
        places = {}
        for name, one in _index(Path(self.path))["tensors"].items():
            chunks = [ChunkStorageMetadata(torch.Size(start), torch.Size(size)) for start, size in one["chunks"]]
            properties = TensorProperties(dtype=_DTYPES[one["dtype"]])
            tensors[name] = TensorStorageMetadata(properties, torch.Size(one["shape"]), chunks)
            for place in one["places"]:
                if Path(place["file"]).name != place["file"]:
                    raise CorruptCheckpoint(f"{self.path}: {place['file']!r} is not a file of its folder")
                index = MetadataIndex(name, torch.Size(place["start"]))
                places[index] = _StorageInfo(place["file"], place["offset"], place["length"])
        return Metadata(state_dict_metadata=tensors, storage_data=places)


def load(checkpoint: Checkpoint, tensors: dict[str, Tensor], *, group: dist.ProcessGroup | None = None) -> None:
    """Fill tensors, laid out as they are here and whatever their layout was when they were stored.

    Args:
        checkpoint: from :func:`read`.
        tensors: name to tensor, filled in place; names the checkpoint does not have are an error.
        group: as in :class:`Saver`.

    Raises:
        ValueError: a tensor is not in the checkpoint, or of another shape.
    """
    for name, tensor in tensors.items():
        spec = checkpoint.tensors.get(name)
        if spec is None or spec.shape != tuple(tensor.shape):
            has = "does not have it" if spec is None else f"has shape {spec.shape}"
            wanted = f"{name} of shape {tuple(tensor.shape)}"
            raise ValueError(f"{checkpoint.path}: {wanted} is wanted, the checkpoint {has}")
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    reader = _Reader(checkpoint.path)
    try:
        with _quiet():
            dcp_load(dict(tensors), storage_reader=reader, planner=planner, process_group=group, no_dist=group is None)
    except (CheckpointException, OSError) as error:
        raise CorruptCheckpoint(f"{checkpoint.path} cannot be read ({_cause(error)})") from error
