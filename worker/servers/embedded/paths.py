"""Where the servers' data and sockets are (`binaries`: their programs; `accounts`: who runs them).

An ordinary user's servers keep everything in the data directory. PostgreSQL refuses to run as root;
root's servers therefore run as the system account `flowshift` (created on first use; `nobody` if
that is impossible), which cannot enter every directory of root. No permissions are widened
for it. What it cannot reach is placed in `/var/lib/flowshift` instead:

    /var/lib/flowshift/<hash of the data directory>   the servers' data; `servers.location` in the
                                                      data directory names it
    /var/lib/flowshift/binaries-<version>             a copy of the installed binaries

Sockets are in `run/` next to the data. If that path is too long for a socket or has special
characters, they are in a private directory under `/var/lib/flowshift` (root) or in the system's
temporary directory.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigError
from worker.log import get_logger
from worker.servers.embedded.accounts import Account, account_of, can, ids
from worker.servers.embedded.binaries import Binaries, find_binaries, reachable_binaries, shared
from worker.servers.embedded.state import DataDir, make_passable, write_atomically

log = get_logger(__name__)

_LONGEST_SOCKET_PATH = 100  # Linux takes 107 bytes, macOS 103
# What needs no escaping in a URL, in PostgreSQL's lists of directories and in libpq's of hosts.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+", re.ASCII)
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True)
class Home:
    """What the servers of one data directory need to know.

    `account` is None if the servers run as the user who started them.
    """

    directory: Path
    run_dir: Path
    binaries: Binaries
    account: Account | None

    def make_private(self, directory: Path) -> None:
        """Create `directory` for the servers alone, if it does not exist."""
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            return
        self.hand_over(directory)

    def hand_over(self, path: Path) -> None:
        """Give `path`, which we just created, to the servers' account."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    @property
    def ids(self) -> dict[str, object]:
        """The arguments of `subprocess` that run a program as the servers' account."""
        return ids(self.account) if self.account else {}


def prepare_home(data: DataDir) -> Home:
    """Decide where the servers of `data` live, and create that place.

    Raises:
        ConfigError: what was decided earlier does not work any more.
    """
    binaries = find_binaries()
    account = account_of(data) if os.geteuid() == 0 else None
    if account is None:
        directory = data.root
    else:
        directory = _reachable_directory(data, account)
        binaries = reachable_binaries(binaries, account)
    run_dir = _run_dir(directory, account)
    home = Home(directory, run_dir, binaries, account)
    home.make_private(run_dir)
    _require_private(run_dir, account)
    return home


def _reachable_directory(data: DataDir, account: Account) -> Path:
    located = data.servers_root
    if located != data.root:
        if located.is_dir():
            return located
        raise ConfigError(
            f"the servers' data was in {located}, and that directory is missing: restore it, "
            f"or delete {data.location_file} to start empty"
        )
    if can(account, "test", "-x", data.root):
        return data.root
    if (data.root / "postgres").exists():
        raise ConfigError(
            f"{data.root} holds a database, but the account {account.name}, which root's servers "
            "run as, cannot enter it: allow the account to pass through the parent directories"
        )
    directory = shared() / _hash(data.root)
    make_passable(directory)
    write_atomically(data.location_file, os.fsencode(directory))
    log.info("data.placed", directory=str(directory), account=account.name)
    return directory


def _run_dir(directory: Path, account: Account | None) -> Path:
    beside = directory / "run"
    if _can_hold_sockets(beside):
        return beside
    if account:
        return shared() / f"run-{_hash(directory)}"
    temporary = tempfile.gettempdir()
    parent = Path(temporary if _PLAIN_PATH.fullmatch(temporary) else "/tmp")  # noqa: S108 - checked
    return parent / f"flowshift-{os.geteuid()}-{_hash(directory)}"


def _can_hold_sockets(run_dir: Path) -> bool:
    """Whether the path is short and plain and the file system knows sockets; tried beside it."""
    if not _PLAIN_PATH.fullmatch(str(run_dir)):
        return False
    if len(os.fsencode(run_dir / _LONGEST_SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        return False
    probe = run_dir.with_name(".sock")
    probe.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(str(probe))
        except OSError:
            return False
        finally:
            probe.unlink(missing_ok=True)
    return True


def _require_private(directory: Path, account: Account | None) -> None:
    """Refuse a socket directory that another user created, such as in `/tmp`, or can read."""
    found = directory.lstat()
    owner = account.uid if account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory} must be a directory of uid {owner} that no other user can enter"
        )


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
