"""The file of users while the server runs: a change counts, and a broken one changes nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from worker.errors import ConfigError
from worker.web.doors.people_file import LOOK_S, PeopleFile

ANN = "ann operator proxy\n"
BOB = "bob viewer proxy\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(ANN)
    return path


def names(file: PeopleFile) -> set[str]:
    return set(file.people.by_name)


def test_a_change_counts_at_the_next_look_and_not_before(path: Path) -> None:
    file = PeopleFile(path)
    assert file.refresh(100.0) is False
    path.write_text(ANN + BOB)

    assert file.refresh(100.0 + LOOK_S - 0.01) is False
    assert names(file) == {"ann"}
    assert file.refresh(100.0 + LOOK_S) is True
    assert names(file) == {"ann", "bob"}


def test_a_file_as_it_was_is_not_read_again(path: Path) -> None:
    file = PeopleFile(path)
    people = file.people

    assert [file.refresh(now) for now in (0.0, 10.0, 20.0)] == [False] * 3
    assert file.people is people


def test_a_file_of_the_same_size_that_was_put_in_its_place_counts(path: Path) -> None:
    file = PeopleFile(path)
    other = path.with_name("new")
    other.write_text(ANN.replace("ann", "eve"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)

    assert file.refresh(0.0) is True
    assert names(file) == {"eve"}


@pytest.mark.parametrize("broken", ["ann admin proxy\n", "", "ann\n"])
def test_a_file_that_does_not_fit_changes_nobody_and_is_said_once(path: Path, broken: str) -> None:
    file = PeopleFile(path)
    path.write_text(broken)
    with capture_logs() as logged:
        found = [file.refresh(now) for now in (0.0, 10.0, 20.0)]

    assert found == [False] * 3
    assert names(file) == {"ann"}
    assert [one["event"] for one in logged] == ["users.unread"]
    path.write_text(BOB)
    assert file.refresh(30.0) is True
    assert names(file) == {"bob"}


def test_a_file_that_is_gone_changes_nobody_until_it_is_there_again(path: Path) -> None:
    file = PeopleFile(path)
    path.unlink()
    assert file.refresh(0.0) is False
    assert names(file) == {"ann"}

    path.write_text(BOB)
    assert file.refresh(10.0) is True
    assert names(file) == {"bob"}


def test_a_server_does_not_begin_without_a_file_that_fits(path: Path) -> None:
    path.write_text("ann\n")
    with pytest.raises(ConfigError, match="line 1 of"):
        PeopleFile(path)
    with pytest.raises(ConfigError, match="No such file"):
        PeopleFile(path.with_name("none"))
