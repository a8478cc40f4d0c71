"""Redis keys of runs that are gone, and of events that are old.

A run's hash expires by itself once its end has been published; these are for the rest: the hash of
a run whose end never got there, and events beyond their age. Redis is a view: nothing here fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from worker.log import get_logger
from worker.progress.redis import events_key, publication_key, run_key

log = get_logger(__name__)


def forget_run(client: redis.Redis, namespace: str, run_id: int) -> None:
    """Remove the hash of a run that is no longer in the database."""
    _quietly(lambda: client.delete(run_key(namespace, run_id)))


def expire_keys(
    client: redis.Redis,
    namespace: str,
    *,
    keep_s: int,
    is_current: Callable[[int], bool],
    is_open: Callable[[int], bool] = lambda _: True,
    now: Callable[[], float] = time.time,
) -> None:
    """Let hashes of runs that no process publishes any more expire, and trim events older than `keep_s`.

    A hash that has no expiry is of a run that goes on, or of one whose end was never published:
    `is_current` tells which, and `is_open` the same of a publication's hash.
    """

    def hashes(prefix: str, is_current: Callable[[int], bool]) -> None:
        for key in client.scan_iter(match=f"{prefix}*", count=500):
            number = key.decode().removeprefix(prefix)
            if number.isdigit() and client.ttl(key) == -1 and not is_current(int(number)):
                client.expire(key, keep_s)

    def events() -> None:
        oldest = int((now() - keep_s) * 1000)
        client.xtrim(events_key(namespace), minid=f"{oldest}-0", approximate=True)

    _quietly(lambda: hashes(run_key(namespace, 0)[:-1], is_current))
    _quietly(lambda: hashes(publication_key(namespace, 0)[:-1], is_open))
    _quietly(events)


def _quietly(do: Callable[[], object]) -> None:
    try:
        do()
    except (redis.RedisError, OSError) as error:
        log.warning("keys.kept", error=str(error))
