"""Send one message to one channel, whatever kind that is."""

from __future__ import annotations

from worker.channels import apprise, http
from worker.channels.config import ChannelConfig, Channels, secrets_of
from worker.core.notify.message import Message, apprise_note, slack_body
from worker.core.notify.retry import Answer
from worker.core.notify.webhook import body_of, headers
from worker.errors import ConfigError
from worker.providers.loop import LoopThread

SLACK_OK = b"ok"
"""What Slack answers with a 200; anything else there is another server."""


def send(
    loop: LoopThread,
    channels: Channels,
    one: ChannelConfig,
    message: Message,
    *,
    now_s: int,
    timeout_s: float = http.TIMEOUT_S,
) -> Answer:
    """Try once; what came of it, in words that hold no secret.

    It takes no longer than `timeout_s`, and through Apprise ten seconds more. `now_s` is the time of the
    try in seconds since 1970, which a webhook's signature covers.
    """
    try:
        secrets = secrets_of(channels, one)
    except ConfigError as error:
        return Answer("failed", str(error))
    if one.kind == "apprise":
        return apprise.send(secrets.url, apprise_note(message), timeout_s=timeout_s)
    if one.kind == "slack":
        body = slack_body(message)
        given = {"content-type": "application/json"}
        return http.post(loop, secrets.url, body, given, expects=SLACK_OK, timeout_s=timeout_s)
    body = body_of(message)
    signed = headers(secrets.keys, message.message_id, now_s, body)
    return http.post(loop, secrets.url, body, signed, timeout_s=timeout_s)
