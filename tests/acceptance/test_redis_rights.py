"""A Redis user with just the documented rights runs everything; with one less, nothing starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from tests.fleet import Fleet
from tests.live import Environment, eventually, flowshift, private_redis
from worker.errors import ConfigError
from worker.runtime import Runtime
from worker.servers.connect import Servers, check_rights
from worker.servers.redis_rights import Rights, missing
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


@pytest.fixture
def private(tmp_path: Path) -> Iterator[redis.Redis]:
    with private_redis(tmp_path) as (url, _), redis.Redis.from_url(url) as client:
        yield client


def restrict(private: redis.Redis, line: str) -> str:
    """The URL of a new user with what an `ACL SETUSER` line gives, and nothing else."""
    _, _, user, *words = line.split()
    run = cast("Any", private).execute_command
    run("ACL", "SETUSER", user, "reset", "resetchannels", "on", ">secret", *words)
    run("ACL", "LOG", "RESET")
    return f"unix://{user}:secret@{private.connection_pool.connection_kwargs['path']}?db=0"


@contextmanager
def watched(private: redis.Redis) -> Iterator[list[str]]:
    """Every command that this Redis gets meanwhile, those of scripts too."""
    seen: list[str] = []
    begun, over = threading.Event(), threading.Event()

    def watch() -> None:
        with private.monitor() as monitor:  # type: ignore[no-untyped-call]
            begun.set()
            while not over.is_set():
                seen.append(monitor.next_command()["command"])

    thread = threading.Thread(target=watch)
    thread.start()
    assert begun.wait(30)
    try:
        yield seen
    finally:
        over.set()
        private.ping()  # the one that ends it
        thread.join(30)


def kinds(namespace: str, seen: Iterable[str]) -> set[tuple[str, str]]:
    """Commands with their key, where it is one of ours; `x` and 0 for what is different each time."""
    found = set()
    for line in seen:
        command, _, rest = line.partition(" ")
        key = rest.partition(" ")[0].replace("\\x06", "\x06").replace("\\x16", "\x16")
        if not key.startswith(namespace) or command.lower() in (
            "publish",
            "psubscribe",
            "punsubscribe",
        ):
            continue
        key = re.sub("\x06\x16[369]$", "\x06\x163", key)
        key = re.sub(":(run|publication):[0-9]+$", r":\1:0", key)
        key = re.sub(r"-events\.[^\x06]*", "-events.x", key)
        key = re.sub(r":queue:[^_][^\x06]*\.reply\.", ":queue:x.reply.", key)
        key = re.sub(r":queue:[^_][^\x06]*@[^\x06]*-control", f":queue:x.{namespace}-control", key)
        is_of_one_process = ":x." in key or "-events.x" in key
        found.add((command.lower(), key.partition("\x06")[0] if is_of_one_process else key))
    return found


def tried(namespace: str) -> set[tuple[str, str]]:
    """Commands with their key, as a check tries them."""
    attempts = Rights(namespace).attempts()
    return {(line[0], line[1]) for key, _, line in attempts if key and len(line) > 1}


def test_a_user_with_the_granted_rights_runs_worker_beat_and_flower(
    fleet: Fleet, quick: Environment, private: redis.Redis, tmp_path: Path, settings: Settings
) -> None:
    owner = {**quick, "FLOWSHIFT_DATABASE_URL": settings.database_url}  # who may publish
    with watched(private) as seen:
        run_a_fleet(fleet, owner, private, tmp_path)

    namespace = quick["FLOWSHIFT_NAMESPACE"]
    assert kinds(namespace, seen) - tried(namespace) == set()


def run_a_fleet(fleet: Fleet, quick: Environment, private: redis.Redis, tmp_path: Path) -> None:
    fleet.add_many(60)
    url = restrict(private, Rights(quick["FLOWSHIFT_NAMESPACE"]).grant("few"))
    environment = {**quick, "FLOWSHIFT_REDIS_URL": url, "FLOWSHIFT_FLOWER_PORT": "0"}
    log = tmp_path / "up.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "worker", "up"]
        up = subprocess.Popen(command, env=environment, stderr=file, stdout=file)
    try:
        eventually(lambda: private.pubsub_numpat() == 1)  # Flower listens
        run = flowshift(environment, "migrate", "--batch-size", "20", "--validate", "sample:1")
        assert run.returncode == 0, run.stderr
        assert "no worker answers" not in run.stderr
        published = flowshift(
            environment, "publish", "1", "--waves", "all", "--without-backup", "--yes"
        )
        assert published.returncode == 0, published.stderr
        assert "no worker publishes" not in published.stderr
        # The worker restores what was not acknowledged, and gossips with what answers.
        eventually(lambda: "cmdstat_zrange" in private.info("commandstats"))
    finally:
        up.terminate()
        up.wait(60)
    # redis-py introduces itself by CLIENT SETINFO, and does without.
    refused = [one["object"] for one in private.acl_log() if one["object"] != "client"]
    assert refused == [], log.read_text(errors="replace")
    assert "NOPERM" not in log.read_text(errors="replace")


def test_each_right_is_missed(private: redis.Redis) -> None:
    rights = Rights("here")
    words = rights.grant("few").split()
    for word in words[3:]:
        url = restrict(private, " ".join(one for one in words if one != word))
        with redis.Redis.from_url(url) as client:
            assert word in missing(client, rights)
    url = restrict(private, rights.grant("few"))
    with redis.Redis.from_url(url) as client:
        assert missing(client, rights) == ()
    assert private.dbsize() == 0


def test_each_kind_of_key_is_missed(private: redis.Redis) -> None:
    keys = {key for _, key in tried("here") if key.startswith("here:")}
    assert len(keys) >= 19
    for one in keys:
        others = " ".join(f"~{key}" for key in sorted(keys - {one}))
        url = restrict(private, f"ACL SETUSER few ~here ~here??[369] {others} &* +@all")
        with redis.Redis.from_url(url) as client:
            assert missing(client, Rights("here")) == ("~here:*",)


@pytest.mark.parametrize("command", ["beat", "flower"])
def test_beat_and_flower_alone_are_refused_too(
    quick: Environment, private: redis.Redis, command: str, tmp_path: Path
) -> None:
    namespace = quick["FLOWSHIFT_NAMESPACE"]
    line = Rights(namespace).grant("few")
    url = restrict(private, line.replace(" +psubscribe", ""))
    commands = {
        "beat": ("celery", "-A", "worker.app", "beat", "--pidfile="),
        "flower": ("worker", "flower"),
    }
    ended = subprocess.run(
        [sys.executable, "-P", "-m", *commands[command]],
        env={**quick, "FLOWSHIFT_REDIS_URL": url, "FLOWSHIFT_FLOWER_PORT": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 3
    said = json.loads(ended.stderr.splitlines()[-1])["error"]
    assert "the ACL of the user few lacks +psubscribe" in said
    assert said.endswith(Rights(namespace).grant("few", ["+psubscribe"]))


@pytest.mark.parametrize("away", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1"])
def test_a_redis_that_is_away_is_waited_for_by_beat_and_flower(current: Runtime, away: str) -> None:
    check_rights(Servers(current.servers.database_url, away), current.settings)


def test_a_wrong_password_is_not_waited_for(private: redis.Redis, current: Runtime) -> None:
    url = restrict(private, Rights("here").grant("few")).replace("secret", "wrong")
    with pytest.raises(ConfigError, match="FLOWSHIFT_REDIS_URL: cannot use"):
        check_rights(Servers(current.servers.database_url, url), current.settings)


@pytest.mark.parametrize("lacking", ["+brpop", "+multi", "+info", "~{}:*", "&{}:*"])
def test_a_command_names_what_is_missing_and_the_line_that_grants_it(
    fleet: Fleet, quick: Environment, private: redis.Redis, lacking: str
) -> None:
    namespace = quick["FLOWSHIFT_NAMESPACE"]
    word = lacking.format(namespace)
    line = Rights(namespace).grant("few")
    url = restrict(private, " ".join(one for one in line.split() if one != word))
    for command in (["migrate"], ["up"]):
        ended = flowshift({**quick, "FLOWSHIFT_REDIS_URL": url}, *command)

        assert ended.returncode == 3, ended.stderr
        said = re.sub(r"\s+", " ", ended.stderr)
        assert f"the ACL of the user few lacks {word}" in said
        assert Rights(namespace).grant("few", [word]) in said
        assert "secret" not in said
