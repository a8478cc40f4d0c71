"""What lives without working is restarted, and only that."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

import pytest

from tests.live import eventually
from worker import log
from worker.core.policy.processes import Process
from worker.processes import supervisor as supervisor_module
from worker.processes.supervisor import Program, Supervisor

SLEEPS = Program("worker", (sys.executable, "-c", "import time; time.sleep(600)"))
IGNORES = Program(
    "worker",
    (
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    ),
)
MAX_S = 0.6


def heartbeat(pid: int, *, worked_s: float, started_s: float = 0.0) -> Process:
    """The heartbeat of a process."""
    return Process("i", "worker", "w@h", "h", pid, "0.1.0", started_s, 0.0, worked_s, "seen")


def tended(supervisor: Supervisor, what: Callable[[], object]) -> None:
    """Tend until something is true."""

    def is_it() -> object:
        supervisor.tend()
        return what()

    eventually(is_it, 20)


def for_a_while(supervisor: Supervisor, seconds: float) -> None:
    """Tend for some time."""
    until = time.monotonic() + seconds
    tended(supervisor, lambda: time.monotonic() > until)


class Host:
    """The heartbeats of a host, as a test has them."""

    def __init__(self) -> None:
        self.pids: Callable[[], Sequence[int]] = tuple
        self.worked_s = 0.0
        self.away = False
        self.looked = 0

    def look(self) -> list[Process] | None:
        self.looked += 1
        if self.away:
            return None
        return [heartbeat(pid, worked_s=self.worked_s) for pid in self.pids()]


@pytest.fixture
def host() -> Host:
    """One whose processes work."""
    return Host()


def started(host: Host, program: Program = SLEEPS, *, shutdown_s: float = 20) -> Supervisor:
    """A supervisor of one program on this host."""
    supervisor = Supervisor([program], shutdown_s=shutdown_s, look=host.look, max_age_s=MAX_S)
    host.pids = lambda: list(supervisor.pids.values())
    return supervisor


def test_what_works_is_left_alone(host: Host) -> None:
    with started(host) as supervisor:
        pid = supervisor.pids["worker"]
        for_a_while(supervisor, 5 * MAX_S)
        assert supervisor.pids["worker"] == pid
        assert host.looked > 5


def test_what_lives_without_working_is_restarted_with_the_reason_and_a_growing_pause(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(log_format="json", level="warning")
    with started(host) as supervisor:
        pid = supervisor.pids["worker"]
        host.worked_s = 10 * MAX_S
        tended(supervisor, lambda: supervisor.pids.get("worker", pid) != pid)
        again = supervisor.pids["worker"]
        tended(supervisor, lambda: supervisor.pids.get("worker", again) != again)
        host.worked_s = 0.0
        last = supervisor.pids["worker"]
        for_a_while(supervisor, 4 * MAX_S)
        assert supervisor.pids["worker"] == last
    said = capsys.readouterr().err
    assert said.count("process.useless") == 2
    assert "it lives, and has not worked for 6 s" in said
    assert said.index('"restart_in_s": 1.0') < said.index('"restart_in_s": 2.0')


def test_what_does_not_heed_is_killed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_MARGIN_S", 0.2)
    host.worked_s = 10 * MAX_S
    with started(host, IGNORES, shutdown_s=0.1) as supervisor:
        pid = supervisor.pids["worker"]
        tended(supervisor, lambda: supervisor.pids.get("worker", pid) != pid)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_server_that_is_away_is_no_reason_and_afterwards_there_is_time(host: Host) -> None:
    host.worked_s = 10 * MAX_S
    with started(host) as supervisor:
        pid = supervisor.pids["worker"]
        tended(supervisor, lambda: host.looked)  # it was seen to be of no use
        host.away = True
        for_a_while(supervisor, 4 * MAX_S)
        assert supervisor.pids["worker"] == pid
        host.away = False
        looked = host.looked
        tended(supervisor, lambda: host.looked > looked + 2)
        assert supervisor.pids["worker"] == pid
        host.worked_s = 0.0
        for_a_while(supervisor, 3 * MAX_S)
        assert supervisor.pids["worker"] == pid


def test_the_heartbeat_of_an_earlier_process_with_the_same_id_is_not_its_own(host: Host) -> None:
    with started(host) as supervisor:
        pid = supervisor.pids["worker"]
        old = heartbeat(pid, worked_s=0.0, started_s=500.0)
        supervisor._look = lambda: [old]
        tended(supervisor, lambda: supervisor.pids.get("worker", pid) != pid)
