"""Message validation: which messages a worker accepts.

A process that can write to the queue can send anything. What is no message of ours is refused here, in a
worker's main process, before anything of it is decoded, unpacked or handed to a child: logged once as
`message.refused`, without its content, and gone.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import kombu
import kombu.compression
import msgspec
from celery.worker import consumer
from kombu import Message
from vine import promise as new_promise

from worker.core.storable import INT4_MAX, INT8_MAX, unstorable, unstorable_within
from worker.log import get_logger, hide_credentials

log = get_logger(__name__)

MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest body of a message: some 200,000 bot ids. A longer list belongs into `--bots-from`."""

OURS: Final = "flowshift."

_JSON: Final = ("application/json", "application/x-json")
_LARGEST: Final = {"batch": INT4_MAX}
"""The largest numbers that arguments may have, where that is not int8's: all are numbers of rows."""

LONGEST_ID: Final = 500
"""Longest id of a message in characters; it becomes a request id, which an index holds."""

# What a malformed message makes Celery or kombu raise, as against a fault of the connection.
_MALFORMED: Final = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


class Headers(msgspec.Struct, frozen=True):
    """Those headers of a message that Celery trusts to be what they should be."""

    task: str
    id: str
    root_id: str | None = None
    parent_id: str | None = None
    retries: int | None = None
    timelimit: tuple[float | None, float | None] | None = None
    eta: str | None = None
    expires: str | float | None = None


class Consumer(consumer.Consumer):
    """Celery's consumer, with validation of each message before it is decoded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop = _outliving(self.loop)  # type: ignore[has-type]

    def connect(self) -> kombu.Connection:
        """Connect to the queue; what the connection tells of itself names no password.

        The queue takes it to every process that asks for a worker's statistics: to Flower's page of the
        worker. Celery takes the password out, but for a socket kombu holds the whole URL as the host.
        """
        connection = super().connect()
        tell = connection.info

        def info() -> dict[str, Any]:
            found = dict(tell())
            return {**found, "hostname": hide_credentials(str(found["hostname"]))}

        connection.info = info  # type: ignore[method-assign]
        return connection

    def create_task_handler(self, promise: Any = new_promise) -> Callable[[Message], None]:
        """What is called with every message of the queue."""
        take = super().create_task_handler(promise)

        def receive(message: Message) -> None:
            reason = refusal(message, self.app.tasks)
            if reason is None:
                try:
                    take(message)
                except _MALFORMED as error:
                    reason = f"its headers are wrong: {type(error).__name__}"
            if reason is not None:
                self._refuse(message, reason)

        return receive

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Called for a message that kombu could not open."""
        self._refuse(message, f"it cannot be opened: {exc}")

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """Called for a message that is no task's, as far as Celery can tell."""
        self._refuse(message, f"Celery does not take it: {type(exc).__name__}")

    def _refuse(self, message: Message, reason: str) -> None:
        log.error(
            "message.refused",
            reason=reason,
            name=_short(message.headers.get("task")),
            message_id=_short(message.headers.get("id")),
            octets=_octets(message),
        )
        message.reject_log_error(log, self.connection_errors)  # type: ignore[attr-defined]


def refusal(message: Message, tasks: Mapping[str, Any]) -> str | None:
    """Why a message is not taken; None if it is."""
    try:
        headers = msgspec.convert(message.headers, Headers)
    except msgspec.ValidationError as error:
        return f"its headers are wrong: {error}"
    if not headers.task.startswith(OURS) or headers.task not in tasks:
        return "it names no task of flowshift's"
    return _unreadable(message, headers) or _wrong_body(message, tasks[headers.task].run)


def _unreadable(message: Message, headers: Headers) -> str | None:
    if unstorable(headers.id) or len(headers.id) > LONGEST_ID:
        return "its id is no text that can be kept"
    if message.content_type not in _JSON:
        return f"its content is {_short(message.content_type)}, and only JSON is taken"
    if _octets(message) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES:,} bytes"
    return None


def _wrong_body(message: Message, run: Callable[..., Any]) -> str | None:
    try:
        args, kwargs, _ = msgspec.json.decode(
            message.body or b"", type=tuple[list[Any], dict[str, Any], Any]
        )
    except (msgspec.DecodeError, TypeError, RecursionError):  # or a body that is no text
        return "its body is not the JSON of a task"
    if why := unstorable_within([args, kwargs]):
        return f"a text in it cannot be kept: {why}"
    return _misfit(run, args, kwargs)


def _misfit(run: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> str | None:
    """Which argument a task would stumble over, by the types that it is declared with."""
    try:
        given = inspect.signature(run).bind(*args, **kwargs)
    except TypeError:  # which repeats untrusted names
        return "its arguments are not those of the task"
    hints = typing.get_type_hints(run)
    for name, value in given.arguments.items():
        try:
            fits = msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as error:
            return f"its argument {name} is wrong: {error}"
        if isinstance(fits, int) and not 1 <= fits <= _LARGEST.get(name, INT8_MAX):
            return f"its argument {name} is wrong: it is out of range"
    return None


def _outliving(loop: Callable[..., None]) -> Callable[..., None]:
    """The worker's loop, with a new connection where what came from the queue is no message at all.

    kombu took it from the queue and stumbled over its envelope; by default the worker would exit.
    """

    def run(*args: Any) -> None:
        try:
            loop(*args)
        except _MALFORMED as error:
            log.exception("queue.stumbled", error=type(error).__name__)
            raise ConnectionResetError("reconnecting after what was no message") from error

    return run


def _octets(message: Message) -> int:
    """How long its body is: bytes, or any other object."""
    return len(message.body) if isinstance(message.body, bytes | str) else 0


def _short(value: object) -> str:
    return str(value)[:100]


def _refuse_compression(_: object) -> NoReturn:
    raise ValueError("it is compressed")


def _open_nothing() -> None:
    """Unpack no message: a few kilobytes may hold gigabytes."""
    for content_type in kombu.compression.encoders():
        kombu.compression.register(_refuse_compression, _refuse_compression, content_type)


_open_nothing()
