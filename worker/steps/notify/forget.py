"""Forget a channel that is in no file any more: what waits for it is given up, and not stuck."""

from __future__ import annotations

import msgspec

from worker.channels import config
from worker.core.codes import quote
from worker.db import audit
from worker.db import channels as database
from worker.db.engine import map_database_errors
from worker.errors import ConflictError, NotFoundError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.settings.toml_file import did_you_mean

log = get_logger(__name__)


class Forgotten(msgspec.Struct, frozen=True):
    """A channel that is forgotten, and how many notifications waited for it."""

    channel: str
    given_up: int


def forget_channel(current: Runtime, name: str, *, actor: str, reason: str | None) -> Forgotten:
    """Forget a channel, in one transaction; what it got before stays on record.

    A process whose file still has the channel makes it known again, from then on.

    Raises:
        ConflictError: the file of channels here still has it.
        NotFoundError: there is no such channel, also if it was forgotten before.
        ConfigError: the file of the channels is wrong.
        TransientError: the database was unavailable.
    """
    path = current.settings.notify_path
    if path is not None and config.load(path).named(name) is not None:
        raise ConflictError(
            f"the channel {quote(name)} is in {path}: remove it there, start the beat again, then forget it"
        )
    with map_database_errors(), current.engine.begin() as connection:
        known = database.names(connection)
        if name not in known:
            hint = did_you_mean(name, known) or (
                f". There are: {', '.join(known)}" if known else ""
            )
            raise NotFoundError(f"there is no channel {quote(name)}{hint}")
        given_up = database.forget(connection, name)
        detail = {"channel": name, "given_up": given_up}
        audit.record(connection, None, actor, "channel.forgotten", reason, detail)
    log.info("channel.forgotten", channel=name, notifications=given_up, actor=actor)
    return Forgotten(name, given_up)
