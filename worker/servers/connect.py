"""PostgreSQL, Redis and the queue: by URL where one is given, else started in the data directory.

Every server that is returned here has answered and is new enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
import redis

from worker.db.engine import check_server, create_engine, database_url
from worker.errors import ConfigError
from worker.queue import rabbitmq
from worker.servers import embedded
from worker.servers.redis_rights import Rights, missing
from worker.settings import Settings

REDIS_SETTING = "FLOWSHIFT_REDIS_URL"
OLDEST_REDIS = (6, 0)
_ALL_RIGHTS = Rights("flowshift")


class Servers(msgspec.Struct, frozen=True):
    """URLs of the servers, as psycopg, redis-py and py-amqp read them. They hold passwords.

    `queue_url` is empty if the queue is in the same Redis as the progress.
    """

    database_url: str
    redis_url: str
    queue_url: str = ""

    @property
    def broker_url(self) -> str:
        """The queue as Celery's transport reads it."""
        if self.has_rabbitmq:
            return rabbitmq.without_query(self.queue_url)
        try:
            return broker_url(self.queue_url or self.redis_url)
        except ConfigError as error:
            if not self.queue_url:
                raise
            raise ConfigError(_EXPECTED_QUEUE, setting=rabbitmq.SETTING) from error

    @property
    def has_rabbitmq(self) -> bool:
        """Whether the queue is RabbitMQ's."""
        return rabbitmq.is_meant_by(self.queue_url)


class Connections:
    """Keeps started servers alive while a process needs them; a context manager, or `close`."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def resolve(self, settings: Settings) -> Servers:
        """The servers of `settings`; those without a URL are started, or joined.

        Raises:
            ConfigError: they cannot be started.
        """
        if settings.database_url and settings.redis_url:
            return Servers(settings.database_url, settings.redis_url, settings.broker_url)
        attachment = self._stack.enter_context(embedded.attach(settings.data_path))
        started = attachment.endpoints
        return Servers(
            settings.database_url or started.database_url,
            settings.redis_url or started.redis_url,
            settings.broker_url,
        )

    def close(self) -> None:
        """Leave the servers that were started; the last to leave stops them."""
        self._stack.close()


@contextmanager
def database_for_command(settings: Settings) -> Iterator[str]:
    """The URL of the database for the time of a command, started if need be."""
    connections = Connections()
    try:
        yield settings.database_url or connections.resolve(settings).database_url
    finally:
        connections.close()


def check(servers: Servers, settings: Settings) -> None:
    """Connect to every server once.

    Raises:
        ConfigError: one cannot be reached or is too old; names the setting, never the password.
    """
    check_database(servers.database_url, settings)
    check_redis_and_queue(servers, settings)


def check_database(url: str, settings: Settings) -> None:
    """Connect to PostgreSQL once; ConfigError if that fails or it is older than 13."""
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=settings.lock_timeout_ms,
        statement_timeout_ms=settings.statement_timeout_ms,
        application_name="flowshift check",
    )
    try:
        check_server(engine)
    finally:
        engine.dispose()


def check_redis_and_queue(servers: Servers, settings: Settings) -> None:
    """Connect to Redis and to the queue once; ConfigError if one cannot be used."""
    for url, setting, rights in _each_redis(servers, settings):
        check_redis(url, setting=setting, rights=rights)
    if servers.has_rabbitmq:
        rabbitmq.check(servers.queue_url)


def check_rights(servers: Servers, settings: Settings) -> None:
    """Refuse what no waiting repairs: a Redis that is too old, a cluster, or a user without rights.

    For the beat and Flower, which wait for a server that is unavailable.

    Raises:
        ConfigError: names the setting, and the line that grants what is missing.
    """
    for url, setting, rights in _each_redis(servers, settings):
        try:
            check_redis(url, setting=setting, rights=rights)
        except ConfigError as error:
            if not _is_away(error.__cause__):
                raise


def _each_redis(servers: Servers, settings: Settings) -> Iterator[tuple[str, str, Rights]]:
    """The URL of each Redis, its setting, and what flowshift does there."""
    is_apart = bool(servers.queue_url)
    yield servers.redis_url, REDIS_SETTING, Rights(settings.namespace, queue=not is_apart)
    if is_apart and not servers.has_rabbitmq:
        yield servers.queue_url, rabbitmq.SETTING, Rights(settings.namespace, progress=False)


def _is_away(cause: BaseException | None) -> bool:
    if isinstance(cause, redis.AuthenticationError):
        return False
    return isinstance(cause, redis.ConnectionError | redis.TimeoutError | OSError)


def check_redis(url: str, *, setting: str = REDIS_SETTING, rights: Rights = _ALL_RIGHTS) -> None:
    """Connect to Redis once.

    Raises:
        ConfigError: that fails, it is older than 6 or a cluster, or the user lacks one of `rights`.
    """
    try:
        place = redis_place(url)
    except ConfigError as error:
        if setting == REDIS_SETTING:
            raise
        raise ConfigError(_EXPECTED_QUEUE, setting=setting) from error
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            user = str(_read_redis_url(url).get("username") or "default")
            refuse_missing_rights(client, rights, place, user=user, setting=setting)
            version = str(client.info("server")["redis_version"])
            is_cluster = bool(client.info("cluster").get("cluster_enabled"))
    except (redis.RedisError, OSError, ValueError) as error:
        raise ConfigError(f"cannot use {place}: {_reason(error)}", setting=setting) from error
    refuse_old_redis(version, place, setting=setting)
    if is_cluster:
        raise ConfigError(
            f"{place} is in cluster mode, in which Celery's queues do not work: use a single Redis "
            "(with replicas, if wanted), or RabbitMQ as the queue and a single Redis for the progress",
            setting=setting,
        )


def refuse_missing_rights(
    client: redis.Redis, rights: Rights, place: str, *, user: str, setting: str
) -> None:
    """Raise ConfigError, with the line that grants them, where `user` lacks any of `rights`."""
    database = int(client.connection_pool.connection_kwargs.get("db") or 0)
    rights = msgspec.structs.replace(rights, database=database)
    if lacking := missing(client, rights):
        raise ConfigError(
            f"{place}: the ACL of the user {user} lacks {' '.join(lacking)}; grant what flowshift "
            f"needs, on Redis: {rights.grant(user, lacking)}",
            setting=setting,
        )


def refuse_old_redis(version: str, place: str, *, setting: str = REDIS_SETTING) -> None:
    """Raise ConfigError for a Redis older than 6.

    >>> refuse_old_redis("5.0.14", "Redis at cache:6379")
    Traceback (most recent call last):
    ...
    worker.errors.ConfigError: FLOWSHIFT_REDIS_URL: Redis at cache:6379 is version 5.0.14; \
