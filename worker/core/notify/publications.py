"""Events of publications and prunes, by the lines that the audit trail gets of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.core.notify.event import Event, Level

_TOLD: Final[Mapping[str, tuple[Level, str]]] = {
    "held": ("warning", "is held"),
    "completed": ("info", "is completed: every wave is out"),
    "stopped": ("warning", "was stopped"),
    "rolling_back": ("warning", "is being rolled back"),
    "rolled_back": ("warning", "is rolled back: V1 answers"),
    "wave_failed": ("error", "failed"),
    "wave_inconclusive": ("warning", "is inconclusive"),
    "quarantined": ("warning", "lost sick bots: they are back on V1"),
}
"""What people are told of a publication; the other lines of its audit trail they have to look up."""

_OF_A_WAVE: Final = ("wave_failed", "wave_inconclusive", "quarantined")


def publication_moved(
    publication_id: int, what: str, actor: str, reason: str | None, detail: Mapping[str, Any]
) -> Event | None:
    """What people are told of `publication.WHAT`; None for nothing.

    A publication that is held for its wave says nothing of its own: the wave does.

    >>> said = publication_moved(3, "wave_failed", "gate", "9 of 41 failed", {"wave": 2})
    >>> said.kind, said.title, said.next_step
    ('wave.failed', 'Wave 2 of publication 3 failed', 'flowshift gate 3')
    >>> publication_moved(3, "held", "gate", "9 of 41 failed", {"wave": 2, "because": "failed"})
    >>> publication_moved(3, "held", "kim@ops", "lunch", {}).title
    'Publication 3 is held'
    """
    because, wave = detail.get("because"), detail.get("wave")
    if what not in _TOLD or (what == "held" and wave is not None and because in _SAID_BY_WAVE):
        return None
    level, words = _TOLD[what]
    of_wave = what in _OF_A_WAVE and wave is not None
    subject = f"Wave {wave} of publication {publication_id}" if of_wave else ""
    return Event(
        kind=_kind(what),
        level=level,
        key=f"publication:{publication_id}:{what}{f':{wave}' if of_wave else ''}",
        title=f"{subject or f'Publication {publication_id}'} {words}",
        reason=_reason(actor, reason),
        next_step=f"flowshift {'gate' if of_wave else 'publication'} {publication_id}",
        page=f"/publications/{publication_id}",
        detail={"publication_id": publication_id, "wave": wave, "because": because, "actor": actor},
    )


_SAID_BY_WAVE: Final = ("failed", "inconclusive")
_NO_PERSON: Final = ("gate", "flowshift")


def _kind(what: str) -> str:
    if what == "quarantined":
        return "bots.quarantined"
    return what.replace("wave_", "wave.") if what in _OF_A_WAVE else f"publication.{what}"


def _reason(actor: str, reason: str | None) -> str:
    if actor in _NO_PERSON and reason:
        return reason
    return f"{reason} (by {actor})" if reason else f"by {actor}"


def prune_stopped(prune_id: int, reason: str | None) -> Event:
    """A prune ended before it was done."""
    return Event(
        kind="prune.stopped",
        level="warning",
        key="prune:stopped",
        title=f"Prune {prune_id} stopped before it was done",
        reason=reason,
        next_step="flowshift status, then flowshift prune --dry-run",
        detail={"prune_id": prune_id},
    )
