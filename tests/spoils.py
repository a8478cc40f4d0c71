"""Platforms with a spoiled database: each kind on each table at each moment, as SQL for its owner.

Every platform here is one of `tests.platforms` that has been adopted, with bots `bot_0001` to
`bot_0003`; `{role}` stands for the role of the workers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Backup = Literal["column", "table"]

VERSIONS, RUNS, NODES = (
    "bot_workflow_versions",
    "workflow_execution_runs",
    "workflow_node_executions",
)
LEDGER, BACKUPS = "flowshift.ledger", "flowshift.backups"
PLATFORM: Final = ("bots", VERSIONS, RUNS, NODES)
WRITES: Final = (
    ("bots", "UPDATE"),
    (VERSIONS, "INSERT"),
    (VERSIONS, "UPDATE"),
    (RUNS, "INSERT"),
    (RUNS, "DELETE"),
    (NODES, "INSERT"),
    (NODES, "DELETE"),
    (LEDGER, "INSERT"),
    (BACKUPS, "INSERT"),
)
"""What a run and a prune do to each table."""


class Spoil(msgspec.Struct, frozen=True, kw_only=True):
    """One database. `alarms`: the check may refuse it though all that is tried here works.

    `keeps`: other tables refer to every execution, so that a prune keeps them. `path` is where the
    role finds its tables.
    """

    kind: str
    where: str
    sql: str
    backup: Backup = "column"
    alarms: bool = False
    keeps: bool = False
    path: str = "public"

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.where}"


def every() -> Iterator[Spoil]:
    """All of them, kind by kind."""
    yield Spoil(kind="nothing", where="column", sql="SELECT 1")
    yield Spoil(kind="nothing", where="table", sql="SELECT 1", backup="table")
    yield from triggers()
    yield from rewriting()
    yield from rules()
    yield from policies()
    yield from publications()
    yield from constraints()
    yield from keys()
    yield from columns()
    yield from types()
    yield from rights()
    yield from tables()
    yield from settings()


def few() -> list[Spoil]:
    """One of each kind: every table and moment occurs, not each kind on each."""
    by_kind: dict[str, list[Spoil]] = {}
    for spoil in every():
        by_kind.setdefault(spoil.kind, []).append(spoil)
    return [spoils[turn % len(spoils)] for turn, spoils in enumerate(by_kind.values())]


# -- triggers --------------------------------------------------------------------------------------

ONE: Final = "bot_0002"


def trigger(table: str, event: str, body: str, *, moment: str = "BEFORE", each: str = "ROW") -> str:
    """A trigger; at the moment `DEFERRED` a constraint trigger that waits for COMMIT."""
    kind, when, how = "", moment, ""
    if moment == "DEFERRED":
        kind, when, how = "CONSTRAINT ", "AFTER", "DEFERRABLE INITIALLY DEFERRED "
    return (
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE {kind}TRIGGER t {when} {event} ON {table} {how}"
        f"FOR EACH {each} EXECUTE FUNCTION f();"
    )


def of_one(table: str, event: str) -> str:
    """SQL: the row of a trigger is the one bot's."""
    row = "OLD" if event == "DELETE" else "NEW"
    if (table, event) == (VERSIONS, "UPDATE"):
        return f"{row}.bot_id = 'bot_0003'"  # which has a draft
    if table != NODES:
        return f"{row}.bot_id = '{ONE}'"
    return (
        f"EXISTS (SELECT FROM {RUNS} r WHERE r.id = {row}.workflow_run_id AND r.bot_id = '{ONE}')"
    )


