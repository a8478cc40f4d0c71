"""Finding pg_dump and pg_restore: where they may be, and what is said if they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import ConfigError
from worker.servers import postgres_tools
from worker.servers.postgres_tools import find_tools


def installed(directory: Path, major: int, *names: str) -> Path:
    directory.mkdir(parents=True)
    for name in names or ("pg_dump", "pg_restore"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {major}.2'\n")
        program.chmod(0o755)
    return directory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    def nothing() -> None:
        raise ConfigError("not installed")

    monkeypatch.setattr(postgres_tools, "find_binaries", nothing)
    return tmp_path


def found(machine: Path, server_major: int, setting: str = "") -> str:
    tools = find_tools(setting, server_major=server_major, root=machine)
    return str(Path(tools.directory).relative_to(machine))


def test_the_path_comes_first_and_the_version_decides(machine: Path) -> None:
    installed(machine / "path", 15)
    installed(machine / "usr/lib/postgresql/15/bin", 15)
    installed(machine / "usr/lib/postgresql/17/bin", 17)
    installed(machine / "usr/pgsql-16/bin", 16)

    assert [found(machine, major) for major in (13, 15, 16, 17)] == [
        "path",
        "path",
        "usr/pgsql-16/bin",
        "usr/lib/postgresql/17/bin",
    ]


def test_what_is_missing_is_named_with_how_to_get_it(machine: Path) -> None:
    installed(machine / "path", 15)
    with pytest.raises(ConfigError) as caught:
        found(machine, 18)
    said = str(caught.value)
    assert "the server is PostgreSQL 18, which needs pg_dump and pg_restore of 18 or newer" in said
    assert f"found: 15 in {machine / 'path'}" in said
    for word in ("postgresql-client-18", "flowshift[embedded]", "FLOWSHIFT_POSTGRES_TOOLS_DIR"):
        assert word in said


def test_half_of_the_tools_or_programs_that_do_not_run_count_as_none(machine: Path) -> None:
    installed(machine / "path", 18, "pg_dump")
    installed(machine / "usr/lib/postgresql/18/bin", 18)
    (machine / "usr/lib/postgresql/18/bin/pg_restore").chmod(0o644)
    with pytest.raises(ConfigError, match="found: none"):
        found(machine, 18)


def test_the_setting_alone_counts(machine: Path) -> None:
    installed(machine / "path", 18)
    mine = installed(machine / "mine", 16)

    assert found(machine, 16, str(mine)) == "mine"
    with pytest.raises(ConfigError, match=r"FLOWSHIFT_POSTGRES_TOOLS_DIR: .*of PostgreSQL 16"):
        found(machine, 17, str(mine))
    with pytest.raises(ConfigError, match="holds no pg_dump and pg_restore"):
        found(machine, 16, str(machine))


def test_the_embedded_ones_are_found_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    tools = find_tools("", server_major=18, root=tmp_path)
    assert tools.major >= 18
    assert tools.directory.endswith("pginstall18/bin")
