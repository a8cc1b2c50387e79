"""Checkpoints: a folder a step, written by ``torch.distributed.checkpoint``, whole or not there at all.

``checkpoints/step-00001000/`` holds tensors in files of torch's (one a rank) and ``checkpoint.json``: the run's
facts, which tensor lies where, and the checksum of every file. It is written into a folder of another name, synced,
and renamed. Nothing in it is pickled: torch's own index would be, so ours takes its place.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
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

from adana.files import read_json, sync, write_sealed
from adana.train.checkpoint_index import (
    DTYPES,
    FORMAT,
    INDEX,
    NAME,
    Checkpoint,
    CorruptCheckpoint,
    Spec,
    places_of,
    read,
    sha256_of,
)

__all__ = ["CorruptCheckpoint", "Saver", "SavingFailed", "Spec", "checkpoints", "load", "read", "read_newest"]

_SINGLE = ".*assuming the intent is to (save|load) in a single process.*"


class SavingFailed(RuntimeError):
    """A checkpoint could not be written; those before it are whole."""


def folder_of(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def checkpoints(root: Path) -> dict[int, Path]:
    """Whole checkpoints by step, oldest first."""
    found = {}
    for path in root.glob("step-*"):
        match = NAME.fullmatch(path.name)
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
        files = {path.name: sha256_of(path) for path in sorted(self.temporary.glob("*.distcp"))}
        body = {"format": FORMAT, "step": self.step, "facts": self.facts, "files": files, "tensors": tensors}
        write_sealed(self.temporary / INDEX, body, indent=None)
        replaced = None
        if self.final.exists():  # of this very step, from before a stop
            replaced = set_aside(self.final)
        os.replace(self.temporary, self.final)
        sync(self.final.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch warns that a single process is a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_SINGLE)
        yield


def set_aside(path: Path) -> Path:
    """Rename a checkpoint that is to go: however far its removal comes, it is never taken for a whole one."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.removed")
    os.replace(path, aside)
    return aside


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
        if self.first:
            self.root.mkdir(parents=True, exist_ok=True)
            self._clear()
        writer = _Writer(self.root, step, {**facts, "keep": keep})
        planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        try:
            with _quiet():
                self._write(step, tensors, writer, planner)
        except (CheckpointException, OSError, RuntimeError, KeyboardInterrupt) as error:
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
        except (CheckpointException, OSError, RuntimeError, KeyboardInterrupt) as error:
            self._fail(step, error)
        self._done(step)

    def remove_all(self) -> None:
        """Leave no checkpoint behind."""
        for path in checkpoints(self.root).values():
            set_aside(path)
        shutil.rmtree(self.root, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a process that was killed left: half-written checkpoints, and those beyond ``keep_last``."""
        if self.first and self.root.is_dir():
            self._clear()
            self._remove_old()

    def _clear(self) -> None:
        for leftover in [*self.root.glob(".step-*.partial"), *self.root.glob(".step-*.removed")]:
            if leftover.is_symlink():  # torch would write to wherever it points
                leftover.unlink()
            else:
                shutil.rmtree(leftover, ignore_errors=True)

    def _done(self, step: int) -> None:
        self.last = step
        if self.first:
            self._remove_old()

    def _remove_old(self) -> None:
        whole = checkpoints(self.root)
        for number in list(whole)[: -self.keep_last]:
            if (self.keep_every is None or number % self.keep_every) and not _is_kept(whole[number]):
                shutil.rmtree(set_aside(whole[number]), ignore_errors=True)

    def _fail(self, step: int, error: BaseException) -> None:
        if self.first:
            shutil.rmtree(self.root / f".{folder_of(self.root, step).name}.partial", ignore_errors=True)
        last = next(reversed(checkpoints(self.root)), None)
        whole = "there is none before it" if last is None else f"the last whole one is of step {last}"
        if _is_an_interrupt(error):
            raise KeyboardInterrupt(f"the checkpoint of step {step} was not written; {whole}") from None
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


def _is_an_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is what ended a save: torch wraps it once per rank, or reports what it broke."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, KeyboardInterrupt):
            return True
        if isinstance(error, CheckpointException):
            return any(_is_an_interrupt(inner) for inner, _ in error.failures.values())
        error = error.__cause__ or error.__context__
    return False


def _is_kept(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return bool(read_json(path / INDEX)["facts"]["keep"])
    return False


# --- reading --------------------------------------------------------------------------------------------


def read_newest(
    root: Path,
    *,
    use_previous: bool = False,
    verify: bool = True,
    most: int | None = None,
    accept: Callable[[Checkpoint], None] = lambda found: None,
) -> Checkpoint | None:
    """The newest checkpoint, or None.

    Args:
        root: folder of the checkpoints.
        use_previous: set a corrupt one aside (under a name that says so) and take the one before.
        verify: as in :func:`read`.
        most: of the last step that counts; None for any.
        accept: raises :class:`CorruptCheckpoint` for a checkpoint that is whole and not this run's own.

    Raises:
        CorruptCheckpoint: it is not whole, or not accepted, and ``use_previous`` is off or there is none before it.
    """
    found = {step: path for step, path in checkpoints(root).items() if most is None or step <= most}
    bad: list[Path] = []
    for path in reversed(found.values()):
        try:
            whole = read(path, verify=verify)
            accept(whole)
        except CorruptCheckpoint as error:
            if not use_previous:
                before = " (--use-previous goes on from the one before)" if len(found) > 1 else ""
                raise CorruptCheckpoint(f"{error}{before}") from None
            bad.append(path)
            continue
        for one in bad:
            _mark(one)
        return whole
    if bad:
        raise CorruptCheckpoint(f"no checkpoint in {root} is whole: {', '.join(path.name for path in bad)}")
    return None


def _mark(path: Path) -> None:
    """Rename a corrupt checkpoint, beside those of its step that were corrupt before."""
    for number in itertools.count(1):
        to = path.with_name(f"corrupt-{path.name}" + (f".{number}" if number > 1 else ""))
        if not os.path.lexists(to):
            os.replace(path, to)
            return


class _Reader(FileSystemReader):
    """Torch's reader with our index in the place of its pickled one."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        tensors: dict[str, Any] = {}
        parts = {}
        for name, (tensor, places) in places_of(Path(self.path))[1].items():
            chunks = [ChunkStorageMetadata(torch.Size(start), torch.Size(size)) for start, size in tensor.chunks]
            properties = TensorProperties(dtype=DTYPES[tensor.dtype])
            tensors[name] = TensorStorageMetadata(properties, torch.Size(tensor.shape), chunks)
            for place in places:
                index = MetadataIndex(name, torch.Size(place.start))
                parts[index] = _StorageInfo(place.file, place.offset, place.length)
        return Metadata(state_dict_metadata=tensors, storage_data=parts)


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
