"""What is open over the fleet, or in one run: failures and warnings of bots, by code.

What counts for the fleet is a bot's latest real outcome, of bots that still exist:

- a dry run counts for nothing: it changed nothing;
- a conversion replaces everything before it, also where it skipped the bot;
- a validation that failed is a failure, until a later validation passes or the bot is converted;
- a validation that passed takes back what a trial found (`execution_failed`, `parity_mismatch`), and
  no other failure of a conversion: it looked at a draft that is there, and that conversion left none;
- a validation that skipped the bot says nothing, and neither does a run of any other kind.

Of a run that publishes, the bots that it skipped count too: a person wants them live, and they are not.

Looked up by the ledger's key (bot_id, run_id) from its index of failures: one row a bot, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.policy.estimate import rounded
from worker.core.policy.run_kinds import PUBLISHES, TRIES_DRAFTS, WRITES_DRAFTS

Kind = Literal["failures", "warnings"]

EXAMPLES: Final = 2
_PAGE: Final = 1_000


class Found(msgspec.Struct, frozen=True):
    """A failure or a warning of a bot; `node` is a warning's, null where it has none."""

    bot_id: str
    run_id: int
    code: str
    message: str | None
    node: str | None = None


class Group(msgspec.Struct, frozen=True):
    """How many bots have one code, and the first two of them."""

    code: str
    bots: int
    examples: tuple[Found, ...]


def groups(
    connection: sa.Connection, kind: Kind, *, run_id: int | None = None, code: str | None = None
) -> list[Group]:
    """By code, the most frequent first; of a run, or of the fleet."""
    rows = connection.execute(sa.text(_GROUPS.format(_source(kind, run_id))), _values(run_id, code))
    found: dict[str, tuple[int, list[Found]]] = {}
    for row in rows.mappings():
        values = {name: row[name] for name in Found.__struct_fields__}
        found.setdefault(row["code"], (row["bots"], []))[1].append(Found(**values))
    return [Group(name, bots, tuple(examples)) for name, (bots, examples) in found.items()]


def each(
    connection: sa.Connection, kind: Kind, *, run_id: int | None = None, code: str | None = None
) -> Iterator[Found]:
    """Every one, by code and bot, a page at a time by a cursor of the server's."""
    query = sa.text(f"{_source(kind, run_id)} ORDER BY code, bot_id")
    streamed = connection.execution_options(yield_per=_PAGE)
    for row in streamed.execute(query, _values(run_id, code)).mappings():
        yield Found(**row)


def page(
    connection: sa.Connection,
    run_id: int,
    *,
    limit: int,
    code: str | None = None,
    after: tuple[str, str] | None = None,
) -> list[Found]:
    """At most `limit` failures of a run by code and bot, after that code and bot (by their index)."""
    wanted = ["" if code is None else " AND f.code = :code"]
    wanted += ["" if after is None else " AND (f.code, f.bot_id) > (:after_code, :after_bot)"]
    parts = [f"({part}{''.join(wanted)}{_IN_ORDER})" for part in (_FAILED, _NOT_PUBLISHED)]
    query = f"{' UNION ALL '.join(parts)} ORDER BY code, bot_id LIMIT :limit"
    passed = {} if after is None else {"after_code": after[0], "after_bot": after[1]}
    values = {**_values(run_id, code), **passed, "limit": limit}
    return [Found(*row) for row in connection.execute(sa.text(query), values)]


_FAILED: Final = """
    SELECT f.bot_id, f.run_id, f.code, f.message, CAST(NULL AS text) AS node
    FROM flowshift.ledger f WHERE f.run_id = :run_id AND f.outcome = 'failed'"""
# Whether the run publishes is asked once: of one that does not, no row of the ledger is read for it.
_IT_PUBLISHES: Final = (
    "(SELECT r.kind = ANY(:publishes) FROM flowshift.runs r WHERE r.run_id = :run_id)"
)
_NOT_PUBLISHED: Final = f"""
    SELECT f.bot_id, f.run_id, f.code, f.message, NULL
    FROM flowshift.ledger f
    WHERE {_IT_PUBLISHES} AND f.run_id = :run_id AND f.outcome = 'skipped'"""  # noqa: S608  (constants)
_IN_ORDER: Final = " ORDER BY f.code, f.bot_id LIMIT :limit"


SAMPLED_FAILURES: Final = 20_000
"""Failed rows of the ledger up to which each is looked at; of more, a share."""


class Counts(msgspec.Struct, frozen=True):
    """How many bots of the fleet have failed last, by code, the most frequent first."""

    by_code: dict[str, int]
    is_estimate: bool


