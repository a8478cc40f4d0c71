"""The faults: each does something and says what, and some of them end later."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

import msgspec
import psycopg
from celery import Celery

from tests.live import children, send_batch, send_nonsense
from tests.servers import PrivateServers
from worker.processes.supervisor import Supervisor
from worker.queue.dispatch import AWAY

End = Callable[[], None]


class Scene(msgspec.Struct):
    """What a fault has to work with.

    `run_id` and `batches` are those of the round's run, `earlier` the runs before, `away` the
    servers that a fault has in its hands.
    """

    servers: PrivateServers
    supervisor: Supervisor
    sender: Celery
    database: str
    run_id: int = 0
    batches: int = 0
    command_pid: int | None = None
    earlier: list[int] = []
    away: set[str] = set()


class Done(msgspec.Struct, frozen=True):
    """What was done, in words; and what ends it after `hold_s`, if anything does."""

    said: str
    end: End | None = None
    hold_s: float = 0.0


Fault = Callable[[Scene, random.Random], Done]


# -- processes -------------------------------------------------------------------------------------


def kill_child(scene: Scene, draw: random.Random) -> Done:
    """SIGKILL of a pool child."""
    name = draw.choice(("w0", "w1"))
    pool = children(scene.supervisor.pids.get(name))
    which = draw.random()
    return _kill(f"a child of {name}", pool[int(which * len(pool))] if pool else None)


def kill_worker(scene: Scene, draw: random.Random) -> Done:
    """SIGKILL of a whole worker, its children first or last."""
    name = draw.choice(("w0", "w1"))
    pid = scene.supervisor.pids.get(name)
    for child in children(pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return _kill(f"{name} with its children", pid)


def kill_beat(scene: Scene, _: random.Random) -> Done:
    """SIGKILL of the beat."""
    return _kill("the beat", scene.supervisor.pids.get("beat"))


def kill_command(scene: Scene, _: random.Random) -> Done:
    """SIGKILL of the command that started the run."""
    pid, scene.command_pid = scene.command_pid, None
    return _kill("the command", pid)


def stop_worker(scene: Scene, draw: random.Random) -> Done:
    """SIGTERM to a worker, which hands its batches back."""
    name = draw.choice(("w0", "w1"))
    return _kill(name, scene.supervisor.pids.get(name), signal.SIGTERM)


def _kill(whom: str, pid: int | None, kind: signal.Signals = signal.SIGKILL) -> Done:
    if pid is None:
        return Done(f"{whom}: there was none to kill")
    with suppress(ProcessLookupError):
        os.kill(pid, kind)
    return Done(f"{kind.name} to {whom}")


# -- Redis -----------------------------------------------------------------------------------------


def freeze_redis(scene: Scene, draw: random.Random) -> Done:
    """SIGSTOP for a while."""
    redis = scene.servers.redis
    hold_s = draw.uniform(0.5, 4)
    if not _take(scene, "redis"):
        return Done("Redis frozen: it is away already")
    redis.signal(signal.SIGSTOP)
    thaw = _giving_back(scene, "redis", lambda: redis.signal(signal.SIGCONT))
    return Done(f"Redis frozen for {hold_s:.1f} s", thaw, hold_s)


def stop_redis(scene: Scene, draw: random.Random) -> Done:
    """Stopped in good order for a while."""
    hold_s = draw.uniform(0, 4)
    if not _take(scene, "redis"):
        return Done("Redis stopped: it is away already")
    scene.servers.redis.end(signal.SIGTERM)
    start = _giving_back(scene, "redis", scene.servers.redis.start)
    return Done(f"Redis stopped for {hold_s:.1f} s", start, hold_s)


def empty_redis(scene: Scene, draw: random.Random) -> Done:
    """Killed, and started empty after a while."""
    hold_s = draw.uniform(0, 4)
    if not _take(scene, "redis"):
        return Done("Redis killed: it is away already")
    scene.servers.redis.lose_everything()
    start = _giving_back(scene, "redis", scene.servers.redis.start)
    return Done(f"Redis killed, and started empty after {hold_s:.1f} s", start, hold_s)


def fill_redis(scene: Scene, draw: random.Random) -> Done:
    """Out of memory for a while."""
    redis = scene.servers.redis
    hold_s = draw.uniform(0.5, 4)
    if not _take(scene, "redis"):
        return Done("Redis out of memory: it is away")
    redis.set_memory(1)
    free = _giving_back(scene, "redis", lambda: redis.set_memory(0))
    return Done(f"Redis out of memory for {hold_s:.1f} s", free, hold_s)


# -- PostgreSQL ------------------------------------------------------------------------------------


def stop_postgres(scene: Scene, draw: random.Random) -> Done:
    """Stopped in fast or in immediate mode, for a while."""
    mode = draw.choice((("fast", signal.SIGINT), ("immediate", signal.SIGQUIT)))
    hold_s = draw.uniform(0, 3)
    if not _take(scene, "postgres"):
        return Done("PostgreSQL stopped: it is away already")
    scene.servers.postgres.end(mode[1])
    start = _giving_back(scene, "postgres", scene.servers.postgres.start)
    return Done(f"PostgreSQL stopped ({mode[0]}) for {hold_s:.1f} s", start, hold_s)


def terminate_backends(scene: Scene, draw: random.Random) -> Done:
    """Connections ended, the busy ones first."""
    wanted = draw.randrange(1, 9)
    if "postgres" in scene.away:
        return Done("connections terminated: PostgreSQL is away")
    with psycopg.connect(scene.servers.postgres.url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
            "WHERE datname = %s AND application_name = 'flowshift' "
            "ORDER BY state = 'idle', query_start DESC LIMIT %s) busy",
            [scene.database, wanted],
        ).fetchall()
    return Done(f"{len(ended)} connections terminated")


# -- messages --------------------------------------------------------------------------------------


def repeat_messages(scene: Scene, draw: random.Random) -> Done:
    """Every batch's message once more, in another order; one of an earlier run, too."""
    numbers = list(range(1, scene.batches + 1))
    draw.shuffle(numbers)
    earlier = draw.choice(scene.earlier or [scene.run_id])

    def send() -> None:
        for number in numbers:
            send_batch(scene.sender, scene.run_id, number)
        send_batch(scene.sender, earlier, 1)

    return _send(scene, f"{len(numbers)} messages again, shuffled, and one of run {earlier}", send)


