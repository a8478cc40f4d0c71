"""Take a backup of the database: everything read in one snapshot, and nothing named before it is whole.

lock, open a snapshot ─► hash the tables ─► hash the bots ─► pg_dump --snapshot
                                           manifest, on record, the directory gets its name ◄┘
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from worker import __version__
from worker.core.backup import manifest as manifests
from worker.core.backup.compare import BotHash, Counted
from worker.core.backup.manifest import BOTS, DUMP, MANIFEST, FileEntry, Manifest, TableEntry
from worker.core.backup.tools import Tools
from worker.db import audit
from worker.db.database_backups import record
from worker.db.database_backups.client import client_of
from worker.db.database_backups.content import Source, bot_hashes, count_table
from worker.db.database_backups.snapshot import (
    CopyWatch,
    Snapshot,
    open_snapshot,
    patient_engine,
)
from worker.db.engine import map_database_errors
from worker.errors import FlowshiftError, TransientError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.servers.postgres_tools import find_tools
from worker.steps.backup import directory as files
from worker.steps.backup.program import Ended, run
from worker.steps.backup.progress import Meter, Show

log = get_logger(__name__)

STEPS: Final = 3
_LOCK_WAIT_MS: Final = 10_000
_LINES: Final = 1_000
"""Lines of the bots' file that are written at once."""


def take(
    current: Runtime, target: Path, *, actor: str, with_executions: bool, show: Show
) -> Manifest:
    """Take a backup into the new directory `target`; returns its manifest.

    If it fails or is interrupted, nothing of it stays. A backup that is there is never written over.

    Raises:
        UsageError: `target` is taken, or a table cannot be backed up.
        ConfigError: the role may not read all of it, or pg_dump of the server's version is missing.
        TransientError: the database was unavailable, or a table was in use by DDL.
        FlowshiftError: pg_dump failed; says how.
    """
    files.need_free(target)
    engine = patient_engine(
        current.servers.database_url, lock_timeout_ms=current.settings.lock_timeout_ms
    )
    backup_id = uuid.uuid4()
    try:
        with map_database_errors(), open_snapshot(engine) as snapshot:
            tools = find_tools(
                current.settings.postgres_tools_dir,
                server_major=snapshot.server_version // 10_000,
            )
            with files.new_directory(target) as partial:
                manifest = _fill(
                    partial,
                    snapshot,
                    tools,
                    Meter(show, STEPS),
                    backup_id=backup_id,
                    actor=actor,
                    with_executions=with_executions,
                )
                _put_on_record(current.engine, manifest, snapshot.taken_at, target.name)
    finally:
        engine.dispose()
    log.info("backup.taken", backup_id=str(backup_id), bots=manifest.bots, actor=actor)
    return manifest


def _fill(
    partial: Path,
    snapshot: Snapshot,
    tools: Tools,
    meter: Meter,
    *,
    backup_id: uuid.UUID,
    actor: str,
    with_executions: bool,
) -> Manifest:
    """Write the three files, the manifest last."""
    tables = _hash_tables(snapshot, meter, with_executions=with_executions)
    bots, bots_file = _hash_bots(partial, snapshot, tables, meter)
    dump_file = _dump(partial, snapshot, tools, tables, meter)
    manifest = Manifest(
        backup_id=str(backup_id),
        taken_at=snapshot.taken_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        taken_by=actor,
        flowshift=__version__,
        revision=snapshot.revision,
        server_version=snapshot.server_version,
        tools_version=tools.major,
        snapshot=snapshot.said,
        with_executions=with_executions,
        tables=tables,
        bots=bots,
        bots_file=bots_file,
        dump_file=dump_file,
    )
    files.write(partial / MANIFEST, [manifests.encode(manifest)])
    return manifest


