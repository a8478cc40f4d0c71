"""Execute one bot's draft on one message, and V1 beside it; recorded only where that is asked for."""

from __future__ import annotations

import time
import uuid

import msgspec
import sqlalchemy as sa

from worker.core.codes import parse_differences
from worker.core.parity.compare import Parity
from worker.core.parity.recording import SESSION_OF_TEST, as_row
from worker.core.parity.side_by_side import prepare, refused
from worker.core.parity.trial import Compared, Equipment, Executed, run_both
from worker.core.printable import escape
from worker.core.targets.convert import convert_text
from worker.core.targets.registry import TARGETS
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.db import recordings
from worker.db.engine import map_database_errors
from worker.db.inspect import BotView
from worker.db.row_ids import Source
from worker.errors import BotError, UsageError
from worker.runtime import Runtime
from worker.steps import find
from worker.steps.examine import target_to_try


class Tried(msgspec.Struct, frozen=True):
    """A bot's trial, and whether its draft was `stored` or was `converted` for it.

    `target` is the one whose engine executed it, `platform` the platform's. `graph` is the stored draft
    that was executed, `began` the reading of `time.perf_counter` before.
    """

    bot_id: str
    draft: str
    compared: Compared
    target: str
    platform: str
    graph: str | None = None
    began: float = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether the draft is for another target than the platform's."""
        return self.target != self.platform

    @property
    def is_good(self) -> bool:
        """Whether V2 answered, not differently from V1, and as this platform does."""
        answered = self.compared.v2.error is None and self.compared.parity.same is not False
        return answered and not self.is_stale


def try_bot(
    view: BotView,
    message: str,
    defaults: Defaults,
    equipment: Equipment,
    platform: str,
    session_id: str = SESSION_OF_TEST,
) -> Tried:
    """Execute a bot's draft, or its conversion if it has no draft, and V1 on `message`.

    `session_id` is what the draft's nodes see of the session.

    Raises:
        UsageError: the bot has neither a draft nor a workflow.
    """
    target = equipment.target
    column = None if view.workflow is None else view.workflow.encode()
    if view.has_draft and view.graph is not None:
        draft, graph = "stored", view.graph.encode()
    elif column is None or v1.is_json_null(column):
        raise UsageError(f"bot {escape(view.bot_id)} has neither a draft nor a workflow")
    else:
        draft = "converted"
        try:
            graph = convert_text(column, defaults, target).graph
        except BotError as error:
            failed = _unconverted(message, error)
            return Tried(view.bot_id, draft, failed, target.name, platform)
    pair = prepare(column, graph, defaults, equipment.registry, target)
    began = equipment.clock()
    compared = run_both(pair, message, equipment, view.variables, session_id)
    stored = view.graph if draft == "stored" else None
    return Tried(view.bot_id, draft, compared, target.name, platform, stored, began)


def try_on_echo(
    current: Runtime, bot_id: str, message: str, session_id: str = SESSION_OF_TEST
) -> Tried:
    """`try_bot` for the bot of that id, with an echo that answers; for the target of its draft.

    Raises:
        NotFoundError: there is no such bot.
        UsageError: it has neither a draft nor a workflow.
        TransientError: the database was unavailable.
    """
    view, choice = find.bot_and_target(current.engine, bot_id, None, current.settings.target)
    target = target_to_try(view.graph, choice, None)
    equipment = current.echo_for(target, parse_differences(current.settings.strict))
    return try_bot(view, message, current.defaults, equipment, choice.target, session_id)


def record_trial(engine: sa.Engine, tried: Tried, session_id: str) -> uuid.UUID | None:
    """Record the execution of a stored draft under a session; its id.

    None, and nothing written, if no draft is stored, or if it is another one by now.

    Raises:
        TransientError: the database was unavailable.
    """
    if tried.graph is None:
        return None
    compared, source = tried.compared, Source(str(uuid.uuid4()))
    executed = Executed(1, compared.message, session_id, tried.began, compared.v2)
    row = as_row(tried.bot_id, executed, TARGETS[tried.target].recording)
    with map_database_errors(), engine.begin() as connection:
        xmin = recordings.version_of_draft(connection, tried.bot_id, tried.graph)
        if xmin is None:
            return None
        recordings.insert_executions(
            connection, source, [row], now=time.perf_counter(), versions={tried.bot_id: xmin}
        )
    return source.row_id(tried.bot_id, 1)


def _unconverted(message: str, error: BotError) -> Compared:
    """What cannot be converted is what V1 refuses: neither side ran."""
    parity = Parity(None, f"it cannot be converted: {error}")
    return Compared(message, refused(error), refused(error), parity)