def triggers() -> Iterator[Spoil]:
    for table, event in WRITES:
        row = "OLD" if event == "DELETE" else "NEW"
        what: dict[str, str] = {
            "a trigger that suppresses": trigger(table, event, "RETURN NULL;"),
            "a trigger that suppresses one bot": trigger(
                table, event, f"IF {of_one(table, event)} THEN RETURN NULL; END IF; RETURN {row};"
            ),
            "a trigger that suppresses, on a condition": trigger(
                table,
                event,
                f"IF current_user = '{{role}}' THEN RETURN NULL; END IF; RETURN {row};",
            ),
            "a trigger that refuses before": trigger(table, event, "RAISE 'not now';"),
            "a trigger that refuses after": trigger(table, event, "RAISE 'no';", moment="AFTER"),
            "a trigger that refuses at commit": trigger(
                table, event, "RAISE 'not then';", moment="DEFERRED"
            ),
            "a trigger that refuses one bot at commit": trigger(
                table,
                event,
                f"IF {of_one(table, event)} THEN RAISE 'not this'; END IF; RETURN NULL;",
                moment="DEFERRED",
            ),
            "a trigger of the statement that refuses": trigger(
                table, event, "RAISE 'not at all';", each="STATEMENT"
            ),
            "an audit trigger": "CREATE TABLE audit_log (what text);"
            + trigger(
                table,
                event,
                f"INSERT INTO audit_log VALUES (TG_OP); RETURN {row};",
                moment="AFTER",
            ),
            "an audit trigger that may write": "CREATE TABLE audit_log (what text);"
            "GRANT INSERT ON audit_log TO {role};"
            + trigger(
                table,
                event,
                f"INSERT INTO audit_log VALUES (TG_OP); RETURN {row};",
                moment="AFTER",
            ),
        }
        backup: Backup = "table" if table == BACKUPS else "column"
        for kind, sql in what.items():
            yield Spoil(kind=kind, where=f"{table} {event}", sql=sql, backup=backup)


REWRITTEN: Final = {
    ("bots", "UPDATE"): ("legacy_workflow := '{}'", "legacy_workflow := NULL", "workflow := '{}'",
                         "updated_at := now()", "use_workflow_v2 := true"),
    (VERSIONS, "INSERT"): ("graph := '{}'", "graph := NEW.graph || '{\"by\": 1}'", "status := 'archived'",
                           "version := 'v9'", "bot_id := 'bot_0001'", "id := gen_random_uuid()",
                           "features := '{\"a\": 1}'"),
    (VERSIONS, "UPDATE"): ("graph := OLD.graph", "status := 'archived'", "updated_at := OLD.updated_at"),
    (RUNS, "INSERT"): ("id := gen_random_uuid()", "bot_id := 'bot_0001'", "status := 'failed'",
                       "graph_snapshot := '{}'", "inputs := NULL", "session_id := 'none'",
                       "created_at := '2020-01-01'", "workflow_version_id := NULL"),
    (NODES, "INSERT"): ("node_id := 'x'", "outputs := NULL", "execution_order := 1",
                        "workflow_run_id := (SELECT id FROM workflow_execution_runs LIMIT 1)"),
}  # fmt: skip


def rewriting() -> Iterator[Spoil]:
    for (table, event), assignments in REWRITTEN.items():
        for assigned in assignments:
            yield Spoil(
                kind="a trigger that rewrites",
                where=f"{table} {event} {assigned}",
                sql=trigger(table, event, f"NEW.{assigned}; RETURN NEW;"),
            )
    for table, event in WRITES:
        if event != "DELETE" and table in PLATFORM[1:]:
            yield Spoil(
                kind="a trigger that deletes what was written",
                where=f"{table} {event}",
                sql=trigger(
                    table,
                    event,
                    f"DELETE FROM {table} WHERE id = NEW.id; RETURN NULL;",
                    moment="AFTER",
                ).replace("LANGUAGE", "SECURITY DEFINER LANGUAGE"),
            )


# -- rules, policies, publications -----------------------------------------------------------------


def rules() -> Iterator[Spoil]:
    for table, event in WRITES:
        backup: Backup = "table" if table == BACKUPS else "column"
        row = "old" if event == "DELETE" else "new"
        key = "node_id" if table == NODES else "bot_id"
        some = f"WHERE {row}.{key} IN ('k', '{ONE}') DO INSTEAD NOTHING"
        for kind, how in {
            "a rule instead": "DO INSTEAD NOTHING",
            "a rule instead for some": some,
            "a rule besides": "DO ALSO SELECT 1",
            "a rule that notifies": "DO ALSO NOTIFY written",
        }.items():
            sql = f"CREATE RULE r AS ON {event} TO {table} {how}"
            yield Spoil(kind=kind, where=f"{table} {event}", sql=sql, backup=backup)


