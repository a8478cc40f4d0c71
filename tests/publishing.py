"""A publication in a test's own database, without Celery: planning it, proving, publishing."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from tests.fleet import Fleet
from worker.core.publication.eligibility import Rules
from worker.core.publication.versions import NextDraft
from worker.core.workflow import v1
from worker.db.publication import proofs
from worker.db.publication.proofs import Agreed
from worker.db.publication.publish import Outcome, publish_bots
from worker.errors import BotError


class Publishing:
    """A converted fleet, its proofs, and one publication of it that is publishing."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.defaults = fleet.current.defaults

    def prove(self, *bot_ids: str) -> None:
        """Note that the drafts as they stand agree with V1 as it stands."""
        with self.fleet.engine.begin() as connection:
            rows = connection.execute(
                sa.text(
                    'SELECT bot_id::varchar, hashtextextended(workflow::text COLLATE "C", 0) FROM bots'
                    " WHERE workflow IS NOT NULL AND (:all OR bot_id = ANY(:ids))"
                ),
                {"all": not bot_ids, "ids": list(bot_ids)},
            )
            proofs.record(connection, 1, [Agreed(bot_id, hashed) for bot_id, hashed in rows])

    def plan(self, *bot_ids: str, state: str = "publishing", publication_id: int = 1) -> list[str]:
        """A publication of these bots, or of all, in one wave."""
        ids = list(bot_ids) or [row.bot_id for row in self.fleet.rows("SELECT bot_id FROM bots")]
        self.fleet.execute(
            "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state)"
            " VALUES (:id, :request, 'test', :state)",
            id=publication_id,
            request=str(uuid.uuid4()),
            state=state,
        )
        self.fleet.execute(
            "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)"
            " SELECT unnest(CAST(:ids AS text[])), :id, 1",
            ids=ids,
            id=publication_id,
        )
        return sorted(ids)

    def problem(self, text: bytes) -> str:
        """Why V1 does not run a workflow."""
        try:
            v1.decode(text, self.defaults)
        except BotError as error:
            return str(error)
        return ""

    def publish(
        self,
        *bot_ids: str,
        connection: sa.Connection | None = None,
        rules: Rules | None = None,
        next_draft: NextDraft = "empty",
        publication_id: int = 1,
    ) -> dict[str, str]:
        """Publish these bots, or all of the publication; what happened by bot."""
        ids = list(bot_ids) or [
            row.bot_id for row in self.fleet.rows("SELECT bot_id FROM flowshift.publication_bots")
        ]

        def do(connection: sa.Connection) -> list[Outcome]:
            return publish_bots(
                connection,
                publication_id,
                ids,
                rules=rules or Rules(),
                next_draft=next_draft,
                v1_problem=self.problem,
            )

        if connection is not None:
            outcomes = do(connection)
        else:
            with self.fleet.engine.begin() as connection:
                outcomes = do(connection)
        return {one.bot_id: one.refusal.code if one.refusal else one.state for one in outcomes}

    def versions(self, bot_id: str) -> list[tuple[str, str]]:
        """The versions of a bot: name and status."""
        rows = self.fleet.rows(
            "SELECT version::text, status::text FROM bot_workflow_versions WHERE bot_id = :bot_id"
            " ORDER BY version",
            bot_id=bot_id,
        )
        return [tuple(row) for row in rows]

    def one(self, query: str, **values: Any) -> Any:
        return self.fleet.rows(query, **values)[0][0]

    def is_live(self, bot_id: str) -> bool:
        return bool(self.one("SELECT use_workflow_v2 FROM bots WHERE bot_id = :b", b=bot_id))

    def state(self, bot_id: str, publication_id: int = 1) -> str:
        return str(
            self.one(
                "SELECT concat_ws(' ', state, code) FROM flowshift.publication_bots"
                " WHERE bot_id = :b AND publication_id = :p",
                b=bot_id,
                p=publication_id,
            )
        )
