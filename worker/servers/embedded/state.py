"""The files of a data directory, and the state that its guardian writes for the users."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import msgspec

_TAIL_LINES = 12
_TAIL_BYTES = 8_192


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are reached: Unix sockets of this machine."""

    database_url: str
    redis_url: str


class State(msgspec.Struct, frozen=True):
    """Neither set: the servers are being started, restarted or stopped."""

    endpoints: Endpoints | None = None
    failure: str = ""


@dataclass(frozen=True)
class DataDir:
    """The names in a data directory; the servers' own directories are in `paths`."""

    root: Path

    @classmethod
    def create(cls, path: Path) -> DataDir:
        """The data directory at `path`, with its parents.

        Private to the user. Root's may be passed through, not read, by the account the servers run
        as; an existing directory is taken as it is.
        """
        data = cls(path.expanduser().resolve())
        if os.geteuid() == 0:
            make_passable(data.root)
        else:
            data.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.log_dir.mkdir(mode=0o700, exist_ok=True)
        return data

    @property
    def start_lock(self) -> Path:
        """See the package."""
        return self.root / "start.lock"

    @property
    def users_lock(self) -> Path:
        """See the package."""
        return self.root / "users.lock"

    @property
    def guardian_lock(self) -> Path:
        """See the package."""
        return self.root / "guardian.lock"

    @property
    def log_dir(self) -> Path:
        """The logs of the guardian and of both servers."""
        return self.root / "log"

    @property
    def guardian_log(self) -> Path:
        """Where the guardian writes."""
        return self.log_dir / "guardian.log"

    @property
    def location_file(self) -> Path:
        """Says where the servers keep their data, where that is not here."""
        return self.root / "servers.location"

    @property
    def servers_root(self) -> Path:
        """Where the servers keep their data, or will: nothing needs to be there."""
        try:
            return Path(os.fsdecode(self.location_file.read_bytes()))
        except FileNotFoundError:
            return self.root

    @property
    def _state_file(self) -> Path:
        return self.root / "state.json"

    def read_state(self) -> State:
        """The guardian's last state; an empty one if there is none."""
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):  # undecodable: of a machine that crashed
            return State()

    def write_state(self, state: State) -> None:
        """Replace what users read, whole."""
        if state == State():
            self._state_file.unlink(missing_ok=True)
        else:
            write_atomically(self._state_file, msgspec.json.encode(state))


def make_passable(directory: Path) -> None:
    """Create `directory`, if missing, so that other accounts can pass through but not list it."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)  # whatever the umask is


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` so that a reader, or a crash, sees the old or the new content."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def size_of(log: Path) -> int:
    """How long `log` is; 0 if there is none."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, since: int = 0) -> str:
    """The last lines of `log` after byte `since`, introduced by its path, for an error message."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL_BYTES, since if since <= end else 0))
            lines = deque(file.read().decode(errors="replace").splitlines(), _TAIL_LINES)
    except OSError:
        lines = deque()
    return "\n    ".join([f"the log {log} ends with:", *lines]) if lines else f"see the log {log}"
