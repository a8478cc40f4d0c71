"""Row level security that hides the platform's rows from the roles that flowshift works as."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.db.schema.catalog import FoundTable, quoted
from worker.db.schema.findings import Finding


def findings(connection: sa.Connection, tables: Sequence[FoundTable]) -> list[Finding]:
    """Tables whose rows are hidden from this role, or from a role made by `flowshift db role`.

    A policy that shows a role every row, and is not restricted by another, hides nothing. Where there
    is no role for workers yet, it is a note that a table's owner sees what others will not.
    """
    oids = {"oids": [table.oid for table in tables]}
    hidden = [
        Finding(row.table, _hides(row.table, row.role)) for row in connection.execute(_HIDDEN, oids)
    ]
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


def _hides(table: str, role: str) -> str:
    name = quoted(role)
    return (
        f"{table}: row level security hides rows from the role {role}, so that runs would pass them"
        f" over; CREATE POLICY flowshift ON {table} TO {name} USING (true) WITH CHECK (true) shows them"
        f" (where no restrictive policy does otherwise), or ALTER ROLE {name} BYPASSRLS"
    )


# Who has rights on flowshift's own batches works on them.
_WORKERS = """
    SELECT DISTINCT acl.grantee FROM pg_class b, aclexplode(b.relacl) acl
    WHERE b.oid = to_regclass('flowshift.batches') AND acl.privilege_type = 'UPDATE'
      AND acl.grantee NOT IN (0, b.relowner)
"""

_APPLIES = """
    p.polrelid = c.oid AND p.polcmd IN ('r', '*')
    AND EXISTS (
        SELECT FROM unnest(p.polroles) AS to_role
        WHERE CASE to_role WHEN 0 THEN true ELSE pg_has_role(r.oid, to_role, 'USAGE') END
    )
"""

_HIDDEN = sa.text(f"""
    SELECT r.rolname::text AS role, c.relname::text AS table
    FROM pg_roles r CROSS JOIN pg_class c
    WHERE c.oid = ANY (CAST(:oids AS oid[])) AND c.relrowsecurity
      AND (r.rolname = current_user OR r.oid IN ({_WORKERS}))
      AND NOT r.rolsuper AND NOT r.rolbypassrls
      AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
      AND (
          NOT EXISTS (
              SELECT FROM pg_policy p
              WHERE {_APPLIES} AND p.polpermissive AND pg_get_expr(p.polqual, c.oid) = 'true'
          )
          OR EXISTS (
              SELECT FROM pg_policy p
              WHERE {_APPLIES} AND NOT p.polpermissive AND pg_get_expr(p.polqual, c.oid) <> 'true'
          )
      )
    ORDER BY c.relname, r.rolname
""")

_ENABLED_WITHOUT_WORKERS = sa.text(f"""
    SELECT c.relname::text FROM pg_class c
    WHERE c.oid = ANY (CAST(:oids AS oid[])) AND c.relrowsecurity AND NOT EXISTS ({_WORKERS})
    ORDER BY c.relname
""")
