"""Verify a backup: restore it into a scratch database, and hold what came back against the manifest.

files ─► scratch database ─► definitions, rows ─► tables, bots ─► keys and indexes ─► dropped
                                                                          on record ◄┘
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.backup.compare import (
    BotDifferences,
    BotHash,
    TableDifference,
    collect,
    differing_bots,
    differing_tables,
)
from worker.core.backup.manifest import BOTS, DUMP, FileEntry, Manifest
from worker.core.codes import quote
from worker.db import audit
from worker.db.database_backups import record, scratch
from worker.db.database_backups.client import Client, client_of
from worker.db.database_backups.content import bot_hashes
from worker.db.database_backups.snapshot import CopyWatch
from worker.db.engine import map_database_errors
from worker.errors import TransientError, UsageError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.servers import embedded
from worker.servers.postgres_tools import find_tools
from worker.steps.backup import directory as files
from worker.steps.backup.program import Ended, run
from worker.steps.backup.progress import Meter, Show

log = get_logger(__name__)

STEPS: Final = 5
Where = Literal["server", "embedded"]
_Section = Literal["pre-data", "data", "post-data"]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    `damaged` are files that are not what was written: then nothing was restored. `problems` are what
    pg_restore complained of, `notes` definitions that need what is elsewhere in the platform: they do
    not count. `restore_s` is how long restoring took, `duration_s` all of it. `on_record`: the backup
    is one of this database.
    """

    manifest: Manifest
    damaged: tuple[str, ...] = ()
    tables: tuple[TableDifference, ...] = ()
    bots: BotDifferences = BotDifferences()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    restore_s: float = 0.0
    duration_s: float = 0.0
    on_record: bool = False

    @property
    def differences(self) -> int:
        """How many files, tables and bots differ; 0: the backup is whole."""
        return len(self.damaged) + len(self.tables) + self.bots.bots


def verify(current: Runtime, directory: Path, *, where: Where, actor: str, show: Show) -> Verified:
    """Verify the backup in `directory`, and note the result with its record in the database.

    The backup itself is only read. On repeat the last result counts.

    Raises:
        UsageError: there is no backup of flowshift's, or only a part of one.
        ConfigError: the role may not create databases, or pg_restore is missing or too old.
        TransientError: a server was unavailable.
    """
    began = time.monotonic()
    manifest = files.read_manifest(directory)
    meter = Meter(show, STEPS)
    damaged = _damaged(directory, manifest, meter)
    found = (
        Verified(manifest=manifest, damaged=damaged)
        if damaged
        else _restored(current, directory, manifest, meter, where=where)
    )
    found = msgspec.structs.replace(found, duration_s=time.monotonic() - began)
    on_record = _note(current.engine, found, directory.name, actor)
    log.info(
        "backup.verified",
        backup_id=manifest.backup_id,
        differences=found.differences,
        duration_ms=round(found.duration_s * 1000),
        actor=actor,
    )
    return msgspec.structs.replace(found, on_record=on_record)


def _damaged(directory: Path, manifest: Manifest, meter: Meter) -> tuple[str, ...]:
    """The files that are not what was written, each as a sentence."""
    entries = (manifest.bots_file, manifest.dump_file)
    meter.begin("read files", "bytes", sum(entry.bytes for entry in entries))
    names = {BOTS, DUMP}
    if {entry.name for entry in entries} != names:
        raise UsageError(
            f"the manifest in {quote(str(directory), limit=1_000)} is damaged: it names other files"
        )
    return tuple(filter(None, (_damage(directory / entry.name, entry, meter) for entry in entries)))


def _damage(path: Path, entry: FileEntry, meter: Meter) -> str:
    try:
        found = files.read_entry(path, meter.add)
    except FileNotFoundError:
        return f"{entry.name} is missing"
    if found.bytes != entry.bytes:
        return f"{entry.name} has {found.bytes:,} bytes, and {entry.bytes:,} were written"
    return "" if found == entry else f"{entry.name} is damaged: its hash is another"


@contextmanager
def _server(current: Runtime, where: Where) -> Iterator[str]:
    """The URL of the server on which to restore."""
    if where == "server":
        yield current.servers.database_url
        return
    with embedded.attach(current.settings.data_path) as attachment:
        yield attachment.endpoints.database_url


def _restored(
    current: Runtime, directory: Path, manifest: Manifest, meter: Meter, *, where: Where
) -> Verified:
    """Restore, and compare what came back."""
    lock_timeout_ms = current.settings.lock_timeout_ms
    with _server(current, where) as url, map_database_errors():
        with scratch.scratch_database(url, lock_timeout_ms=lock_timeout_ms) as (engine, left_over):
            found = _Restoring(current, engine, directory, manifest, meter).do()
        return msgspec.structs.replace(found, left_over=tuple(left_over))


