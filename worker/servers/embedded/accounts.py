"""The system account that root's servers run as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import pwd
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.errors import ConfigError
from worker.log import get_logger
from worker.servers.embedded.state import DataDir

log = get_logger(__name__)

_ACCOUNT: Final = "flowshift"
_ACCOUNT_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Account:
    """The system account that root's servers run as."""

    name: str
    uid: int
    gid: int


def account_of(data: DataDir) -> Account:
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


def ids(account: Account) -> dict[str, object]:
    """The arguments of `subprocess` that run a program as this account."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def can(account: Account, *command: str | Path) -> bool:
    """Whether `account` can do it: tried, because modes do not include ACLs and mounts."""
    try:
        subprocess.run(
            command,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            **ids(account),  # type: ignore[call-overload]
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True