POLICIES: Final = {
    "row security without a policy": "",
    "a policy for all": "CREATE POLICY p ON {t} USING (true) WITH CHECK (true)",
    "a policy for reading alone": "CREATE POLICY p ON {t} FOR SELECT USING (true)",
    "policies for all but updates": (
        "CREATE POLICY p ON {t} FOR SELECT USING (true);"
        "CREATE POLICY q ON {t} FOR INSERT WITH CHECK (true);"
        "CREATE POLICY r ON {t} FOR DELETE USING (true)"
    ),
    "policies for all but deletes": (
        "CREATE POLICY p ON {t} FOR SELECT USING (true);"
        "CREATE POLICY q ON {t} FOR INSERT WITH CHECK (true);"
        "CREATE POLICY r ON {t} FOR UPDATE USING (true)"
    ),
    "policies for all but inserts": (
        "CREATE POLICY p ON {t} FOR SELECT USING (true);"
        "CREATE POLICY q ON {t} FOR DELETE USING (true);"
        "CREATE POLICY r ON {t} FOR UPDATE USING (true)"
    ),
    "a restrictive policy for reading": (
        "CREATE POLICY p ON {t} USING (true); CREATE POLICY q ON {t} AS RESTRICTIVE FOR SELECT"
        " USING (current_setting('app.tenant', true) IS NOT NULL)"
    ),
    "a restrictive policy for inserts": (
        "CREATE POLICY p ON {t} USING (true);"
        "CREATE POLICY q ON {t} AS RESTRICTIVE FOR INSERT WITH CHECK (false)"
    ),
    "a restrictive policy for updates": (
        "CREATE POLICY p ON {t} USING (true);"
        "CREATE POLICY q ON {t} AS RESTRICTIVE FOR UPDATE USING (false)"
    ),
    "a restrictive policy for deletes": (
        "CREATE POLICY p ON {t} USING (true);"
        "CREATE POLICY q ON {t} AS RESTRICTIVE FOR DELETE USING (false)"
    ),
    "a policy that hides one bot": "CREATE POLICY p ON {t} USING ({of_one})",
    "policies of other roles": (
        "CREATE POLICY p ON {t} TO pg_monitor USING (true);"
        "CREATE POLICY q ON {t} AS RESTRICTIVE TO pg_monitor USING (false)"
    ),
}


def policies() -> Iterator[Spoil]:
    for table in PLATFORM:
        hidden = "node_id <> 'k'" if table == NODES else f"bot_id <> '{ONE}'"
        for kind, text in POLICIES.items():
            sql = text.replace("{t}", table).replace("{of_one}", hidden)
            yield Spoil(
                kind=kind,
                where=table,
                sql=f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; {sql}",
                alarms=table == NODES and ("updates" in kind or "deletes" in kind),
            )


def publications() -> Iterator[Spoil]:
    for table in PLATFORM:
        plain = {"bots": "name", VERSIONS: "status", RUNS: "status", NODES: "node_type"}[table]
        for kind, sql in {
            "a publication without an identity": (
                f"ALTER TABLE {table} REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE {table}"
            ),
            "a publication of inserts": (
                f"ALTER TABLE {table} REPLICA IDENTITY NOTHING;"
                f"CREATE PUBLICATION p FOR TABLE {table} WITH (publish = 'insert')"
            ),
            "a publication with a row filter": (
                f"CREATE PUBLICATION p FOR TABLE {table} WHERE ({plain} <> 'x')"
            ),
            "a publication with a row filter of inserts": (
                f"CREATE PUBLICATION p FOR TABLE {table} WHERE ({plain} <> 'x')"
                " WITH (publish = 'insert')"
            ),
            "a publication of some columns": f"CREATE PUBLICATION p FOR TABLE {table} ({plain})",
        }.items():
            yield Spoil(kind=kind, where=table, sql=sql)


# -- constraints and keys --------------------------------------------------------------------------

OTHERS: Final = {
    "bots": "legacy_workflow",
    VERSIONS: "graph",
    RUNS: "graph_snapshot",
    NODES: "inputs",
}


