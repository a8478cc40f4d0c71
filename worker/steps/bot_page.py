"""One bot for a page: everything that `show` says of it, and what is to be drawn."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.core.codes import parse_differences
from worker.core.publication.live import newest_published
from worker.core.targets.registry import TARGETS
from worker.core.workflow.diff import Difference
from worker.db import versions
from worker.db.engine import map_database_errors
from worker.runtime import Runtime
from worker.steps import find
from worker.steps.examine import Examination, changes_between, examine_bot, target_to_try
from worker.steps.pictures import Pictured, pictures_of
from worker.steps.try_bot import Tried, try_bot


class BotPage(msgspec.Struct, frozen=True, kw_only=True):
    """A bot as `show` has it; its V1, and its draft or else the version that was published last, drawn.

    `changes` say how the latter differs from V1.
    """

    found: Examination
    v1: Pictured
    v2: Pictured
    changes: tuple[Difference, ...]


def read_bot_page(engine: sa.Engine, current: Runtime, bot_id: str) -> BotPage:
    """Read a bot by `engine`, and execute its draft beside V1 on echo. Nothing is written.

    Raises:
        NotFoundError: there is no such bot; it names ids that begin alike.
        TransientError: the database was unavailable.
    """
    fails = parse_differences(current.settings.strict)
    found = examine_bot(
        engine,
        bot_id,
        current.defaults,
        lambda target: current.echo_for(target, fails),
        setting=current.settings.target,
    )
    drawn_for = found.examined.target if found.examined else found.target.target
    warnings = found.history[0].warnings if found.history else ()
    graph, version = _v2_of(engine, found)
    workflow, target = found.view.workflow, TARGETS[drawn_for]
    before, after = pictures_of(workflow, graph, version, current.defaults, target, warnings)
    changes = changes_between(workflow, graph, current.defaults, target)
    return BotPage(found=found, v1=before, v2=after, changes=changes)


def _v2_of(engine: sa.Engine, found: Examination) -> tuple[str | None, str]:
    """The graph to draw and its version: publication leaves a draft empty."""
    published = found.standing.live or newest_published(found.standing.versions)
    if found.view.has_draft or published is None:
        return found.view.graph, "draft"
    with map_database_errors(), engine.connect() as connection:
        graph, _ = versions.graph(connection, published.version_id)
    return None if graph is None else graph.decode(), published.version


def try_on_page(engine: sa.Engine, current: Runtime, bot_id: str, message: str) -> Tried:
    """Execute a bot's draft, or its conversion, and V1 on a message, on echo. Nothing is written.

    Raises:
        NotFoundError: there is no such bot.
        UsageError: it has neither a draft nor a workflow.
        TransientError: the database was unavailable.
    """
    settings = current.settings
    view, choice = find.bot_and_target(engine, bot_id, None, settings.target)
    target = target_to_try(view.graph, choice, None)
    equipment = current.echo_for(target, parse_differences(settings.strict))
    return try_bot(view, message, current.defaults, equipment, choice.target)
