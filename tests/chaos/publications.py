"""A round of publication: waves go out and come back under faults, beside a platform in use.

An operator gives `publish`, `accept`, `go` and `rollback` again and again, each a process that may be
killed, until V1 answers again everywhere. Then everything must hold that `tests.publication_invariants`
claims.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.beside import Beside
from tests.chaos.faults import (
    OF_MESSAGES,
    OF_POSTGRES,
    OF_PROCESSES,
    OF_REDIS,
    Done,
    End,
    Fault,
    Scene,
)
from tests.chaos.gate import Trouble, of_the_gate
from tests.chaos.platform import a_variant
from tests.fleet import Fleet
from tests.invariants import Verdict
from tests.live import Environment, calm
from tests.operating import Operator
from tests.publication_invariants import verdicts

WAVES = "1, 10 %, 40 %, all"
JUDGED = 4
JUDGED_S = 12.0
"""The gate decides on the first waves, if it can in so many seconds; the operator on the others."""

ALARM_S = 40.0
"""So long an alarm is left to the gate, which waits for what comes after it."""

PEOPLE = {"serve": 4.0, "edit": 1.0, "change": 0.05, "publish": 0.1, "delete": 0.02}

# A platform with work of its own for each switch, so that a batch takes long enough to be killed in.
SLOW = """
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(0.003); RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON bot_workflow_versions
    FOR EACH ROW WHEN (NEW.status = 'published') EXECUTE FUNCTION take_time();
CREATE TRIGGER slow AFTER UPDATE OF use_workflow_v2 ON bots
    FOR EACH ROW EXECUTE FUNCTION take_time()
"""
# Every second bot was live before, and went back.
EARLIER = """
INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)
SELECT bot_id, 'v1.0', 'published', '{"nodes": []}', now() FROM bots
WHERE right(bot_id, 1) IN ('0', '2', '4', '6', '8')
"""
QUICK = "DROP FUNCTION IF EXISTS take_time CASCADE"

FORGET = """
TRUNCATE bots, bot_workflow_versions, workflow_execution_runs, workflow_node_executions,
    flowshift.backups, flowshift.proofs, flowshift.publications, flowshift.waves,
    flowshift.publication_bots, flowshift.gate_readings, flowshift.audit CASCADE;
