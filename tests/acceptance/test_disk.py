"""The disk of the started servers runs full during a run, and is freed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from migrations import upgrade
from tests.fleet import Fleet
from tests.invariants import must_hold, processes_left
from tests.live import Environment, calm, eventually, has_done, is_over
from worker import runtime
from worker.settings import Settings

pytestmark = pytest.mark.acceptance

DISK_MB = 320


@pytest.fixture
def disk() -> Iterator[Path]:
    """A small disk, which only root can mount."""
    path = Path(tempfile.mkdtemp(prefix="flowshift-disk-"))
    path.chmod(0o711)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=711", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        path.rmdir()
        pytest.skip("only who may mount a small disk can let it run full")
    yield path
    eventually(
        lambda: not subprocess.run(["umount", path], capture_output=True, check=False).returncode
    )
    path.rmdir()


def fill(filler: Path) -> None:
    """Write to a file until not one byte more fits on its disk."""
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017  (what ends each loop)


def test_a_disk_that_runs_full_and_is_freed_stops_no_run_and_people_are_told(
    disk: Path, tmp_path: Path
) -> None:
    settings = Settings(data_dir=str(disk / "data"), namespace=f"disk-{uuid.uuid4().hex[:8]}")
    environment = {key: value for key, value in os.environ.items() if "FLOWSHIFT" not in key} | {
        "FLOWSHIFT_DATA_DIR": settings.data_dir,
        "FLOWSHIFT_NAMESPACE": settings.namespace,
        "FLOWSHIFT_SWEEP_S": "1",
        "FLOWSHIFT_LEASE_S": "5",
        "FLOWSHIFT_HEARTBEAT_S": "1",
    }
    told = tmp_path / "migrate.log"
    data, filler = Path(settings.data_dir), disk / "filler"
    fleet = Fleet(runtime.configure(settings))
    try:
        upgrade.upgrade(fleet.engine)
        fleet.add_many(2_000)
        with migrating(environment, told) as command:
            eventually(lambda: fleet.rows("SELECT FROM flowshift.runs"))
            eventually(has_done(fleet, 1, 5))
            fill(filler)
            eventually(lambda: " is full (" in told.read_text())
            kill_server(disk, "redis-server")  # its guardian starts it again, and cannot say so
            eventually(lambda: is_stuck(data, filler))
            kill_server(disk, "postgres")
            assert not calm(is_over(fleet, 1))()
            filler.unlink()
            assert command.wait(120) == 0, told.read_text()
        assert "there is room again in " in told.read_text()
        assert "servers.unhindered" in (data / "log" / "guardian.log").read_text()
        must_hold(fleet, 1)
    finally:
        runtime.shutdown()
        eventually(lambda: not servers_in(disk))
    assert processes_left(settings.namespace) == []


def is_stuck(data: Path, filler: Path) -> bool:
    """Whether the guardian has tried in vain to say where its servers are; keeps the disk full."""
    fill(filler)
    return (data / "state.json.new").exists()


@contextmanager
def migrating(environment: Environment, told: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`flowshift migrate`, which starts a worker of two processes; it is ended in any case."""
    command = [sys.executable, "-m", "worker", "migrate", "--batch-size", "20"]
    with told.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def kill_server(disk: Path, name: str) -> None:
    """SIGKILL of a server's first process."""
    first = min(servers_in(disk, name), key=lambda process: process.create_time())
    with suppress(psutil.NoSuchProcess):
        first.kill()


def servers_in(disk: Path, name: str = "") -> list[psutil.Process]:
    """The servers whose data is on a disk."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(disk)
        except (psutil.Error, OSError):
            continue
        if inside and name in process.name():
            found.append(process)
    return found