def send_garbage(scene: Scene, _: random.Random) -> Done:
    """Messages that are none, and of a run that does not exist."""

    def send() -> None:
        send_nonsense(scene.sender)
        scene.sender.send_task("flowshift.no_such_task")
        scene.sender.send_task("flowshift.convert_batch", kwargs={"batch": "seven"})
        send_batch(scene.sender, 999_999, 1)

    return _send(scene, "garbage sent", send)


def _send(scene: Scene, said: str, send: Callable[[], None]) -> Done:
    if "redis" in scene.away:
        return Done(f"{said}: Redis is away")
    try:
        send()
    except AWAY as error:
        return Done(f"{said}: not all, {error}")
    return Done(said)


def _take(scene: Scene, server: str) -> bool:
    if server in scene.away:
        return False
    scene.away.add(server)
    return True


def _giving_back(scene: Scene, server: str, end: End) -> End:
    def give_back() -> None:
        end()
        scene.away.discard(server)

    return give_back


OF_PROCESSES = (kill_child, kill_worker, kill_beat, stop_worker)
OF_REDIS = (freeze_redis, stop_redis, empty_redis, fill_redis)
OF_POSTGRES = (stop_postgres, stop_postgres, terminate_backends)
OF_MESSAGES = (repeat_messages, send_garbage)

_OF_SERVERS = (*OF_REDIS, *OF_POSTGRES)

FAULTS: tuple[Fault, ...] = (
    *OF_PROCESSES[:3],
    kill_command,
    *OF_PROCESSES[3:],
    *_OF_SERVERS,
    *_OF_SERVERS,
    *OF_MESSAGES,
)
"""As often as each may happen in one round."""
