"""The first page: what goes on, what waits and why, whether processes work, how far the fleet is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from litestar import Response, get

from worker.core.codes import MEANINGS
from worker.core.policy.processes import KINDS, Health, Process, health_of
from worker.core.policy.progress import reason_of
from worker.processes.vitals import max_age_s
from worker.runtime import Runtime
from worker.steps.notify.words import stuck_lines
from worker.steps.now import Fleet, read_fleet, read_now
from worker.web.given import Reading
from worker.web.pages.counted import Counted
from worker.web.pages.shell import PageShell

REFRESH_S: Final = 5
FLEET_S: Final = 60.0
"""The fleet is counted so often at most: at a million bots that takes half a second, or some."""

PATIENCE_S: Final = 0.1
"""So long a page waits for the count; it has 0.2 s for everything."""

RETRY_S: Final = 20.0
"""If it could not be counted, it is tried again after so long."""

_NEEDED: Final = ("worker", "beat")


_FLEET_OF: Final[WeakKeyDictionary[Runtime, Counted[Fleet]]] = WeakKeyDictionary()


def _counted(current: Runtime) -> Counted[Fleet]:
    """The count of this process, which every request shares."""
    return _FLEET_OF.setdefault(current, Counted(FLEET_S, RETRY_S, PATIENCE_S))


@get("/", sync_to_thread=True, include_in_schema=False)
def now(shell: PageShell, reading: Reading) -> Response[str]:
    """Runs, publications, processes, the fleet and the prune.

    If the fleet cannot be counted in time, the page says so, and everything else. The count's connection is
    not the request's: it is read beside the page, and may outlive it.
    """
    settings = shell.current.settings
    found = read_now(reading, settings)
    counted = _counted(shell.current).get(lambda: read_fleet(reading, settings))
    return shell.page(
        "now.html",
        refresh_s=REFRESH_S,
        now=found,
        fleet=counted.value,
        uncounted=counted.error,
        is_being_counted=counted.is_being_read,
        healths=healths_of(found.processes, max_age_s(shell.current)),
        stuck=stuck_lines(found.notifications_stuck),
        meanings=MEANINGS,
        reason_of=reason_of,
    )


def healths_of(processes: Sequence[Process], limit_s: float) -> list[Health]:
    """Whether the processes of each kind work: of those that must be there, and of those that were."""
    seen = {one.kind for one in processes if not one.stopped}
    return [
        health_of(kind, processes, limit_s) for kind in KINDS if kind in _NEEDED or kind in seen
    ]