def constraints() -> Iterator[Spoil]:
    for table in PLATFORM:
        column = OTHERS[table]
        yield Spoil(
            kind="a check that nothing passes",
            where=table,
            sql=f"ALTER TABLE {table} ADD CHECK ({column} IS NULL) NOT VALID",
        )
        yield Spoil(
            kind="a check that one bot does not pass",
            where=table,
            sql=f"ALTER TABLE {table} ADD CHECK ("
            + ("node_id <> 'k'" if table == NODES else f"bot_id <> '{ONE}' OR {column} IS NULL")
            + ") NOT VALID",
        )
        yield Spoil(
            kind="a check that everything passes",
            where=table,
            sql=f"ALTER TABLE {table} ADD CHECK ({column} IS NULL OR {column}::text <> '')",
        )
        if table == "bots":
            continue
        insists = (
            f"ALTER TABLE {table} ADD tenant int NOT NULL DEFAULT 1;"
            f"ALTER TABLE {table} ALTER tenant DROP DEFAULT;"
        )
        for when in ("", "DEFERRABLE INITIALLY DEFERRED"):
            yield Spoil(
                kind="a foreign key of a new column",
                where=f"{table} {when.lower()}",
                sql="CREATE TABLE tenants (id text PRIMARY KEY);"
                f"ALTER TABLE {table} ADD tenant text REFERENCES tenants {when};"
                f"ALTER TABLE {table} ALTER tenant SET DEFAULT 'none'",
            )
        yield Spoil(
            kind="a column that insists",
            where=table,
            sql=insists,
        )
        yield Spoil(
            kind="a column that insists and a trigger that fills it",
            where=table,
            sql=insists + trigger(table, "INSERT", "NEW.tenant := 1; RETURN NEW;"),
        )
        yield Spoil(
            kind="a column that insists and a trigger that does not",
            where=table,
            sql=insists + trigger(table, "INSERT", "RETURN NEW;"),
        )
        yield Spoil(
            kind="a column that insists by its domain",
            where=table,
            sql="CREATE DOMAIN a_tenant AS int CHECK (value IS NOT NULL);"
            f"ALTER TABLE {table} ADD tenant a_tenant DEFAULT 1;"
            f"ALTER TABLE {table} ALTER tenant DROP DEFAULT",
        )
        yield Spoil(
            kind="a column that insists with a default",
            where=table,
            sql=f"ALTER TABLE {table} ADD tenant int NOT NULL DEFAULT 1, ADD number int GENERATED"
            " ALWAYS AS IDENTITY",
        )


def keys() -> Iterator[Spoil]:
    for table, columns_ in {
        VERSIONS: ("version", "graph -> 'nodes' -> 0 ->> 'id'", "created_at"),
        RUNS: ("status", "bot_id", "session_id"),
        NODES: ("node_id", "node_type, status"),
    }.items():
        for column in columns_:
            yield Spoil(
                kind="a unique index",
                where=f"{table} ({column})",
                sql=f"CREATE UNIQUE INDEX u ON {table} ({f'({column})' if '->' in column else column})",
            )
        first = columns_[0]
        for kind, how in {
            "a unique constraint": "UNIQUE ({})",
            "a deferrable unique constraint": "UNIQUE (id, {}) DEFERRABLE",
            "a deferred unique constraint": "UNIQUE (id, {}) DEFERRABLE INITIALLY DEFERRED",
            "an exclusion constraint": "EXCLUDE USING btree ({} WITH =)",
            "a deferred exclusion constraint": (
                "EXCLUDE USING btree (id WITH =) DEFERRABLE INITIALLY DEFERRED"
            ),
            "an exclusion constraint of a column": "EXCLUDE USING btree (id WITH =, {} WITH =)",
        }.items():
            sql = f"ALTER TABLE {table} ADD CONSTRAINT u {how.format(first)}"
            yield Spoil(kind=kind, where=table, sql=sql)
    yield Spoil(
        kind="a deferrable key",
        where=RUNS,
        sql=f"ALTER TABLE {NODES} DROP CONSTRAINT workflow_node_executions_workflow_run_id_fkey;"
        f"ALTER TABLE {RUNS} DROP CONSTRAINT workflow_execution_runs_pkey,"
        " ADD PRIMARY KEY (id) DEFERRABLE",
    )
    for table in (VERSIONS, RUNS, NODES):
        yield Spoil(
            kind="no primary key",
            where=table,
            sql=f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey CASCADE",
            alarms=True,
        )
    yield Spoil(kind="no unique draft", where=VERSIONS, sql=_DROP_UNIQUE_DRAFT, alarms=True)
    for action in ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL"):
        for table in (VERSIONS, RUNS, NODES):
            yield Spoil(
                kind="a foreign key of another table",
                where=f"{table} {action}",
                sql=f"CREATE TABLE bills (it uuid REFERENCES {table} ON DELETE {action});"
                "GRANT SELECT ON bills TO {role};"
                + trigger(
                    table,
                    "INSERT",
                    "INSERT INTO bills VALUES (NEW.id); RETURN NULL;",
                    moment="AFTER",
                ).replace("LANGUAGE", "SECURITY DEFINER LANGUAGE"),
                keeps=table != VERSIONS,
            )
        yield Spoil(
            kind="a foreign key of a table that may not be read",
            where=f"{RUNS} {action}",
            sql=f"CREATE TABLE bills (it uuid REFERENCES {RUNS} ON DELETE {action})",
        )


