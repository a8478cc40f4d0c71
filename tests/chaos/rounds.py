"""A round: a run over a fleet, faults and platform traffic meanwhile, and what holds afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from tests.chaos.faults import FAULTS, Done, End, Scene
from tests.chaos.platform import Platform
from tests.chaos.publications import PublicationRound
from tests.fleet import Fleet
from tests.invariants import redis_agrees, verdicts
from tests.live import Environment, calm, running
from tests.roles import Role, grant
from tests.servers import PrivateServers, private_servers
from worker import runtime
from worker.app import configuration
from worker.settings import Settings

ROUND_S = 180
"""A round that takes longer has failed: the run does not end by itself."""

BATCH_SIZE = 10

PUBLISHED_EVERY = 3
"""Every third round publishes and rolls back a fleet of its own."""


class Stage:
    """Servers, workers, and a fleet, for as many rounds as there is time for."""

    def __init__(
        self,
        servers: PrivateServers,
        scene: Scene,
        fleet: Fleet,
        work: Path,
        bots: int,
        environment: Environment,
    ) -> None:
        self.bots = bots
        self.scene = scene
        self.fleet = fleet
        self.namespace = fleet.current.settings.namespace
        self.environment = environment
        self.platform = Platform(fleet, fleet.current.settings.database_url)
        self._servers = servers
        self._work = work

    @classmethod
    @contextmanager
    def set(cls, directory: Path, bots: int) -> Iterator[Stage]:
        """Everything started; ended at the end."""
        with ExitStack() as stack:
            servers = stack.enter_context(private_servers(directory / "servers"))
            url = servers.postgres.make_database("chaos")
            publisher = Role("chaos_publisher", "chaos")
            grant(url, Role("chaos_worker", "chaos"), publisher)
            settings = Settings(
                database_url=url,
                redis_url=servers.redis.url,
                namespace=f"chaos-{os.getpid()}",
                data_dir=str(directory / "data"),
            )
            current = runtime.configure(settings)
            stack.callback(runtime.shutdown)
            sender = Celery("chaos", set_as_current=False)
            sender.conf.update(configuration(current))
            stack.callback(sender.close)
            environment = environment_of(settings, publisher)
            supervisor = stack.enter_context(running(environment, directory, count=2, beats=2))
            scene = Scene(servers, supervisor, sender, "chaos")
            stage = cls(servers, scene, Fleet(current), directory, bots, environment)
            stack.callback(stage.platform.close)
            yield stage

    @property
    def redis_url(self) -> str:
        """Where progress is shown."""
        return self._servers.redis.url

    @property
    def commands_log(self) -> Path:
        """What the commands print."""
        return self._work / "log" / "commands.log"

    def start_run(self, backup: str) -> subprocess.Popen[bytes]:
        """Start a run by the command, which goes on following it; `backup` says where V1 is kept."""
        arguments = ["migrate", "--json", "--batch-size", str(BATCH_SIZE), "--validate", "sample:2"]
        with self.commands_log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "worker", *arguments],
                env={**self.environment, "FLOWSHIFT_BACKUP": backup},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def environment_of(settings: Settings, publisher: Role) -> Environment:
    """The environment of processes on the stage: whatever waits, waits shortly."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("FLOWSHIFT_")},
        "FLOWSHIFT_DATABASE_URL": publisher.url(settings.database_url),
        "FLOWSHIFT_REDIS_URL": settings.redis_url,
        "FLOWSHIFT_NAMESPACE": settings.namespace,
        "FLOWSHIFT_DATA_DIR": settings.data_dir,
        "FLOWSHIFT_SWEEP_S": "1",
        "FLOWSHIFT_LEASE_S": "5",
        "FLOWSHIFT_HEARTBEAT_S": "1",
        "FLOWSHIFT_TIME_LIMIT_S": "30",
        "FLOWSHIFT_SHUTDOWN_S": "2",
        "FLOWSHIFT_GATE_S": "1",
        "FLOWSHIFT_GATE_MIN_SOAK_S": "2",
        "FLOWSHIFT_GATE_CONFIRM_S": "10",
        "FLOWSHIFT_GATE": "rollback",
    }


def play(stage: Stage, seed: int, number: int) -> int:
    """Play a round and print it; 0 where everything held, 1 where not, 2 where it did not end."""
    draw = random.Random(f"{seed}/{number}")
    if number % PUBLISHED_EVERY == 0:
        return _play_publication(stage, draw, f"round {number} of seed {seed}")
    began = time.monotonic()
    wanted, for_fleet = draw.random() < 0.6, random.Random(draw.random())
    is_new = wanted or not stage.fleet.rows("SELECT FROM bots LIMIT 1")
    if is_new:
        stage.platform.make_fleet(for_fleet, stage.bots)
    what = f"{stage.bots:,} bots, {'new' if is_new else 'again'}"
    print(f"round {number} of seed {seed}: {what}", flush=True)
    stage.platform.begin()
    ended = _Round(stage, draw).play()
    if ended is None:
        print(f"FAIL the run ended within {ROUND_S} s\n", flush=True)
        return 2
    history = stage.platform.history()
    changed, edited = (sum(map(len, said.values())) for said in (history.workflows, history.edits))
    print(f"  the platform changed {changed} bots meanwhile; it has edited {edited} drafts so far")
    found = verdicts(stage.fleet, ended, history)
    for verdict in found:
        print(f"  {verdict}")
    progress = stage.fleet.progress(ended)
    print(f"  run {ended} {progress.state}, {time.monotonic() - began:.0f} s\n", flush=True)
    return int(any(verdict.faults for verdict in found))


