"""Progress in Redis: a hash per run, a stream of events and a channel (docs/reference/progress.md).

Redis is a view: what is published are absolute counts from committed rows, with a version that a
late message cannot turn back. Publishing never raises and never waits long; while Redis is unavailable it
is not even tried, except once in a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import redis

from worker.core.policy.progress import Progress
from worker.core.printable import escape
from worker.db.publication.outline import Outline
from worker.log import get_logger
from worker.queue.away import Away

log = get_logger(__name__)

EVENTS_KEPT = 10_000
"""About as many events stay in the stream; older ones are trimmed."""

SHARE = 0.02
"""Of a process's time, what finding out how far a run is may take."""

REFRESH_S = 3.0
"""Seconds in which everything is shown again at most once, however many messages ask for it."""


class Publisher(Protocol):
    """A client that shows progress to people."""

    def publish(self, progress: Progress) -> bool:
        """Show `progress`; False if something newer is shown already, or Redis is unavailable."""


# KEYS: the hash of a run or a publication, and for a run the stream. ARGV: request, version, channel,
# ttl, kept, payload, field… A hash of another request is of another database whose run had the same
# number: it is replaced. A field that is missing now (a reason, what the run waits for) must not
# linger; it goes last, since a script that has written once may go on though Redis is out of memory.
_PUBLISH = """
local known = redis.call('HMGET', KEYS[1], 'request_id', 'version')
if known[1] == ARGV[1] and known[2] and tonumber(known[2]) > tonumber(ARGV[2]) then
    return 0
end
if known[1] ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
local given = {}
for place = 7, #ARGV, 2 do given[ARGV[place]] = true end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if not given[field] then redis.call('HDEL', KEYS[1], field) end
end
if tonumber(ARGV[4]) > 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[4])
else
    redis.call('PERSIST', KEYS[1])
end
if KEYS[2] then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'progress', ARGV[6])
end
redis.call('PUBLISH', ARGV[3], ARGV[6])
return 1
"""

_encode = msgspec.json.Encoder().encode


def run_key(namespace: str, run_id: int) -> str:
    """The key of a run's hash, and the name of its channel."""
    return f"{namespace}:run:{run_id}"


def publication_key(namespace: str, publication_id: int) -> str:
    """The key of a publication's hash, and the name of its channel."""
    return f"{namespace}:publication:{publication_id}"


def events_key(namespace: str) -> str:
    """The key of the stream of every run's events."""
    return f"{namespace}:events"


def refresh_key(namespace: str) -> str:
    """The key that is there while everything was shown again a moment ago."""
    return f"{namespace}:refreshed"


