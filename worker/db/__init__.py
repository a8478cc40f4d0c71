"""The database: its tables, the connection to it, and functions that take a connection.

One rule for SQL. Rows that steer a run (runs, batches, heartbeats, audit) are read and written with
SQLAlchemy Core, built from `worker.db.tables` and `worker.db.platform_tables`. What goes over in bulk
(bots, drafts, the ledger, executions) is SQL for psycopg, with arrays in binary form
(`worker.db.bulk`). Questions to the catalogue, and statements over tables whose names it gave, are
text. Values are always bound. Error codes have their names in `worker.db.sqlstate`.
"""
