"""Planted secrets, and everywhere that they must not turn up while a fleet is converted and validated."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import redis

from tests.fleet import Fleet, a_workflow
from tests.integration.test_servers import redis_binary
from tests.live import Environment, eventually, flowshift
from tests.model_server import ModelServer, answers
from tests.roles import Role
from worker.processes.supervisor import celery

pytestmark = pytest.mark.acceptance


class Planted(msgspec.Struct, frozen=True):
    """Secrets, each found nowhere else; letters alone, so that no encoding of a text changes them."""

    database: str
    redis: str
    flower: str
    key: str
    """A provider's key."""
    prompt: str
    """Within a bot's workflow."""
    value: str
    """Within a workflow where it is wrong: the outcome's message repeats it."""
    message: str
    """What drafts are tried on."""

    def found_in(self, text: str, *, besides: tuple[str, ...] = ()) -> list[str]:
        """Which of them turn up in a text, or in what is base64 within it."""
        whole = text + "".join(_opened(text))
        return [
            name
            for name in self.__struct_fields__
            if name not in besides and getattr(self, name) in whole
        ]


def _opened(text: str) -> Iterator[str]:
    for part in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        try:
            yield base64.b64decode(part).decode(errors="replace")
        except binascii.Error:
            continue


CREDENTIALS_ALONE = ("prompt", "value", "message")
"""What a person who looks at a bot may see: not the passwords."""


@pytest.fixture
def planted(role: Role) -> Planted:
    def made() -> str:
        return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz") for _ in range(24))

    return Planted(role.password, *(made() for _ in range(6)))