_DROP_UNIQUE_DRAFT = textwrap.dedent("""
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexrelid::regclass::text FROM pg_index
            WHERE indrelid = 'bot_workflow_versions'::regclass AND indpred IS NOT NULL
        LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
    END $$
""")


# -- columns ---------------------------------------------------------------------------------------


def columns() -> Iterator[Spoil]:
    generated = {
        VERSIONS: (("updated_at", "timestamptz", "created_at"), ("features", "jsonb", "graph")),
        RUNS: (("total_steps", "int", "total_tokens"), ("outputs", "jsonb", "inputs")),
        NODES: (("tokens_used", "int", "execution_order"), ("is_truncated", "bool", "true")),
    }
    for table, several in generated.items():
        for name, type_, source in several:
            yield Spoil(
                kind="a generated column of ours",
                where=f"{table}.{name}",
                sql=f"ALTER TABLE {table} DROP {name};"
                f"ALTER TABLE {table} ADD {name} {type_} GENERATED ALWAYS AS ({source}) STORED",
            )
        yield Spoil(
            kind="a generated column of theirs",
            where=table,
            sql=f"ALTER TABLE {table} ADD theirs text GENERATED ALWAYS AS ('x') STORED",
        )
        number = {VERSIONS: "version", RUNS: "total_tokens", NODES: "execution_order"}[table]
        if table != VERSIONS:
            yield Spoil(
                kind="an identity column of ours",
                where=f"{table}.{number}",
                sql=f"ALTER TABLE {table} ALTER {number} DROP DEFAULT, ALTER {number} SET NOT NULL;"
                f"ALTER TABLE {table} ALTER {number} ADD GENERATED ALWAYS AS IDENTITY",
            )
    yield Spoil(
        kind="a generated column of ours",
        where="bots.legacy_workflow",
        sql="ALTER TABLE bots DROP legacy_workflow;"
        "ALTER TABLE bots ADD legacy_workflow json GENERATED ALWAYS AS (workflow) STORED",
    )
    for table, names in {
        "bots": ("legacy_workflow", "use_workflow_v2", "updated_at"),
        VERSIONS: ("features", "updated_at", "environment_variables"),
        RUNS: ("graph_snapshot", "error_message", "total_steps"),
        NODES: ("process_data", "is_truncated", "truncated_fields"),
    }.items():
        for name in names:
            yield Spoil(
                kind="a column that is missing",
                where=f"{table}.{name}",
                sql=f"ALTER TABLE {table} DROP {name}",
                alarms=(table, name) == ("bots", "updated_at"),
            )


