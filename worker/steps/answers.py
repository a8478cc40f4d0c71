"""What a database answered when a batch's writes were tried, and what to do about a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa

from worker.db.engine import sqlstate
from worker.errors import ConfigError

_NAMED: Final = 3


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the database said to one kind of write on one table.

    `rows` were tried. `refused` is why it would fail, for which bots, and `remedy` what to do;
    `undecided` why nothing is known. All are None if it works.
    """

    table: str
    action: str
    rows: int
    refused: str | None = None
    remedy: str | None = None
    undecided: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """All answers, in the order of a batch. `untried` says why there are none, or not all."""

    role: str = ""
    bots: int = 0
    answers: tuple[Answer, ...] = ()
    untried: str | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Each refusal in a sentence."""
        return tuple(
            f"{one.table}: {one.action} tried as {self.role} fails: {one.refused}; {one.remedy}"
            for one in self.answers
            if one.refused is not None
        )


class LostError(Exception):
    """A statement succeeded, and what it should have written is not there."""


Fault = LostError | ConfigError | psycopg.Error | sa.exc.SQLAlchemyError


def said(error: Fault) -> str:
    """What the server said, with its hint, and where in the platform's own code it arose.

    The detail of a refused row repeats what the row holds, and is left out.
    """
    if isinstance(error, LostError):
        return f"{error}; a trigger or a rule may be why"
    if isinstance(error, ConfigError):
        return str(error)
    original = getattr(error, "orig", None) or error
    diag = original.diag if isinstance(original, psycopg.Error) else None
    if diag is None or not diag.message_primary:
        return str(original).strip().partition("\n")[0]
    context = (diag.context or "").splitlines()
    where = next((line for line in context if line.startswith("PL/pgSQL function")), "")
    holds_values = (diag.sqlstate or "").startswith(("22", "23"))
    detail = "" if holds_values else diag.message_detail
    parts = (diag.message_primary, detail, where, diag.message_hint)
    return "; ".join(part for part in parts if part)


def remedy(error: Fault, table: str) -> str:
    """What a person does about a write of `table` that fails like this.

    >>> remedy(LostError("no draft was kept"), "bot_workflow_versions")
    'see the triggers, rules, policies and unique indexes of bot_workflow_versions'
    """
    if isinstance(error, LostError):
        return f"see the triggers, rules, policies and unique indexes of {table}"
    state = sqlstate(error) or ""
    words = said(error)
    if state == "42501":
        return _right(words, table)
    if state == "23514" and "no partition" in words:
        return "create a partition for the rows of today, or a default one"
    for beginning, text in _REMEDIES.items():
        if state.startswith(beginning):
            return text.replace("{table}", table)
    return f"see the triggers, rules, defaults and column types of {table}"


def _right(words: str, table: str) -> str:
    if "row-level security" in words:
        return f"create a policy of {table} that lets the role write"
    if "PL/pgSQL function" in words:
        return "grant the right to the role, or make the function SECURITY DEFINER"
    return "grant the right to the role (`flowshift db role` prints the rights on the tables themselves)"


_REMEDIES: Final = {
    "22": "give the column the type and length of the guide's",
    "23502": "give the column a default, or let it be NULL",
    "23503": "give the column a default that the other table has, or let it be NULL",
    "23514": "change the check, so that what flowshift writes passes it",
    "23505": "drop the unique index, or add to its columns",
    "23P01": "drop the exclusion constraint, or add to its columns",
    "428C9": "flowshift fills the column itself: make it an ordinary one",
    "42804": "give the column the type of the guide's",
    "42P10": "add the columns of the publication's row filter to the replica identity, or publish inserts"
    " alone",
    "55000": "give {table} a replica identity, or publish inserts alone",
    "0A000": "make the rule a trigger, and the constraint NOT DEFERRABLE",
    "P0": "change or disable the trigger that raises this",
}
"""By the beginning of the error code."""


def named(ids: Sequence[str]) -> str:
    """A few ids, for people, and how many more.

    >>> named(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