def as_fields(progress: Progress) -> dict[str, Any]:
    """A run's progress as flat fields: what the hash holds, and each event as JSON.

    Unknown values are missing. `bots_done` is the sum of the four outcomes.
    """
    fields: dict[str, Any] = {
        "run_id": progress.run_id,
        "request_id": progress.request_id,
        "version": progress.version,
        "state": progress.state,
        "reason": _plain(progress.reason),
        **_wave(progress),
        "dry_run": int(progress.dry_run),
        "bots_total": progress.bots_total,
        "bots_done": progress.counts.bots,
        **msgspec.structs.asdict(progress.counts),
        "batches_total": progress.batches_total,
        "batches_done": progress.batches_done,
        "batches_failed": progress.batches_failed,
        "bots_per_s": progress.rate,
        "waiting": _plain(progress.waiting),
        "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
        "elapsed_s": progress.elapsed_s,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _wave(progress: Progress) -> dict[str, Any]:
    """The publication and the wave of a run that publishes one."""
    if progress.wave is None:
        return {}
    return {
        "publication": progress.wave.publication_id,
        "wave": progress.wave.number,
        "wave_label": _plain(progress.wave.label),
    }


def _plain(text: str | None) -> str | None:
    """Untrusted text, safe to print: it contains names that users chose."""
    return None if text is None else escape(text)


def publication_fields(one: Outline) -> dict[str, Any]:
    """A publication as flat fields: what its hash holds, and its channel as JSON.

    Unknown values are missing. Nothing of a bot is in it, and nothing that a person typed but the reason.
    """
    fields: dict[str, Any] = {
        "publication_id": one.publication_id,
        "request_id": one.request_id,
        "version": one.version,
        "state": one.state,
        "held_because": one.held_because,
        "reason": _plain(one.reason),
        "gate": one.gate,
        "bots_total": one.bot_count,
        "published": one.published,
        "skipped": one.skipped,
        "taken_back": one.taken_back,
        "waves_total": one.waves,
        "wave": one.wave,
        "wave_label": _plain(one.label),
        "wave_state": one.wave_state,
        "sentence": _plain(one.sentence),
        "looked_at": None if one.looked_at is None else one.looked_at.isoformat(),
        "created_at": one.created_at.isoformat(),
    }
    return {name: value for name, value in fields.items() if value is not None}


class RedisPublisher:
    """Publishes to Redis."""

    def __init__(
        self,
        client: redis.Redis,
        namespace: str,
        keep_s: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._keep_s = keep_s
        self._away = Away(clock)
        self._script = client.register_script(_PUBLISH)

    def publish(self, progress: Progress) -> bool:
        """Publish, unless Redis holds something newer or is unavailable."""
        if self._away.is_away:
            return False
        key = run_key(self._namespace, progress.run_id)
        try:
            return self._show(
                [key, events_key(self._namespace)], as_fields(progress), is_over=progress.is_over
            )
        except (redis.RedisError, OSError) as error:
            self._away.note()
            log.warning("progress.unpublished", run_id=progress.run_id, error=str(error))
            return False

    def publish_publication(self, one: Outline) -> bool:
        """The same for a publication: its hash and its channel, and no entry in the stream of runs."""
        if self._away.is_away:
            return False
        key = publication_key(self._namespace, one.publication_id)
        try:
            return self._show([key], publication_fields(one), is_over=one.is_over)
        except (redis.RedisError, OSError) as error:
            self._away.note()
            log.warning("progress.unpublished", publication_id=one.publication_id, error=str(error))
            return False

    def _show(self, keys: list[str], fields: dict[str, Any], *, is_over: bool) -> bool:
        flat = [part for name, value in fields.items() for part in (name, value)]
        arguments = [
            fields["request_id"],
            fields["version"],
            keys[0],
            self._keep_s if is_over else 0,
            EVENTS_KEPT,
            _encode(fields),
            *flat,
        ]
        return bool(self._script(keys=keys, args=arguments))

    def claim_refresh(self) -> bool:
        """Whether it falls to us to show everything again: to one in `REFRESH_S` seconds.

        By Redis's clock, since a worker's may be wrong. False also if Redis is unavailable.
        """
        try:
            return bool(
                self._client.set(
                    refresh_key(self._namespace), "1", nx=True, px=int(REFRESH_S * 1000)
                )
            )
        except (redis.RedisError, OSError):
            return False


class Ticker:
    """Lets one message per interval through, so that small batches do not drown the listeners.

    What is sent may take long to find: of a run of 100 million bots the progress is the sum of 200,000
    batches. So the interval grows until finding it takes `SHARE` of the time. An interval of 0 does
    not grow.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = self._pause_s = interval_s
        self._clock = clock
        self._last: float | None = None

    def is_due(self) -> bool:
        """Whether the interval has passed since this last said yes."""
        now = self._clock()
        if self._last is not None and now - self._last < self._pause_s:
            return False
        self._last = now
        return True

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Let the next message wait by how long the block takes, also if it fails."""
        began = self._clock()
        try:
            yield
        finally:
            if self._interval_s:
                self._pause_s = max(self._interval_s, (self._clock() - began) / SHARE)
