"""The simulated platform as a test holds it: started, given orders, and its journal read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from tests import platform_sql as sql
from tests.fleet import Fleet
from tests.live import calm, eventually

BUSY = {"serve": 6.0, "edit": 3.0, "change": 0.2, "publish": 0.15, "delete": 0.03}
"""What a platform does on which people are at work."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the platform did; `said` is the text of what was saved."""

    id: int
    at: Any
    kind: str
    bot_id: str
    version_id: Any
    said: str | None


class Beside:
    """A platform that works in a fleet's database."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        for statement in sql.TABLES.split(";\n"):
            if statement.strip():
                fleet.execute(statement)
        fleet.execute(sql.BEGIN)

    def order(self, **orders: Any) -> None:
        """Tell it what to do (`tests.platform_process.Orders`); what is not named stays."""
        self.fleet.execute(sql.ORDER, orders=msgspec.json.encode(orders).decode())

    def obey(self, **orders: Any) -> None:
        """Tell it, and wait until it has begun to do so."""
        self.order(**orders)
        eventually(calm(self._has_heard))

    def _has_heard(self) -> bool:
        return bool(self.fleet.rows("SELECT FROM platform_orders WHERE heard = number"))

    def journal(self, *kinds: str) -> list[Entry]:
        """What it did, in its order; of some kinds, or all but what it served."""
        rows = self.fleet.rows(
            "SELECT id, at, kind, bot_id, version_id, said FROM platform_journal"
            " WHERE CASE WHEN :all THEN kind <> 'served' ELSE kind = ANY(:kinds) END ORDER BY id",
            all=not kinds,
            kinds=list(kinds),
        )
        return [Entry(**row._asdict()) for row in rows]

    def count(self, kind: str) -> int:
        """How often it did something."""
        query = "SELECT count(*) FROM platform_journal WHERE kind = :kind"
        return int(self.fleet.rows(query, kind=kind)[0][0])

    @contextmanager
    def working(self, url: str, log: Path, *, seed: int, target: str = "guide") -> Iterator[None]:
        """Let it work; it ends in good order, or the test fails."""
        database = sa.make_url(url).set(drivername="postgresql").render_as_string(False)
        command = [sys.executable, "-m", "tests.platform_process", "--database", database]
        with log.open("ab") as to:
            process = subprocess.Popen(
                [*command, "--seed", str(seed), "--target", target],
                stdout=to,
                stderr=to,
                start_new_session=True,
            )
        try:
            eventually(lambda: process.poll() is not None or calm(self._has_heard)())
            assert process.poll() is None
            yield
        finally:
            process.terminate()
            assert process.wait(60) == 0, log.read_text(errors="replace")[-2000:]