NARROW: Final = (
    (VERSIONS, "version", "varchar(3)"),
    (VERSIONS, "status", "varchar(4)"),
    (RUNS, "session_id", "varchar(10)"),
    (RUNS, "status", "varchar(6)"),
    (NODES, "node_id", "varchar(3)"),
    (NODES, "node_type", "varchar(8)"),
    (NODES, "status", "char(4)"),
)
OTHER_TYPES: Final = (
    (VERSIONS, "graph", "json"),
    (VERSIONS, "id", "text"),
    (VERSIONS, "id", "varchar(36)"),
    (VERSIONS, "created_at", "timestamp"),
    (VERSIONS, "features", "json"),
    (VERSIONS, "created_at", "date"),
    (RUNS, "graph_snapshot", "json"),
    (RUNS, "inputs", "text"),
    (RUNS, "outputs", "json"),
    (RUNS, "elapsed_time", "smallint"),
    (RUNS, "elapsed_time", "numeric"),
    (RUNS, "elapsed_time", "double precision"),
    (RUNS, "elapsed_time", "text"),
    (RUNS, "created_at", "timestamp"),
    (RUNS, "session_id", "uuid USING NULL"),
    (NODES, "process_data", "json"),
    (NODES, "is_truncated", "text"),
    (NODES, "is_truncated", "int USING 0"),
    (NODES, "execution_order", "text"),
    (NODES, "execution_order", "bigint"),
    ("bots", "legacy_workflow", "text"),
    ("bots", "legacy_workflow", "jsonb"),
    ("bots", "workflow", "text"),
    ("bots", "use_workflow_v2", "int USING 0"),
)
ENUMS: Final = (
    (VERSIONS, "status", ("draft", "published", "archived"), True),
    (VERSIONS, "status", ("Draft", "Published"), False),
    (VERSIONS, "status", ("published", "archived"), False),
    (VERSIONS, "version", ("draft", "v1.0"), True),
    (VERSIONS, "version", ("v1.0",), False),
    (RUNS, "status", ("running", "succeeded", "failed"), True),
    (RUNS, "status", ("running", "succeeded"), False),
    (RUNS, "status", ("running", "success", "failed"), False),
    (NODES, "status", ("running", "completed", "failed", "skipped"), True),
    (NODES, "status", ("running", "completed", "failed"), False),
    (NODES, "node_type", ("start", "llm", "end", "knowledge-retrieval", "text-join"), True),
    (NODES, "node_type", ("start", "llm", "end", "knowledge"), False),
)


def types() -> Iterator[Spoil]:
    for table, column, type_ in NARROW:
        yield Spoil(
            kind="a column that is too narrow",
            where=f"{table}.{column} {type_}",
            sql=_retyped(table, column, type_),
        )
    for table, column, type_ in OTHER_TYPES:
        yield Spoil(
            kind="a column of another type",
            where=f"{table}.{column} {type_}",
            sql=_retyped(table, column, type_),
            alarms="text" in type_,
        )
    for table, column, labels, fits in ENUMS:
        listed = ", ".join(f"'{label}'" for label in labels)
        anew = "" if fits else f"DELETE FROM {VERSIONS};"
        yield Spoil(
            kind=f"an enumeration {'with' if fits else 'without'} our words",
            where=f"{table}.{column} {labels[0]}",
            sql=f"{anew}CREATE TYPE an_enum AS ENUM ({listed});"
            + _retyped(table, column, "an_enum"),
            alarms=True,
        )
        yield Spoil(
            kind=f"a domain {'with' if fits else 'without'} our words",
            where=f"{table}.{column} {labels[0]}",
            sql=f"{anew}CREATE DOMAIN a_domain AS varchar(50) CHECK (value IN ({listed}));"
            + _retyped(table, column, "a_domain"),
            alarms=True,
        )
    folded = "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
    for where in (("bots",), (VERSIONS,), (RUNS,), ("bots", VERSIONS), ("bots", VERSIONS, RUNS)):
        yield Spoil(
            kind="ids in a collation that is not deterministic",
            where=", ".join(where),
            sql=folded
            + "".join(
                f"ALTER TABLE {t} ALTER bot_id TYPE varchar(50) COLLATE folded;" for t in where
            ),
            alarms=True,
        )
    for one, other in (("C", "POSIX"), ("C", "C"), ("default", "C"), ("C", "default")):
        yield Spoil(
            kind="ids in collations",
            where=f"{one}, {other}",
            sql=f'ALTER TABLE {VERSIONS} ALTER bot_id TYPE varchar(50) COLLATE "{other}";'
            f'ALTER TABLE bots ALTER bot_id TYPE varchar(50) COLLATE "{one}"',
            alarms=True,
        )