def counts(connection: sa.Connection, *, most: int = SAMPLED_FAILURES) -> Counts:
    """Count the bots that have failed last; a share of them, by a hash of their ids, if there are many."""
    rows = connection.scalar(_FAILED_ROWS) or 0
    share = max(1, -(-rows // most))
    query = (
        f"SELECT code, count(*) AS bots FROM ({_FAILURES}) f"  # noqa: S608  (constants)
        " WHERE mod(hashtext(bot_id), :share) = 0 GROUP BY code ORDER BY 2 DESC, 1"
    )
    found = connection.execute(sa.text(query), {**_values(None, None), "share": share})
    by_code = {row.code: row.bots for row in found}
    if share == 1:
        return Counts(by_code, is_estimate=False)
    return Counts({code: rounded(bots * share) for code, bots in by_code.items()}, is_estimate=True)


_FAILED_ROWS: Final = sa.text("SELECT count(*) FROM flowshift.ledger WHERE outcome = 'failed'")


def _source(kind: Kind, run_id: int | None) -> str:
    if kind == "failures":
        return _FAILURES if run_id is None else _FAILURES_OF_RUN
    return _WARNINGS.format("" if run_id is not None else _LATEST)


def _values(run_id: int | None, code: str | None) -> dict[str, Any]:
    return {"run_id": run_id, "code": code, "examples": EXAMPLES, **_KINDS}


_KINDS: Final = {
    "writes": list(WRITES_DRAFTS),
    "tries": list(TRIES_DRAFTS),
    "publishes": list(PUBLISHES),
}

_OF_A_TRIAL = "('execution_failed', 'parity_mismatch')"

_FAILURES = f"""
    SELECT f.bot_id, f.run_id, f.code, f.message, CAST(NULL AS text) AS node
    FROM flowshift.ledger f JOIN flowshift.runs r ON r.run_id = f.run_id AND NOT r.dry_run
    WHERE f.outcome = 'failed' AND (r.kind = ANY(:writes) OR r.kind = ANY(:tries))
      AND f.code = COALESCE(CAST(:code AS text), f.code)
      AND EXISTS (SELECT FROM bots b WHERE b.bot_id = f.bot_id)
      AND NOT EXISTS (
          SELECT FROM flowshift.ledger n
          JOIN flowshift.runs nr ON nr.run_id = n.run_id AND NOT nr.dry_run
          WHERE n.bot_id = f.bot_id AND n.run_id > f.run_id AND (
              nr.kind = ANY(:writes)
              OR (nr.kind = ANY(:tries) AND n.outcome IN ('failed', 'unchanged')
                  AND (r.kind = ANY(:tries) OR f.code IN {_OF_A_TRIAL}))))
      AND NOT (r.kind = ANY(:tries) AND COALESCE((
          SELECT o.outcome = 'failed' AND o.code NOT IN {_OF_A_TRIAL}
          FROM flowshift.ledger o
          JOIN flowshift.runs c ON c.run_id = o.run_id AND NOT c.dry_run AND c.kind = ANY(:writes)
          WHERE o.bot_id = f.bot_id ORDER BY o.run_id DESC LIMIT 1), false))
"""  # noqa: S608  (constants)

_FAILURES_OF_RUN = f"""
    SELECT f.bot_id, f.run_id, f.code, f.message, CAST(NULL AS text) AS node
    FROM flowshift.ledger f
    WHERE f.run_id = :run_id AND f.outcome = 'failed'
      AND f.code = COALESCE(CAST(:code AS text), f.code)
    UNION ALL {_NOT_PUBLISHED}
      AND f.code = COALESCE(CAST(:code AS text), f.code)
"""  # noqa: S608  (constants)

_WARNINGS = """
    SELECT DISTINCT ON (w.value ->> 'code', l.bot_id)
        l.bot_id, l.run_id, w.value ->> 'code' AS code, w.value ->> 'message' AS message,
        w.value ->> 'node' AS node
    FROM flowshift.ledger l
    JOIN flowshift.runs r ON r.run_id = l.run_id
    CROSS JOIN jsonb_array_elements(l.warnings) AS w
    WHERE l.run_id = COALESCE(CAST(:run_id AS bigint), l.run_id)
      AND jsonb_typeof(l.warnings) = 'array'
      AND w.value ->> 'code' = COALESCE(CAST(:code AS text), w.value ->> 'code')
      {}
"""

_LATEST = """
      AND NOT r.dry_run AND r.kind = ANY(:writes)
      AND EXISTS (SELECT FROM bots b WHERE b.bot_id = l.bot_id)
      AND NOT EXISTS (
          SELECT FROM flowshift.ledger n
          JOIN flowshift.runs nr ON nr.run_id = n.run_id AND NOT nr.dry_run AND nr.kind = ANY(:writes)
          WHERE n.bot_id = l.bot_id AND n.run_id > l.run_id)
"""

_GROUPS = """
    WITH found AS MATERIALIZED ({}), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY code ORDER BY bot_id) AS place,
            count(*) OVER (PARTITION BY code) AS bots
        FROM found
    )
    SELECT * FROM ranked WHERE place <= :examples ORDER BY bots DESC, code, place
"""
