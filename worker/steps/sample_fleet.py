"""Add the sample fleet to a database that holds no other bots."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.targets.answer import ANSWER
from worker.core.targets.registry import TARGETS
from worker.db.bulk import driver
from worker.db.engine import map_database_errors
from worker.db.platform_tables import bots
from worker.errors import UsageError
from worker.sample import ANSWER_COLUMNS, PREFIX, insert_sample
from worker.steps.target import choose_target


def add_sample_fleet(engine: sa.Engine, count: int, *, asked: str | None, setting: str) -> int:
    """Add the sample bots that are not there yet; returns how many were added.

    With the target `answer` asked for, the sample's tables get the columns of that platform. Safe
    to repeat.

    Raises:
        UsageError: the database holds other bots.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        foreign = connection.scalar(
            sa.select(bots.c.bot_id).where(~bots.c.bot_id.collate("C").startswith(PREFIX)).limit(1)
        )
        if foreign is not None:
            raise UsageError(
                f"the database holds other bots than samples ({foreign!r} for one): "
                "the demo does not use it"
            )
        if asked == ANSWER.name:
            connection.exec_driver_sql(ANSWER_COLUMNS)
            connection.commit()
        target = TARGETS[choose_target(connection, asked, setting).target]
        return insert_sample(driver(connection), count, target)
