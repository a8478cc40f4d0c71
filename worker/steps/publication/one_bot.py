"""Publish the draft of one bot: a publication of that bot alone."""

from __future__ import annotations

import uuid

from worker.core.codes import MEANINGS, quote
from worker.core.publication.sizes import ALL
from worker.core.publication.waves import Wishes
from worker.db.engine import map_database_errors
from worker.db.publication.waves import Options
from worker.errors import BotError, ConflictError
from worker.runtime import Runtime
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted, look
from worker.steps.target import choose_target
from worker.steps.versions import bot
from worker.steps.versions.read import find_version

READY = "ready"


def publish_bot(
    current: Runtime, bot_id: str, which: str, *, actor: str, request_id: str | None
) -> tuple[Going, uuid.UUID]:
    """Begin to publish a bot's draft, named by its id or as `draft`; (the publication, the draft's id).

    On repeat with the same `request_id` nothing new begins, and the first publication is returned.

    Raises:
        ConflictError: the version is not the draft, or another request has this id.
        NotFoundError: there is no such bot or version.
        BotError: the draft would not be published as it stands; the code says why.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), current.engine.connect() as connection:
        version = find_version(bot.read(connection, bot_id), which)
        target = choose_target(connection, None, current.settings.target).target
    if version.status != "draft":
        raise ConflictError(
            f"{quote(version.version)} of bot {quote(bot_id)} is {version.status}: only the draft can be"
            " published; to publish this content again, restore it into the draft first"
        )
    wanted = Wanted(
        bot_ids=(bot_id,), steps=(ALL,), wishes=Wishes(), options=Options(target=target)
    )
    if request_id is not None:
        known = control.of_request(current.engine, wanted, request_id)
        if known is not None:
            return known, version.version_id
    _need_ready(current, wanted, bot_id)
    going = control.publish(
        current, wanted, request_id=request_id or str(uuid.uuid4()), actor=actor
    )
    return going, version.version_id


def _need_ready(current: Runtime, wanted: Wanted, bot_id: str) -> None:
    """Refuse at once what the publication would skip."""
    for code in look(current, wanted).codes:
        if code != READY:
            why = MEANINGS.get(code, code)
            raise BotError(code, f"the draft of {quote(bot_id)} would not be published: {why}")