@contextmanager
def a_redis(password: str) -> Iterator[str]:
    """A Redis with a password; its URL without one."""
    directory = Path(tempfile.mkdtemp(prefix="flowshift-redis-"))
    path = directory / "redis.sock"
    lines = [
        "port 0",
        f"unixsocket {path}",
        f"dir {directory}",
        'save ""',
        f"requirepass {password}",
    ]
    process = subprocess.Popen(
        [redis_binary(), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdin
        process.stdin.write("\n".join(lines))
        process.stdin.close()
        with redis.Redis(unix_socket_path=str(path), password=password) as client:
            eventually(lambda: path.exists() and client.ping())
        yield f"unix://{{}}{path}?db=0"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


class Watch:
    """Every command that a Redis gets, and the arguments of every process, as long as it is open."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=None)
        self._monitor = self._client.monitor()  # type: ignore[no-untyped-call]
        self._over = threading.Event()
        self.commands: list[str] = []
        self.arguments: set[str] = set()
        self._threads = [
            threading.Thread(target=each) for each in (self._read_commands, self._read_arguments)
        ]

    def _read_commands(self) -> None:
        for command in self._monitor.listen():
            if command["command"].startswith("SET watch:over"):
                return
            self.commands.append(command["command"])

    def _read_arguments(self) -> None:
        while not self._over.wait(0.1):
            for process in psutil.process_iter(["cmdline"]):
                self.arguments.add(" ".join(process.info["cmdline"] or ()))

    def __enter__(self) -> Watch:
        self._monitor.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._client.set("watch:over", 1)
        for thread in self._threads:
            thread.join(10)
        self._monitor.__exit__(None, None, None)
        self._client.close()


def stored(url: str) -> str:
    """Every key of a Redis and what it holds."""
    read = {
        b"string": lambda client, key: client.get(key),
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"set": lambda client, key: client.smembers(key),
        b"zset": lambda client, key: client.zrange(key, 0, -1),
        b"hash": lambda client, key: client.hgetall(key),
        b"stream": lambda client, key: client.xrange(key),
    }
    with redis.Redis.from_url(url) as client:
        return repr([(key, read[client.type(key)](client, key)) for key in client.scan_iter()])


def page(base: str, path: str, password: str) -> str:
    """A page of Flower's, as a person with its password sees it."""
    basic = base64.b64encode(f"me:{password}".encode()).decode()
    request = urllib.request.Request(base + path, headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


DATATABLE = (
    "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0"
    "&order[0][dir]=asc&columns[0][data]=name"
)


def pages(base: str, password: str) -> dict[str, str]:
    """Every kind of page that Flower has, and its API's."""
    [worker] = json.loads(page(base, "/api/workers?refresh=1", password))
    paths = [
        *("/", "/workers", "/workers?json=1", "/tasks", "/broker", "/metrics", f"/worker/{worker}"),
        *("/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length"),
        DATATABLE,
        *(f"/task/{task}" for task in ("run-1", "run-1-plan", "run-1-batch-1", "run-2-batch-1")),
        *(f"/api/task/info/{task}" for task in ("run-1", "run-1-batch-1", "run-2-batch-1")),
    ]
    return {path: page(base, path, password) for path in paths}


def files_under(directory: Path) -> str:
    """What a directory's files hold, whatever they are."""
    return "".join(
        path.read_bytes().decode(errors="replace")
        for path in directory.rglob("*")
        if path.is_file()
    )


def test_no_secret_turns_up_in_logs_arguments_redis_files_or_flower(
    fleet: Fleet, environment: Environment, planted: Planted, tmp_path: Path
) -> None:
    fleet.add("bot-1", a_workflow(f"{planted.prompt} {{context}} {{question}}"))
    fleet.add("bot-2", a_workflow(temperature=planted.value))
    with a_redis(planted.redis) as place, ModelServer() as models:
        models.script(answers("fine"))
        url = place.format(f":{planted.redis}@")
        environment = everything(environment, planted, url, models.url, tmp_path)
        log = tmp_path / "up.log"
        with Watch(url) as watch, log.open("wb") as out:
            up = subprocess.Popen(
                [sys.executable, "-m", "worker", "up"], env=environment, stdout=out, stderr=out
            )
            try:
                said, shown = follow(environment, planted, log)
            finally:
                up.terminate()
                up.wait(60)
        kept = stored(url)

    # What is looked through holds what it should, so that nothing is found in nothing.
    logged = log.read_text()
    assert "batch.converted" in logged
    assert '"level": "debug"' in logged
    assert len(models.requests) == 1
    assert models.requests[0].headers["authorization"] == f"Bearer {planted.key}"
    assert planted.prompt in str(models.requests[0].body)
    commands = "\n".join(watch.commands)
    assert "flowshift.convert_batch" in "".join([commands, *_opened(commands)])
    assert "run-1" in shown["/api/tasks"]
    assert any("worker.processes.flower" in line for line in watch.arguments)
    [row] = fleet.rows("SELECT message FROM flowshift.ledger WHERE code = 'invalid_config'")
    assert planted.value in row.message

    assert planted.found_in(logged) == []
    assert planted.found_in("\n".join(watch.arguments)) == []
    assert planted.found_in(commands) == []
    assert planted.found_in(kept) == []
    assert planted.found_in(files_under(tmp_path / "data")) == []
    assert planted.found_in(said, besides=CREDENTIALS_ALONE) == []
    for path, text in shown.items():
        assert planted.found_in(text) == [], path


def everything(
    environment: Environment, planted: Planted, redis_url: str, models: str, tmp_path: Path
) -> Environment:
    """The environment of processes that hold every secret, and say as much as they can."""
    providers = tmp_path / "providers.toml"
    providers.write_text(
        f'[[provider]]\nname = "one"\nbase_url = "{models}"\napi_key_env = "PLANTED_KEY"\n'
    )
    (tmp_path / "messages").write_text(planted.message)
    without = {k: v for k, v in environment.items() if not k.lower().endswith("_proxy")}
    return {
        **without,
        "FLOWSHIFT_REDIS_URL": redis_url,
        "FLOWSHIFT_LOG_LEVEL": "debug",
        "FLOWSHIFT_LOG_FORMAT": "json",
        "FLOWSHIFT_FLOWER_PORT": "0",
        "FLOWSHIFT_FLOWER_BASIC_AUTH": f"me:{planted.flower}",
        "FLOWSHIFT_PROVIDERS": str(providers),
        "PLANTED_KEY": planted.key,
    }


def follow(environment: Environment, planted: Planted, log: Path) -> tuple[str, dict[str, str]]:
    """Convert, validate with a model, and look at all of it: (what commands said, Flower's pages)."""
    found = eventually(
        lambda: re.search(r'"url": "(http://\S+)/tasks", "version"', log.read_text())
    )
    base = found[1]
    eventually(lambda: "ready." in log.read_text())
    ask = ("--messages-from", str(log.with_name("messages")))
    ended = [
        flowshift(environment, "migrate", "--validate", "all", *ask),
        flowshift(environment, "validate", "1", "--provider", "live", "--max-requests", "5", *ask),
        flowshift(environment, "show", "bot-1"),
        flowshift(environment, "status", "--json"),
    ]
    said = "".join(each.stdout + each.stderr for each in ended)
    assert [each.returncode for each in ended[:2]] == [1, 0], said

    def complete() -> dict[str, str] | None:
        try:
            shown = pages(base, planted.flower)
        except (OSError, ValueError):
            return None
        return shown if '"state": "SUCCESS"' in shown["/api/task/info/run-2-batch-1"] else None

    return said, eventually(complete)


@pytest.mark.parametrize("program", ["migrate", "worker", "beat", "flower"])
def test_a_wrong_password_is_not_repeated_by_any_program(
    program: str, environment: Environment, planted: Planted, tmp_path: Path
) -> None:
    wrong: dict[str, Any] = {"FLOWSHIFT_LOG_LEVEL": "debug", "FLOWSHIFT_FLOWER_PORT": "0"}
    with a_redis(planted.redis) as place:
        wrong["FLOWSHIFT_REDIS_URL"] = place.format(f":{planted.message}@")
        commands: dict[str, tuple[str, ...]] = {
            "migrate": (sys.executable, "-m", "worker", "migrate"),
            "worker": celery("worker"),
            "beat": celery("beat", f"--schedule={tmp_path / 'beat'}", "--pidfile="),
            "flower": (sys.executable, "-m", "worker", "flower"),
        }
        log = tmp_path / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                commands[program], env={**environment, **wrong}, stdout=out, stderr=out
            )
            try:
                eventually(
                    lambda: (
                        re.search("invalid username-password|WRONGPASS", log.read_text())
                        or process.poll() is not None
                    )
                )
            finally:
                process.kill()
                process.wait()
    said = log.read_text()
    assert re.search("invalid username-password|WRONGPASS", said)
    assert planted.found_in(said) == []
