"""The fleet in numbers: what answers, what has a draft, what is proven. A big fleet is sampled.

A count of everything reads the whole of `bots` and more: seconds at a million bots, and the cache of
a database that is at work. So beyond `worker.core.policy.estimate.EXACT_ROWS` about 5,000 rows are read,
the same ones each time, and the shares among them are said of the fleet. What a publication has
live, and took back, is counted from our own rows however big the fleet is.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.policy.estimate import Sample, Size, rounded, sample_of


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How far the fleet is: the guide's first monitoring query, and what is live.

    Bots without a workflow do not count, but for those that answer with a version, and those that are
    `finished`: their V1 was cleared, and is kept in flowshift.finished_bots. `v2_unpublished` are
    those of `v2_bots` without a published version; `without_id` those of `total_bots` that no run
    can take. `drafts` have a node. `published_by_flowshift` answer with a version that a publication
    made, `published_by_person` with another. `published_twice` use V2 and have several published versions,
    of which the platform serves the newest; some are named. `rolled_back` and `quarantined` were taken
    back by the last publication that had them live.

    With `is_estimate` every number is one, but `without_id`, `published_by_flowshift`, `rolled_back` and
    `quarantined`, which are exact; the last two only while they are below `COUNTED_BACK`.
    """

    total_bots: int
    v1_bots: int
    v2_bots: int
    v2_unpublished: int
    migrated_bots: int
    drafts: int
    proven: int
    published_by_flowshift: int
    published_by_person: int
    rolled_back: int
    quarantined: int
    finished: int
    published_twice: int
    published_twice_bots: tuple[str, ...]
    without_id: int
    is_estimate: bool


NAMED: Final = 3
"""Bots with several published versions that are named."""

COUNTED_BACK: Final = 20_000
"""Rows of bots that were taken back, up to which it is looked whether they were published again."""

OTHER_PAGES: Final = 0.1
"""If the pages of `bots` are by this share others than when the database estimated its rows, the rows are
estimated from the sample, whose pages are those of now: right to some percent."""

# Each row of the fleet with what answers it. In a sample every look is one by an index: without the
# fence the planner may read whole tables to answer for some thousand rows.
_COUNT: Final = """
    WITH fleet AS MATERIALIZED (
        SELECT s.*, s.published[1] AS live, COALESCE(cardinality(s.published), 0) > 1 AS is_twice
        FROM (
            SELECT b.bot_id, b.workflow IS NOT NULL AS has_v1, b.use_workflow_v2 AS uses_v2,
                   b.legacy_workflow IS NOT NULL AS is_backed_up,
                   CASE WHEN b.use_workflow_v2 THEN (
                       SELECT array_agg(v.id ORDER BY v.published_at DESC NULLS FIRST)
                       FROM bot_workflow_versions v
                       WHERE v.bot_id = b.bot_id AND v.status::text = 'published') END AS published
            FROM bots b {sample}) s
    ), told AS MATERIALIZED (
        SELECT f.*,
               f.live IS NOT NULL AND EXISTS (
                   SELECT FROM flowshift.publication_bots p
                   WHERE p.bot_id = f.bot_id COLLATE "default" AND p.version_id = f.live
                     AND p.state IN ('published', 'confirmed') {fence}) AS is_ours,
               f.is_backed_up OR EXISTS (
                   SELECT FROM flowshift.backups k
                   WHERE k.bot_id = f.bot_id COLLATE "default" {fence}) AS is_kept,
               NOT f.has_v1 AND EXISTS (
                   SELECT FROM flowshift.finished_bots d
                   WHERE d.bot_id = f.bot_id COLLATE "default" {fence}) AS is_finished,
               EXISTS (
                   SELECT FROM flowshift.proofs p
                   WHERE p.bot_id = f.bot_id COLLATE "default" {fence}) AS is_proven,
               EXISTS (
                   SELECT FROM bot_workflow_versions d
                   WHERE d.bot_id = f.bot_id AND d.status = 'draft' AND {has_node} {fence}) AS has_draft
        FROM fleet f
    )
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE has_v1) AS total_bots,
           count(*) FILTER (WHERE has_v1 AND NOT uses_v2) AS v1_bots,
           count(*) FILTER (WHERE has_v1 AND uses_v2) AS v2_bots,
           count(*) FILTER (WHERE has_v1 AND uses_v2 AND live IS NULL) AS v2_unpublished,
           count(*) FILTER (WHERE has_v1 AND is_kept) AS migrated_bots,
           count(*) FILTER (WHERE has_draft) AS drafts,
           count(*) FILTER (WHERE is_proven) AS proven,
           count(*) FILTER (WHERE is_finished) AS finished,
           count(*) FILTER (WHERE is_twice) AS published_twice,
           COALESCE((array_agg(bot_id::varchar ORDER BY bot_id) FILTER (WHERE is_twice))[1 : {named}],
                    '{{}}') AS published_twice_bots,
           count(*) FILTER (WHERE is_ours) AS published_by_flowshift,
           count(*) FILTER (WHERE live IS NOT NULL AND NOT is_ours) AS published_by_person
    FROM told
"""

