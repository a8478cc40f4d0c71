"""Progress: arithmetic on committed counts (design section 6, guarantee 5), and how it is said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from worker.core.codes import OUTCOMES, Outcome
from worker.core.policy.states import OVER, RunState, words
from worker.core.publication.wave_ref import WaveRef
from worker.core.shown import plain

RECENT_S: Final = 30.0
"""Seconds that the rate looks back: long enough to be steady, short enough to notice a change."""

NO_WORKER: Final = "a worker: none answers; start one: flowshift up"
NO_PUBLISHER: Final = (
    "a worker that publishes: none works; start one as flowshift_publisher: flowshift up"
    " --queue publish"
)
"""What a run waits for that no worker works on; the second if it publishes."""

UNATTENDED_S: Final = 15.0
"""So long nothing happened to a run before a worker is missed: one needs some seconds to start."""

WORKER_SILENT_S: Final = 60.0
"""After so long without a heartbeat a worker does not count: six heartbeats (FLOWSHIFT_HEARTBEAT_S)."""

_VERSION_STEP: Final = 2**31


class Counts(msgspec.Struct, frozen=True):
    """How many bots had each outcome, and how often there were warnings.

    `validated` are those among them whose draft was executed and did what V1 does.
    """

    converted: int = 0
    unchanged: int = 0
    published: int = 0
    rolled_back: int = 0
    skipped: int = 0
    failed: int = 0
    validated: int = 0
    warnings: int = 0

    @property
    def bots(self) -> int:
        """Bots with an outcome.

        >>> Counts(converted=3, failed=1, warnings=9).bots
        4
        """
        drafts = self.converted + self.unchanged
        return drafts + self.published + self.rolled_back + self.skipped + self.failed


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is, as it is published.

    `bots_total` follows the fleet while the run goes on (bots appear and vanish); `rate` is bots
    per second over the last `RECENT_S` seconds; `eta_s` is None if nothing can be said, as while
    a run is paused or no worker works on it. `waiting` says what a run waits for that is not paused,
    `reason` why it is in its state. `wave` is the one that a run of kind `publish` publishes.
    """

    run_id: int
    request_id: str
    state: RunState
    dry_run: bool
    counts: Counts
    bots_total: int
    batches_done: int
    batches_failed: int
    batches_total: int
    rate: float
    eta_s: float | None
    elapsed_s: float
    version: int
    reason: str | None = None
    waiting: str | None = None
    wave: WaveRef | None = None
    over_for_s: float = 0.0
    """Seconds since its end; 0 while it goes on."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in OVER

    @property
    def has_no_worker(self) -> bool:
        """Whether no worker works on it, though there is something to do."""
        return self.waiting in (NO_WORKER, NO_PUBLISHER)

    @property
    def share(self) -> float:
        """How much of the fleet has an outcome, from 0 to 1; 1 for an empty fleet that is done."""
        if self.bots_total == 0:
            return 1.0 if self.is_over else 0.0
        return min(1.0, self.counts.bots / self.bots_total)


def version_of(run_version: int, batches_ended: int) -> int:
    """One number that never goes back: both parts only grow, the run's version counting first.

    It fits the 53 bits that a Redis script compares exactly.

    >>> version_of(1, 7) < version_of(2, 0) < version_of(2, 1)
    True
    """
    return run_version * _VERSION_STEP + batches_ended


def rate_of(recent_bots: int, elapsed_s: float) -> float:
    """Bots per second, from the bots of the last `RECENT_S` seconds of `elapsed_s`.

    >>> rate_of(300, 10.0), rate_of(300, 600.0), rate_of(5, 0.0)
    (30.0, 10.0, 0.0)
    """
    window = min(RECENT_S, elapsed_s)
    return recent_bots / window if window > 0 else 0.0


def eta_of(left: int, rate: float) -> float | None:
    """Seconds until the bots or rows that are `left` are done at `rate`, None if that is unknown.

    >>> eta_of(100, 50.0), eta_of(0, 0.0), eta_of(10, 0.0)
    (2.0, 0.0, None)
    """
    if left <= 0:
        return 0.0
    return left / rate if rate > 0 else None


def count(
    outcomes: Iterable[tuple[Outcome, str | None, int, bool]],
) -> tuple[Counts, dict[str, int]]:
    """Add up (outcome, code, warnings, validated) of bots: the counts, and how often each code.

    Codes are keyed `outcome:code`, so that a word that is a skip and a failure stays two things.

    >>> count([("converted", None, 2, True), ("failed", "cycle", 0, False)])[1]
    {'failed:cycle': 1}
    """
    totals: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    codes: dict[str, int] = {}
    warnings = validated = 0
    for outcome, code, noticed, agreed in outcomes:
        totals[outcome] += 1
        warnings += noticed
        validated += agreed
        if code is not None:
            codes[f"{outcome}:{code}"] = codes.get(f"{outcome}:{code}", 0) + 1
    return Counts(**totals, validated=validated, warnings=warnings), codes


REASON_WIDTH: Final = 300


def label(progress: Progress) -> str:
    """A run's name and state."""
    dry = " (dry run)" if progress.dry_run else ""
    return f"run {progress.run_id}{dry} {words(progress.state)}"


def reason_of(progress: Progress) -> str:
    """What a run waits for, or why it is in its state; empty if there is nothing to say."""
    if progress.waiting:
        return f"waits for {plain(progress.waiting, REASON_WIDTH)}"
    return plain(progress.reason, REASON_WIDTH) if progress.reason else ""
