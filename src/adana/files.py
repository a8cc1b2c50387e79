"""Small files: one way to write them, whole or not at all, and one way to read JSON that may be damaged.

A file is written under a private name in its own folder, synced, and renamed; then its folder is synced. What has its
name is whole, also after a power cut. Whoever replaces one file by another removes the old one after that.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

__all__ = [
    "Damaged",
    "append_to",
    "damaged",
    "naming",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_sealed",
    "remove_leftovers",
    "replacing",
    "seal",
    "sync",
    "write_json",
    "write_sealed",
    "write_text",
]

DEPTH = 64
"""Levels of nesting that are read: deeper ones would exhaust Python's stack sooner or later."""
DIGITS = 20
"""Digits of a whole number that is read; the sign counts."""
MOST = 256 << 20
"""Bytes of a file that are read into memory."""

SEAL = "sha256"
"""Name under which a sealed object holds its own checksum."""

_HOST = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]
_LEFTOVER = re.compile(r"\.adana-[0-9a-f]{16}-(\d+)-(.+)\.tmp")
_FORGOTTEN = 24 * 3600.0


class Damaged(ValueError):
    """A file that is not what was written."""


# --- writing --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of ``path`` when the block ends, and never if it raises.

    Raises:
        OSError: it cannot be written; the error names ``path``, what was there is still there, and nothing else is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(path) as file:
        ...     _ = file.write(b"1 2 3")
        >>> path.read_bytes(), os.listdir(path.parent)
        (b'1 2 3', ['numbers.txt'])
    """
    path = Path(path)
    with naming(path):
        _refuse_what_is_no_file(path)
        temporary = path.parent / f".adana-{secrets.token_hex(8)}-{os.getpid()}-{_HOST}.tmp"
        # Nobody can have put a link where a name is that nobody could guess, and O_EXCL would refuse it.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(temporary, flags, 0o666), "w+b")
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                file.close()
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all (:func:`replacing`); what UTF-8 cannot hold becomes ``?``."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Write a value as JSON, whole or not at all (:func:`replacing`)."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def write_sealed(path: str | Path, value: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write a JSON object with a checksum over all of it, for :func:`read_sealed`."""
    write_json(path, {SEAL: seal(value), **value}, indent=indent)


def seal(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whichever the order of its names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def append_to(path: Path, *, binary: bool = False) -> IO[Any]:
    """A file opened to append to, made if missing; a symbolic or hard link to another file is refused.

    Raises:
        OSError: it cannot be opened, or is a link or no regular file; the error names it.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link, which is not written through", str(path)) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        what = "it has another name elsewhere (a hard link)" if stat.S_ISREG(found.st_mode) else "it is no regular file"
        raise OSError(errno.EINVAL, what, str(path))
    return os.fdopen(descriptor, "a+b") if binary else os.fdopen(descriptor, "a+", encoding="utf-8")


def sync(path: Path) -> None:
    """Make a file's content, or the renames in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:  # some file systems do not sync folders
        if path.is_file():
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Have errors of reading or writing name this file, as those of a full disk do not.

    >>> with naming("results.csv"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'results.csv'
    """
    try:
        yield
    except OSError as error:
        other = isinstance(error.filename, (str, bytes)) and os.path.basename(os.fsdecode(error.filename))
        if error.errno is None or (other and not _LEFTOVER.fullmatch(other)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of :func:`replacing` whose process was killed.

    A file of this machine goes when its process is gone, one of another machine after a day.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _LEFTOVER.fullmatch(entry.name)
            if match and not _is_being_written(entry, int(match[1]), match[2]):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_being_written(entry: os.DirEntry[str], process: int, host: str) -> bool:
    if host != _HOST:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime < _FORGOTTEN
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's process
        return True
    return True


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there; or what is wrong with it is said when it is written
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):  # a rename would take the device away
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a regular file", str(path))


# --- reading --------------------------------------------------------------------------------------------


def read_bytes(path: str | Path, *, most: int = MOST) -> bytes:
    """The content of a regular file.

    Raises:
        Damaged: it is larger than ``most`` bytes.
        OSError: it cannot be read, or is no regular file: a pipe or a device might never end.
    """
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is a device or a pipe, not a regular file")
            if found.st_size > most:
                raise Damaged(f"{path} is larger than the {most:,} bytes that are read of such a file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(found.st_size)
        finally:
            os.close(descriptor)


def parse_json(text: str | bytes) -> Any:
    """A value from JSON of bounded depth, with whole numbers of bounded length.

    Raises:
        json.JSONDecodeError: the text is no JSON.
        ValueError: it is not UTF-8, or is nested or has a number beyond the bounds.

    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> parse_json("[" * 5000 + "]" * 5000)
    Traceback (most recent call last):
    ValueError: it is nested deeper than 64 levels
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
    too_deep = f"it is nested deeper than {DEPTH} levels"
    try:
        found = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(too_deep) from None
    level = [found]
    for _ in range(DEPTH + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        if not inner:
            return found
        level = [value for values in inner for value in values]
    raise ValueError(too_deep)


def read_json(
    path: str | Path, kind: type = dict, *, then: str = "", says: str = "is damaged", most: int = MOST
) -> Any:
    """A JSON file's value, which must be of a kind.

    Args:
        path: the file.
        kind: ``dict`` or ``list``; ``object`` for any value.
        then: what to do about a damaged file, said at the end of the message.
        says: what the message says of a file that is no such JSON.
        most: bytes that are read.

    Raises:
        Damaged: it is not such a file; the message names it and says why.
        OSError: it cannot be read.
    """
    try:
        found = parse_json(read_bytes(path, most=most))
    except Damaged:
        raise
    except ValueError as error:
        why = f"it is not JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise damaged(path, why, then, says=says) from None
    if not isinstance(found, kind):
        raise damaged(path, f"it holds {_KINDS[type(found)]}, not {_KINDS[kind]}", then, says=says)
    return found


def read_sealed(path: str | Path, *, then: str = "", says: str = "is damaged") -> dict[str, Any]:
    """A JSON object that :func:`write_sealed` wrote, without its checksum.

    Args: as those of :func:`read_json`.

    Raises:
        Damaged: any byte of it that says something is another; the message names the file.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "result.json"
        >>> write_sealed(path, {"loss": 4.37})
        >>> read_sealed(path)
        {'loss': 4.37}
    """
    found: dict[str, Any] = read_json(path, then=then, says=says)
    given = found.pop(SEAL, None)
    if given is None:
        raise damaged(path, "it has no checksum", then, says=says)
    if given != seal(found):
        raise damaged(path, "its checksum does not match", then, says=says)
    return found


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def damaged(path: str | Path, why: str, then: str = "", *, says: str = "is damaged") -> Damaged:
    """The error about a file that is not what was written."""
    return Damaged(f"{path} {says} ({why})" + (f": {then}" if then else ""))


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"it has a whole number of {len(digits):,} digits")
    return int(digits)
