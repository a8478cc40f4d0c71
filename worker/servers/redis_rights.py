"""What a Redis user must be allowed to do, and whether it is.

Redis checks the rights of a command when it is queued in a transaction. So every command is queued,
and the transaction is discarded: nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import redis
from redis.exceptions import NoPermissionError

_COMMON: Final = ("ping", "info server", "evalsha 0 0", "script|load x", "script|exists 0")
_OF_A_HASH: Final = (
    *("hgetall KEY", "hmget KEY f", "hset KEY f v", "hkeys KEY", "hdel KEY f", "del KEY"),
    *("expire KEY 1", "persist KEY", "ttl KEY"),
)
_PROGRESS: Final[Mapping[str, tuple[str, ...]]] = {
    "run:0": _OF_A_HASH,
    "publication:0": _OF_A_HASH,
    "": ("scan 0",),
    "refreshed": ("set KEY v",),
    "events": ("xadd KEY * f v", "xtrim KEY maxlen 9"),
}
"""What is done with each key of the progress; `KEY` has its place. "" are commands without a key."""

_OF_A_QUEUE: Final = ("brpop KEY 1", "llen KEY", "lpush KEY v", "pexpire KEY 1", "del KEY")
_OF_A_BINDING: Final = ("exists KEY", "sadd KEY v", "srem KEY v", "del KEY")
_QUEUE: Final[Mapping[str, tuple[str, ...]]] = {
    "NAME": (*_OF_A_QUEUE, "rpush KEY v", "rpop KEY", "watch KEY"),
    "NAME\x06\x163": _OF_A_QUEUE,
    "NAME:publish": (*_OF_A_QUEUE, "rpush KEY v", "rpop KEY", "watch KEY"),
    "NAME:publish\x06\x163": _OF_A_QUEUE,
    "": ("time", "unwatch", "punsubscribe"),
    "x.NAME-control.pidbox": _OF_A_QUEUE,
    "x.reply.NAME-control.pidbox": _OF_A_QUEUE,
    "NAME-events.x": _OF_A_QUEUE,
    "unacked": ("hget KEY f", "hset KEY f v", "hdel KEY f"),
    "unacked_index": ("zadd KEY 1 v", "zrem KEY v", "zrange KEY 0 1"),
    "unacked_mutex": ("set KEY v", "get KEY", "pexpire KEY 1", "del KEY", "watch KEY"),
    "_kombu.binding.NAME": (*_OF_A_BINDING, "smembers KEY"),
    "_kombu.binding.celeryev": (*_OF_A_BINDING, "smembers KEY"),
    "_kombu.binding.NAME-control.pidbox": (*_OF_A_BINDING, "smembers KEY"),
    "_kombu.binding.reply.NAME-control.pidbox": (*_OF_A_BINDING, "smembers KEY"),
    "_kombu.binding_permanent.NAME": _OF_A_BINDING,
    "_kombu.binding_permanent.NAME-control.pidbox": _OF_A_BINDING,
    "_kombu.binding_permanent.reply.NAME-control.pidbox": _OF_A_BINDING,
    "_kombu.binding_deadlines": ("zadd KEY 1 v", "zrem KEY v", "zrangebyscore KEY 0 1"),
}
"""The same of Celery's keys, which have `queue:` in front; `NAME` is the namespace."""


