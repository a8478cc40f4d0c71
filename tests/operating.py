"""A person who publishes and rolls back by the commands, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import IO, Any

from tests.fleet import Fleet
from tests.live import Environment, flowshift
from worker.core.publication.states import OVER
from worker.db.publication import waves
from worker.db.publication.waves import Publication, Wave

_TO_ACCEPT = ("watching", "inconclusive", "failed")


class Operator:
    """Moves one publication on, and looks at it."""

    def __init__(self, fleet: Fleet, environment: Environment, publication_id: int = 1) -> None:
        self.fleet = fleet
        self.environment = environment
        self.publication_id = publication_id

    def do(self, *command: str, codes: tuple[int, ...] = (0,)) -> Any:
        """Run a command to its end; its exit code is one of `codes`."""
        done = flowshift(self.environment, *command)
        assert done.returncode in codes, (command, done.returncode, done.stdout, done.stderr)
        return done

    def begin(self, *command: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Begin a command, to be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", "worker", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def publish(self, *options: str) -> None:
        """Publish the first run's bots."""
        self.do("publish", "1", "--yes", "--without-backup", "--detach", *options)

    def go(self, codes: tuple[int, ...] = (0,)) -> None:
        """Let it go on that is held, or that waits for its next wave."""
        self.do("go", str(self.publication_id), "--detach", codes=codes)

    def accept(self) -> None:
        """Accept the wave that is watched, or that waits for a person."""
        number = next(w.number for w in self.read()[1] if w.state in _TO_ACCEPT)
        self.do("accept", str(self.publication_id), str(number), "--detach", "--reason", "seen")

    def move_on(self) -> tuple[str, ...]:
        """The command that moves it on: `accept` while a wave is watched, else `go`, with a reason."""
        watched = next((str(w.number) for w in self.read()[1] if w.state == "watching"), None)
        if watched is not None and self.state == "watching":
            return "accept", str(self.publication_id), watched, "--reason", "seen"
        return "go", str(self.publication_id), "--reason", "seen"

    def roll_back(self, *options: str, codes: tuple[int, ...] = (0,)) -> Any:
        """Take it back: `1` where bots stay on V2."""
        which = options or ("--publication", str(self.publication_id))
        return self.do("rollback", "--yes", *which, codes=codes)

    # -- looking -----------------------------------------------------------------------------------

    def read(self) -> tuple[Publication, list[Wave]]:
        """The publication, and its waves."""
        with self.fleet.engine.connect() as connection:
            found = waves.get(connection, self.publication_id)
            assert found is not None
            return found, waves.of(connection, self.publication_id)

    @property
    def state(self) -> str:
        """Its state."""
        return self.read()[0].state

    @property
    def is_over(self) -> bool:
        """Whether nothing moves it on by itself."""
        return self.read()[0].state in OVER

    def is_there(self) -> bool:
        """Whether it was planned."""
        return bool(self.fleet.rows("SELECT FROM flowshift.publications"))

    def count(self, *states: str) -> int:
        """How many of its bots are in one of these states."""
        query = (
            "SELECT count(*) FROM flowshift.publication_bots"
            " WHERE publication_id = :id AND state = ANY(:states)"
        )
        rows = self.fleet.rows(query, id=self.publication_id, states=list(states))
        return int(rows[0][0])

    def states(self) -> dict[str, int]:
        """How many of its bots are in each state, by state and code."""
        query = (
            "SELECT concat_ws(' ', state, code) AS said, count(*) AS bots"
            " FROM flowshift.publication_bots WHERE publication_id = :id GROUP BY 1 ORDER BY 1"
        )
        return {row.said: row.bots for row in self.fleet.rows(query, id=self.publication_id)}
