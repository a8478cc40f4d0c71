"""RabbitMQ as the queue, where FLOWSHIFT_BROKER_URL says so: reading its URL, Celery's settings.

Quorum queues: durable, replicated in a cluster, and without the global prefetch that
they do not know. Publishers wait for the broker's word that it has a message.
"""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import amqp

from worker.errors import ConfigError
from worker.queue.names import celery_queues

SETTING = "FLOWSHIFT_BROKER_URL"
OLDEST = (3, 10)

_SCHEMES = frozenset({"amqp", "amqps"})
_TLS_PARAMETERS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_EXPECTED = "it should hold a URL such as amqp://user:password@host:5672/vhost or amqps://…"

ERRORS = (amqp.AMQPError, amqp.exceptions.MessageNacked, OSError)
"""What is raised while RabbitMQ does not answer, or refuses."""


def is_meant_by(url: str) -> bool:
    """Whether this is a URL of RabbitMQ's.

    >>> is_meant_by("amqp://queue"), is_meant_by("redis://cache")
    (True, False)
    """
    return urlsplit(url).scheme in _SCHEMES


def without_query(url: str) -> str:
    """The URL as kombu reads it; what its query says is in `celery_settings`."""
    return _read(url)._replace(query="").geturl()


def place(url: str) -> str:
    """Where a URL leads, for people, without credentials.

    >>> place("amqp://me:secret@queue.example/bots")
    'RabbitMQ at queue.example:5672, virtual host bots'
    """
    host, port, virtual_host = _where(_read(url))
    return f"RabbitMQ at {host}:{port}, virtual host {virtual_host}"


def celery_settings(url: str, namespace: str) -> dict[str, Any]:
    """What is different in Celery's settings where the queue is RabbitMQ's."""
    parts = _read(url)
    return {
        "broker_use_ssl": _tls(parts) or None,
        "broker_connection_timeout": 5,
        "broker_heartbeat": 15,
        "broker_transport_options": {
            "confirm_publish": True,
            "confirm_timeout": 10,
            # A connection that was lost without a close does not block a process forever: neither the
            # beat, which waits for the broker's answer, nor a caller that closes it.
            "read_timeout": 10,
            "write_timeout": 10,
            # Sending while it is unavailable fails at once, as with Redis.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
            "connect_retries_timeout": 1,
        },
        "task_default_queue_type": "quorum",
        "task_default_exchange_type": "direct",
        "task_queues": celery_queues(namespace, quorum=True),
        "worker_detect_quorum_queues": True,
        "worker_consumer": "worker.queue.consumer:Consumer",
        "event_exchange": f"{namespace}-events",
        "event_queue_exclusive": True,
        # RabbitMQ keeps an exclusive queue for a connection that is half open until it notices: a
        # worker that reconnects would meet its own lock there, and exit. These end 10 s after use.
        "control_queue_exclusive": False,
        "control_queue_durable": True,
    }


def check(url: str) -> None:
    """Connect once.

    Raises:
        ConfigError: that failed, or the server is older than 3.10; never names the password.
    """
    parts = _read(url)
    host, port, virtual_host = _where(parts)
    connection = amqp.Connection(
        f"{host}:{port}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=virtual_host,
        ssl=_tls(parts) or False,
        connect_timeout=5,
        read_timeout=5,
    )
    try:
        connection.connect()
        version = str(connection.server_properties.get("version", ""))  # type: ignore[attr-defined]
        connection.close()
    except ERRORS as error:
        said = "; ".join(str(error).split("\n")) or type(error).__name__
        raise ConfigError(f"cannot use {place(url)}: {said}", setting=SETTING) from error
    refuse_old(version, place(url))


def refuse_old(version: str, where: str) -> None:
    """Raise ConfigError for a RabbitMQ older than 3.10.

    >>> refuse_old("3.8.9", "RabbitMQ at queue:5672")
    Traceback (most recent call last):
    ...
    worker.errors.ConfigError: FLOWSHIFT_BROKER_URL: RabbitMQ at queue:5672 is version 3.8.9; \
3.10 or newer is needed
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise ConfigError(f"{where} is version {version}; 3.10 or newer is needed", setting=SETTING)


def _read(url: str) -> SplitResult:
    """The parts of a URL; ConfigError, which never repeats it, where it is none of RabbitMQ's."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(_EXPECTED, setting=SETTING) from None
    if parts.scheme not in _SCHEMES:
        raise ConfigError(_EXPECTED, setting=SETTING)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _TLS_PARAMETERS or parts.scheme != "amqps":
            raise ConfigError(
                f"it has the parameter {name!r}; only amqps:// takes any, and of these "
                f"{', '.join(sorted(_TLS_PARAMETERS))}",
                setting=SETTING,
            )
    return parts


def _where(parts: SplitResult) -> tuple[str, int, str]:
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    return parts.hostname or "127.0.0.1", port, unquote(parts.path[1:]) or "/"


def _tls(parts: SplitResult) -> dict[str, Any]:
    """TLS for py-amqp, which by default verifies no certificate; empty without TLS."""
    if parts.scheme != "amqps":
        return {}
    given = {name.removeprefix("ssl_"): value for name, value in parse_qsl(parts.query)}
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **given}
