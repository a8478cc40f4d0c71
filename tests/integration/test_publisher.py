"""Progress in Redis: absolute, versioned, bounded, and never in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis

from worker.cli.follow import from_redis
from worker.core.policy.progress import Counts, Progress
from worker.progress import redis as publisher
from worker.progress.redis import (
    REFRESH_S,
    RedisPublisher,
    as_fields,
    events_key,
    refresh_key,
    run_key,
)
from worker.queue.away import AWAY_S
from worker.servers.connect import Servers


def a_progress(**changes: Any) -> Progress:
    values: dict[str, Any] = {
        "run_id": 7,
        "request_id": "r",
        "state": "running",
        "dry_run": False,
        "counts": Counts(converted=3, failed=1, warnings=2),
        "bots_total": 10,
        "batches_done": 2,
        "batches_failed": 0,
        "batches_total": 5,
        "rate": 12.5,
        "eta_s": 0.5,
        "elapsed_s": 0.25,
        "version": 5,
    }
    return Progress(**{**values, **changes})


@pytest.fixture
def client(servers: Servers) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.redis_url) as opened:
        yield opened


@pytest.fixture
def published(client: redis.Redis, namespace: str) -> RedisPublisher:
    return RedisPublisher(client, namespace, keep_s=100)


def test_the_hash_holds_absolute_counts(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    assert published.publish(a_progress())
    fields: dict[Any, Any] = client.hgetall(run_key(namespace, 7))
    held = {key.decode(): value.decode() for key, value in fields.items()}
    assert held == {
        "run_id": "7",
        "request_id": "r",
        "version": "5",
        "state": "running",
        "dry_run": "0",
        "bots_total": "10",
        "bots_done": "4",
        "converted": "3",
        "published": "0",
        "rolled_back": "0",
        "unchanged": "0",
        "skipped": "0",
        "failed": "1",
        "validated": "0",
        "warnings": "2",
        "batches_total": "5",
        "batches_done": "2",
        "batches_failed": "0",
        "bots_per_s": "12.5",
        "eta_s": "0.5",
        "elapsed_s": "0.25",
    }


def test_what_is_read_is_what_was_published(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    for progress in (a_progress(), a_progress(version=6, eta_s=0.0, reason="so", dry_run=True)):
        published.publish(progress)
        assert from_redis(client, namespace, 7) == progress


def test_a_late_message_turns_nothing_back(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    assert published.publish(a_progress(version=9, counts=Counts(converted=9)))
    assert not published.publish(a_progress(version=8, counts=Counts(converted=8)))
    assert client.hget(run_key(namespace, 7), "converted") == b"9"
    assert client.xlen(events_key(namespace)) == 1


def test_a_reason_that_has_passed_does_not_linger(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    published.publish(a_progress(waiting="query: a backup", reason="why"))
    assert client.hget(run_key(namespace, 7), "waiting") == b"query: a backup"
    published.publish(a_progress(eta_s=None))
    held = client.hgetall(run_key(namespace, 7))
    assert {b"waiting", b"reason", b"eta_s"}.isdisjoint(held)
    assert from_redis(client, namespace, 7) == a_progress(eta_s=None)


def test_a_run_of_another_database_with_the_same_number_is_replaced(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    published.publish(a_progress(version=99, reason="of old"))
    assert published.publish(a_progress(request_id="another", version=1))
    assert client.hget(run_key(namespace, 7), "request_id") == b"another"
    assert client.hget(run_key(namespace, 7), "reason") is None


def test_keys_expire_after_the_run_and_not_before(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    published.publish(a_progress())
    assert client.ttl(run_key(namespace, 7)) == -1
    published.publish(a_progress(state="completed", version=6))
    assert 0 < client.ttl(run_key(namespace, 7)) <= 100


def test_the_stream_is_bounded(
    published: RedisPublisher, client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "EVENTS_KEPT", 10)
    for version in range(500):
        published.publish(a_progress(version=version))
    assert client.xlen(events_key(namespace)) < 250  # Redis trims whole nodes of 100
    entries: Any = client.xrevrange(events_key(namespace), count=1)
    [(_, entry)] = entries
    assert json.loads(entry[b"progress"])["version"] == 499


def test_listeners_on_the_channel_get_each_message(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    with client.pubsub(  # type: ignore[no-untyped-call]
        ignore_subscribe_messages=True
    ) as listener:
        listener.subscribe(run_key(namespace, 7))
        while listener.get_message(timeout=1) is not None or not listener.subscribed:
            pass
        published.publish(a_progress())
        message = None
        while message is None:
            message = listener.get_message(timeout=1)
    assert json.loads(message["data"]) == msgspec.to_builtins(as_fields(a_progress()))


def test_with_redis_away_publishing_is_given_up_at_once_and_taken_up_again(
    namespace: str,
) -> None:
    now = [0.0]
    with redis.Redis(unix_socket_path="/nonexistent/redis.sock") as nowhere:
        away = RedisPublisher(nowhere, namespace, keep_s=1, clock=lambda: now[0])
        assert not away.publish(a_progress())
        away._script = lambda **_: pytest.fail("tried while it is known to be away")  # type: ignore[assignment]
        assert not away.publish(a_progress())
        now[0] = AWAY_S
        away._script = lambda **_: 1  # type: ignore[assignment]
        assert away.publish(a_progress())


def test_of_a_pile_of_requests_to_show_everything_again_one_is_granted(
    published: RedisPublisher, client: redis.Redis, namespace: str
) -> None:
    other = RedisPublisher(client, namespace, keep_s=100)
    assert [one.claim_refresh() for one in (published, other, published)] == [True, False, False]
    assert 0 < int(client.pttl(refresh_key(namespace))) <= REFRESH_S * 1000
    client.delete(refresh_key(namespace))
    assert other.claim_refresh()


def test_nothing_is_to_be_shown_again_while_redis_is_away(namespace: str) -> None:
    away = redis.Redis(unix_socket_path="/nowhere/redis.sock")
    assert not RedisPublisher(away, namespace, keep_s=100).claim_refresh()