6 or newer is needed
    """
    numbers = re.findall(r"\d+", version)
    if tuple(int(number) for number in numbers[:2]) < OLDEST_REDIS:
        message = f"{place} is version {version}; {OLDEST_REDIS[0]} or newer is needed"
        raise ConfigError(message, setting=setting)


def redis_place(url: str) -> str:
    """Where a Redis URL leads, for people, without credentials.

    Raises:
        ConfigError: it is no Redis URL. The message never repeats it.

    >>> redis_place("rediss://me:secret@cache:6380/2"), redis_place("unix:///run/redis.sock?db=1")
    ('Redis at cache:6380, database 2', 'Redis at /run/redis.sock, database 1')
    """
    given = _read_redis_url(url)
    where = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
    return f"Redis at {where}, database {given.get('db', 0)}"


def broker_url(redis_url: str) -> str:
    """A Redis URL as Celery's transport reads it: the same server, user and database.

    Sockets have another scheme there; it stumbles over parameters it does not know (time-outs are
    among its settings in `worker.app`); and TLS is not verified unless asked for (kombu's default is
    CERT_NONE; redis-py's, which reads the same setting, is to verify).

    >>> broker_url("unix:///run/redis.sock?db=3"), broker_url("rediss://cache/0")
    ('redis+socket:///run/redis.sock?virtual_host=3', 'rediss://cache:6379/0?ssl_cert_reqs=required')
    >>> broker_url("redis://:p%40ss@cache?db=2&socket_timeout=5")
    'redis://:p%40ss@cache:6379/2'

    Raises:
        ConfigError: it is no Redis URL.
    """
    given = _read_redis_url(redis_url)
    parts = urlsplit(redis_url)
    user, password = (quote(str(given.get(name, "")), safe="") for name in ("username", "password"))
    credentials = f"{user}:{password}@" if user or password else ""
    database = given.get("db", 0)
    if parts.scheme == "unix":
        return f"redis+socket://{credentials}{quote(given['path'])}?virtual_host={database}"
    host = parts.hostname or "localhost"
    where = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{credentials}{where}:{given.get('port', 6379)}/{database}"
    if parts.scheme == "redis":
        return url
    query = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    return f"{url}?{urlencode({'ssl_cert_reqs': 'required', **query})}"


_EXPECTED = (
    "it should hold a Redis URL, such as redis://:password@host:6379/0, rediss://… or "
    "unix:///path/redis.sock?db=0"
)

_EXPECTED_QUEUE = (
    "it should hold a URL of RabbitMQ, such as amqp://user:password@host:5672/vhost, or of Redis"
)


def _read_redis_url(url: str) -> dict[str, Any]:
    """What redis-py reads in a URL: `host` and `port` or `path`, `db`, `username`, `password`…

    Raises:
        ConfigError: it is no Redis URL, or has a parameter that redis-py does not know.
    """
    try:
        pool = redis.ConnectionPool.from_url(url)
        pool.make_connection()  # which refuses what it does not know, and connects nowhere yet
    except ValueError:
        # Not chained: the parser's messages repeat parts of the URL.
        raise ConfigError(_EXPECTED, setting=REDIS_SETTING) from None
    except (TypeError, redis.RedisError) as error:
        reason = str(error).rpartition("() got an ")[2]
        raise ConfigError(f"its parameters are wrong: {reason}", setting=REDIS_SETTING) from error
    given: dict[str, Any] = pool.connection_kwargs
    parts = urlsplit(url)
    if parts.scheme == "unix":
        misread = "path" not in given
    else:  # redis-py takes database 0 where it cannot read the number
        misread = bool(parts.path.strip("/")) and "db" not in given
    if misread:
        raise ConfigError(_EXPECTED, setting=REDIS_SETTING)
    return given


def _reason(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return "; ".join(line for line in lines if line) or type(error).__name__
