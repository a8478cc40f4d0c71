"""Row level security that hides the platform's rows from the roles that flowshift works as."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.schema.catalog import FoundTable, quoted
from worker.db.schema.findings import Finding


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """Tables of which a policy keeps rows from this role, or from a role made by `flowshift db role`.

    By command: a row that may be read need not be one that may be locked, updated or deleted. A
    policy that shows a role every row, and is not restricted by another, hides nothing. Where there
    is no role for workers yet, it is a note that a table's owner sees what others will not.
    """
    oids = {"oids": [table.oid for table in tables]}
    hidden = [Finding(row.table, _hides(row)) for row in connection.execute(_HIDDEN, oids)]
    named = {finding.table for finding in hidden}
    return hidden + [
        Finding(
            name,
            "row level security is enabled: a role that `flowshift db role` makes sees no row without"
            " a policy of its own",
            obstructs=False,
        )
        for name in connection.execute(_ENABLED_WITHOUT_WORKERS, oids).scalars()
        if name not in named
    ]


def hides(connection: sa.Connection, table: str) -> bool:
    """Whether a policy may keep rows of `table` (as SQL, with its schema) from this role's reading."""
    hidden: bool = connection.execute(_HIDES, {"table": table}).scalar_one()
    return hidden


def _hides(row: sa.Row[tuple[str, str, str]]) -> str:
    name = quoted(row.role)
    return (
        f"{row.table}: row level security hides rows from the role {row.role} ({row.commands}), so that"
        f" runs and prunes would fail or pass them over; CREATE POLICY flowshift ON {row.table} TO {name}"
        " USING (true) WITH CHECK (true) shows them (where no restrictive policy does otherwise), or"
        f" ALTER ROLE {name} BYPASSRLS"
    )


# Who has rights on flowshift's own batches works on them.
_WORKERS = """
    SELECT DISTINCT acl.grantee FROM pg_class b, aclexplode(b.relacl) acl
    WHERE b.oid = to_regclass('flowshift.batches') AND acl.privilege_type = 'UPDATE'
      AND acl.grantee NOT IN (0, b.relowner)
"""

# What is done to each table. A row is locked by the policies for updates.
_COMMANDS = """
    (VALUES ('bots', 1, 'r', 'SELECT'), ('bots', 3, 'w', 'UPDATE'),
            ('bot_workflow_versions', 1, 'r', 'SELECT'), ('bot_workflow_versions', 2, 'a', 'INSERT'),
            ('bot_workflow_versions', 3, 'w', 'UPDATE'),
            ('workflow_execution_runs', 1, 'r', 'SELECT'),
            ('workflow_execution_runs', 2, 'a', 'INSERT'),
            ('workflow_execution_runs', 3, 'w', 'UPDATE'),
            ('workflow_execution_runs', 4, 'd', 'DELETE'),
            ('workflow_node_executions', 1, 'r', 'SELECT'),
            ('workflow_node_executions', 2, 'a', 'INSERT'),
            ('workflow_node_executions', 3, 'w', 'UPDATE'),
            ('workflow_node_executions', 4, 'd', 'DELETE')
    ) AS needed (relation, place, cmd, name)
"""

_APPLIES = """
    p.polrelid = c.oid AND p.polcmd IN (needed.cmd, '*')
    AND EXISTS (
        SELECT FROM unnest(p.polroles) AS to_role
        WHERE CASE to_role WHEN 0 THEN true ELSE pg_has_role(r.oid, to_role, 'USAGE') END
    )
"""

# An insert is refused with an error, so that trying one says what a policy lets in.
_MAY_HIDE = f"""
    NOT EXISTS (
        SELECT FROM pg_policy p
        WHERE {_APPLIES} AND p.polpermissive
          AND (needed.cmd = 'a' OR pg_get_expr(p.polqual, c.oid) = 'true')
    )
    OR needed.cmd <> 'a' AND EXISTS (
        SELECT FROM pg_policy p
        WHERE {_APPLIES} AND NOT p.polpermissive AND pg_get_expr(p.polqual, c.oid) <> 'true'
    )
"""

_IS_SUBJECT = """
    c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
    AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
"""

_HIDDEN = sa.text(f"""
    SELECT r.rolname::text AS role, c.relname::text AS table,
           string_agg(needed.name, ', ' ORDER BY needed.place) AS commands
    FROM pg_roles r CROSS JOIN pg_class c JOIN {_COMMANDS} ON needed.relation = c.relname
    WHERE c.oid = ANY (CAST(:oids AS oid[])) AND {_IS_SUBJECT}
      AND (r.rolname = current_user OR r.oid IN ({_WORKERS}))
      AND ({_MAY_HIDE})
    GROUP BY c.relname, r.rolname
    ORDER BY c.relname, r.rolname
""")

_HIDES = sa.text(f"""
    SELECT EXISTS (
        SELECT FROM pg_roles r CROSS JOIN pg_class c CROSS JOIN (VALUES ('r')) AS needed (cmd)
        WHERE c.oid = to_regclass(:table) AND r.rolname = current_user AND {_IS_SUBJECT}
          AND ({_MAY_HIDE})
    )
""")

_ENABLED_WITHOUT_WORKERS = sa.text(f"""
    SELECT c.relname::text FROM pg_class c
    WHERE c.oid = ANY (CAST(:oids AS oid[])) AND c.relrowsecurity AND NOT EXISTS ({_WORKERS})
    ORDER BY c.relname
""")
