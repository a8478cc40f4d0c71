"""What must hold of publications, whatever happened: read from the rows and the platform's journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests import publication_numbers
from tests.beside import Beside, Entry
from tests.fleet import Fleet
from tests.invariants import Verdict
from tests.publication_rows import (
    After,
    converted,
    draft_of,
    is_there,
    newest,
    published_later,
    workflows,
)

EMPTY = '{"edges": [], "nodes": []}'
LIVE = ("published", "confirmed")
BACK = ("quarantined", "rolled_back")


def must_hold(fleet: Fleet, beside: Beside | None = None, *, is_interrupted: bool = False) -> None:
    """Fail where a claim does not hold; one that was interrupted need not be at its end."""
    found = [one for one in verdicts(fleet, beside) if one.faults]
    if is_interrupted:
        found = [one for one in found if one.claim not in publication_numbers.AT_THE_END]
    assert [str(one) for one in found] == []


def verdicts(fleet: Fleet, beside: Beside | None = None) -> list[Verdict]:
    """Every claim, of all publications of a database in which nothing is at work any more."""
    after = After(fleet, beside)
    return [Verdict(claim, tuple(look(after))) for claim, look in CLAIMS.items()]


# -- the platform's rows ---------------------------------------------------------------------------


def _one_published(after: After) -> Iterator[str]:
    for bot_id, versions in after.published.items():
        if len(versions) > 1:
            yield f"{bot_id} has {', '.join(one.version for one in versions)}"


def _flag_has_version(after: After) -> Iterator[str]:
    yield from (
        f"{bot_id} has none"
        for bot_id, flag in after.flags.items()
        if flag and bot_id not in after.published
    )


def _reader_never_failed(after: After) -> Iterator[str]:
    """At no moment at which the platform looked had a bot two published versions, or none with a flag."""
    yield from (f"{one.bot_id} at {one.at}" for one in after.journal if one.kind == "broken")


def _one_draft(after: After) -> Iterator[str]:
    rows = [one.bot_id for one in after.versions.values() if one.status == "draft"]
    yield from (
        f"{bot_id} has {rows.count(bot_id)}" for bot_id in {*rows} if rows.count(bot_id) > 1
    )
    yield from (
        f"{row.bot_id} has none"
        for row in after.bots
        if is_there(after, row) and not draft_of(after, row)
    )


# -- wholly or not ---------------------------------------------------------------------------------


def _live_is_whole(after: After) -> Iterator[str]:
    for row in after.bots:
        if row.state not in LIVE or not is_there(after, row) or published_later(after, row):
            continue
        live = after.published.get(row.bot_id, [None])[0]
        if live is None or live.id != row.version_id:
            yield f"{row.bot_id} is {row.state}, and the platform serves {live and live.version}"
        elif not after.flags[row.bot_id]:
            yield f"{row.bot_id} is {row.state}, and its flag is off"
        if (
            row.previous_id in after.versions
            and after.versions[row.previous_id].status != "archived"
        ):
            yield f"the version before {row.bot_id}'s is not archived"


def _draft_as_promised(after: After) -> Iterator[str]:
    """The draft is what a person saved last, else empty once it is published, else as it was made."""
    for row in newest(after):
        draft = draft_of(after, row)
        if draft is None or after.said("published", row.bot_id):
            continue
        saved = [one for one in after.said("draft", row.bot_id) if one.version_id == draft.id]
        wanted = {EMPTY} if row.went_out else converted(after, row.bot_id)
        if saved and not (row.went_out and saved[-1].at < row.published_at):
            wanted = {str(saved[-1].said)}
        if draft.graph not in wanted:
            yield f"{row.bot_id}, {row.state} {row.code or ''}, has another draft: {draft.graph[:60]}"


def _not_published_is_untouched(after: After) -> Iterator[str]:
    for row in newest(after):
        if row.went_out or not is_there(after, row) or after.said("published", row.bot_id):
            continue
        before = {one.version_id for one in after.said("earlier", row.bot_id)} | {*after.ours}
        if any(one.id not in before for one in after.published.get(row.bot_id, ())):
            yield f"{row.bot_id} is {row.state}, and has a published version"
        if after.flags[row.bot_id]:
            yield f"{row.bot_id} is {row.state}, and its flag is on"


def _back_is_back(after: After) -> Iterator[str]:
    for row in newest(after):
        if row.state not in BACK or not is_there(after, row) or published_later(after, row):
            continue
        if after.flags[row.bot_id]:
            yield f"{row.bot_id} is {row.state}, and its flag is on"
        if after.versions[row.version_id].status != "published":
            yield f"the version of {row.bot_id}, which is {row.state}, is not published any more"


def _v1_answered(after: After) -> Iterator[str]:
    served = after.fleet.rows(_SERVED) if after.journal else ()
    yield from (f"{row.bot_id} was served by {row.version}" for row in served)


def _recorded(after: After) -> Iterator[str]:
    """Each bot that a wave took has its outcome in the ledger of the wave's runs, once."""
    found = after.fleet.rows(_LEDGER)
    said: dict[tuple[int, str], list[Any]] = {}
    for row in found:
        said.setdefault((row.publication_id, row.bot_id), []).append(row)
    for row in after.bots:
        outcomes = [
            (one.outcome, one.code) for one in said.get((row.publication_id, row.bot_id), [])
        ]
        wanted = [("published", None)] if row.went_out else [("skipped", row.code)]
        if outcomes != ([] if row.state == "pending" else wanted):
            yield f"{row.bot_id} is {row.state} {row.code or ''}, and the ledger says {outcomes}"


