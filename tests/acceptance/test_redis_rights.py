"""A Redis user with just the documented rights runs everything; with one less, nothing starts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from tests.fleet import Fleet
from tests.live import Environment, eventually, flowshift, private_redis
from worker.servers.redis_rights import Rights, missing

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


def test_a_user_with_the_granted_rights_runs_worker_beat_and_flower(
    fleet: Fleet, quick: Environment, private: redis.Redis, tmp_path: Path
) -> None:
    fleet.add_many(60)
    url = restrict(private, Rights(quick["FLOWSHIFT_NAMESPACE"]).grant("few"))
    environment = {**quick, "FLOWSHIFT_REDIS_URL": url, "FLOWSHIFT_FLOWER_PORT": "0"}
    log = tmp_path / "up.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "worker", "up"]
        up = subprocess.Popen(command, env=environment, stderr=file, stdout=file)
    try:
        eventually(lambda: private.pubsub_numpat() == 1)  # Flower listens
        run = flowshift(environment, "migrate", "--batch-size", "20")
        assert run.returncode == 0, run.stderr
        assert "no worker answers" not in run.stderr
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