def _play_publication(stage: Stage, draw: random.Random, name: str) -> int:
    began = time.monotonic()
    print(f"{name}: {stage.bots:,} bots, published and rolled back", flush=True)
    one = PublicationRound(stage.scene, stage.fleet, stage.environment, stage.commands_log, draw)
    found = one.play(stage.bots, began + ROUND_S)
    if found is None:
        print(f"FAIL V1 answers again within {ROUND_S} s\n", flush=True)
        return 2
    for verdict in found:
        print(f"  {verdict}")
    print(f"  {time.monotonic() - began:.0f} s\n", flush=True)
    if failed := any(verdict.faults for verdict in found):
        return int(failed)
    one.forget()
    return 0


class _Round:
    """One run and what is done to it."""

    def __init__(self, stage: Stage, draw: random.Random) -> None:
        self._stage = stage
        self._draw = draw
        batches = stage.bots // BATCH_SIZE
        moments = sorted(draw.sample(range(batches * 9 // 10), draw.randrange(3, 9)))
        faults = draw.sample(FAULTS, len(moments))
        # Each with a source of its own: what one draws is no matter to the others.
        self._plan = [
            (at, fault, random.Random(draw.random()))
            for at, fault in zip(moments, faults, strict=True)
        ]
        self._traffic = sorted(draw.choices(range(batches), k=40))
        self._held: list[tuple[float, End]] = []
        self._until = time.monotonic() + ROUND_S

    def play(self) -> int | None:
        """The number of the run, None where it did not end."""
        stage = self._stage
        stage.scene.earlier = [row.run_id for row in stage.fleet.rows(_RUNS)]
        last = max(stage.scene.earlier, default=0)
        command = stage.start_run("table" if len(stage.scene.earlier) % 2 else "column")
        stage.scene.command_pid = command.pid
        try:
            run_id = self._wait(lambda: self._new_run(last))
            if run_id is None:
                return None
            stage.scene.run_id, stage.scene.batches = run_id, stage.bots // BATCH_SIZE
            over = self._wait(lambda: self._step(run_id))
            self._release(everything=True)
            shown = self._wait(lambda: self._has_settled(run_id))
            return run_id if over and shown else None
        finally:
            self._release(everything=True)
            _end(command)

    def _wait(self, what: Any) -> Any:
        while time.monotonic() < self._until:
            self._stage.scene.supervisor.tend()
            self._release()
            if found := calm(what)():
                return found
            time.sleep(0.02)
        return None

    def _new_run(self, last: int) -> int | None:
        found = [row.run_id for row in self._stage.fleet.rows(_RUNS) if row.run_id > last]
        return found[0] if found else None

    def _step(self, run_id: int) -> bool:
        """Do what is due at this point of the run; whether the run is over."""
        progress = self._stage.fleet.progress(run_id)
        if progress.is_over:
            return True
        while self._plan and self._plan[0][0] <= progress.batches_done:
            at, fault, draw = self._plan.pop(0)
            self._tell(at, fault(self._stage.scene, draw))
        while self._traffic and self._traffic[0] <= progress.batches_done:
            self._traffic.pop(0)
            self._stage.platform.work(self._draw)
        return False

    def _tell(self, at: int, done: Done) -> None:
        print(f"  batch {at:>3}: {done.said}", flush=True)
        if done.end is not None:
            self._held.append((time.monotonic() + done.hold_s, done.end))

    def _release(self, *, everything: bool = False) -> None:
        due = [one for one in self._held if everything or one[0] <= time.monotonic()]
        for one in due:
            self._held.remove(one)
            one[1]()

    def _has_settled(self, run_id: int) -> bool:
        """Whether no message waits any more, and Redis shows what the database has."""
        stage = self._stage
        with redis.Redis.from_url(stage.redis_url, socket_timeout=5) as client:
            waiting = client.llen(f"{stage.namespace}:queue:{stage.namespace}")
            return waiting == 0 and redis_agrees(stage.fleet, run_id, client)


def _end(command: subprocess.Popen[bytes]) -> None:
    """Let a command end by itself, which it should soon after its run."""
    try:
        command.wait(20)
    except subprocess.TimeoutExpired:
        print("  the command did not end by itself")
        command.terminate()
        command.wait(40)


_RUNS = "SELECT run_id FROM flowshift.runs ORDER BY run_id"