DROP TABLE IF EXISTS platform_journal, platform_orders
"""


class PublicationRound:
    """One publication, what is done to it, and the way back."""

    def __init__(
        self, scene: Scene, fleet: Fleet, environment: Environment, log: Path, draw: random.Random
    ) -> None:
        self._scene = scene
        self._fleet = fleet
        self._environment = environment
        self._log = log
        self._draw = draw
        self._held: list[tuple[float, End]] = []
        self._command: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._codes: list[int] = []
        self._kill_after_s: float | None = None
        self._watched: dict[int, float] = {}
        self._trouble = Trouble()
        self._orders: dict[str, Any] = {}
        self._alarmed_at: float | None = None

    def play(self, bots: int, until: float) -> list[Verdict] | None:
        """What holds afterwards; None if V1 does not answer again everywhere by then."""
        self._until = until
        self._make_fleet(bots)
        self._beside = beside = Beside(self._fleet)
        beside.order(doing=PEOPLE, pause_ms=4)
        self._plan = self._planned(bots)
        seed = self._draw.randrange(10_000)
        url = self._fleet.current.settings.database_url
        with beside.working(url, self._log.with_name("platform.log"), seed=seed):
            over = self._wait(self._step)
            self._release(everything=True)
            calmed = over and self._wait(self._is_calm)
        for one in (self._command, *self._others):
            if one is not None and one.poll() is None:
                one.kill()
        if not calmed:
            return None
        print(f"  {self._operator.states()}; commands ended with {sorted(self._codes)}")
        return [
            *verdicts(self._fleet, beside),
            *of_the_gate(self._fleet, self._trouble),
            self._no_traceback(),
        ]

    def _make_fleet(self, bots: int) -> None:
        fleet = self._fleet
        self.forget()
        for kind in ("plain", "joined", "bare"):
            fleet.add_many(bots // 3, f"{kind}-", a_variant(kind, self._draw.randrange(9)))
        fleet.execute(EARLIER)
        done = Operator(fleet, self._environment).do(
            "migrate", "--json", "--validate", "sample:1", "--batch-size", "50"
        )
        self._first_run = int(json.loads(done.stdout)["run_id"])
        for statement in SLOW.split(";\nCREATE"):
            fleet.execute(statement if "take_time() RETURNS" in statement else f"CREATE{statement}")

    def forget(self) -> None:
        """Leave nothing of a publication behind."""
        for statement in (QUICK, *FORGET.split(";\n")):
            self._fleet.execute(statement)

    def _planned(self, bots: int) -> list[tuple[int, Fault, random.Random]]:
        """When what is done: moments count the bots that went out and those that came back.

        Something of each kind is done in every round.
        """
        draw = self._draw
        of_commands = (self._operators, self._kill_command, self._kill_command)
        of_bots = (self._sicken_some, self._sicken_a_wave, self._end_the_providers_answers)
        single = ([one] for one in (*of_commands, *of_bots))
        kinds = (OF_PROCESSES, OF_POSTGRES, OF_REDIS, OF_MESSAGES, *single)
        chosen: list[Fault] = [draw.choice(kind) for kind in kinds]
        chosen += [draw.choice(draw.choice(kinds)) for _ in range(draw.randrange(3))]
        draw.shuffle(chosen)
        moments = sorted(draw.choices(range(bots * 17 // 10), k=len(chosen)))
        # Each with a source of its own: what one draws is no matter to the others.
        return [
            (at, do, random.Random(draw.random())) for at, do in zip(moments, chosen, strict=True)
        ]

    # -- the operator --------------------------------------------------------------------------

    @property
    def _operator(self) -> Operator:
        [found] = self._fleet.rows("SELECT max(publication_id) AS id FROM flowshift.publications")
        return Operator(self._fleet, self._environment, found.id or 0)

    def _step(self) -> bool:
        """Do what is due, and give the next command if none is at work; whether all is back."""
        if self._orders:  # until the database takes them
            self._beside.order(**self._orders)
            self._orders = {}
        operator = self._operator
        out, back = self._progress(operator)
        while self._plan and self._plan[0][0] <= out + back:
            at, fault, draw = self._plan.pop(0)
            self._note_run()
            self._tell(at, fault(self._scene, draw))
        if self._is_at_work():
            return False
        if operator.publication_id == 0:
            asked = ("--yes", "--without-backup", "--request-id", "r1", "--waves", WAVES)
            self._give("publish", str(self._first_run), *asked, *self._detached())
            return False
        state = operator.state
        if self._is_left_to_the_gate(operator):
            return False
        if state in ("watching", "held"):
            self._give(*operator.move_on(), *self._detached())
        elif state in ("completed", "stopped", "rolling_back"):
            self._give("rollback", "--all", "--yes")
        return state == "rolled_back"

    def _is_left_to_the_gate(self, operator: Operator) -> bool:
        """Whether the gate is to decide: on one of the first waves, or on an alarm; for some seconds."""
        found, _ = operator.read()
        if found.held_because == "alarm":
            self._alarmed_at = self._alarmed_at or time.monotonic()
            return time.monotonic() < self._alarmed_at + ALARM_S
        self._alarmed_at = None
        if found.state != "watching":
            return False
        watched = [one for one in operator.read()[1] if one.state == "watching"]
        if not watched or watched[0].number > JUDGED:
            return False
        began = self._watched.setdefault(watched[0].number, time.monotonic())
        return time.monotonic() < began + JUDGED_S

    def _progress(self, operator: Operator) -> tuple[int, int]:
        if operator.publication_id == 0:
            return 0, 0
        went = ("published", "confirmed", "skipped", "rolled_back", "superseded")
        return operator.count(*went), operator.count("rolled_back", "superseded", "skipped")

    def _is_at_work(self) -> bool:
        if self._command is None:
            return False
        code = self._command.poll()
        if code is not None:
            self._codes.append(code)
            self._command = None
        return code is None

    def _give(self, *command: str) -> None:
        self._command = begun = self._begin(*command)
        after_s, self._kill_after_s = self._kill_after_s, None
        if after_s is None:
            return

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.kill(begun.pid, signal.SIGKILL)
            print(f"            {' '.join(command[:2])} is killed", flush=True)

        self._held.append((time.monotonic() + after_s, kill))

    def _begin(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return self._operator.begin(*command, log=log)

    def _detached(self) -> tuple[str, ...]:
        return self._draw.choice(((), ("--detach",)))

    def _note_run(self) -> None:
        rows = self._fleet.rows(
            "SELECT r.run_id, r.batch_count FROM flowshift.runs r WHERE kind = 'publish'"
            " ORDER BY run_id DESC"
        )
        if rows:
            self._scene.run_id, self._scene.batches = rows[0].run_id, rows[0].batch_count
            self._scene.earlier = [row.run_id for row in rows]

    # -- what is done to it --------------------------------------------------------------------

    def _kill_command(self, scene: Scene, draw: random.Random) -> Done:
        """SIGKILL of the operator's next command, whichever it is, after some time of its own."""
        self._kill_after_s = draw.uniform(0.3, 2.5)
        return Done(f"SIGKILL to the operator's next command after {self._kill_after_s:.1f} s")

    def _operators(self, scene: Scene, draw: random.Random) -> Done:
        """Others give commands at the same time."""
        publication = str(self._operator.publication_id)
        bot_ids = [row.bot_id for row in self._fleet.rows("SELECT bot_id FROM bots ORDER BY 1")]
        choices = [
            ("hold", publication),
            ("go", publication, "--detach", "--reason", "seen"),
            ("accept", publication, draw.choice("12"), "--detach", "--reason", "seen"),
            ("rollback", "--bot-id", draw.choice(bot_ids), "--yes"),
            ("rollback", "--publication", publication, "--wave", "2", "--yes"),
            ("stop", publication),
        ]
        given = draw.choices(choices, [4, 4, 4, 4, 2, 1], k=3)
        self._others += [self._begin(*command) for command in given]
        return Done(f"others at once: {'; '.join(' '.join(one) for one in given)}")

    def _sicken_some(self, scene: Scene, draw: random.Random) -> Done:
        """No model answers some bots any more, whichever version of them is live, for the whole round."""
        ids = [row.bot_id for row in self._fleet.rows("SELECT bot_id FROM bots ORDER BY 1")]
        return self._sicken(draw.sample(ids, min(3, len(ids))), "three bots, which stay so", None)

    def _sicken_a_wave(self, scene: Scene, draw: random.Random) -> Done:
        """No model answers half of the bots of the wave that goes out now any more, for some time."""
        hold_s = draw.uniform(15.0, 30.0)
        ids = [row.bot_id for row in self._fleet.rows(OF_THE_WAVE)]
        return self._sicken(ids[::2], "half of the wave that goes out", hold_s)

    def _sicken(self, bot_ids: list[str], who: str, hold_s: float | None) -> Done:
        self._trouble.sick |= {*bot_ids}
        self._trouble.still_sick |= {*bot_ids}
        self._order_sick()
        said = f"sick from now on: {len(bot_ids)} bots, {who}"
        if hold_s is None:
            return Done(said)

        def heal() -> None:
            self._trouble.still_sick -= {*bot_ids}
            self._order_sick()

        return Done(f"{said}, for {hold_s:.0f} s", heal, hold_s)

    def _order_sick(self) -> None:
        self._orders["sick"] = dict.fromkeys(sorted(self._trouble.still_sick), 1.0)

    def _end_the_providers_answers(self, scene: Scene, draw: random.Random) -> Done:
        """The provider answers nobody, published or not, for some seconds."""
        hold_s = draw.uniform(3.0, 12.0)
        self._trouble.outages += 1
        self._orders["outage"] = True

        def end() -> None:
            self._orders["outage"] = False

        return Done(f"the provider answers nobody for {hold_s:.0f} s", end, hold_s)

    def _tell(self, at: int, done: Done) -> None:
        print(f"  bot {at:>4}: {done.said}", flush=True)
        if done.end is not None:
            self._held.append((time.monotonic() + done.hold_s, done.end))

    def _release(self, *, everything: bool = False) -> None:
        due = [one for one in self._held if everything or one[0] <= time.monotonic()]
        for one in due:
            self._held.remove(one)
            one[1]()

    def _wait(self, what: Callable[[], Any]) -> Any:
        while time.monotonic() < self._until:
            self._scene.supervisor.tend()
            self._release()
            if found := calm(what)():
                return found
            time.sleep(0.02)
        return None

    def _is_calm(self) -> bool:
        """Whether no command is at work any more, and no run of the publication."""
        left = [one for one in self._others if one.poll() is None]
        runs = self._fleet.rows(
            "SELECT FROM flowshift.runs WHERE kind = 'publish' AND finished_at IS NULL"
        )
        return not left and not self._is_at_work() and not runs

    def _no_traceback(self) -> Verdict:
        text = self._log.read_text(errors="replace")
        self._codes += [one.returncode for one in self._others]
        faults = [text[text.index("Traceback") :][-1500:]] if "Traceback" in text else []
        faults += [f"a command ended with {code}" for code in self._codes if code not in ENDS]
        return Verdict("no command ended with a traceback", tuple(faults))


OF_THE_WAVE = """
    SELECT b.bot_id FROM flowshift.publication_bots b
    JOIN flowshift.waves w ON w.publication_id = b.publication_id AND w.number = b.wave
    WHERE w.state IN ('publishing', 'watching') ORDER BY b.bot_id
"""

ENDS = (0, 1, 2, 3, -signal.SIGKILL)
"""How a command may end: done, partly done, refused, database away, killed."""