def _retyped(table: str, column: str, type_: str) -> str:
    """A column of another type, in whatever index and default it is."""
    new, _, using = type_.partition(" USING ")
    return textwrap.dedent(f"""
        DO $$ DECLARE it record; made text[] := '{{}}'; one text; BEGIN
            FOR it IN SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS def
                FROM pg_index i WHERE i.indrelid = '{table}'::regclass AND i.indpred IS NOT NULL
            LOOP
                EXECUTE 'DROP INDEX ' || it.name;
                made := made || replace(it.def, '(status)::text = ''draft''::text', 'status = ''draft''');
            END LOOP;
            FOR it IN SELECT conrelid::regclass::text AS rel, conname FROM pg_constraint
                WHERE contype = 'f' AND (conrelid = '{table}'::regclass OR confrelid = '{table}'::regclass)
                  AND '{column}' = 'id'
            LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', it.rel, it.conname); END LOOP;
            ALTER TABLE {table} ALTER {column} DROP DEFAULT;
            ALTER TABLE {table} ALTER {column} TYPE {new} USING {using or f"{column}::text::{new}"};
            FOREACH one IN ARRAY made LOOP
                BEGIN EXECUTE one; EXCEPTION WHEN others THEN NULL; END;
            END LOOP;
        END $$
    """)


# -- rights, tables, settings ----------------------------------------------------------------------

RIGHTS: Final = {
    "bots": ("SELECT (bot_id)", "SELECT (workflow)", "SELECT (use_workflow_v2)",
             "SELECT (legacy_workflow)", "SELECT (name)", "UPDATE (legacy_workflow)"),
    VERSIONS: ("SELECT", "INSERT", "UPDATE (graph)", "UPDATE (updated_at)"),
    RUNS: ("SELECT", "INSERT", "DELETE", "UPDATE (total_steps)"),
    NODES: ("SELECT", "INSERT", "DELETE", "UPDATE (is_truncated)"),
    LEDGER: ("SELECT", "INSERT", "DELETE"),
    BACKUPS: ("SELECT", "INSERT"),
    "flowshift.runs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "flowshift.batches": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "flowshift.audit": ("SELECT", "INSERT", "DELETE"),
    "flowshift.prunes": ("SELECT", "INSERT", "UPDATE"),
    "flowshift.budgets": ("SELECT", "INSERT"),
    "flowshift.heartbeats": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "flowshift.leaving_partitions": ("SELECT", "INSERT", "DELETE"),
}  # fmt: skip


def rights() -> Iterator[Spoil]:
    for table, several in RIGHTS.items():
        for right in several:
            yield Spoil(
                kind=f"a right that is missing on {table}",
                where=right,
                sql=f"REVOKE {right} ON {table} FROM {{role}}",
                backup="table" if table == BACKUPS else "column",
                alarms=True,
            )
    for schema in ("public", "flowshift"):
        yield Spoil(
            kind="a schema that may not be used",
            where=schema,
            sql=f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {{role}}",
            alarms=True,
        )
    yield Spoil(
        kind="a sequence that may not be used",
        where=VERSIONS,
        sql=f"CREATE SEQUENCE s; ALTER TABLE {VERSIONS} ADD number int DEFAULT nextval('s')",
    )
    yield Spoil(
        kind="a function that may not be called",
        where=VERSIONS,
        sql="CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "REVOKE EXECUTE ON FUNCTION g FROM PUBLIC;"
        f"ALTER TABLE {VERSIONS} ADD number int; ALTER TABLE {VERSIONS} ALTER number SET DEFAULT g()",
    )


