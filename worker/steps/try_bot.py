"""Execute one bot's draft on one message, and V1 beside it. Nothing is written."""

from __future__ import annotations

import msgspec

from worker.core.parity.compare import Parity
from worker.core.parity.recording import SESSION_OF_TEST
from worker.core.parity.side_by_side import Compared, prepare, refused, run_both
from worker.core.parity.trial import Equipment
from worker.core.printable import escape
from worker.core.targets.convert import convert_text
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.db.inspect import BotView
from worker.errors import BotError, UsageError


class Tried(msgspec.Struct, frozen=True):
    """A bot's trial, and whether its draft was `stored` or was `converted` for it.

    `target` is the one whose engine executed it, `platform` the platform's.
    """

    bot_id: str
    draft: str
    compared: Compared
    target: str
    platform: str

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
    view: BotView, message: str, defaults: Defaults, equipment: Equipment, platform: str
) -> Tried:
    """Execute a bot's draft, or its conversion if it has no draft, and V1 on `message`.

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
    compared = run_both(pair, message, equipment, view.variables, SESSION_OF_TEST)
    return Tried(view.bot_id, draft, compared, target.name, platform)


def _unconverted(message: str, error: BotError) -> Compared:
    """What cannot be converted is what V1 refuses: neither side ran."""
    parity = Parity(None, f"it cannot be converted: {error}")
    return Compared(message, refused(error), refused(error), parity)
