"""A publication and its waves, moved along the tables of legal transitions.

Who moves one has `lock_state(alone=True)`, and has looked at its state under that lock.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from worker.core.publication.states import HeldBecause, PublicationState, WaveState
from worker.db.bulk import driver
from worker.db.publication.tables import publications, waves


def move(
    connection: sa.Connection,
    publication_id: int,
    state: PublicationState,
    *,
    reason: str | None = None,
) -> None:
    """Take a publication to a state, `held` excepted; whatever was judged before is out of date."""
    is_over = state in ("completed", "stopped")
    _update(
        connection,
        publication_id,
        state=state,
        state_reason=reason,
        held_from=None,
        held_because=None,
        finished_at=sa.func.now() if is_over else None,
    )


def hold(
    connection: sa.Connection,
    publication_id: int,
    *,
    held_from: PublicationState,
    because: HeldBecause,
    reason: str,
) -> None:
    """Hold a publication; `held_from` is where it goes back to."""
    _update(
        connection,
        publication_id,
        state="held",
        state_reason=reason,
        held_from=held_from,
        held_because=because,
        finished_at=None,
    )


def hold_because(connection: sa.Connection, publication_id: int, because: HeldBecause) -> None:
    """Say why a publication is held that is held for another reason, as which it is taken back."""
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id, publications.c.state == "held")
        .values(held_because=because)
    )


def _update(connection: sa.Connection, publication_id: int, **values: Any) -> None:
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(
            **values,
            options=_without_gate_wave(),
            version=publications.c.version + 1,
            moved_at=sa.func.now(),
        )
    )


_GATE_WAVE: Final = "gate_wave"


def _without_gate_wave() -> sa.ColumnElement[Any]:
    return publications.c.options.op("-")(sa.cast(_GATE_WAVE, sa.Text))


def note_gate_wave(connection: sa.Connection, publication_id: int, wave: int) -> None:
    """Note that the gate takes back this wave: its next ticks go on until no bot of it is left."""
    mark = sa.func.jsonb_build_object(_GATE_WAVE, wave)
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(options=publications.c.options.op("||")(mark))
    )


def forget_gate_wave(connection: sa.Connection, publication_id: int) -> None:
    """Note that the gate takes back nothing any more."""
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(options=_without_gate_wave())
    )


def gate_wave(connection: sa.Connection, publication_id: int) -> int | None:
    """The wave that the gate takes back while a publication is `rolling_back`; None if a person does."""
    wave = publications.c.options[_GATE_WAVE].as_integer()
    query = sa.select(wave).where(
        publications.c.publication_id == publication_id, publications.c.state == "rolling_back"
    )
    return connection.scalar(query)


def wave_left(connection: sa.Connection, publication_id: int) -> int | None:
    """The wave of which the gate took back what it could, and other sessions had the rest locked.

    The publication is `held` since. Whatever a person does with it then takes the mark away.
    """
    wave = publications.c.options[_GATE_WAVE].as_integer()
    query = sa.select(wave).where(
        publications.c.publication_id == publication_id, publications.c.state == "held"
    )
    return connection.scalar(query)


def note_look(connection: sa.Connection, publication_id: int) -> None:
    """Note that the gate has looked now."""
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(looked_at=sa.func.now())
    )


def wait(connection: sa.Connection, publication_id: int, reason: str) -> None:
    """Say what a publication waits for, in the state that it is in."""
    p = publications.c
    connection.execute(
        sa.update(publications)
        .where(p.publication_id == publication_id, p.state_reason.is_distinct_from(reason))
        .values(state_reason=reason, version=p.version + 1)
    )


def move_wave(
    connection: sa.Connection, publication_id: int, number: int, state: WaveState, **values: Any
) -> None:
    """Take a wave to a state."""
    change_wave(connection, publication_id, number, state=state, **values)


def change_wave(connection: sa.Connection, publication_id: int, number: int, **values: Any) -> None:
    """Change what is noted of a wave; columns by name."""
    connection.execute(
        sa.update(waves)
        .where(waves.c.publication_id == publication_id, waves.c.number == number)
        .values(**values)
    )


CONFIRMED_AT_ONCE: Final = 20_000
"""Bots that one statement confirms: a second or two."""

_CONFIRM: Final = """
    WITH page AS (
        SELECT bot_id, state FROM flowshift.publication_bots
        WHERE publication_id = %(id)s AND wave = %(wave)s AND state IN ('published', 'confirmed')
          AND (%(after)s::text IS NULL OR bot_id > %(after)s)
        ORDER BY bot_id LIMIT %(limit)s
    ), confirmed AS (
        UPDATE flowshift.publication_bots b SET state = 'confirmed', moved_at = now()
        FROM page p
        WHERE b.bot_id = p.bot_id AND b.publication_id = %(id)s
          AND p.state = 'published' AND b.state = 'published'
    )
    SELECT max(bot_id), count(*) FROM page
"""


def confirm_bots(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    *,
    after: str | None = None,
    limit: int = CONFIRMED_AT_ONCE,
) -> str | None:
    """Confirm the live bots of a wave that passed or was accepted, the first `limit` after `after`.

    Returns the last bot that was looked at, None if none is left behind it. On repeat nothing changes.
    """
    given = {"id": publication_id, "wave": wave, "after": after, "limit": limit}
    with driver(connection).cursor() as cursor:
        last, seen = cursor.execute(_CONFIRM, given).fetchone() or (None, 0)
    return str(last) if seen == limit else None


_UNCONFIRMED: Final = sa.text("""
    SELECT w.number FROM flowshift.waves w
    WHERE w.publication_id = :id AND w.state IN ('passed', 'accepted') AND EXISTS (
        SELECT FROM flowshift.publication_bots b
        WHERE b.publication_id = w.publication_id AND b.wave = w.number AND b.state = 'published')
    ORDER BY w.number
""")


def unconfirmed_waves(connection: sa.Connection, publication_id: int) -> list[int]:
    """Waves that passed or were accepted, and have bots that are not confirmed yet."""
    return list(connection.execute(_UNCONFIRMED, {"id": publication_id}).scalars())


def begin_without_backup(connection: sa.Connection, publication_id: int) -> None:
    """Let the waves that are left begin without a verified backup: a person said so."""
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(
            options=publications.c.options.op("||")(
                sa.func.jsonb_build_object("needs_backup", sa.false())
            )
        )
    )
