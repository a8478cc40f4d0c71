"""The rows of publications, their bots and the platform's journal, as the invariants look at them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tests.beside import Beside, Entry
from tests.fleet import Fleet
from worker.core.targets.convert import convert_text
from worker.db.publication.content import content_hash
from worker.errors import BotError


class After:
    """The rows of publications and of their bots."""

    def __init__(self, fleet: Fleet, beside: Beside | None) -> None:
        self.fleet = fleet
        self.journal = beside.journal() if beside else []
        self.flags = {row.bot_id: row.use_workflow_v2 for row in fleet.rows(_BOTS)}
        self.versions = {row.id: row for row in fleet.rows(_VERSIONS)}
        self.bots = list(fleet.rows(_PUBLICATION_BOTS))
        self.waves = list(fleet.rows("SELECT * FROM flowshift.waves ORDER BY 1, 2"))
        self.ours = {row.version_id: row for row in self.bots if row.version_id is not None}
        self._known: dict[str, str] = {}

    @cached_property
    def published(self) -> dict[str, list[Any]]:
        """The published versions of each bot, in the platform's order."""
        found: dict[str, list[Any]] = {}
        for version in self.versions.values():
            if version.status == "published":
                found.setdefault(version.bot_id, []).append(version)
        return found

    @cached_property
    def drafts(self) -> dict[str, Any]:
        """The draft of each bot."""
        return {one.bot_id: one for one in self.versions.values() if one.status == "draft"}

    def said(self, kind: str, bot_id: str) -> list[Entry]:
        """What the journal has of a bot."""
        return [one for one in self._by_bot.get(bot_id, []) if one.kind == kind]

    @cached_property
    def _by_bot(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for one in self.journal:
            found.setdefault(one.bot_id, []).append(one)
        return found

    def expected(self, text: str) -> str:
        """The draft of a workflow, as the database writes it; empty if there is none."""
        if text not in self._known:
            try:
                graph = convert_text(text.encode(), self.fleet.current.defaults).graph.decode()
                [row] = self.fleet.rows("SELECT CAST(:g AS jsonb)::text AS stored", g=graph)
                self._known[text] = row.stored
            except BotError:
                self._known[text] = ""
        return self._known[text]


def is_there(after: After, row: Any) -> bool:
    return row.bot_id in after.flags


def draft_of(after: After, row: Any) -> Any:
    return after.drafts.get(row.bot_id) if is_there(after, row) else None


def newest(after: After) -> list[Any]:
    """Each bot in the last publication that has it."""
    return list({row.bot_id: row for row in after.bots}.values())


def published_later(after: After, row: Any) -> bool:
    return any(one.at > row.published_at for one in after.said("published", row.bot_id))


def converted(after: After, bot_id: str) -> set[str]:
    texts = [str(one.said) for one in after.said("workflow", bot_id)]
    return {after.expected(text) for text in texts or workflows(after, bot_id)}


def workflows(after: After, bot_id: str) -> list[str]:
    rows = after.fleet.rows("SELECT workflow::text AS w FROM bots WHERE bot_id = :b", b=bot_id)
    return [row.w for row in rows if row.w is not None]


_BOTS = "SELECT bot_id, use_workflow_v2 FROM bots"

_VERSIONS = f"""
    SELECT v.id, v.bot_id, v.version, v.status, v.graph::text AS graph, v.published_at,
           {content_hash("v")} AS content_hash
    FROM bot_workflow_versions v ORDER BY v.bot_id, v.published_at DESC NULLS FIRST
"""

_PUBLICATION_BOTS = """
    SELECT *, version_id IS NOT NULL AS went_out FROM flowshift.publication_bots
    ORDER BY bot_id, publication_id
"""
