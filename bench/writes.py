"""What a bot costs in the database: time by statement, WAL by relation, and what its indexes are for.

A fleet is converted and validated by one process, batch after batch as a worker does them, without a
queue; with `--runs 2` the second run over it is measured. For each statement it says how long the
process waits for it, and, if the server is on this machine, how long the server's processor works on
it: other work on the machine changes that little. Its log is read afterwards: what was written for each
table, its TOAST and its indexes, and how many full-page images.

python -m bench.writes [--bots 20000] [--validate sample:1] [--runs 1]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import event

from bench.floor import load_fleet
from bench.main import Bench, Place, main
from migrations import upgrade
from worker import runtime
from worker.core.policy.batch_ref import BatchRef
from worker.db import admission
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.plan import plan_run
from worker.steps.request import Request
from worker.steps.start import record_run

BATCH_SIZE: Final = 500

_NAMED: Final = re.compile(
    r"\s*(?:WITH .*?)?(INSERT INTO|UPDATE|DELETE FROM|SELECT|DECLARE|FETCH)\b\s*([\w.]*)", re.DOTALL
)
_FROM: Final = re.compile(r"\bFROM\s+(?:unnest\(.*?\bJOIN\s+)?([a-z_.]+)", re.DOTALL)
_RECORD: Final = re.compile(rb"len \(rec/tot\):\s*\d+/\s*(\d+)")
_BLOCK: Final = re.compile(rb"blkref #\d+: rel \d+/(\d+)/(\d+)")


class Spent(msgspec.Struct):
    """A kind of statement: how often in all, how long it was waited for, and the server's own time."""

    count: int = 0
    seconds: float = 0.0
    server_s: float = 0.0


class Written(msgspec.Struct):
    """WAL of one relation: bytes in all, records, and the records that hold a page whole."""

    octets: int = 0
    records: int = 0
    images: int = 0


class Measured(msgspec.Struct, frozen=True):
    """One run of a fleet."""

    server: str
    compression: str
    bots: int
    batches: int
    validate: str
    seconds: float
    cpu_s: float
    wal_bytes: int
    wal_images: int | None
    statements: dict[str, Spent]
    relations: dict[str, Written]
    sizes: dict[str, int]
    hot_updates: dict[str, tuple[int, int]]
    unread_indexes: list[str]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=20_000)
    parser.add_argument("--validate", default="sample:1")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("writes") as settings:
        current = runtime.configure(settings)
        upgrade.upgrade(current.engine)
        load_fleet(current.engine, given.bots)
        for _ in range(1, given.runs):
            _run(current, given.validate, given.batch_size)
        with wal_kept(current.engine):
            return measure_run(current, given.bots, given.validate, given.batch_size)


def measure_run(current: Runtime, bots: int, validate: str, batch_size: int) -> Measured:
    """Take one run through, and say what it cost."""
    before = _where(current.engine)
    images = _images(current.engine)
    with timed(current.engine) as statements:
        began, worked = time.perf_counter(), time.process_time()
        batches = _run(current, validate, batch_size)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - worked
    after = _where(current.engine)
    return Measured(
        server=str(_scalar(current.engine, "SHOW server_version")),
        compression=str(_scalar(current.engine, _COMPRESSION)),
        bots=bots,
        batches=batches,
        validate=validate,
        seconds=round(seconds, 2),
        cpu_s=round(cpu_s, 2),
        wal_bytes=int(_scalar(current.engine, f"SELECT '{after}'::pg_lsn - '{before}'::pg_lsn")),
        wal_images=None if images is None else (_images(current.engine) or 0) - images,
        statements=dict(statements),
        relations=_relations(current.engine, before, after),
        sizes=dict(_rows(current.engine, _SIZES)),
        hot_updates={name: (hot, all_) for name, hot, all_ in _rows(current.engine, _HOT)},
        unread_indexes=[name for (name,) in _rows(current.engine, _UNREAD)],
    )


def _run(current: Runtime, validate: str, batch_size: int) -> int:
    run = record_run(
        current.engine,
        Request(validate=validate, allow_overlap=True),  # with the runs before, which nothing ends
        request_id=str(uuid.uuid4()),
        requested_by="bench",
        default_batch_size=batch_size,
        backup=current.settings.backup,
        default_target="guide",
        default_strict=(),
    )
    plan_run(current.engine, run.run_id, actor="bench")
    number = 0
    while (number := number + 1) <= _batches(current.engine, run.run_id):  # a slow one leaves bots
        with current.engine.begin() as connection:
            ref = BatchRef(run.run_id, number)
            batch = admission.claim(connection, ref, worker="bench", lease_s=600, target_ms=0)
        assert batch is not None
        KINDS[batch.kind].run(batch, current)
    return number - 1


