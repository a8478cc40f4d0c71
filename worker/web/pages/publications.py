"""Publications: the list, one with its waves and the gate's evidence, and a rollback before it is done."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
from litestar import Response, get
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from markupsafe import Markup

from worker.core.drawing import plot
from worker.core.drawing.plot import Limit, Plot, Point
from worker.core.publication.alarm import threshold
from worker.core.publication.e_values import log_e_above, log_e_below
from worker.core.publication.evidence import MetricReading
from worker.core.publication.minimum import PASS_E
from worker.core.publication.sentences import percent
from worker.db.publication.readings import Kept
from worker.db.publication.rolling import Which
from worker.db.publication.waves import Publication, Wave
from worker.runtime import Runtime
from worker.steps.publication.report import (
    Live,
    count_live,
    evidence,
    explain,
    newest_publications,
    read_publication,
)
from worker.steps.publication.rollback import glance, look
from worker.web.given import Current, Reading
from worker.web.pages.counted import CountedEach
from worker.web.pages.looking import looked
from worker.web.pages.rendering import picture
from worker.web.pages.shell import PageShell

REFRESH_S: Final = 5
SHOWN: Final = 50
BEGUN_SHOWN: Final = 24
PENDING_SHOWN: Final = 8
SUSPECTS: Final = 10
LOOKED_AT_ONCE: Final = 2_000
"""The preview of a rollback of so many bots looks at each of them: it takes some tenths of a second."""

EXACT_BOTS: Final = 100_000
"""What is live of a publication of so many bots is counted for each look: it takes some 20 ms."""

LIVE_S: Final = 30.0
"""What is live of a larger one is counted so often at most, and whenever its state changes."""

_MOST_E: Final = 1e15
_MOST_DRAWN_E: Final = 1e6
_JUDGED: Final = ("watching", "inconclusive", "failed")
_SOURCES: Final = {"v1": "V1's own", "waves": "waves before", "default": "default"}

Number = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]
Whole = Annotated[bool, QueryParameter()]
WaveNumber = Annotated[int | None, QueryParameter(ge=1, le=2**31 - 1)]


_LIVE_OF: Final[WeakKeyDictionary[Runtime, CountedEach[int, Live]]] = WeakKeyDictionary()


def _live_of(current: Runtime) -> Callable[[sa.Connection, Publication], Live]:
    """How to count what is live: of a large publication, all requests of this process share a count."""
    each = _LIVE_OF.setdefault(current, CountedEach())

    def count(connection: sa.Connection, one: Publication) -> Live:
        if one.bot_count <= EXACT_BOTS:
            return count_live(connection, one)
        return each.get(
            one.publication_id, one.version, LIVE_S, lambda: _counted_now(connection, one)
        )

    return count


def _counted_now(connection: sa.Connection, one: Publication) -> Live:
    now = dt.datetime.now(dt.UTC)
    return msgspec.structs.replace(count_live(connection, one), counted_at=now)


@get("/publications", sync_to_thread=True, include_in_schema=False)
def publications(shell: PageShell, reading: Reading) -> Response[str]:
    """The newest publications."""
    found = newest_publications(reading, SHOWN)
    return shell.page("publications.html", found=found, most=SHOWN)


@get("/publications/{number:int}", sync_to_thread=True, include_in_schema=False)
def publication(
    shell: PageShell,
    current: Current,
    reading: Reading,
    number: Number,
    wave: WaveNumber = None,
) -> Response[str]:
    """One publication, and what the gate says of one wave: by default of the one it looked at last."""
    found = read_publication(reading, current.settings, number, live_of=_live_of(current))
    explained = explain(reading, number, wave) if found.waves else None
    looks = evidence(reading, number, explained.wave.number) if explained else []
    is_over = found.publication.finished_at is not None
    return shell.page(
        "publication.html",
        refresh_s=0 if is_over else REFRESH_S,
        found=found,
        one=found.publication,
        explained=explained,
        columns=columns_of(found.waves),
        judged=next((wave for wave in found.waves if wave.state in _JUDGED), None),
        metrics={
            number: {one.metric: one.count for one in kept.reading.metrics}
            for number, kept in found.verdicts.items()
        },
        plots=plots_of(looks),
        e_fails=e_fails,
        e_passes=e_passes,
        fails_at=math.exp(threshold(looks[-1].reading.limits.alpha)) if looks else None,
        passes_at=PASS_E,
        rate=percent,
        sources=_SOURCES,
        suspects=SUSPECTS,
    )


@get("/publications/{number:int}/rollback", sync_to_thread=True, include_in_schema=False)
def rollback(
    shell: PageShell,
    current: Current,
    reading: Reading,
    number: Number,
    wave: WaveNumber = None,
    whole: Whole = False,
) -> Response[str] | Stream:
    """What a rollback would do now; nothing is changed.

    Of many bots only how many they are, unless each is to be looked at: `whole`.
    """
    which, found = Which(publication_id=number, wave=wave), glance(reading, number, wave)
    values: dict[str, Any] = {"number": number, "wave": wave, "found": found}
    if found.bots <= LOOKED_AT_ONCE:
        return shell.page("rollback.html", **values, seen=look(current, which), streamed=None)
    if whole:
        pieces = looked(shell, which, found.bots)
        return shell.streamed("rollback.html", pieces, **values, seen=None)
    return shell.page("rollback.html", **values, seen=None, streamed=None)


def columns_of(waves: Sequence[Wave]) -> list[Wave]:
    """The waves that a page has columns for: those that began last, and the next."""
    began = [wave for wave in waves if wave.state != "pending"]
    pending = [wave for wave in waves if wave.state == "pending"]
    return [*began[-BEGUN_SHOWN:], *pending[:PENDING_SHOWN]]


def e_fails(one: MetricReading) -> float:
    """The evidence against the claim that a wave is as good as normal."""
    return _e(log_e_above(one.count.failed, one.count.executions, one.p0))


def e_passes(one: MetricReading) -> float:
    """The evidence against the claim that a wave is bad."""
    return _e(log_e_below(one.count.failed, one.count.executions, one.p1))


def _e(log_e: float) -> float:
    return math.exp(min(log_e, math.log(_MOST_E)))


def plots_of(looks: Sequence[Kept]) -> list[Markup]:
    """For each metric the evidence that the wave fails, and that it passes, with their limits."""
    if not looks:
        return []
    names = [one.metric for one in looks[-1].reading.metrics]
    begin = looks[0].read_at
    span_s = max(1.0, (looks[-1].read_at - begin).total_seconds())
    fails_at = math.exp(threshold(looks[-1].reading.limits.alpha))
    drawn = []
    for name in names:
        found = [
            ((kept.read_at - begin).total_seconds(), one)
            for kept in looks
            for one in kept.reading.metrics
            if one.metric == name
        ]
        bad = [Point(at, min(e_fails(one), _MOST_DRAWN_E)) for at, one in found]
        good = [Point(at, min(e_passes(one), _MOST_DRAWN_E)) for at, one in found]
        drawn += [
            _plot(f"{name}-bad", f"{name}: evidence of a bad wave", bad, span_s, fails_at, "fails"),
            _plot(
                f"{name}-good", f"{name}: evidence of a good wave", good, span_s, PASS_E, "passes"
            ),
        ]
    return drawn


def _plot(
    name: str, title: str, points: list[Point], span_s: float, at: float, what: str
) -> Markup:
    tone: plot.Tone = "bad" if what == "fails" else "good"
    limit = Limit(at, f"{what} at {at:,.0f}", tone)
    drawn = Plot(
        title=title, unit="E", points=points, span_s=span_s, limits=[limit], tone=tone, log=True
    )
    return picture(plot.draw(drawn, name=name))


HANDLERS: Final = (publications, publication, rollback)
