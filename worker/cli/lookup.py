"""Finding what a command names, or saying what may have been meant."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db import inspect
from worker.db.inspect import BotView
from worker.errors import UsageError


def existing_bot(connection: sa.Connection, bot_id: str) -> BotView:
    """The bot of that id.

    Raises:
        UsageError: there is none; names ids that begin alike.
    """
    view = inspect.bot(connection, bot_id)
    if view is None:
        close = inspect.similar_ids(connection, bot_id)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise UsageError(f"there is no bot {bot_id!r}{hint}")
    return view
