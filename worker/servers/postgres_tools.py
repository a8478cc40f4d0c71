"""Where pg_dump and pg_restore are: by the setting, on the PATH, where packages put them, embedded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worker.core.backup.tools import Tools, fitting, major_of
from worker.errors import ConfigError
from worker.servers.embedded.binaries import find_binaries
from worker.settings import variable

PROGRAMS: Final = ("pg_dump", "pg_restore")
SETTING: Final = variable("postgres_tools_dir")
_PACKAGES: Final = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/libpq/bin")
_ANSWERS_S: Final = 10


def find_tools(setting: str, *, server_major: int, root: Path = Path("/")) -> Tools:
    """pg_dump and pg_restore for a server of this major version: of the same one, or the next newer.

    With `setting`, a directory, only those are looked at.

    Raises:
        ConfigError: there are none, or only older ones; says what was found, and how to get them.
    """
    if setting:
        given = Path(setting).expanduser()
        tools = _tools_in(given)
        if tools is None:
            raise ConfigError(
                f"{given} holds no {' and '.join(PROGRAMS)} that can be run", setting=SETTING
            )
        if tools.major < server_major:
            raise ConfigError(
                f"the tools in {given} are of PostgreSQL {tools.major}, and the server is PostgreSQL"
                f" {server_major}: name a directory with tools of {server_major} or newer",
                setting=SETTING,
            )
        return tools
    found = list(_installed(root))
    tools = fitting(found, server_major)
    if tools is None:
        raise ConfigError(_missing(found, server_major))
    return tools


def _missing(found: list[Tools], server_major: int) -> str:
    listed = ", ".join(f"{one.major} in {one.directory}" for one in found)
    return (
        f"the server is PostgreSQL {server_major}, which needs {' and '.join(PROGRAMS)} of"
        f" {server_major} or newer; found: {listed or 'none'}. Install them (Debian:"
        f" postgresql-client-{server_major}; anywhere: pip install 'flowshift[embedded]' has those of 18),"
        f" or set {SETTING} to their directory"
    )


def _installed(root: Path) -> Iterator[Tools]:
    seen: set[Path] = set()
    for directory in _directories(root):
        if directory in seen:
            continue
        seen.add(directory)
        tools = _tools_in(directory)
        if tools is not None:
            yield tools


def _directories(root: Path) -> Iterator[Path]:
    for part in os.get_exec_path():
        if Path(part, PROGRAMS[0]).exists():
            yield Path(part)
    for pattern in _PACKAGES:
        yield from sorted(root.glob(pattern))
    try:
        yield find_binaries().initdb.parent
    except ConfigError:  # the package is not installed
        return


def _tools_in(directory: Path) -> Tools | None:
    """The tools in a directory; None if one is missing, cannot be run, or is of another version."""
    majors = {_major(directory / name) for name in PROGRAMS}
    major = majors.pop()
    return None if majors or major is None else Tools(str(directory), major)


def _major(program: Path) -> int | None:
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWERS_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return major_of(done.stdout) if done.returncode == 0 else None