# What publishing leaves in a draft's row has no node, and so few bytes that nothing big is unpacked.
_HAS_NODE: Final = """
    CASE WHEN pg_column_size(d.graph) > 200 THEN true
         ELSE jsonb_typeof(d.graph -> 'nodes') = 'array' AND d.graph -> 'nodes' <> '[]' END
"""

_SIZE: Final = sa.text(f"""
    SELECT COALESCE(sum(pg_relation_size(c.oid)), 0)::bigint / current_setting('block_size')::int,
           CASE WHEN count(*) = 0 OR count(*) FILTER (WHERE c.reltuples < 0 OR c.relpages = 0) > 0
                THEN -1
                ELSE sum(c.reltuples / NULLIF(c.relpages, 0) * pg_relation_size(c.oid)
                         / current_setting('block_size')::int) END,
           COALESCE(abs(sum(pg_relation_size(c.oid)) / current_setting('block_size')::int
                        - sum(c.relpages)) > {OTHER_PAGES} * sum(c.relpages), false)
    FROM pg_class c
    WHERE c.relkind IN ('r', 'm') AND (
        c.oid = to_regclass('bots')
        OR c.oid IN (SELECT t.relid FROM pg_partition_tree(to_regclass('bots')) t))
""")  # noqa: S608  (constants)

_WITHOUT_ID: Final = sa.text(
    "SELECT count(*) FROM bots WHERE bot_id IS NULL AND workflow IS NOT NULL"
)

_OURS: Final = sa.text("""
    SELECT count(*) FROM flowshift.publication_bots WHERE state IN ('published', 'confirmed')
""")

_TAKEN_BACK: Final = sa.text("""
    SELECT COALESCE(sum(rolled_back), 0)::bigint, COALESCE(sum(quarantined), 0)::bigint
    FROM flowshift.waves
""")

# By the index of what went another way, then bot by bot by the key.
_BACK: Final = sa.text("""
    SELECT count(*) FILTER (WHERE p.state = 'rolled_back'),
           count(*) FILTER (WHERE p.state = 'quarantined')
    FROM flowshift.publication_bots p
    WHERE p.state IN ('rolled_back', 'quarantined')
      AND NOT (p.state IN ('pending', 'published', 'confirmed'))
      AND NOT EXISTS (
          SELECT FROM flowshift.publication_bots n
          WHERE n.bot_id = p.bot_id AND n.publication_id > p.publication_id
            AND n.state IN ('published', 'confirmed', 'rolled_back', 'quarantined'))
""")


def overview(connection: sa.Connection) -> Overview:
    """Count the fleet, or estimate it: a bounded part of the platform's tables is read."""
    size = Size(*connection.execute(_SIZE).one())
    sample = sample_of(size)
    values = {} if sample is None else {"percent": sample.percent, "one_in": sample.one_in}
    found = dict(connection.execute(_statement(sample), values).mappings().one())
    rows, twice = found.pop("rows"), tuple(found.pop("published_twice_bots"))
    if sample is not None:
        found = _scaled(found, rows, size, sample, ours=connection.scalar(_OURS) or 0)
    rolled_back, quarantined = _taken_back(connection)
    return Overview(
        **found,
        rolled_back=rolled_back,
        quarantined=quarantined,
        published_twice_bots=twice,
        without_id=connection.scalar(_WITHOUT_ID) or 0,
        is_estimate=sample is not None,
    )


def _statement(sample: Sample | None) -> sa.TextClause:
    sampled = (
        ""
        if sample is None
        else "TABLESAMPLE SYSTEM (:percent) REPEATABLE (0)"
        " WHERE mod(hashtext(b.bot_id::text), :one_in) = 0"
    )
    fence = "" if sample is None else "OFFSET 0"
    return sa.text(_COUNT.format(sample=sampled, fence=fence, has_node=_HAS_NODE, named=NAMED))


def _scaled(
    counts: dict[str, Any], rows: int, size: Size, sample: Sample, *, ours: int
) -> dict[str, Any]:
    """What a sample says of the fleet. What is known exactly is left out of what is estimated."""
    is_known = size.rows > 0 and not size.is_other
    whole = size.rows if is_known else rows * sample.one_in * 100 / sample.percent
    factor = whole / rows if rows else 0.0
    found = {name: rounded(count * factor) for name, count in counts.items()}
    v2 = ours + found["published_by_person"] + found["v2_unpublished"]
    total = rounded(max(counts["total_bots"] * factor, ours - found["finished"]), 3)
    return {
        **found,
        "total_bots": total,
        "v1_bots": max(0, rounded(total - v2, 3)),
        "v2_bots": v2,
        "published_by_flowshift": ours,
    }


def _taken_back(connection: sa.Connection) -> tuple[int, int]:
    counted = connection.execute(_TAKEN_BACK).one()
    if sum(counted) > COUNTED_BACK:
        return counted[0], counted[1]
    found = connection.execute(_BACK).one()
    return found[0], found[1]