class Rights(msgspec.Struct, frozen=True):
    """What flowshift asks of one Redis: its `progress`, Celery's `queue`, or both in the same."""

    namespace: str
    database: int = 0
    progress: bool = True
    queue: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """The patterns of keys.

        kombu asks whether a queue exists by its bare name, and by that with each priority: the name,
        the bytes 06 and 16, and 3, 6 or 9.
        """
        name = self.namespace
        return (f"{name}:*", name, f"{name}??[369]") if self.queue else (f"{name}:*",)

    @property
    def channels(self) -> tuple[str, ...]:
        """The patterns of channels. What is given to PSUBSCRIBE must be granted letter by letter."""
        prefix = f"{self.namespace}:queue:/{self.database}."
        subscribed = (f"{prefix}{self.namespace}-control.pidbox", f"{prefix}celeryev/*")
        return (f"{self.namespace}:*", *(subscribed if self.queue else ()))

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands, in the order of their use."""
        lines = ["multi", "exec", "discard", *_COMMON]
        lines += _all(_PROGRESS) if self.progress else ()
        lines += (*_all(_QUEUE), "psubscribe") if self.queue else ()
        return tuple(dict.fromkeys(line.split()[0] for line in (*lines, "publish")))

    def grant(self, user: str, lacking: Iterable[str] = ("~", "&")) -> str:
        """The line that gives `user` what is lacking: all commands, and keys or channels if one is.

        Redis refuses patterns for a user who has every key or channel, so they are not repeated.
        """
        kinds = {what[:1] for what in lacking}
        words = [f"~{pattern}" for pattern in self.keys if "~" in kinds]
        words += [f"&{pattern}" for pattern in self.channels if "&" in kinds]
        words += [f"+{command}" for command in self.commands]
        return f"ACL SETUSER {user} {' '.join(words)}"

    def attempts(self) -> Iterator[tuple[str, str, list[str]]]:
        """Commands to queue, each with the patterns of its key and its channel ("" for none)."""
        name, every = self.namespace, self.keys[0]
        lines = [(line, "") for line in _COMMON]
        if self.progress:
            lines += [(line, f"{name}:{key}") for key, done in _PROGRESS.items() for line in done]
        if self.queue:
            queues = {f"{name}:queue:{key.replace('NAME', name)}": d for key, d in _QUEUE.items()}
            lines += [(line, key) for key, done in queues.items() for line in done]
        for line, key in lines:
            command, *rest = line.replace("|", " ").split()
            yield every, "", [command, *(key if word == "KEY" else word for word in rest)]
        if self.queue:
            yield self.keys[1], "", ["exists", name]
            yield self.keys[2], "", ["exists", f"{name}\x06\x163"]
            yield "", every, ["publish", f"{name}:queue:/{self.database}.celeryev/x", ""]
            for pattern in self.channels[1:]:
                yield "", pattern, ["psubscribe", pattern]
        if self.progress:
            yield "", every, ["publish", f"{name}:run:0", ""]


def _all(done: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [line for lines in done.values() for line in lines]


def missing(client: redis.Redis, rights: Rights) -> tuple[str, ...]:
    """What the user of `client` may not do: commands (`+get`), keys (`~…`), channels (`&…`).

    Raises:
        redis.RedisError: the connection was lost.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        if _refusal(connection, ["multi"]):
            return ("+multi",)  # without it the others would be executed
        found: dict[str, None] = {}
        for key, channel, command in rights.attempts():
            if said := _refusal(connection, command):
                found[_lacking(said, key, channel, command)] = None
        if _refusal(connection, ["discard"]):
            found["+discard"] = None
        elif _refusal(connection, ["exec"]):  # outside of a transaction it does nothing
            found["+exec"] = None
        return tuple(found)
    finally:
        # This ends a transaction that could not be discarded.
        connection.disconnect()  # type: ignore[no-untyped-call]
        pool.release(connection)


def _lacking(said: str, key: str, channel: str, command: list[str]) -> str:
    if "to run the" in said:
        name = "|".join(command[:2]) if command[0] == "script" else command[0]
        return f"+{name}"
    return f"&{channel}" if "channel" in said else f"~{key}"


def _refusal(connection: redis.connection.AbstractConnection, command: list[str]) -> str:
    """What Redis says where the user has no right to `command`; other refusals do not matter here."""
    connection.send_command(*command)  # type: ignore[no-untyped-call]
    try:
        connection.read_response()
    except redis.ResponseError as error:
        # EXEC says it within another error.
        refused = isinstance(error, NoPermissionError) or "NOPERM" in str(error)
        return str(error) if refused else ""
    return ""
