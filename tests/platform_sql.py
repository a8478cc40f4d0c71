"""The statements of the platform that `tests.platform_process` runs; each writes its journal entry."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE platform_journal (
    id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), kind text NOT NULL,
    bot_id text NOT NULL, version_id uuid, said text
);
CREATE INDEX ON platform_journal (bot_id);
CREATE TABLE platform_orders (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one), number int NOT NULL, orders jsonb NOT NULL,
    heard int NOT NULL DEFAULT 0
);
"""

BEGIN: Final = """
INSERT INTO platform_journal (kind, bot_id, version_id, said)
SELECT 'workflow', bot_id, NULL, workflow::text FROM bots
UNION ALL SELECT 'earlier', bot_id, id, NULL FROM bot_workflow_versions WHERE status = 'published'
"""

ORDER: Final = """
INSERT INTO platform_orders (number, orders) VALUES (1, CAST(:orders AS jsonb))
ON CONFLICT (is_one) DO UPDATE
SET number = platform_orders.number + 1, orders = platform_orders.orders || excluded.orders
"""

HEAR: Final = "UPDATE platform_orders SET heard = number RETURNING orders"

BOTS: Final = "SELECT bot_id FROM bots ORDER BY bot_id"

NOTE: Final = """
INSERT INTO platform_journal (kind, bot_id, version_id)
VALUES (%(kind)s, %(bot_id)s, %(version_id)s)
"""

# -- serving ---------------------------------------------------------------------------------------

# One row a published version, and one of nulls where there is none.
SERVE: Final = """
WITH seen AS (
    SELECT b.bot_id, b.use_workflow_v2 AS flag, v.id AS version_id, v.graph::text AS graph
    FROM bots b LEFT JOIN LATERAL (
        SELECT o.id, o.graph FROM bot_workflow_versions o
        WHERE b.use_workflow_v2 AND o.bot_id = b.bot_id AND o.status = 'published'
        ORDER BY o.published_at DESC NULLS FIRST) v ON true
    WHERE b.bot_id = %(bot_id)s
), noted AS (
    INSERT INTO platform_journal (at, kind, bot_id, version_id)
    SELECT statement_timestamp(), 'served', bot_id, version_id FROM seen
) SELECT flag, version_id, graph FROM seen
"""

BEGIN_RUN: Final = """
INSERT INTO workflow_execution_runs
    (id, bot_id, workflow_version_id, session_id, graph_snapshot, status, started_at, created_at)
VALUES (gen_random_uuid(), %(bot_id)s, %(version_id)s, %(session_id)s, %(graph)s, 'running',
        clock_timestamp(), clock_timestamp())
RETURNING id
"""

END_RUN: Final = """
UPDATE workflow_execution_runs
SET inputs = %(inputs)s, outputs = %(outputs)s, status = %(status)s, error_message = %(error)s,
    finished_at = clock_timestamp(), elapsed_time = %(elapsed_ms)s, total_tokens = %(tokens)s,
    total_steps = %(steps)s
WHERE id = %(id)s
"""

NODE: Final = """
INSERT INTO workflow_node_executions
    (id, workflow_run_id, node_id, node_type, execution_order, inputs, outputs, status,
     error_message, started_at, created_at)
SELECT gen_random_uuid(), r.id, %(node_id)s, %(node_type)s, %(order)s, %(inputs)s::jsonb,
       %(outputs)s::jsonb, %(status)s, %(error)s, clock_timestamp(), clock_timestamp()
FROM workflow_execution_runs r WHERE r.id = %(run_id)s
"""

# -- people ----------------------------------------------------------------------------------------

# The editor selects the draft by its status, and later saves by its id.
OPEN: Final = """
SELECT id, graph::text FROM bot_workflow_versions WHERE bot_id = %(bot_id)s AND status = 'draft'
"""

SAVE: Final = """
WITH saved AS (
    UPDATE bot_workflow_versions SET graph = %(graph)s::jsonb, updated_at = now() WHERE id = %(id)s
    RETURNING bot_id, id, graph::text AS said
) INSERT INTO platform_journal (kind, bot_id, version_id, said)
SELECT 'draft', bot_id, id, said FROM saved
"""

WORKFLOW: Final = "SELECT workflow::text FROM bots WHERE bot_id = %(bot_id)s"

CHANGE: Final = """
WITH changed AS (
    UPDATE bots SET workflow = %(text)s::json, updated_at = now() WHERE bot_id = %(bot_id)s
    RETURNING bot_id, workflow::text AS said
) INSERT INTO platform_journal (kind, bot_id, said) SELECT 'workflow', bot_id, said FROM changed
"""

PUBLISHED: Final = """
SELECT id, version FROM bot_workflow_versions
WHERE bot_id = %(bot_id)s AND status = 'published' ORDER BY published_at DESC NULLS FIRST
"""

ARCHIVE: Final = """
UPDATE bot_workflow_versions SET status = 'archived', updated_at = now() WHERE id = %(id)s
"""

PUBLISH: Final = """
UPDATE bot_workflow_versions
SET version = %(version)s, status = 'published', published_at = clock_timestamp(), updated_at = now()
WHERE id = %(id)s
"""

NEW_DRAFT: Final = """
INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)
VALUES (gen_random_uuid(), %(bot_id)s, 'draft', 'draft', '{"nodes": [], "edges": []}')
"""

FLAG: Final = "UPDATE bots SET use_workflow_v2 = true WHERE bot_id = %(bot_id)s"

DELETE: Final = """
WITH gone AS (DELETE FROM bots WHERE bot_id = %(bot_id)s RETURNING bot_id)
INSERT INTO platform_journal (kind, bot_id) SELECT 'deleted', bot_id FROM gone
"""
