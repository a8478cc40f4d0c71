"""A platform beside flowshift: a process that serves bots on V1 or V2 while people work in it.

    python -m tests.platform_process --database URL --seed 7

It reads a bot's flag and serves its live version on our V2 engine, and writes executions as the platform
does. People open editors, save drafts, publish by themselves, save V1 and delete bots, all by the
platform's own statements, without our locks. What it does is drawn from its seed, and how often is
ordered in a row of `platform_orders`. All that it did is in `platform_journal`, each entry in the
transaction of the deed: a commit whose answer was lost is in the journal too.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg

from tests import platform_sql as sql
from worker.core.engine import v2
from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.trial import Executed
from worker.core.targets.registry import TARGETS
from worker.core.workflow.calls import Trace
from worker.errors import BotError
from worker.providers.echo import Echo

Json = dict[str, Any]

HUNG_UP: Final = "Cancelled by client"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform is to do.

    `doing` is how often what is done, by the name of the deed (else it serves); `pause_ms` follows
    each. `failing` is the share of V2's executions in which the model does not answer, `sick` that
    of single bots; with `outage` it answers none. Executions of `silent` bots fail before their row
    is made. A client hangs up in a share `hang_up`. `loud` bots are asked so many times as often as
    others. So many `editors` are open at once, some of them for long. Without `people_everywhere`
    people work on a quarter of the bots.
    """

    doing: dict[str, float] = {}
    pause_ms: float = 2.0
    failing: float = 0.0
    sick: dict[str, float] = {}
    outage: bool = False
    silent: list[str] = []
    hang_up: float = 0.0
    loud: dict[str, int] = {}
    editors: int = 6
    people_everywhere: bool = False


class Open(msgspec.Struct, frozen=True):
    """An editor: the row of the draft that it was opened on, and what it shows."""

    bot_id: str
    draft_id: Any
    graph: str


