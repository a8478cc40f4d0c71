"""The life of a publication, of a wave, and of a bot in it: one table of legal transitions each.

The database's CHECK constraints name the same states; UPDATE statements name the states that
they leave, so that a late message finds nothing to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

PublicationState = Literal[
    "planned",
    "publishing",
    "watching",
    "held",
    "rolling_back",
    "completed",
    "rolled_back",
    "stopped",
]
WaveState = Literal[
    "pending",
    "publishing",
    "watching",
    "passed",
    "failed",
    "inconclusive",
    "accepted",
    "rolled_back",
]
BotState = Literal[
    "pending",
    "published",
    "confirmed",
    "skipped",
    "failed",
    "quarantined",
    "rolled_back",
    "superseded",
]
HeldBecause = Literal["alarm", "inconclusive", "failed", "disturbed", "health", "person"]

PUBLICATION_STATES: Final[tuple[PublicationState, ...]] = get_args(PublicationState)
WAVE_STATES: Final[tuple[WaveState, ...]] = get_args(WaveState)
BOT_STATES: Final[tuple[BotState, ...]] = get_args(BotState)
HELD_BECAUSE: Final[tuple[HeldBecause, ...]] = get_args(HeldBecause)

PUBLICATION_TRANSITIONS: Final[Mapping[tuple[PublicationState, PublicationState], str]] = {
    ("planned", "publishing"): "its first wave began",
    ("planned", "held"): "a person or a health check held it before it began",
    ("planned", "stopped"): (
        "a person stopped it before it began, or it retried bots of which none was proven"
    ),
    ("publishing", "watching"): "every bot of the wave is published, skipped or failed",
    ("publishing", "held"): (
        "a person or a health check held it, or the gate did before the wave was out"
    ),
    ("publishing", "rolling_back"): (
        "a person rolled it back, or the gate did before the wave was out"
    ),
    ("publishing", "stopped"): "a person stopped it: what is out stays out",
    ("watching", "publishing"): "the wave passed or was accepted, and the next one began",
    ("watching", "completed"): "the last wave passed or was accepted",
    ("watching", "held"): (
        "the wave alarmed, failed, was disturbed or inconclusive, or a person or a health check held it"
    ),
    ("watching", "rolling_back"): "a person rolled it back, or the gate did",
    ("watching", "stopped"): "a person stopped it: what is out stays out",
    ("held", "planned"): (
        "a person let it go on, or the health check passes: it was held before it began"
    ),
    ("held", "publishing"): "a person let it go on, or the health check passes",
    ("held", "watching"): "a person let it go on or accepted the wave, or the health check passes",
    ("held", "rolling_back"): "a person rolled it back, or the gate did after an alarm",
    ("held", "stopped"): "a person stopped it: what is out stays out",
    ("rolling_back", "rolled_back"): "none of its versions is live any more",
    ("rolling_back", "held"): "one wave or some bots are back, and the others are still out",
    ("rolling_back", "stopped"): "it was over before: some bots are back, and the others stay out",
    ("completed", "rolling_back"): "a person rolled it back after its end",
    ("stopped", "rolling_back"): "a person rolled back what it had left out",
}

WAVE_TRANSITIONS: Final[Mapping[tuple[WaveState, WaveState], str]] = {
    ("pending", "publishing"): "it is the first, or the wave before it passed or was accepted",
    ("publishing", "watching"): "every bot of it is published, skipped or failed",
    ("publishing", "failed"): "the gate saw it fail before every bot of it was out",
    ("publishing", "rolled_back"): "a person rolled it back before every bot of it was out",
    ("watching", "passed"): "enough executions refute the rate of failures that would be too much",
    ("watching", "failed"): "too many executions failed, or too many of its bots were quarantined",
    ("watching", "inconclusive"): "it was watched for as long as allowed, and too little was seen",
    ("watching", "accepted"): "a person accepted it before the gate decided, with a reason",
    ("watching", "rolled_back"): "a person rolled it back while it was watched",
    ("inconclusive", "accepted"): "a person accepted it, with a reason: it is never judged again",
    ("inconclusive", "rolled_back"): "a person rolled it back",
    ("failed", "accepted"): "a person accepted it in spite of that, with a reason: as above",
    ("failed", "publishing"): (
        "a person let it go on, with a reason, before it was all out: only executions since then count"
    ),
    ("failed", "rolled_back"): "the gate or a person rolled it back",
    ("passed", "rolled_back"): "a person rolled it back later",
    ("accepted", "rolled_back"): "a person rolled it back later",
}

BOT_TRANSITIONS: Final[Mapping[tuple[BotState, BotState], str]] = {
    ("pending", "published"): "its draft became the live version",
    ("pending", "skipped"): "it may not be published now: the code says why",
    ("pending", "failed"): "publishing it failed: the code says how",
    ("published", "confirmed"): "its wave passed or was accepted",
    ("published", "quarantined"): "it alone is sick: V1 answers again",
    ("published", "rolled_back"): "V1 answers again",
    ("published", "superseded"): "a later version is live, which this publication did not make",
    ("confirmed", "rolled_back"): "V1 answers again",
    ("confirmed", "superseded"): "a later version is live, which this publication did not make",
}

OVER: Final[frozenset[PublicationState]] = frozenset({"completed", "rolled_back", "stopped"})
"""Nothing moves these on by itself; a person may still roll back what is out."""

LIVE: Final[tuple[BotState, ...]] = ("published", "confirmed")
"""The bot answers with the version that this publication made, as far as we know."""