# -- what people made ------------------------------------------------------------------------------


def _no_edit_lost(after: After) -> Iterator[str]:
    """What was saved last in a row is there, or in a version that was made of it."""
    last: dict[Any, Entry] = {}
    for one in after.journal:
        if one.kind == "draft":
            last[one.version_id] = one
    for version_id, one in last.items():
        row = after.versions.get(version_id)
        if one.bot_id not in after.flags:
            continue
        if row is None:
            yield f"{one.bot_id}: the row of edit {one.id} is gone"
        elif row.graph != one.said and not _went_into(after, one):
            yield f"{one.bot_id}: edit {one.id} is nowhere; its row has {row.graph[:60]}"


def _went_into(after: After, edit: Entry) -> bool:
    return any(
        version_id in after.versions and after.versions[version_id].graph == edit.said
        for version_id, row in after.ours.items()
        if row.bot_id == edit.bot_id and row.published_at > edit.at
    )


def _nothing_unproven(after: After) -> Iterator[str]:
    """A version of ours is what V1 converts to, as it was when the version was published."""
    for version_id, row in after.ours.items():
        version = after.versions.get(version_id)
        if version is None:
            continue
        texts = [one for one in after.said("workflow", row.bot_id) if one.at < row.published_at]
        known = [str(one.said) for one in texts[-1:]] or workflows(after, row.bot_id)
        edits = {str(one.said) for one in after.said("draft", row.bot_id)}
        if version.graph in edits:
            yield f"{row.bot_id}: {version.version} is an edit, which nothing has proven"
        elif version.graph not in {after.expected(text) for text in known}:
            yield f"{row.bot_id}: {version.version} is not the draft of the workflow of its time"


def _live_unchanged(after: After) -> Iterator[str]:
    edited = {one.version_id for one in after.journal if one.kind == "draft"}
    for version_id, row in after.ours.items():
        version = after.versions.get(version_id)
        if version_id in edited:
            yield f"{row.bot_id}: an editor saved into {row.version}"
        if version is not None and version.content_hash != row.content_hash:
            yield f"{row.bot_id}: {row.version} has changed since it was published"


def _snapshots(after: After) -> Iterator[str]:
    yield from (
        f"{row.bot_id}: {row.version_id} was executed as {row.graphs} graphs"
        for row in after.fleet.rows(_SNAPSHOTS)
        if row.version_id in after.ours
    )


def _persons_versions_stay(after: After) -> Iterator[str]:
    """What a person published last stays live: neither rolled back nor replaced."""
    for bot_id in after.flags:
        theirs = after.said("published", bot_id)
        if not theirs:
            continue
        live = after.published.get(bot_id, [None])[0]
        if live is None or live.id != theirs[-1].version_id:
            yield f"{bot_id}: a person's version is live no more"
        elif not after.flags[bot_id]:
            yield f"{bot_id}: a person's version was rolled back"


_LEDGER = """
    SELECT p.publication_id, l.bot_id, l.outcome, l.code FROM flowshift.ledger l
    JOIN flowshift.runs r ON r.run_id = l.run_id AND r.kind = 'publish'
    JOIN flowshift.publications p ON r.request_id LIKE 'publication-' || p.publication_id || '-wave-%'
"""

_SERVED = """
    SELECT DISTINCT p.bot_id, p.version FROM flowshift.publication_bots p
    JOIN flowshift.publications u USING (publication_id)
    JOIN platform_journal j ON j.kind = 'served' AND j.version_id = p.version_id
    WHERE p.state = 'rolled_back' AND u.state = 'rolled_back' AND j.at > u.finished_at
"""

_SNAPSHOTS = """
    SELECT bot_id, workflow_version_id AS version_id, count(DISTINCT graph_snapshot) AS graphs
    FROM workflow_execution_runs WHERE session_id NOT LIKE 'flowshift:%'
    GROUP BY 1, 2 HAVING count(DISTINCT graph_snapshot) > 1
"""

CLAIMS: dict[str, Callable[[After], Iterable[str]]] = {
    "no bot has two published versions": _one_published,
    "no bot has the flag without a published version": _flag_has_version,
    "the platform's reader never failed": _reader_never_failed,
    "every bot has one draft": _one_draft,
    "a live bot is wholly published": _live_is_whole,
    "every draft is as promised": _draft_as_promised,
    "a bot that was not published is untouched": _not_published_is_untouched,
    "a bot that was rolled back answers with V1, and keeps its version": _back_is_back,
    "after a rollback's end V1 answered": _v1_answered,
    "the ledger has every bot that a wave took, once": _recorded,
    "no edit is lost": _no_edit_lost,
    "nothing unproven went live": _nothing_unproven,
    "no live version of ours was changed": _live_unchanged,
    "a version was always executed as the same graph": _snapshots,
    "a person's version stays live": _persons_versions_stay,
    **publication_numbers.CLAIMS,
}
