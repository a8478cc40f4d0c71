"""The directory of a backup: written under another name, and renamed once everything is on the disk.

So a backup that was interrupted has no name of its own, and nothing is ever written over.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from worker.core.backup import manifest as manifests
from worker.core.backup.manifest import BOTS, DUMP, MANIFEST, FileEntry, Manifest
from worker.core.codes import quote
from worker.errors import UsageError

_CHUNK: Final = 1 << 20
_PARTIAL: Final = ".partial-"


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """A private directory beside `target` to write into; it gets that name when the block ends.

    If the block fails, nothing of it stays. Only SIGKILL or the machine's end leave it behind, under a
    name that begins with a dot and has `.partial-` in it; `remove_abandoned` knows it by its lock.

    Raises:
        UsageError: there is something called `target` already, or no directory to put it into.
    """
    need_free(target)
    with _locked_directory(f".{target.name}{_PARTIAL}", target.parent) as partial:
        try:
            yield partial
            sync_directory(partial)
            need_free(target)
            partial.rename(target)
            sync_directory(target.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _locked_directory(prefix: str, parent: Path) -> Iterator[Path]:
    """A new directory that is locked until the block ends, or this process does."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # it was taken for abandoned, since nobody had it locked
            continue
        try:
            with suppress(OSError):  # a file system without locks: then nothing is ever removed
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                yield path
                return
        finally:
            os.close(descriptor)


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove from a directory what backups that were killed have left there; returns what it was.

    Only what is ours by its name, its owner and its files, and locked by no backup at work.
    """
    found = [path for path in sorted(parent.glob(f".*{_PARTIAL}*")) if _is_ours(path)]
    return [path for path in found if _remove_if_free(path)]


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.geteuid():
        return False
    return {one.name for one in path.iterdir()} <= {BOTS, DUMP, MANIFEST}


def _remove_if_free(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    except OSError:  # a backup writes into it, or it is another's
        return False
    finally:
        os.close(descriptor)
    return True


def need_free(target: Path) -> None:
    """Raise UsageError unless `target` is a free name in a directory that is there."""
    if os.path.lexists(target):
        raise UsageError(
            f"there is something called {_shown(target)} already, and a backup never writes over anything:"
            " name a new directory"
        )
    if not target.parent.is_dir():
        raise UsageError(
            f"there is no directory {_shown(target.parent)}: create it, then take the backup"
        )


def write(path: Path, parts: Iterable[bytes]) -> FileEntry:
    """Write a new file that its owner alone may read, down to the disk; returns its hash."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
        file.flush()
        os.fsync(file.fileno())
    return FileEntry(path.name, size, digest.hexdigest())


def read_entry(path: Path, moved: Callable[[int], None] = lambda _: None) -> FileEntry:
    """The bytes of a file and their hash; `moved` is told how many were read with each piece."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
            size += len(part)
            moved(len(part))
    return FileEntry(path.name, size, digest.hexdigest())


def sync_file(path: Path) -> None:
    """See to it that a file that another program wrote is on the disk, and its owner's alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """See to it that the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        UsageError: there is no such directory, no backup of flowshift's in it, or a damaged manifest.
    """
    if not directory.is_dir():
        raise UsageError(f"there is no directory {_shown(directory)}")
    try:
        text = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{_shown(directory)} holds no backup of flowshift's: {MANIFEST} is missing. (A backup that was"
            " interrupted has none: take another one)"
        ) from None
    try:
        return manifests.decode(text)
    except ValueError as error:
        raise UsageError(f"the manifest in {_shown(directory)} {error}") from error


def _shown(path: Path) -> str:
    """A path as a person may see it, whatever its name holds."""
    return quote(str(path), limit=1_000)
