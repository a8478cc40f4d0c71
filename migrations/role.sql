-- A role for flowshift's workers and commands, and one for those that publish: the rights that they need,
-- and no others.
--
--     flowshift db role | psql -v role=flowshift_worker postgresql://admin@db.example/platform
--
-- For an administrator, in the platform's database, after `flowshift db upgrade`. Safe to repeat: rights
-- that the role has on these tables besides are taken away, and a right is at no time missing meanwhile.
-- Tables that a later upgrade adds are covered; run it again after an upgrade all the same, since a
-- version may need other rights on the platform's tables (`flowshift db check` as that role says so).
--
-- Variables: role (flowshift_worker) and publisher (flowshift_publisher; '' for none) are created if they are
-- not there; platform (public) is the schema of the platform's tables. No password is set here; give them
-- one in psql, with \password flowshift_worker.
--
-- The upgrade itself needs the tables' owner, not this role.

\set ON_ERROR_STOP on
\if :{?role}
\else
    \set role flowshift_worker
\endif
\if :{?platform}
\else
    \set platform public
\endif
\if :{?publisher}
\else
    \set publisher flowshift_publisher
\endif
SELECT :'publisher' <> '' AS with_publisher \gset

BEGIN;

SELECT format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"platform", flowshift TO :"role";

-- The platform's tables. ---------------------------------------------------------------------------

REVOKE ALL ON
    :"platform".bots,
    :"platform".bot_workflow_versions,
    :"platform".workflow_execution_runs,
    :"platform".workflow_node_executions
FROM :"role";

-- Not what a bot is for and whose it is; and V1 itself cannot be written. UPDATE on the one column is also
-- what PostgreSQL asks for of a role that locks a row for the time of a batch: with FLOWSHIFT_BACKUP=table
-- no row of bots is updated, and the right is needed all the same.
GRANT SELECT (bot_id, name, workflow, use_workflow_v2, legacy_workflow, updated_at)
    ON :"platform".bots TO :"role";
GRANT UPDATE (legacy_workflow) ON :"platform".bots TO :"role";

-- Drafts are created and replaced, never deleted; no version changes its bot, name or status.
GRANT SELECT, INSERT, UPDATE (graph, updated_at) ON :"platform".bot_workflow_versions TO :"role";

-- Executions are recorded, and deleted when they are old. Nothing updates one: PostgreSQL asks for
-- UPDATE on some column of a row that is locked before it is deleted, and this one does least harm.
GRANT SELECT, INSERT, DELETE, UPDATE (total_steps)
    ON :"platform".workflow_execution_runs TO :"role";
GRANT SELECT, INSERT, DELETE, UPDATE (is_truncated)
    ON :"platform".workflow_node_executions TO :"role";

-- Whose rows refer to an execution keep it from being deleted: the keys of such tables are read.
SELECT format('GRANT SELECT (%s) ON %s TO %I', string_agg(quote_ident(a.attname), ', '), f.conrelid::regclass, :'role')
FROM pg_constraint f
JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey)
WHERE f.contype = 'f' AND f.conparentid = 0
  AND f.confrelid IN (
      to_regclass(format('%I.workflow_execution_runs', :'platform')),
      to_regclass(format('%I.workflow_node_executions', :'platform'))
  )
  AND f.conrelid <> to_regclass(format('%I.workflow_node_executions', :'platform'))
GROUP BY f.oid, f.conrelid \gexec

-- flowshift's own. ---------------------------------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA flowshift FROM :"role";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA flowshift TO :"role";
-- What was recorded stays as it was recorded, until it is old.
REVOKE UPDATE ON flowshift.ledger, flowshift.audit, flowshift.gate_readings FROM :"role";
-- Totals only grow.
REVOKE DELETE ON flowshift.metric_totals FROM :"role";
-- A backup is made once: no worker changes or deletes one.
REVOKE UPDATE, DELETE ON flowshift.backups FROM :"role";
-- That a backup of the database was verified is said by who takes backups: the tables' owner.
REVOKE INSERT, UPDATE, DELETE ON flowshift.database_backups FROM :"role";
-- What `flowshift finish` cleared is cleared, and brought back, by the tables' owner alone.
REVOKE INSERT, UPDATE, DELETE ON flowshift.finished_bots FROM :"role";
-- The upgrade's own notes.
REVOKE INSERT, UPDATE, DELETE ON flowshift.alembic_version, flowshift.created_objects FROM :"role";

-- The same for tables that are not there yet. Keys count by themselves: no right on a sequence is needed.
SELECT format(
    'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA flowshift'
    ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
    pg_get_userbyid(nspowner), :'role'
) FROM pg_namespace WHERE nspname = 'flowshift' \gexec

-- The role that publishes and rolls back. -----------------------------------------------------------

-- All that workers may, and besides only this: which of the two a bot runs, what a version's status is, and,
-- for `flowshift restore`, the variables of a draft.
\if :with_publisher
    SELECT format('CREATE ROLE %I LOGIN', :'publisher')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'publisher') \gexec
    REVOKE ALL ON
        :"platform".bots,
        :"platform".bot_workflow_versions,
        :"platform".workflow_execution_runs,
        :"platform".workflow_node_executions
    FROM :"publisher";
    GRANT :"role" TO :"publisher";
    GRANT UPDATE (use_workflow_v2) ON :"platform".bots TO :"publisher";
    GRANT UPDATE (status, graph, updated_at, environment_variables, conversation_variables)
        ON :"platform".bot_workflow_versions TO :"publisher";
\endif

COMMIT;

-- What this file cannot take away, because it was not given to this role. --------------------------

SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS is_powerful,
       has_schema_privilege(rolname, :'platform', 'CREATE') AS can_create
FROM pg_roles WHERE rolname = :'role' \gset
\if :is_powerful
    \warn 'beware: the role' :role 'may do more: it was made with SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS'
\endif
\if :can_create
    \warn 'beware: the role' :role 'may create tables in the schema' :platform '(before PostgreSQL 15 everybody may): REVOKE CREATE ON SCHEMA' :platform 'FROM PUBLIC'
\endif