class _Restoring:
    """One restoring into one scratch database, section by section."""

    def __init__(
        self,
        current: Runtime,
        engine: sa.Engine,
        directory: Path,
        manifest: Manifest,
        meter: Meter,
    ) -> None:
        self._engine = engine
        self._dump = directory / DUMP
        self._bots = directory / BOTS
        self._manifest = manifest
        self._meter = meter
        self._name = f"flowshift restore {uuid.uuid4().hex[:12]}"
        with engine.connect() as connection:
            version = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
            self._client: Client = client_of(connection, self._name)
        tools = find_tools(
            current.settings.postgres_tools_dir,
            server_major=max(version // 10_000, manifest.tools_version),
        )
        self._program = Path(tools.directory, "pg_restore")
        self._restore_s = 0.0

    def do(self) -> Verified:
        """Everything, in the order in which pg_restore itself goes."""
        tables = self._manifest.tables
        notes = self._definitions()
        self._meter.begin("restore rows", "rows", sum(table.rows for table in tables))
        loaded = self._rows()
        differing = self._compare_tables()
        bots = self._compare_bots()
        self._meter.begin("build indexes", "steps", 1)
        notes += self._section("post-data").problems()
        self._meter.at(1)
        return Verified(
            manifest=self._manifest,
            tables=tuple(differing),
            bots=bots,
            problems=loaded.problems() if loaded.code or differing or bots.bots else (),
            notes=notes,
            restore_s=self._restore_s,
        )

    def _definitions(self) -> tuple[str, ...]:
        """The tables as the dump defines them, or, if that cannot be here, with plain columns."""
        with self._engine.begin() as connection:
            scratch.make_schemas(connection, self._manifest.tables)
        notes = self._section("pre-data").problems()
        with self._engine.begin() as connection:
            made = scratch.make_missing(connection, self._manifest.tables)
        return (*notes, *(f"{label} was restored with plain columns" for label in made))

    def _rows(self) -> Ended:
        with self._engine.connect() as connection:
            watch = CopyWatch(connection, self._name)
            return self._section("data", watch)

    def _section(self, section: _Section, watch: CopyWatch | None = None) -> Ended:
        began = time.monotonic()
        ended = run(
            self._program,
            [
                f"--section={section}",
                "--no-owner",
                "--no-privileges",
                "--no-tablespaces",
                "--no-publications",
                "--no-subscriptions",
                "--no-security-labels",
                str(self._dump),
            ],
            self._client,
            lambda: self._meter.at(watch.rows()) if watch else None,
        )
        self._restore_s += time.monotonic() - began
        if ended.code < 0:
            raise TransientError(f"pg_restore did not end: {ended.reason}; verify it again")
        return ended

    def _compare_tables(self) -> list[TableDifference]:
        tables = [table for table in self._manifest.tables if not table.is_left_out]
        self._meter.begin("compare tables", "rows", sum(table.rows for table in tables))
        found = {}
        with self._engine.connect() as connection:
            for table in tables:
                found[table.label] = scratch.count_restored(connection, table)
                self._meter.add(table.rows)
        return differing_tables(tables, found)

    def _compare_bots(self) -> BotDifferences:
        """One pass over both lists, which are in the same order."""
        self._meter.begin("compare bots", "bots", self._manifest.bots)
        with self._engine.connect() as connection:
            tables = [
                table
                for table in self._manifest.tables
                if table.per_bot and scratch.is_there(connection, table)
            ]
            found = bot_hashes(connection, scratch.sources_of(tables)) if tables else iter(())
            return collect(differing_bots(self._expected(), found))

    def _expected(self) -> Iterator[BotHash]:
        decoder = msgspec.json.Decoder(BotHash)
        with self._bots.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield decoder.decode(line)
                if number % 1_000 == 0:
                    self._meter.at(number)


def _note(engine: sa.Engine, found: Verified, directory: str, actor: str) -> bool:
    """Note the result; False if the backup is of another database."""
    backup_id = uuid.UUID(found.manifest.backup_id)
    with map_database_errors(), engine.begin() as connection:
        is_known = record.note_verified(
            connection,
            backup_id,
            actor=actor,
            duration_ms=round(found.duration_s * 1000),
            differences=found.differences,
        )
        if is_known:
            detail = {"backup": str(backup_id), "differences": found.differences}
            audit.record(connection, None, actor, "backup.verified", directory, detail)
    return is_known
