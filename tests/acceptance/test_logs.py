"""What long-running processes write: JSON alone, to the last line, and nothing while they are idle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, edge, node
from tests.live import PATIENCE_S, Environment, eventually, flowshift

pytestmark = pytest.mark.acceptance

IDLE_S = 12.0


def test_every_line_of_up_is_json_and_an_idle_one_is_silent(
    environment: Environment, tmp_path: Path
) -> None:
    environment = {**environment, "FLOWSHIFT_FLOWER_PORT": "0", "FLOWSHIFT_SWEEP_S": "1"}
    log = tmp_path / "up.log"

    def said() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def address() -> str | None:
        return next((line["url"] for line in said() if line["event"] == "flower.ready"), None)

    with log.open("wb") as file:
        up = subprocess.Popen(
            [sys.executable, "-m", "worker", "up"], env=environment, stdout=file, stderr=file
        )
    try:
        url = eventually(address)
        eventually(lambda: any("ready." in line["event"] for line in said()))
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/nosuch")
        eventually(lambda: any(line["logger"] == "tornado.access" for line in said()))
        time.sleep(3)  # Flower asks the workers about themselves
        before = len(said())
        time.sleep(IDLE_S)  # twelve sweeps, two refreshes
        idle = said()[before:]
    finally:
        up.terminate()
        up.wait(60)

    assert len(idle) <= 1, idle
    for line in said():
        assert {"event", "level", "timestamp"} <= line.keys()


CELERY = (sys.executable, "-P", "-m", "celery", "-A", "worker.app")
OURS = (sys.executable, "-P", "-m", "worker.celery_command", "--quiet")
FLOWER = (sys.executable, "-P", "-m", "worker.processes.flower")
UP = (sys.executable, "-m", "worker", "up")

LONG_RUNNING = {
    "celery worker": (*CELERY, "worker", "--concurrency=1"),
    "celery beat": (*CELERY, "beat", "--pidfile="),
    "our worker": (*OURS, "worker", "--concurrency=1"),
    "our beat": (*OURS, "beat", "--pidfile="),
    "flower": FLOWER,
    "up": UP,
}


def as_json(*texts: str) -> list[dict[str, Any]]:
    """The lines of what a process wrote, all of it."""
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    for line in lines:
        assert {"event", "level", "timestamp"} <= line.keys()
    return lines


@pytest.mark.parametrize("name", LONG_RUNNING)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_stopped_ends_with_json(
    environment: Environment, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        process = subprocess.Popen(
            LONG_RUNNING[name],
            env={**environment, "FLOWSHIFT_FLOWER_PORT": "0"},
            cwd=tmp_path,
            stdout=out,
            stderr=err,
        )
        try:
            ready = ("ready", "beat: Starting", "flower.ready")
            eventually(lambda: any(word in (tmp_path / "err").read_text() for word in ready))
            process.send_signal(number)
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()

    said = as_json((tmp_path / "out").read_text(), (tmp_path / "err").read_text())
    assert said
    if "worker" in name:
        assert said[-1]["event"] == "worker.stopped"


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_process_that_does_not_start_says_why_in_one_line_of_json(
    environment: Environment, name: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        LONG_RUNNING[name],
        env={**environment, "FLOWSHIFT_LEASE_S": "soon"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 3
    (line,) = as_json(ended.stdout, ended.stderr)
    assert (line["event"], line["level"]) == ("start.refused", "critical")
    assert line["error"].startswith(
        "FLOWSHIFT_LEASE_S: it holds 'soon', but must be a whole number"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "event"),
    [
        (("worker", "--nosuch"), 2, "start.refused"),
        (("worker", "--pool=threads"), 3, "start.refused"),
        (("beat", "--pidfile=", "--schedule=/proc/flowshift/x"), 1, "process.crashed"),
    ],
)
def test_whatever_ends_a_start_is_json(
    environment: Environment, arguments: tuple[str, ...], code: int, event: str
) -> None:
    ended = subprocess.run(
        (*OURS, *arguments),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == code
    assert as_json(ended.stdout, ended.stderr)[-1]["event"] == event


def test_a_person_at_a_terminal_reads_a_sentence(environment: Environment) -> None:
    for command in (("worker", "up"), ("worker.celery_command", "worker")):
        ended = subprocess.run(
            (sys.executable, "-m", *command),
            env={**environment, "FLOWSHIFT_LOG_FORMAT": "console", "FLOWSHIFT_LEASE_S": "soon"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 3
        assert ended.stderr.startswith("flowshift: FLOWSHIFT_LEASE_S: it holds 'soon'")
        assert len(ended.stderr.splitlines()) == 1


CHATTY = """
import os, sys, threading, warnings
from worker.nodes import CustomNode, Port, Ports

print("loaded by", os.getpid())

class Broken:
    def __del__(self):
        raise RuntimeError("from a destructor")

class Chatty(CustomNode[dict]):
    type = "chatty"
    ports = Ports((Port("question", required=True),), (Port("text", required=True),))
    takes_message, gives_context = "question", "text"

    def run(self, inputs, data, providers):
        print("printed\\nin two lines")
        sys.stderr.write("to standard error\\n")
        sys.stdout.write("unfinished")
        sys.stdout.flush()
        warnings.warn("a warning of a plug-in")
        Broken()
        thread = threading.Thread(target=lambda: 1 / 0, name="chatterer")
        thread.start()
        thread.join()
        return {"text": "chat"}
"""


@pytest.fixture
def chatty(tmp_path: Path) -> str:
    """A directory for PYTHONPATH with a package that brings a node type, and prints."""
    plugin = tmp_path / "plugin"
    (plugin / "chatty-1.0.dist-info").mkdir(parents=True)
    (plugin / "chatty.py").write_text(CHATTY)
    for name, text in {
        "METADATA": "Metadata-Version: 2.1\nName: chatty\nVersion: 1.0\n",
        "entry_points.txt": "[flowshift.nodes]\nchatty = chatty:Chatty\n",
    }.items():
        (plugin / "chatty-1.0.dist-info" / name).write_text(text)
    return str(plugin)


def test_what_a_plug_in_prints_is_a_line_of_the_log(
    environment: Environment, fleet: Fleet, tmp_path: Path, chatty: str
) -> None:
    nodes = [node("s", "start"), node("c", "chatty"), node("l", "llm"), node("e", "end")]
    edges = [edge("s", "c"), edge("c", "l"), edge("l", "e")]
    fleet.add("b1", {"nodes": nodes, "edges": edges})
    environment = {**environment, "PYTHONPATH": chatty}
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        worker = subprocess.Popen(
            LONG_RUNNING["celery worker"], env=environment, cwd=tmp_path, stdout=out, stderr=err
        )
        try:
            eventually(lambda: " ready." in (tmp_path / "err").read_text())
            run = flowshift(environment, "migrate", "--validate", "all", "--message", "a")
            assert run.returncode == 0, run.stderr
        finally:
            worker.terminate()
            worker.wait(60)

    said = as_json((tmp_path / "out").read_text(), (tmp_path / "err").read_text())
    printed = {(one["stream"], one["text"]) for one in said if one["event"] == "output.printed"}
    assert {
        ("stdout", f"loaded by {worker.pid}"),
        ("stdout", "printed"),
        ("stdout", "in two lines"),
        ("stdout", "unfinished"),
        ("stderr", "to standard error"),
    } <= printed
    (thread,) = {one["thread"] for one in said if one["event"] == "thread.crashed"}
    assert thread == "chatterer"
    assert any("from a destructor" in one.get("error", "") for one in said)
    assert any("a warning of a plug-in" in one["event"] for one in said)
