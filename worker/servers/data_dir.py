"""The data directory where it cannot be used: one sentence, with its setting and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.errors import ConfigError

SETTING: Final = "FLOWSHIFT_DATA_DIR"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system answers if a disk, or the part of it that this account may fill, is full."""


@contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Report what the system refuses in the block as a fault of the data directory.

    Raises:
        ConfigError: the block raised OSError, or found a loop of symbolic links.
    """
    try:
        yield
    except OSError as error:
        raise unusable(directory, error) from error
    except RuntimeError as error:  # `Path.resolve`, before Python 3.13
        if not isinstance(error.__context__, OSError):
            raise
        raise unusable(directory, error.__context__) from error


def unusable(directory: Path, error: OSError) -> ConfigError:
    """The error for a data directory in which the system refused something.

    >>> print(unusable(Path("/data"), FileExistsError(errno.EEXIST, "File exists", "/data/log")))
    FLOWSHIFT_DATA_DIR: cannot use the data directory /data: /data/log: not a directory; name a \
directory in which this account may write
    >>> print(unusable(Path("/data"), OSError(errno.ENOSPC, "No space left on device")))
    FLOWSHIFT_DATA_DIR: cannot use the data directory /data: no space left on device; make room \
there, or name another directory
    """
    remedy = (
        "make room there, or name another directory"
        if error.errno in NO_ROOM
        else "name a directory in which this account may write"
    )
    return ConfigError(
        f"cannot use the data directory {directory}: {_reason(directory, error)}; {remedy}",
        setting=SETTING,
    )


def concerns(directory: Path, error: OSError) -> bool:
    """Whether what the system refused is in `directory`, as far as the error says that."""
    if error.errno in NO_ROOM or error.errno == errno.EROFS:
        return True
    return error.filename is not None and _path(error).is_relative_to(directory)


def _reason(directory: Path, error: OSError) -> str:
    said = "not a directory" if error.errno == errno.EEXIST else (error.strerror or str(error))
    said = said[:1].lower() + said[1:]
    is_within = error.filename is not None and _path(error) != directory
    return f"{_path(error)}: {said}" if is_within else said


def _path(error: OSError) -> Path:
    return Path(os.fsdecode(error.filename))
