"""Read a bot's draft for an editor, and write the corrected graph back."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.codes import Issue, quote
from worker.core.targets.detect import AUTO
from worker.core.targets.registry import TARGETS
from worker.core.workflow import draft_file
from worker.core.workflow.draft_file import NO_DRAFT, Origin
from worker.db import audit, drafts, versions
from worker.db.engine import map_database_errors
from worker.errors import BotError, ChangedError, NotFoundError, TransientError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.target import choose_target
from worker.steps.versions import bot
from worker.steps.versions.bot import Bot, need_draft_not_live, not_stored
from worker.steps.versions.publications import note_on_draft

log = get_logger(__name__)


class Written(msgspec.Struct, frozen=True):
    """What became of a graph that a person wrote.

    With `issues` nothing was written. `changed` is false if the draft held it already. `note` says
    what a publication makes of it, None if nothing.
    """

    bot_id: str
    target: str
    before: str
    state: str
    changed: bool
    issues: tuple[Issue, ...] = ()
    note: str | None = None


def read_draft(engine: sa.Engine, bot_id: str) -> bytes:
    """A bot's draft as the file that `write_draft` takes. Locks nothing.

    Raises:
        UsageError: there is no such bot, it has no draft, or one that is too large.
        TransientError: the database was unavailable, or the draft was being replaced.
    """
    with map_database_errors(), engine.connect() as connection:
        draft = bot.read(connection, bot_id).draft
        if draft is None:
            raise NotFoundError(f"bot {quote(bot_id)} has no draft: `flowshift migrate` writes one")
        try:
            graph, state = versions.graph(connection, draft.version_id)
        except LookupError:
            raise TransientError(f"the draft of {quote(bot_id)} was just deleted") from None
    if graph is None:
        raise UsageError(
            f"the draft of {quote(bot_id)} has over {drafts.MAX_GRAPH_BYTES:,} bytes of JSON"
        )
    return draft_file.write(graph, Origin(bot_id, state))


def draft_state(engine: sa.Engine, bot_id: str) -> str:
    """The state of a bot's draft, as `write_draft` takes it: `none` if there is none. Locks nothing.

    Raises:
        NotFoundError: there is no such bot.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        draft = bot.read(connection, bot_id).draft
    return NO_DRAFT if draft is None else draft.state


def write_draft(
    current: Runtime,
    bot_id: str,
    text: bytes,
    *,
    actor: str,
    reason: str | None = None,
    asked: str | None = None,
    state: str | None = None,
    live_drafts: bool = False,
) -> Written:
    """Write the graph in a file into a bot's draft: a person's edit, which runs keep.

    `state` is the draft's state where the file does not say it; `none` for a bot without a draft. In
    one transaction with its line in the audit trail. Repeated, it is refused: the state has changed.

    Raises:
        UsageError: the draft is not the one that the file was made from, or may be live.
        TransientError: the database was unavailable, or another session keeps the draft locked.
    """
    try:
        given = draft_file.read(text)
    except BotError as error:
        return Written(bot_id, asked or AUTO, "", "", False, (Issue(error.code, "", str(error)),))
    expected = _expected(bot_id, given.origin, state)
    with map_database_errors(), current.engine.connect() as connection:
        target = TARGETS[choose_target(connection, asked, current.settings.target).target]
    issues = target.check(given.graph, current.registry_of(target))
    if issues:
        return Written(bot_id, target.name, expected, expected, False, tuple(issues))
    with map_database_errors(), current.engine.begin() as connection:
        found = bot.read(connection, bot_id, lock=True)
        need_draft_not_live(found, live_drafts=live_drafts)
        _need_state(found, expected)
        after = _write(connection, found, given.graph)
        note = None
        if after != expected:
            note = note_on_draft(connection, bot_id)
            detail = {"bot_id": bot_id, "before": expected, "after": after}
            audit.record(connection, None, actor, "draft.written", reason, detail)
    if after != expected:
        log.info("draft.written", actor=actor, bot_id=bot_id, before=expected, after=after)
    return Written(bot_id, target.name, expected, after, after != expected, note=note)


def _expected(bot_id: str, origin: Origin | None, state: str | None) -> str:
    if origin is not None and origin.bot_id != bot_id:
        raise UsageError(
            f"the file was made from the draft of {quote(origin.bot_id)}, not of {quote(bot_id)}"
        )
    if state is not None:
        return state
    if origin is None:
        raise UsageError(
            "the file does not say which draft it was made from: begin with the file that"
            f" `flowshift draft` prints, or give the state in its key {draft_file.KEY} as --state"
        )
    return origin.state


def _need_state(found: Bot, expected: str) -> None:
    now = found.draft.state if found.draft else NO_DRAFT
    if now != expected:
        raise ChangedError(
            f"the draft of {quote(found.bot_id)} changed since it was read (it was {quote(expected)},"
            f" it is {quote(now)}): nothing was written; read it again with `flowshift draft`"
        )


def _write(connection: sa.Connection, found: Bot, graph: bytes) -> str:
    if found.draft is not None:
        after = versions.write(connection, found.draft.version_id, graph)
    else:
        if not drafts.insert_drafts(connection, [(found.bot_id, graph)]):
            raise ChangedError(
                f"bot {quote(found.bot_id)} has got a draft in the meantime, or another version is"
                " called draft: nothing was written; look with `flowshift versions`"
            )
        made = bot.read(connection, found.bot_id).draft
        after = None if made is None else versions.write(connection, made.version_id, graph)
    if after is None:
        raise not_stored(found.bot_id, "the draft")
    return after