class Model(Echo):
    """The echo, where it answers; what it raises fails the node that asked."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    def generate(self, *asked: Any) -> tuple[str, int]:
        """Echo, or no answer."""
        if not self._answers:
            raise RuntimeError("the model does not answer")
        return super().generate(*asked)


class Platform:
    """The platform at work, one deed after the other."""

    def __init__(self, url: str, seed: int, target: str) -> None:
        self._url = url
        self._draw = random.Random(seed)
        self._target = TARGETS[target]
        self._connection: psycopg.Connection[Any] | None = None
        self._open: list[Open] = []
        self._ids: Sequence[str] = ()
        self._deeds = 0
        self.orders = Orders()

    def work(self) -> None:
        """Do one thing; what a fault of the server prevents did not happen."""
        self._deeds += 1
        try:
            if self._deeds % 20 == 1:
                self._listen()
            names = list(self.orders.doing) or ["serve"]
            [name] = self._draw.choices(names, [self.orders.doing.get(one, 1.0) for one in names])
            deed: Callable[[str], None] = getattr(self, name)
            if bot_id := self._some_bot(name):
                deed(bot_id)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self.close()
            time.sleep(0.05)
        time.sleep(self.orders.pause_ms / 1000)

    def close(self) -> None:
        """Leave the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _at(self) -> psycopg.Connection[Any]:
        """A connection on which each statement commits, unless in a `transaction`."""
        if self._connection is None or self._connection.closed:
            options = "-c statement_timeout=20000"
            name = "the platform"
            self._connection = psycopg.connect(
                self._url, autocommit=True, options=options, application_name=name
            )
        return self._connection

    def _listen(self) -> None:
        row = self._at.execute(sql.HEAR).fetchone()
        if row is not None:
            self.orders = msgspec.convert(row[0], Orders)
        self._ids = [bot_id for (bot_id,) in self._at.execute(sql.BOTS)]

    def _some_bot(self, deed: str) -> str | None:
        if deed == "serve" and self.orders.loud:
            loud = self.orders.loud
            return self._draw.choices(self._ids, [loud.get(one, 1) for one in self._ids])[0]
        is_open_to_people = deed == "serve" or self.orders.people_everywhere
        ids = self._ids if is_open_to_people else [one for one in self._ids if people_work_on(one)]
        return self._draw.choice(ids) if ids else None

    # -- serving -----------------------------------------------------------------------------------

    def serve(self, bot_id: str) -> None:
        """Answer a message, by V1 or by the live version."""
        served = self._at.execute(sql.SERVE, {"bot_id": bot_id}).fetchall()
        if not served or not served[0][0]:
            return  # it is gone, or V1 answers, of which nothing is recorded
        if len(served) > 1 or served[0][1] is None:
            self._note("broken", bot_id, None)  # its reader fails
            return
        [(_, version_id, graph)] = served
        if bot_id in self.orders.silent:
            self._note("failed_early", bot_id, version_id)
            return
        session = f"s-{self._draw.getrandbits(40):x}"
        [(run_id,)] = self._at.execute(
            sql.BEGIN_RUN,
            {"bot_id": bot_id, "version_id": version_id, "session_id": session, "graph": graph},
        )
        hangs_up = self._draw.random() < self.orders.hang_up
        share = self.orders.sick.get(bot_id, self.orders.failing)
        answers = not self.orders.outage and self._draw.random() >= share
        self._end(run_id, self._execute(bot_id, graph, session, answers=answers), hangs_up)

    def _execute(self, bot_id: str, graph: str, session: str, *, answers: bool) -> ExecutionRow:
        message = f"question {self._deeds}"
        began = time.perf_counter()
        try:
            program = self._target.decode(graph.encode())
            trace = v2.execute(
                program,
                message,
                Model(answers=answers),
                clock=time.perf_counter,
                session_id=session,
            )
        except BotError as error:
            trace = Trace(None, (), error=str(error))
        return as_row(bot_id, Executed(1, message, session, began, trace), self._target.recording)

    def _end(self, run_id: Any, row: ExecutionRow, hangs_up: bool) -> None:
        with self._at.transaction():
            self._at.execute(
                sql.END_RUN,
                {
                    "id": run_id,
                    "inputs": row.inputs.decode(),
                    "outputs": row.outputs.decode() if row.outputs else None,
                    "status": "failed" if hangs_up else row.status,
                    "error": HUNG_UP if hangs_up else row.error,
                    "elapsed_ms": row.elapsed_us // 1000,
                    "tokens": row.tokens,
                    "steps": row.steps,
                },
            )
            with self._at.cursor() as cursor:
                cursor.executemany(
                    sql.NODE,
                    [
                        {
                            "run_id": run_id,
                            "node_id": node.node_id,
                            "node_type": node.node_type,
                            "order": node.order,
                            "inputs": node.inputs.decode(),
                            "outputs": node.outputs.decode(),
                            "status": node.status,
                            "error": node.error,
                        }
                        for node in row.nodes
                    ],
                )

    # -- people ------------------------------------------------------------------------------------

    def edit(self, bot_id: str) -> None:
        """Open an editor, or save in one that is open."""
        if len(self._open) < self.orders.editors and self._draw.random() < 0.6:
            found = self._at.execute(sql.OPEN, {"bot_id": bot_id}).fetchone()
            if found is not None:
                self._open.append(Open(bot_id, *found))
        elif self._open:
            one = self._draw.choice(self._open)
            if self._draw.random() < 0.7:
                self._open.remove(one)
            edited = self._edited(json.loads(one.graph))
            self._at.execute(sql.SAVE, {"id": one.draft_id, "graph": json.dumps(edited)})

    def _edited(self, graph: Json) -> Json:
        """A graph as no other: with a note, and sometimes with another prompt or node."""
        note = f"edit {self._deeds} of {self._draw.getrandbits(32):x}"
        nodes = [dict(one) for one in graph["nodes"]]
        if not nodes:
            nodes.append({"id": note, "type": "start", "position": {"x": 1, "y": 2}, "data": {}})
        elif self._draw.random() < 0.5:
            nodes[-1]["data"] = {**nodes[-1].get("data", {}), "title": note}
        return {**graph, "nodes": nodes, "note": note}

    def change(self, bot_id: str) -> None:
        """Save V1."""
        found = self._at.execute(sql.WORKFLOW, {"bot_id": bot_id}).fetchone()
        if found is None or found[0] is None:
            return
        workflow = json.loads(found[0])
        workflow["note"] = f"change {self._deeds}"
        self._at.execute(sql.CHANGE, {"bot_id": bot_id, "text": json.dumps(workflow)})

    def publish(self, bot_id: str) -> None:
        """Publish the draft as the platform does: its row becomes the version, a new draft is made.

        The number is after the published version's alone, so that it may be taken: then nothing
        happens.
        """
        try:
            with self._at.transaction():
                draft = self._at.execute(sql.OPEN, {"bot_id": bot_id}).fetchone()
                if draft is None or not json.loads(draft[1])["nodes"]:
                    return
                before = self._at.execute(sql.PUBLISHED, {"bot_id": bot_id}).fetchall()
                if len(before) > 1:
                    return  # its reader fails
                version = after(before[0][1] if before else None)
                self._at.execute(sql.ARCHIVE, {"id": before[0][0] if before else None})
                values = {"id": draft[0], "bot_id": bot_id, "version": version}
                self._at.execute(sql.PUBLISH, values)
                self._at.execute(sql.NEW_DRAFT, values)
                self._at.execute(sql.FLAG, values)
                self._note("published", bot_id, draft[0])
        except (psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation):
            self._note("refused", bot_id, None)

    def delete(self, bot_id: str) -> None:
        """Delete a bot, and with it its versions."""
        self._at.execute(sql.DELETE, {"bot_id": bot_id})

    def _note(self, kind: str, bot_id: str, version_id: Any) -> None:
        self._at.execute(sql.NOTE, {"kind": kind, "bot_id": bot_id, "version_id": version_id})


def people_work_on(bot_id: str) -> bool:
    """Whether people work on a bot where they do not work on all: on every fourth."""
    return zlib.crc32(bot_id.encode()) % 4 == 0


def after(version: str | None) -> str:
    """The platform's next number: `v1.3` after `v1.2`."""
    if version is None:
        return "v1.0"
    major, _, minor = version.removeprefix("v").partition(".")
    return f"v{major}.{int(minor) + 1}"


def main() -> int:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.platform_process", description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", default="guide")
    arguments = parser.parse_args()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    platform = Platform(arguments.database, arguments.seed, arguments.target)
    while not stopping:
        platform.work()
    platform.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