def _hash_tables(
    snapshot: Snapshot, meter: Meter, *, with_executions: bool
) -> tuple[TableEntry, ...]:
    meter.begin("hash tables", "rows", sum(source.rows for source in snapshot.sources))
    entries, done = [], 0
    for source in snapshot.sources:
        is_left_out = source.is_execution and not with_executions
        counted = Counted(0, "") if is_left_out else count_table(snapshot.connection, source)
        done += counted.rows
        meter.at(done)
        entries.append(
            TableEntry(
                schema=source.schema,
                name=source.name,
                columns=source.columns,
                rows=counted.rows,
                hash=counted.hash,
                per_bot=source.per_bot,
                is_left_out=is_left_out,
            )
        )
    return tuple(entries)


def _hash_bots(
    partial: Path, snapshot: Snapshot, tables: Sequence[TableEntry], meter: Meter
) -> tuple[int, FileEntry]:
    """Write the hash of each bot; returns how many there are, and the file."""
    meter.begin("hash bots", "bots", next((t.rows for t in tables if t.name == "bots"), 0))
    bots = 0

    def lines() -> Iterator[bytes]:
        nonlocal bots
        page: list[BotHash] = []
        for one in bot_hashes(snapshot.connection, snapshot.sources):
            page.append(one)
            if len(page) == _LINES:
                yield _encoder.encode_lines(page)
                bots += len(page)
                meter.at(bots)
                page.clear()
        bots += len(page)
        yield _encoder.encode_lines(page)
        meter.at(bots)

    entry = files.write(partial / BOTS, lines())
    return bots, entry


_encoder = msgspec.json.Encoder()


def _dump(
    partial: Path, snapshot: Snapshot, tools: Tools, tables: Sequence[TableEntry], meter: Meter
) -> FileEntry:
    meter.begin("dump", "rows", sum(entry.rows for entry in tables))
    name = f"flowshift backup {uuid.uuid4().hex[:12]}"
    client = client_of(snapshot.connection, name)
    watch = CopyWatch(snapshot.connection, name)
    path = partial / DUMP
    arguments = [
        f"--snapshot={snapshot.name}",
        "--format=custom",
        f"--file={path}",
        f"--lock-wait-timeout={_LOCK_WAIT_MS}",
        "--load-via-partition-root",
        *_patterns(snapshot.sources, tables),
    ]
    ended = run(Path(tools.directory, "pg_dump"), arguments, client, lambda: meter.at(watch.rows()))
    if ended.code != 0:
        raise _failure(ended, partial)
    files.sync_file(path)
    return files.read_entry(path)


def _patterns(sources: Sequence[Source], tables: Sequence[TableEntry]) -> Iterator[str]:
    """Each table with its partitions by name, quoted, so that no sign in it matches others."""
    left_out = {entry.label for entry in tables if entry.is_left_out}
    for source in sources:
        for schema, name in ((source.schema, source.name), *source.parts):
            pattern = f"{_quoted(schema)}.{_quoted(name)}"
            yield f"--table={pattern}"
            if source.label in left_out:
                yield f"--exclude-table-data={pattern}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _failure(ended: Ended, partial: Path) -> FlowshiftError:
    said = " ".join(ended.lines)
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return FlowshiftError(
            f"the disk of {partial.parent} is full, and no backup was taken: make room, or name a"
            " directory elsewhere"
        )
    if "lock timeout" in said:
        return TransientError(
            "a table was being altered meanwhile, and no backup was taken: run it again when that is over"
        )
    return FlowshiftError(f"pg_dump failed, and no backup was taken: {ended.reason}")


def _put_on_record(
    engine: sa.Engine, manifest: Manifest, taken_at: dt.datetime, directory: str
) -> None:
    """Before the directory has its name: what can be verified is on record."""
    with map_database_errors(), engine.begin() as connection:
        record.add(
            connection,
            uuid.UUID(manifest.backup_id),
            taken_at=taken_at,
            taken_by=manifest.taken_by,
            directory=directory,
            bots=manifest.bots,
            snapshot=manifest.snapshot,
        )
        detail = {"backup": manifest.backup_id, "directory": directory, "bots": manifest.bots}
        audit.record(connection, None, manifest.taken_by, "backup.taken", directory, detail)
