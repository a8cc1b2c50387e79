"""One process per run folder: a lock that ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from adana.files import append_to

__all__ = ["InUse", "Lock", "is_held", "locked"]

LOCK = ".lock"

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_warned: set[int] = set()


class InUse(ValueError):
    """Another process runs in the folder."""


class Lock:
    """A run folder that is held.

    Args:
        folder: the folder.
        file: its lock file, open.
    """

    def __init__(self, folder: Path, file: IO[str]) -> None:
        self.folder = folder
        self._inode = _inode(os.fstat(file.fileno()))

    def check(self) -> None:
        """See that the folder is still there.

        Raises:
            OSError: it was removed or replaced, and what the run wrote into it with it.
        """
        try:
            there = _inode(os.stat(self.folder / LOCK, follow_symlinks=False)) == self._inode
        except FileNotFoundError:
            there = False
        if not there:
            raise OSError(
                errno.ENOENT, "the folder was removed or replaced while its run was under way", str(self.folder)
            )


@contextlib.contextmanager
def locked(folder: Path, *, keep: str = "") -> Iterator[Lock]:
    """Hold a run folder, which is made if missing.

    Args:
        folder: the folder.
        keep: a file without which nothing has come of the run when it ends: the folder is then left as it was found.

    Raises:
        InUse: another process holds it.
        OSError: it cannot be made or written.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = _acquired(folder)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        lock = Lock(folder, file)
        yield lock
    finally:
        with file, contextlib.suppress(OSError):
            if keep and not (folder / keep).exists():
                lock.check()
                (folder / LOCK).unlink()
                for one in missing:
                    one.rmdir()
            else:
                file.truncate(0)


def _acquired(folder: Path) -> IO[str]:
    while True:
        file = append_to(folder / LOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "unknown"
            file.close()
            raise InUse(f"{folder} is in use by another process ({holder})") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise OSError(error.errno, error.strerror, str(folder / LOCK)) from None
            _warn(folder, error)
        with contextlib.suppress(FileNotFoundError):
            if _inode(os.stat(folder / LOCK)) == _inode(os.fstat(file.fileno())):
                return file
        file.close()  # whoever held it has removed it since


def _warn(folder: Path, error: OSError) -> None:
    """Say it once for every file system and process: a sweep has hundreds of folders."""
    device = os.stat(folder).st_dev
    if device not in _warned:
        _warned.add(device)
        warnings.warn(
            f"{folder}: its file system has no locks (flock: {error.strerror}); the run goes on without one: "
            "start no second process in the same folder",
            stacklevel=2,
        )


def is_held(folder: Path) -> bool:
    """Whether a process says that it runs in a folder."""
    try:
        return os.stat(folder / LOCK, follow_symlinks=False).st_size > 0
    except OSError:
        return False


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
