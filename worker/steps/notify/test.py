"""Send a test to channels, at once and with no server of ours: what each answered is the result."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable

import msgspec

from worker.channels import config
from worker.channels.config import ChannelConfig, Channels
from worker.channels.send import send
from worker.core.notify.message import Message
from worker.core.notify.retry import Answer
from worker.errors import UsageError
from worker.providers.loop import LoopThread
from worker.settings import Settings
from worker.settings.toml_file import did_you_mean


class Tested(msgspec.Struct, frozen=True):
    """A channel, and what it answered."""

    channel: str
    kind: str
    answer: Answer


def send_test(
    settings: Settings,
    name: str | None,
    *,
    actor: str,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> list[Tested]:
    """Send one message to the channel of that name, or to every one; the database has no part in it.

    Raises:
        UsageError: no channel is configured, or none of that name.
        ConfigError: the file of the channels is wrong.
    """
    channels = _configured(settings)
    chosen = channels.all if name is None else (_named(channels, name),)
    loop = LoopThread()
    try:
        message = _message(settings, actor, now())
        now_s = int(now().timestamp())
        return [
            Tested(one.name, one.kind, send(loop, channels, one, message, now_s=now_s))
            for one in chosen
        ]
    finally:
        loop.close()


def _configured(settings: Settings) -> Channels:
    if settings.notify_path is None:
        raise UsageError(
            f"no channel is configured: {config.SETTING} names the file that says which, see"
            " docs/how-to/notifications.md"
        )
    return config.load(settings.notify_path)


def _named(channels: Channels, name: str) -> ChannelConfig:
    one = channels.named(name)
    if one is None:
        hint = did_you_mean(name, channels.names) or f". There are: {', '.join(channels.names)}"
        raise UsageError(f"there is no channel {name!r}{hint}")
    return one


def _message(settings: Settings, actor: str, now: dt.datetime) -> Message:
    base = settings.web_url.rstrip("/")
    return Message(
        message_id=f"msg_{uuid.uuid4().hex}",
        kind="test",
        level="info",
        title="This is a test: notifications arrive here",
        reason=f"sent by {actor}",
        next_step="flowshift notify list",
        page=f"{base}/" if base else None,
        happened_at=f"{now.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
        age_s=0.0,
        repeats=0,
        source=settings.namespace,
    )