def _batches(engine: sa.Engine, run_id: int) -> int:
    return int(_scalar(engine, f"SELECT count(*) FROM flowshift.batches WHERE run_id = {run_id}"))


# -- statements ------------------------------------------------------------------------------------


@contextmanager
def timed(engine: sa.Engine) -> Iterator[dict[str, Spent]]:
    """Time every statement of an engine meanwhile, and its commits."""
    spent: dict[str, Spent] = defaultdict(Spent)

    class Timing(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            said = query.as_string(self.connection) if isinstance(query, sql.Composable) else query
            with _counted(spent[_name(said)], self.connection):
                return super().execute(query, params, **how)

    class TimingServer(psycopg.ServerCursor[Any]):
        def fetchmany(self, size: int = 0) -> list[Any]:
            with _counted(spent[f"FETCH {self.name}"], self.connection):
                return super().fetchmany(size)

    def out(raw: psycopg.Connection[Any], *_: object) -> None:
        raw.cursor_factory, raw.server_cursor_factory = Timing, TimingServer

    def commit(connection: sa.Connection) -> None:
        connection.info["began"] = time.perf_counter()

    def back(raw: psycopg.Connection[Any] | None, record: Any, *_: object) -> None:
        if raw is not None:
            raw.cursor_factory, raw.server_cursor_factory = psycopg.Cursor, psycopg.ServerCursor
        if (began := record.info.pop("began", None)) is not None:
            one = spent["COMMIT"]
            one.count, one.seconds = one.count + 1, one.seconds + time.perf_counter() - began

    listeners = (("checkout", out), ("commit", commit), ("checkin", back))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield spent
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


@contextmanager
def _counted(one: Spent, connection: psycopg.Connection[Any]) -> Iterator[None]:
    pid = connection.info.backend_pid
    before, began = server_s(pid), time.perf_counter()
    try:
        yield
    finally:
        one.count, one.seconds = one.count + 1, one.seconds + time.perf_counter() - began
        one.server_s += server_s(pid) - before


def server_s(pid: int) -> float:
    """Seconds of the processor that a server's process has used; 0 where it is not on this machine."""
    try:
        return int(Path("/proc", str(pid), "schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def _name(statement: str) -> str:
    """A statement by its verb and its table.

    >>> _name("INSERT INTO a.b (c) SELECT 1"), _name("SELECT n FROM unnest(%b) n JOIN bots b ON true")
    ('INSERT INTO a.b', 'SELECT bots')
    """
    found = _NAMED.match(statement)
    if found is None:
        return " ".join(statement.split()[:2]).upper()
    verb, table = found.groups()
    if verb == "SELECT":
        source = _FROM.search(statement)
        return f"SELECT {source[1] if source else ''}".rstrip()
    return f"{verb} {table}".rstrip()


# -- what the server says --------------------------------------------------------------------------

_COMPRESSION: Final = "SELECT current_setting('default_toast_compression', true)"

_SIZES: Final = """
    SELECT relname::text, pg_total_relation_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'flowshift'::regnamespace)
      AND pg_total_relation_size(oid) > 1000000
"""
_HOT: Final = """
    SELECT relname::text, n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0
"""
_UNREAD: Final = """
    SELECT indexrelname::text FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
    WHERE idx_scan = 0 AND NOT i.indisunique AND schemaname = 'flowshift'
      AND pg_relation_size(indexrelid) > 100000
"""
_FILES: Final = """
    SELECT c.oid, pg_relation_filenode(c.oid), COALESCE(
           t.relname || ' (TOAST)', i.indrelid::regclass::text || ': ' || c.relname, c.relname)
    FROM pg_class c
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    LEFT JOIN pg_class t ON t.reltoastrelid IN (c.oid, i.indrelid)
    WHERE c.relkind IN ('r', 't', 'i')
"""


_KEPT: Final = """
    SELECT setting FROM pg_file_settings
    WHERE name = 'wal_keep_size' AND sourcefile LIKE '%/postgresql.auto.conf'
"""


@contextmanager
def wal_kept(engine: sa.Engine) -> Iterator[None]:
    """Keep the log until it is read, on a server that a superuser has given to this bench.

    Afterwards the server keeps as much as it did before.
    """
    before = _scalar(engine, _KEPT)
    _alter_system(engine, "SET wal_keep_size = '20GB'")
    try:
        yield
    finally:
        again = "RESET wal_keep_size" if before is None else f"SET wal_keep_size = '{before}'"
        _alter_system(engine, again)


def _alter_system(engine: sa.Engine, change: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER SYSTEM {change}")
        connection.execute(sa.text("SELECT pg_reload_conf()"))


def _where(engine: sa.Engine) -> str:
    return str(_scalar(engine, "SELECT pg_current_wal_insert_lsn()"))


def _images(engine: sa.Engine) -> int | None:
    """Full-page images that the server has written; None where it does not count them (13)."""
    try:
        return int(_scalar(engine, "SELECT wal_fpi FROM pg_stat_wal"))
    except sa.exc.ProgrammingError:
        return None


def _relations(engine: sa.Engine, since: str, until: str) -> dict[str, Written]:
    """WAL by relation, of this database; nothing where its files are on another machine."""
    data_dir = Path(str(_scalar(engine, "SHOW data_directory")))
    pid_file = data_dir / "postmaster.pid"
    if not pid_file.exists():
        return {}
    server = Path("/proc", pid_file.read_text().split()[0], "exe").resolve()
    _scalar(engine, "SELECT pg_switch_wal()")
    names = {str(node): name for _, node, name in _rows(engine, _FILES)}
    database = str(
        _scalar(engine, "SELECT oid FROM pg_database WHERE datname = current_database()")
    )
    command = [str(server.with_name("pg_waldump")), "--path", str(data_dir / "pg_wal")]
    command += ["--start", since, "--end", until]
    found: dict[str, Written] = defaultdict(Written)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dump:
        assert dump.stdout is not None
        for line in dump.stdout:
            octets = _RECORD.search(line)
            if octets is None:
                continue
            block = _BLOCK.search(line)
            name = "commits and others"
            if block is not None:
                of, node = (one.decode() for one in block.groups())
                name = names.get(node, "catalogue") if of == database else "other databases"
            one = found[name]
            one.octets, one.records = one.octets + int(octets[1]), one.records + 1
            one.images += b"FPW" in line
    return dict(found)


def _scalar(engine: sa.Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(sa.text(query))


def _rows(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


# -- what is printed -------------------------------------------------------------------------------


def report(measured: Measured) -> str:
    """The result as people read it."""
    bots = measured.bots
    lines = [
        f"PostgreSQL {measured.server}, {measured.compression}",
        f"{bots:,} bots in {measured.batches} batches, validate {measured.validate}, one process",
        (
            f"{measured.seconds:,.1f} s, {measured.seconds / bots * 1e6:,.0f} µs a bot; "
            f"the process worked {measured.cpu_s / bots * 1e6:,.0f} µs of them"
        ),
        "",
        f"{'statement':<44}{'a batch':>9}{'µs a bot':>10}{'of the server':>15}",
    ]
    ordered = sorted(measured.statements.items(), key=lambda pair: -pair[1].seconds)
    for name, spent in ordered:
        us = spent.seconds / bots * 1e6
        if us >= 0.5:
            lines.append(_line(name, spent, measured))
    every = [spent for _, spent in ordered]
    together = Spent(
        sum(one.count for one in every),
        sum(one.seconds for one in every),
        sum(one.server_s for one in every),
    )
    lines.append(_line("all", together, measured))
    lines += ["", f"WAL {measured.wal_bytes / bots:,.0f} bytes a bot, {measured.wal_images} images"]
    for name, written in sorted(measured.relations.items(), key=lambda pair: -pair[1].octets):
        if written.octets / bots >= 1:
            lines.append(
                f"  {name:<68}{written.octets / bots:>8,.0f}{written.records / bots:>7.2f} records"
                f"{written.images:>8,} images"
            )
    lines += ["", "sizes, bytes a bot"]
    lines += [f"  {name:<40}{size / bots:>8,.0f}" for name, size in sorted(measured.sizes.items())]
    lines += ["", "HOT updates"]
    lines += [f"  {name:<40}{hot:,} of {n:,}" for name, (hot, n) in measured.hot_updates.items()]
    lines.append(
        f"indexes of ours that nothing read: {', '.join(measured.unread_indexes) or 'none'}"
    )
    return "\n".join(lines)


def _line(name: str, spent: Spent, measured: Measured) -> str:
    us, server_us = (s / measured.bots * 1e6 for s in (spent.seconds, spent.server_s))
    return f"{name:<44}{spent.count / measured.batches:>9.1f}{us:>10.1f}{server_us:>15.1f}"


WRITES: Final = Bench(name="writes", doc=__doc__, options=options, measure=measure, report=report)


if __name__ == "__main__":
    sys.exit(main(WRITES))
