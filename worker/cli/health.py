"""`flowshift health`: whether workers, the beat, Flower and serve do their work, by their heartbeats."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import click
import msgspec

from worker import settings as settings_module
from worker.cli.arguments import Whole
from worker.cli.options import json_option
from worker.cli.printing import print_json, say
from worker.cli.session import configure_logging
from worker.cli.views.processes import health_lines
from worker.core.policy.processes import (
    KINDS,
    MISSED_MAX,
    Process,
    ProcessKind,
    health_of,
    wanted_kinds,
)
from worker.errors import ConfigError, TransientError
from worker.servers.connect import database_for_command
from worker.settings import Settings
from worker.steps.processes import probe_processes
from worker.steps.processes_view import health_view


@click.command()
@click.argument("what", type=click.Choice([*KINDS, "all"]), default="all")
@click.option(
    "--here", is_flag=True, help="Only processes of this host (this container, this pod)."
)
@click.option(
    "--max-age-s",
    "limit_s",
    type=Whole(1),
    metavar="S",
    show_default="six heartbeats, 60",
    help="A process works if it showed so in the last S seconds.",
)
@click.option(
    "--unreachable-ok",
    is_flag=True,
    help="Exit 0 if the database is unavailable: for probes that restart what they find unhealthy.",
)
@json_option
def health(
    *, what: str, here: bool, limit_s: int | None, unreachable_ok: bool, as_json: bool
) -> int:
    """Check whether workers, the beat, Flower and serve work: not only live, but do their task.

    They show it in the database every few seconds (FLOWSHIFT_HEARTBEAT_S). `all` checks Flower and
    `flowshift serve` only if they were seen in the last day and were not stopped.

    The exit code is 0 if at least one process of each kind works and none lives without working,
    otherwise 1. It is 3 if the database cannot be read.

    \b
    Examples:
      flowshift health
      flowshift health worker --here                  # a readiness probe
      flowshift health worker --here --unreachable-ok # a liveness probe
    """
    configure_logging()
    values = settings_module.load()
    at_most_s = float(limit_s or MISSED_MAX * values.heartbeat_s)
    try:
        found = _read(values, host=socket.gethostname() if here else None)
    except (TransientError, ConfigError) as error:
        if not unreachable_ok:
            raise
        say(f"unknown, reported as healthy (--unreachable-ok): {error}", err=True)
        return 0
    healths = [health_of(kind, found, at_most_s) for kind in _kinds(what, found)]
    healthy = all(one.healthy for one in healths)
    if as_json:
        print_json(health_view(found, at_most_s, healthy=healthy))
    else:
        for line in health_lines(healths):
            say(line)
    return 0 if healthy else 1


def _kinds(what: str, found: Sequence[Process]) -> list[ProcessKind]:
    return wanted_kinds(found) if what == "all" else [msgspec.convert(what, ProcessKind)]


def _read(values: Settings, *, host: str | None) -> list[Process]:
    with database_for_command(values) as url:
        return probe_processes(url, host=host)
