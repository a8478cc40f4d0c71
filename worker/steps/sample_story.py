"""What the demo's publication asks the database: which bots take part, and what became of each."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import map_database_errors
from worker.db.publication import members, waves
from worker.db.publication.members import Member
from worker.steps.publication.report import newest_publications


def bots_to_publish(engine: sa.Engine, run_id: int, most: int) -> list[str]:
    """The first bots whose drafts a run wrote, or left as they were; at most `most`."""
    with map_database_errors(), engine.connect() as connection:
        return waves.bots_of_run(connection, run_id)[:most]


def newest_publication(engine: sa.Engine) -> int:
    """The number of the newest publication, 0 without one."""
    found = newest_publications(engine, 1)
    return found[0].publication_id if found else 0


def members_of(engine: sa.Engine, publication_id: int) -> list[Member]:
    """Every bot of a publication, wave by wave, in the order of their ids."""
    with map_database_errors(), engine.connect() as connection:
        return members.members(connection, publication_id)


def story_pages(engine: sa.Engine, run_id: int, bot_id: str) -> list[tuple[str, str]]:
    """The pages that tell the demo's story, in its order: a path and what is there.

    `run_id` converted the fleet; `bot_id` is a bot to look at.
    """
    pages = [
        (f"runs/{run_id}", "the run: what it converted, what failed and why"),
        (f"bot?id={bot_id}", "one bot: V1 and V2 drawn, and whether they do the same"),
    ]
    number = newest_publication(engine)
    if number:
        pages.append((f"publications/{number}", "its waves, and what the gate decided by"))
        sick = [one.bot_id for one in members_of(engine, number) if one.state == "quarantined"]
        pages += [(f"bot?id={one}", "the bot that was sick on V2") for one in sick[:1]]
    return [*pages, ("audit", "who did what, when and why")]
