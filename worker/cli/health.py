"""`flowshift health`: whether workers, the beat and Flower do their work, by their heartbeats."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from worker import settings as settings_module
from worker.cli.printing import print_json, say
from worker.cli.session import configure_logging
from worker.cli.terminal import plain
from worker.core.policy.processes import (
    MISSED_MAX,
    Health,
    Process,
    ProcessKind,
    condition_of,
    health_of,
    in_one_line,
)
from worker.db import heartbeats
from worker.db.engine import create_engine, database_url, map_database_errors
from worker.errors import ConfigError, TransientError
from worker.processes.vitals import max_age_s
from worker.runtime import Runtime
from worker.servers.connect import database_for_command
from worker.settings import Settings

TIMEOUT_S: Final = 5
SENTENCE_WIDTH: Final = 1_000


@click.command()
@click.argument(
    "what",
    type=click.Choice(["worker", "beat", "flower", "all"]),
    default="all",
)
@click.option(
    "--here", is_flag=True, help="Only processes of this host (this container, this pod)."
)
@click.option(
    "--max-age-s",
    "limit_s",
    type=click.IntRange(1),
    help="How old what a process last showed may be.  [default: six heartbeats, 60]",
)
@click.option(
    "--unreachable-ok",
    is_flag=True,
    help="Exit 0 where the database is away: for probes that restart what they find unhealthy.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def health(
    *, what: str, here: bool, limit_s: int | None, unreachable_ok: bool, as_json: bool
) -> int:
    """Say whether workers, the beat and Flower work: not only live, but do what they are there for.

    They show it in the database every few seconds (FLOWSHIFT_HEARTBEAT_S). The exit code is 0 if at
    least one of each kind works and none lives without working, else 1; 3 if the database cannot be
    read. `all` asks for Flower only where it was seen within a day and not stopped.

    \b
    flowshift health                                  the whole flowshift
    flowshift health worker --here                    a readiness probe, a health check of Docker's
    flowshift health worker --here --unreachable-ok   a liveness probe
    """
    configure_logging()
    values = settings_module.load()
    at_most_s = float(limit_s or MISSED_MAX * values.heartbeat_s)
    try:
        found = _read(values, host=socket.gethostname() if here else None)
    except (TransientError, ConfigError) as error:
        if not unreachable_ok:
            raise
        say(f"not known, and taken for healthy: {error}", err=True)
        return 0
    healths = [health_of(kind, found, at_most_s) for kind in _kinds(what, found)]
    healthy = all(one.healthy for one in healths)
    if as_json:
        print_json({"healthy": healthy, **processes_json(found, at_most_s)})
    else:
        _print(healths)
    return 0 if healthy else 1


def working_line(current: Runtime, found: Sequence[Process]) -> str:
    """What works and what does not, in one line for `status`."""
    return plain(in_one_line(found, max_age_s(current)), SENTENCE_WIDTH)


def processes_json(found: Sequence[Process], limit_s: float) -> dict[str, object]:
    """The processes as JSON: each with its condition and the seconds since it wrote and worked."""
    return {
        "max_age_s": limit_s,
        "processes": [
            {**msgspec.to_builtins(one), "condition": condition_of(one, limit_s)} for one in found
        ],
    }


def _kinds(what: str, found: Sequence[Process]) -> list[ProcessKind]:
    if what != "all":
        return [msgspec.convert(what, ProcessKind)]
    kinds: list[ProcessKind] = ["worker", "beat"]
    if any(one.kind == "flower" and not one.stopped for one in found):
        kinds.append("flower")
    return kinds


def _print(healths: Sequence[Health]) -> None:
    for one in healths:
        for sentence in one.sentences:
            say(plain(sentence, SENTENCE_WIDTH))


def _read(values: Settings, *, host: str | None) -> list[Process]:
    """The heartbeats; the database is waited for briefly, and looked at once."""
    with database_for_command(values) as url:
        given = database_url(url)
        if "connect_timeout" not in given.query:
            given = given.update_query_dict({"connect_timeout": str(TIMEOUT_S)})
        engine = create_engine(
            given,
            lock_timeout_ms=TIMEOUT_S * 1000,
            statement_timeout_ms=TIMEOUT_S * 1000,
            application_name="flowshift health",
        )
        try:
            with map_database_errors(), engine.connect() as connection:
                return heartbeats.processes(connection, host=host)
        finally:
            engine.dispose()
