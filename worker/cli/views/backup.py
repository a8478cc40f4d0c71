"""What `backup` and `backup verify` print: how far they are, what was taken, what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from worker.cli.printing import console, say
from worker.cli.views.bar import LiveBar, Piece, State
from worker.core.backup.compare import TableDifference
from worker.core.backup.manifest import Manifest
from worker.core.codes import quote
from worker.core.counted import counted
from worker.core.units import duration, size
from worker.steps.backup.progress import Moved
from worker.steps.backup.verify import Verified

LINE_EVERY_S: Final = 10.0
_NOTES: Final = 5


@contextmanager
def shown(label: str, *, quiet: bool) -> Iterator[Callable[[Moved], None]]:
    """Show progress: a bar on a terminal, a line now and then elsewhere."""
    out = console(stderr=True)
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        with LiveBar(out, transient=True) as bar:
            yield lambda moved: bar.show(_state(label, moved))
    else:
        yield _Lines(label)


def _state(label: str, moved: Moved) -> State:
    return State(
        f"{label} {moved.number}/{moved.steps} {moved.name}",
        done=moved.done,
        total=moved.total or None,
        pieces=(
            Piece(_amount(moved), rank=1),
            Piece(f"{duration(moved.eta_s)} left" if moved.eta_s else "", rank=0),
        ),
    )


def _amount(moved: Moved) -> str:
    if moved.unit == "bytes":
        return f"{size(moved.done)} of {size(moved.total)}"
    return f"{moved.done:,}/{moved.total:,} {moved.unit}"


class _Lines:
    """A line whenever work has gone on for another ten seconds."""

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._next_at = clock() + LINE_EVERY_S

    def __call__(self, moved: Moved) -> None:
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + LINE_EVERY_S
        left = f", {duration(moved.eta_s)} left" if moved.eta_s else ""
        step = f"{moved.number}/{moved.steps} {moved.name}"
        say(f"{self._label} {step}: {_amount(moved)}{left}", err=True)


def print_manifest(manifest: Manifest, directory: Path) -> None:
    """Print what was taken, and what to do next."""
    rows = sum(table.rows for table in manifest.tables)
    say(
        f"backed up {counted(manifest.bots, 'bot')}, {counted(rows, 'row')} of"
        f" {len(manifest.tables)} tables: {size(manifest.dump_file.bytes)} in {directory}"
    )
    if not manifest.with_executions:
        say("executions were left out")
    say(f"next: flowshift backup verify {directory}")


def manifest_fields(manifest: Manifest, directory: Path) -> dict[str, Any]:
    """What was taken, for scripts."""
    return {"directory": str(directory), "manifest": msgspec.to_builtins(manifest)}


def print_verified(found: Verified) -> None:
    """Print whether the backup is whole, and what differs."""
    for damage in found.damaged:
        say(damage)
    for table in found.tables:
        say(_table(table))
    if found.bots.bots:
        named = ", ".join(f"{quote(one.bot_id)} {one.what}" for one in found.bots.examples)
        more = ", …" if found.bots.bots > len(found.bots.examples) else ""
        say(f"{counted(found.bots.bots, 'bot differs', 'bots differ')}: {named}{more}")
    for problem in found.problems[:_NOTES]:
        say(f"pg_restore: {problem}")
    _print_notes(found)
    took = f"restored in {duration(found.restore_s)}, all of it in {duration(found.duration_s)}"
    if found.differences:
        say(f"the backup is not whole ({took}): take another one with `flowshift backup DIR`")
    else:
        tables = len([table for table in found.manifest.tables if not table.is_left_out])
        bots = counted(found.manifest.bots, "bot")
        say(f"the backup is whole: {tables} tables, {bots} ({took})")


def _print_notes(found: Verified) -> None:
    if found.notes:
        say(
            f"{len(found.notes)} definitions need what is elsewhere in the platform, and no row depends on"
            " that:"
        )
    for note in found.notes[:_NOTES]:
        say(f"  {note}")
    for name in found.left_over:
        say(f"a verification that was killed left the database {name}: DROP DATABASE {name}")


def _table(one: TableDifference) -> str:
    if one.found is None:
        return f"{one.table} did not come back"
    if one.found.rows != one.expected.rows:
        return f"{one.table} has {one.found.rows:,} rows, and had {one.expected.rows:,}"
    return f"{one.table} has as many rows, with another content"


def verified_fields(found: Verified, directory: Path) -> dict[str, Any]:
    """What was found, for scripts; of the manifest its id."""
    values: dict[str, Any] = msgspec.to_builtins(found)
    manifest = values.pop("manifest")
    return {
        "directory": str(directory),
        "backup_id": manifest["backup_id"],
        "taken_at": manifest["taken_at"],
        "is_whole": not found.differences,
        "differences": found.differences,
        **values,
    }
