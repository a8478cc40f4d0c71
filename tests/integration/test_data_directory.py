"""A data directory that cannot be used: each process says so in one sentence with its setting."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.cli.refusal import explain
from worker.errors import ConfigError
from worker.processes.flower_program import state_dir
from worker.processes.supervisor import Program, Supervisor
from worker.servers import embedded
from worker.servers.data_dir import unusable, usable
from worker.settings import Settings


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that also root's servers reach (pytest's own they do not)."""
    with tempfile.TemporaryDirectory(prefix="flowshift-test-") as path:
        Path(path).chmod(0o711)
        yield Path(path)


def a_file(place: Path) -> Path:
    (place / "data").write_text("")
    return place / "data"


def below_a_file(place: Path) -> Path:
    return a_file(place) / "x"


def a_loop(place: Path) -> Path:
    (place / "loop").symlink_to("loop")
    return place / "loop"


def a_long_name(place: Path) -> Path:
    return place / ("x" * 300)


def nowhere_to_write(_: Path) -> Path:
    return Path("/proc/flowshift")


def files_in_the_way(place: Path) -> Path:
    data = place / "data"
    data.mkdir()
    for name in ("log", "state"):
        (data / name).write_text("")
    return data


def directories_in_the_way(place: Path) -> Path:
    data = place / "data"
    for name in ("users.lock", "log/worker.log"):
        (data / name).mkdir(parents=True)
    (data / "state").write_text("")
    return data


UNUSABLE = (
    *(a_file, below_a_file, a_loop, a_long_name, files_in_the_way, directories_in_the_way),
    *([nowhere_to_write] if sys.platform == "linux" else []),
)


def sentence(place: Path) -> str:
    return f"FLOWSHIFT_DATA_DIR: cannot use the data directory {place}: "


def write_logs(values: Settings) -> None:
    Supervisor([Program("worker", ("true",))], shutdown_s=20, log_dir=values.data_path / "log")


def start_servers(values: Settings) -> None:
    embedded.attach(values.data_path)


@pytest.mark.parametrize("make", UNUSABLE)
@pytest.mark.parametrize("use", [start_servers, state_dir, write_logs])
def test_each_use_of_it_is_refused_with_the_setting_and_what_to_do(
    make: Callable[[Path], Path], use: Callable[[Settings], object], place: Path
) -> None:
    data = make(place)
    values = Settings(data_dir=str(data))
    with pytest.raises(ConfigError) as caught:
        use(values)

    said = str(caught.value)
    assert caught.value.setting == "FLOWSHIFT_DATA_DIR"
    assert said.startswith(sentence(data))
    assert said.endswith("; name a directory in which this account may write")
    assert "Errno" not in said
    assert "room" not in said


def test_the_guardian_reports_what_it_finds_in_the_way_in_the_same_words(place: Path) -> None:
    data = place / "data"
    (data / "servers.location").mkdir(parents=True)

    with pytest.raises(ConfigError) as caught:
        embedded.attach(data)

    assert str(caught.value).startswith(f"{sentence(data)}{data}/servers.location: is a directory;")


@pytest.mark.parametrize("command", ["runs", "up", "flower", "migrate"])
def test_a_command_ends_with_that_sentence_alone(command: str, place: Path) -> None:
    data = a_file(place)
    ended = subprocess.run(
        [sys.executable, "-m", "worker", command],
        env={**os.environ, "FLOWSHIFT_DATA_DIR": str(data), "FLOWSHIFT_FLOWER_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    said = f"flowshift: {json.loads(line)['error']}" if command in ("up", "flower") else line
    assert said.startswith(f"flowshift: {sentence(data)}")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_only_a_full_disk_is_answered_with_making_room(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(number, os.strerror(number))
    other = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert str(unusable(Path("/d"), full)).endswith("; make room there, or name another directory")
    assert "room" not in str(unusable(Path("/d"), other))
    assert (explain(full), explain(other)) == (3, 3)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("Make room, then run the command again")
    assert (
        second
        == "flowshift: cannot go on: Too many open files. Repair that, then run the command again"
    )


def test_other_errors_are_no_fault_of_the_data_directory() -> None:
    with pytest.raises(RuntimeError, match="ours"), usable(Path("/d")):
        raise RuntimeError("ours")