def tables() -> Iterator[Spoil]:
    for table in PLATFORM:
        yield Spoil(
            kind="a view in its place",
            where=table,
            sql=f"ALTER TABLE {table} RENAME TO hidden; CREATE VIEW {table} AS SELECT * FROM hidden;"
            f"GRANT ALL ON {table}, hidden TO {{role}}",
            alarms=True,
        )
        yield Spoil(
            kind="an empty table before it on the path",
            where=table,
            sql=f"CREATE SCHEMA app; CREATE TABLE app.{table} (LIKE {table} INCLUDING ALL);"
            f"GRANT ALL ON SCHEMA app TO {{role}}; GRANT ALL ON app.{table} TO {{role}};"
            + _set("search_path", "app, public"),
            path="app, public",
            alarms=True,
        )
        yield Spoil(
            kind="a view before it on the path",
            where=table,
            sql=f"CREATE SCHEMA app; CREATE VIEW app.{table} AS SELECT * FROM public.{table};"
            f"GRANT ALL ON SCHEMA app TO {{role}}; GRANT ALL ON app.{table} TO {{role}};"
            + _set("search_path", "app, public"),
            path="app, public",
            alarms=True,
        )
        yield Spoil(
            kind="a table of that name in another schema",
            where=table,
            sql=f"CREATE SCHEMA app; CREATE TABLE app.{table} (x int)",
        )
        yield Spoil(
            kind="a table that is not on the path",
            where=table,
            sql=f"CREATE SCHEMA app; ALTER TABLE {table} SET SCHEMA app;"
            "GRANT USAGE ON SCHEMA app TO {role}",
        )
        yield Spoil(
            kind="a table that is gone",
            where=table,
            sql=f"ALTER TABLE {table} RENAME TO was_{table}",
        )
        yield Spoil(
            kind="a child table",
            where=table,
            sql=f"CREATE TABLE child () INHERITS ({table}); GRANT ALL ON child TO {{role}}",
        )
    for table in (RUNS, NODES):
        for kind, parts in {
            "partitions with one for today": "CREATE TABLE {p}_rest PARTITION OF {p} DEFAULT",
            "partitions without one for today": (
                "CREATE TABLE {p}_old PARTITION OF {p} FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
            ),
            "partitions of which one suppresses": (
                "CREATE TABLE {p}_rest PARTITION OF {p} DEFAULT;"
                + trigger("{p}_rest", "INSERT", "RETURN NULL;")
            ),
            "partitions of which one may not be written": (
                "CREATE TABLE {p}_rest PARTITION OF {p} DEFAULT; REVOKE ALL ON {p}_rest FROM {role}"
            ),
        }.items():
            yield Spoil(
                kind=kind, where=table, sql=_partitioned(table) + parts.replace("{p}", table)
            )


def _partitioned(table: str) -> str:
    key = "workflow_run_id" if table == NODES else "bot_id"
    again = f"ALTER TABLE {NODES} DROP CONSTRAINT IF EXISTS workflow_node_executions_workflow_run_id_fkey;"
    return (
        again + f"ALTER TABLE {table} RENAME TO was;"
        f"CREATE TABLE {table} (LIKE was INCLUDING DEFAULTS, PRIMARY KEY (id, created_at))"
        " PARTITION BY RANGE (created_at);"
        f"DROP TABLE was CASCADE; CREATE INDEX ON {table} ({key});"
        + ("" if table == NODES else f"CREATE INDEX ON {table} (created_at);"
           f"CREATE INDEX ON {table} (session_id);")
        + f"GRANT SELECT, INSERT, DELETE, UPDATE ON {table} TO {{role}};"
    )  # fmt: skip


def _set(name: str, value: str) -> str:
    return f"ALTER ROLE {{role}} IN DATABASE {{database}} SET {name} = {value}"


SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "row_security": "off",
    "search_path": "pg_catalog",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "session_replication_role": "replica",
    "datestyle": "german",
    "intervalstyle": "sql_standard",
    "timezone": "'Asia/Seoul'",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "latin1",
    "constraint_exclusion": "on",
    "enable_indexscan": "off",
    "default_tablespace": "pg_default",
    "role": "pg_monitor",
    "xmloption": "document",
    "check_function_bodies": "off",
    "jit": "on",
    "temp_file_limit": "0",
    "default_transaction_deferrable": "on",
}


def settings() -> Iterator[Spoil]:
    for name, value in SETTINGS.items():
        sql = _set(name, value)
        if name == "role":
            sql = f"GRANT pg_monitor TO {{role}}; {sql}"
        yield Spoil(kind="a role's own setting", where=f"{name} = {value}", sql=sql)
        if name not in ("role", "session_replication_role", "temp_file_limit"):
            yield Spoil(
                kind="a database's own setting",
                where=f"{name} = {value}",
                sql=f"ALTER DATABASE {{database}} SET {name} = {value}",
            )
