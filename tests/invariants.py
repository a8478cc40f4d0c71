"""What must hold after a run, whatever happened during it; read from the rows, not from counters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import psutil

from tests.fleet import BACKUPS, Fleet
from worker.cli.follow import from_redis
from worker.core.policy.progress import Counts
from worker.core.policy.states import OVER
from worker.core.targets.convert import convert_text
from worker.db import run_results
from worker.errors import BotError

NOTHING: Mapping[str, Any] = {}


class History(msgspec.Struct, frozen=True):
    """What the platform did while a run went on.

    `workflows` are the texts that a bot had one after another, for bots that were changed; `edits`
    the drafts that a person has saved at any time, the last one last; `edited` the bots whose draft
    was a person's before the run; `backups` what was in `legacy_workflow` before it.
    """

    workflows: Mapping[str, Sequence[str]] = NOTHING
    edits: Mapping[str, Sequence[str]] = NOTHING
    edited: frozenset[str] = frozenset()
    backups: Mapping[str, str] = NOTHING


class Verdict(msgspec.Struct, frozen=True):
    """Whether a claim holds: what speaks against it."""

    claim: str
    faults: tuple[str, ...]

    def __str__(self) -> str:
        if not self.faults:
            return f"ok   {self.claim}"
        more = f" … and {len(self.faults) - 3} more" if len(self.faults) > 3 else ""
        return f"FAIL {self.claim}: {'; '.join(self.faults[:3])}{more}"


def verdicts(fleet: Fleet, run_id: int, history: History | None = None) -> list[Verdict]:
    """Every claim about a run that is over."""
    after = _After(fleet, run_id, history or History())
    return [Verdict(claim, tuple(look(after))) for claim, look in CLAIMS.items()]


def must_hold(fleet: Fleet, run_id: int, history: History | None = None) -> None:
    """Fail where a claim does not hold."""
    assert [str(one) for one in verdicts(fleet, run_id, history) if one.faults] == []


def processes_left(namespace: str) -> list[str]:
    """The processes that work, or worked, in a namespace, but for this one."""
    return [
        f"{process.pid} {' '.join(process.cmdline())}"
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _namespace_of(process) == namespace
    ]


def _namespace_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("FLOWSHIFT_NAMESPACE")
    except (psutil.Error, OSError):
        return None


class _After:
    """The rows of a run and of its fleet."""

    def __init__(self, fleet: Fleet, run_id: int, history: History) -> None:
        self.fleet = fleet
        self.run_id = run_id
        self.history = history
        self.progress = fleet.progress(run_id)
        self.options = fleet.get(run_id).options
        self.ledger = fleet.rows(
            "SELECT * FROM flowshift.ledger WHERE run_id = :r ORDER BY bot_id", r=run_id
        )
        self.bots: dict[str, str] = dict(
            self._pairs("SELECT bot_id, workflow::text AS said FROM bots")
        )
        self.drafts = self._pairs(
            "SELECT bot_id, graph::text AS said FROM bot_workflow_versions WHERE status = 'draft'"
        )
        self._known: dict[str, tuple[str, str]] = {}

    def _pairs(self, query: str) -> list[tuple[str, str]]:
        return [(row.bot_id, row.said) for row in self.fleet.rows(query)]

    def texts(self, bot_id: str) -> Sequence[str]:
        """The workflows from which a bot may have been converted."""
        return self.history.workflows.get(bot_id) or [self.bots[bot_id]]

    def expected(self, text: str) -> tuple[str, str]:
        """What becomes of a workflow: (its draft as the database writes it, or empty; its code)."""
        if text not in self._known:
            try:
                graph = convert_text(text.encode(), self.fleet.current.defaults).graph.decode()
                [row] = self.fleet.rows("SELECT CAST(:g AS jsonb)::text AS stored", g=graph)
                self._known[text] = (row.stored, "")
            except BotError as error:
                self._known[text] = ("", error.code)
        return self._known[text]


def _one_outcome(after: _After) -> Iterator[str]:
    seen: dict[str, int] = {}
    for row in after.ledger:
        seen[row.bot_id] = seen.get(row.bot_id, 0) + 1
    yield from (f"{bot_id} has none" for bot_id in after.bots if bot_id not in seen)
    yield from (f"{bot_id} has {n}" for bot_id, n in seen.items() if n > 1)


def _right_outcome(after: _After) -> Iterator[str]:
    for row in after.ledger:
        codes = {after.expected(text)[1] for text in after.texts(row.bot_id)}
        wanted: set[tuple[str, str | None]] = {("failed", code) for code in codes if code}
        if "" in codes:
            wanted |= {("converted", None), ("unchanged", None)}
        if row.bot_id in after.history.edited:
            wanted = {("skipped", "draft_edited")}
        elif row.bot_id in after.history.edits:
            wanted |= {("skipped", "draft_edited")}
        if (row.outcome, row.code) not in wanted:
            yield f"{row.bot_id} is {row.outcome} {row.code or ''} ({row.message or ''})"


def _drafts(after: _After) -> Iterator[str]:
    found = dict(after.drafts)
    if len(found) != len(after.drafts):
        yield "a bot has two drafts"
    for bot_id in after.bots:
        graphs = {after.expected(text)[0] for text in after.texts(bot_id)}
        if bot_id in after.history.edits:
            graphs = {after.history.edits[bot_id][-1]}
        if found.get(bot_id, "") not in graphs:
            yield f"{bot_id} has {'another draft' if bot_id in found else 'none'}"


def _backups(after: _After) -> Iterator[str]:
    rows = after.fleet.rows(BACKUPS)
    found = {row.bot_id: row.said for row in rows}
    if len(found) != len(rows):
        yield "a bot has two"
    for bot_id, text in after.history.backups.items():
        if found.get(bot_id) != text:
            yield f"that of {bot_id} was written over"
    for row in after.ledger:
        if row.outcome not in ("converted", "unchanged") or row.bot_id in after.history.backups:
            continue
        if found.get(row.bot_id) not in after.texts(row.bot_id):
            yield f"that of {row.bot_id} is none of its workflows"


def _counters(after: _After) -> Iterator[str]:
    counted = dict.fromkeys(Counts.__struct_fields__, 0)
    codes: dict[str, int] = {}
    for row in after.ledger:
        counted[row.outcome] += 1
        counted["warnings"] += len(row.warnings or ())
        if row.code:
            codes[f"{row.outcome}:{row.code}"] = codes.get(f"{row.outcome}:{row.code}", 0) + 1
    shown = msgspec.structs.asdict(after.progress.counts)
    tried = [row for row in after.ledger if row.outcome in ("converted", "unchanged")]
    counted["validated"] = len(tried) if after.options.trials else 0
    yield from (
        f"{name} says {shown[name]}, rows say {n}"
        for name, n in counted.items()
        if shown[name] != n
    )
    with after.fleet.engine.connect() as connection:
        if (said := run_results.codes(connection, after.run_id)) != codes:
            yield f"codes say {said}, rows say {codes}"


def _state(after: _After) -> Iterator[str]:
    state = after.progress.state
    failed = any(row.outcome == "failed" for row in after.ledger)
    if after.progress.batches_failed:
        yield f"{after.progress.batches_failed} batches failed as a whole"
    if state != (wanted := "completed_with_failures" if failed else "completed"):
        yield f"it says {state}, its rows say {wanted}"
    left = after.fleet.rows(
        "SELECT number, state FROM flowshift.batches WHERE run_id = :r "
        "AND (state NOT IN ('done', 'failed') OR lease_until IS NOT NULL)",
        r=after.run_id,
    )
    yield from (f"batch {row.number} is {row.state}, or leased" for row in left)


def _executions(after: _After) -> Iterator[str]:
    per_bot = after.options.trials.per_bot if after.options.trials else 0
    tried = {row.bot_id for row in after.ledger if row.outcome in ("converted", "unchanged")}
    found: dict[str, int] = {}
    for row in after.fleet.rows(
        "SELECT r.bot_id, r.session_id, count(DISTINCT r.id) AS runs, count(n.id) AS nodes, "
        "max(r.total_steps) AS steps FROM workflow_execution_runs r "
        "LEFT JOIN workflow_node_executions n ON n.workflow_run_id = r.id "
        "WHERE r.session_id LIKE :of GROUP BY 1, 2",
        of=f"flowshift:run-{after.run_id}:%",
    ):
        found[row.bot_id] = found.get(row.bot_id, 0) + 1
        if row.runs != 1 or row.nodes != row.steps:
            yield f"{row.bot_id}, {row.session_id}: {row.runs} of {row.nodes} nodes"
    for bot_id in after.bots:
        wanted = per_bot if bot_id in tried else 0
        if found.get(bot_id, 0) != wanted:
            yield f"{bot_id} has {found.get(bot_id, 0)}, not {wanted}"


def _lost(after: _After) -> Iterator[str]:
    yield from (row.bot_id for row in after.ledger if row.code in ("worker_lost", "internal_error"))


CLAIMS: dict[str, Callable[[_After], Iterable[str]]] = {
    "every bot has exactly one outcome": _one_outcome,
    "every outcome is the right one": _right_outcome,
    "every draft is the expected one, to the byte": _drafts,
    "every backup is what V1 was, and never written over": _backups,
    "counters equal the rows": _counters,
    "the run's state is honest, and no batch is left": _state,
    "each bot and message has one set of execution rows": _executions,
    "no bot is blamed for what happened to the servers": _lost,
}


def redis_agrees(fleet: Fleet, run_id: int, client: Any) -> bool:
    """Whether Redis shows the end of a run as the database has it."""
    shown = from_redis(client, fleet.current.settings.namespace, run_id)
    said = fleet.progress(run_id)
    return (
        shown is not None
        and shown.state in OVER
        and (shown.state, shown.counts, shown.version) == (said.state, said.counts, said.version)
    )
