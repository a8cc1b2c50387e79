"""The index of a checkpoint, ``checkpoint.json``: facts, which tensor lies where, and the checksum of every file.

Every name and number of it is held against what a run writes before anything is opened, read or made room for.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adana.files import Damaged, naming, read_sealed
from adana.typed import from_mapping

__all__ = [
    "DTYPES",
    "FORMAT",
    "INDEX",
    "NAME",
    "Checkpoint",
    "CorruptCheckpoint",
    "Spec",
    "places_of",
    "read",
    "sha256_of",
]

FORMAT = 1
INDEX = "checkpoint.json"
NAME = re.compile(r"step-(\d+)")
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


class CorruptCheckpoint(ValueError):
    """A checkpoint that is not what was written."""


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


@dataclass(frozen=True)
class Stored:
    """A tensor in the index: its parts, each with an offset and a size, and the files that they lie in."""

    dtype: str
    shape: list[int]
    chunks: list[tuple[list[int], list[int]]]
    places: list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    file: str
    offset: int
    length: int
    start: list[int]


@dataclass(frozen=True)
class _Index:
    """What ``checkpoint.json`` holds."""

    format: int
    step: int
    facts: dict[str, Any]
    files: dict[str, Any]
    tensors: dict[str, Any]


def read(path: Path, *, verify: bool = True) -> Checkpoint:
    """A checkpoint's index, its files compared with their checksums.

    Raises:
        CorruptCheckpoint: a file is missing, truncated or altered; the message names it.
        ValueError: there is no checkpoint.
    """
    index, stored = places_of(path)
    ends = dict.fromkeys(index.files, 0)
    for _, places in stored.values():
        for place in places:
            ends[place.file] = max(ends[place.file], place.offset + place.length)
    for name, end in ends.items():
        file = path / name
        try:
            found = os.lstat(file)
        except FileNotFoundError:
            raise CorruptCheckpoint(f"{file} is missing: the checkpoint is not whole") from None
        if not stat.S_ISREG(found.st_mode):  # a device or a pipe would be read for ever
            raise CorruptCheckpoint(f"{file} is no regular file")
        if found.st_size < end:
            raise CorruptCheckpoint(f"{file} is corrupt or truncated: {found.st_size:,} bytes, not {end:,}")
    if verify:
        for name, checksum in index.files.items():
            if sha256_of(path / name) != checksum:
                raise CorruptCheckpoint(f"{path / name} is corrupt or truncated: its checksum does not match")
    tensors = {name: Spec(tuple(tensor.shape), DTYPES[tensor.dtype]) for name, (tensor, _) in stored.items()}
    return Checkpoint(path, index.step, index.facts, tensors)


def places_of(path: Path) -> tuple[_Index, dict[str, tuple[Stored, list[Place]]]]:
    """The index, every name and number of it held against what a run writes."""
    file = path / INDEX
    try:
        found = read_sealed(file, says="is corrupt or truncated")
        if found.get("format") != FORMAT:
            raise ValueError(f"{file} is of format {found.get('format')!r}; this version of adana reads {FORMAT}")
    except FileNotFoundError:
        what = CorruptCheckpoint if NAME.fullmatch(path.name) else ValueError
        raise what(f"{path} is not a checkpoint: it has no {INDEX}") from None
    except Damaged as error:
        raise CorruptCheckpoint(str(error)) from None
    try:
        index = from_mapping(_Index, found, what="an index")
        stored = {}
        for name, one in index.tensors.items():
            tensor = from_mapping(Stored, one, what=f"tensor {name}")
            places = [from_mapping(Place, place, what=f"a place of {name}") for place in tensor.places]
            _check(name, tensor, places, index.files)
            stored[name] = tensor, places
        for name in index.files:
            if Path(name).name != name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is not a file of its folder")
        match = NAME.fullmatch(path.name)
        if match and int(match[1]) != index.step:
            raise ValueError(f"it is the checkpoint of step {index.step}")
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{file} is corrupt: {error}") from None
    return index, stored


def _check(name: str, tensor: Stored, places: list[Place], files: dict[str, Any]) -> None:
    for place in places:
        if place.file not in files:
            raise ValueError(f"{place.file!r} of {name} is not a file of its folder")
        if place.offset < 0 or place.length < 0:
            raise ValueError(f"{name} lies at {place.offset} and is {place.length} bytes long")
    if tensor.dtype not in DTYPES or min(tensor.shape, default=0) < 0:
        raise ValueError(f"{name} is of dtype {tensor.dtype} and shape {tensor.shape}")
    if any(
        len(numbers) != len(tensor.shape) or min(numbers, default=0) < 0 for chunk in tensor.chunks for numbers in chunk
    ):
        raise ValueError(f"the parts of {name} are not those of its shape")
    # What is not there is not made room for.
    size = DTYPES[tensor.dtype].itemsize * math.prod(tensor.shape)
    if size > sum(place.length for place in places):
        raise ValueError(f"{name} needs {size:,} bytes and has {sum(place.length for place in places):,}")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with naming(path), path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
