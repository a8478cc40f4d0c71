"""Bots whose draft a platform may serve already: `--live-drafts`, and people who edit it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.live import eventually
from tests.way_back import install_brake, stopped
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.rolling import Which
from worker.db.publication.waves import Options
from worker.errors import LockedError
from worker.steps.batch import publish as step
from worker.steps.batch.hear import hear_platform
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted, look
from worker.steps.publication.rollback import roll_back

BOT, OTHER = "bot-00000", "bot-00001"
EDIT = '{"nodes": [{"id": "mine"}], "edges": []}'
SAVE = (
    f"UPDATE bot_workflow_versions SET graph = '{EDIT}', updated_at = now()"
    f" WHERE bot_id = '{BOT}' AND status = 'draft'"
)


def wanted(*, live_drafts: bool) -> Wanted:
    options = Options(target="guide", live_drafts=live_drafts)
    return Wanted(run_id=1, steps=parse_waves("all"), wishes=Wishes(), options=options)


@pytest.fixture
def serving(fleet: Fleet) -> Fleet:
    """Two bots with proven drafts that answer with V2 and have no published version."""
    fleet.add_many(2)
    fleet.run(validate="sample:1")
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    return fleet


def begun(fleet: Fleet) -> int:
    """Plan a publication of both; returns its run."""
    going = control.publish(fleet.current, wanted(live_drafts=True), request_id="r", actor="me")
    assert going.run_id is not None
    return going.run_id


def served(fleet: Fleet) -> dict[str, tuple[str, str]]:
    """What the platform serves of each bot that answers with V2: the version, and its graph."""
    rows = fleet.rows(
        "SELECT b.bot_id, v.version, v.graph::text AS graph FROM bots b"
        " JOIN bot_workflow_versions v ON v.bot_id = b.bot_id AND v.status IN ('draft', 'published')"
        " WHERE b.use_workflow_v2 ORDER BY v.status = 'draft' DESC"
    )
    return {row.bot_id: (row.version, row.graph) for row in rows}


def draft(fleet: Fleet, bot_id: str = BOT) -> Any:
    return fleet.drafts()[bot_id]


def states(fleet: Fleet) -> list[str]:
    rows = fleet.rows(
        "SELECT concat_ws(' ', state, code) AS said FROM flowshift.publication_bots ORDER BY bot_id"
    )
    return [row.said for row in rows]


def test_only_live_drafts_takes_them_and_they_go_on_with_the_same_graph(serving: Fleet) -> None:
    plans = [look(serving.current, wanted(live_drafts=wish)).codes for wish in (False, True)]
    assert plans == [{"draft_would_go_live": 2}, {"ready": 2}]
    before = served(serving)

    serving.convert(begun(serving), 1)

    assert states(serving) == ["published", "published"]
    assert served(serving) == {bot_id: ("v1.0", graph) for bot_id, (_, graph) in before.items()}
    assert draft(serving) == {"nodes": [], "edges": []}
    result = roll_back(
        serving.current, Which(), digest=None, actor="me", reason=None, show=lambda _: None
    )
    assert result.bots == {"rolled_back": 2}
    assert served(serving) == {}


def edited(fleet: Fleet, run_id: int, _patch: pytest.MonkeyPatch) -> None:
    """Between the plan and the batch."""
    fleet.execute(SAVE)
    fleet.convert(run_id, 1)


def edited_after_asking(fleet: Fleet, run_id: int, patch: pytest.MonkeyPatch) -> None:
    """Between asking the platform and the lock."""

    def then_save(*given: Any) -> Any:
        heard = hear_platform(*given)
        fleet.execute(SAVE)
        return heard

    patch.setattr(step, "hear_platform", then_save)
    fleet.convert(run_id, 1)


def edited_at_the_lock(fleet: Fleet, run_id: int, _patch: pytest.MonkeyPatch) -> None:
    """At the very moment: the bot comes again, and then the edit is seen."""
    with fleet.connect() as person:
        person.execute(SAVE.encode())
        fleet.convert(run_id, 1)
        with pytest.raises(LockedError):
            fleet.convert(run_id, 2)
        assert states(fleet) == ["pending", "published"]
        person.commit()
    fleet.convert(run_id, 2)


@pytest.mark.parametrize("edit", [edited, edited_after_asking, edited_at_the_lock])
def test_an_edit_before_the_lock_stays_what_the_platform_serves_and_is_not_published(
    serving: Fleet, monkeypatch: pytest.MonkeyPatch, edit: Callable[..., None]
) -> None:
    edit(serving, begun(serving), monkeypatch)

    assert states(serving) == ["skipped draft_edited", "published"]
    assert {bot_id: version for bot_id, (version, _) in served(serving).items()} == {
        BOT: "draft",
        OTHER: "v1.0",
    }
    assert "mine" in served(serving)[BOT][1]


def test_an_editor_that_is_open_across_the_publication_changes_the_draft_alone(
    serving: Fleet,
) -> None:
    """Its save waits for the batch, then goes into the row of the draft, which is served no more."""
    run_id, before = begun(serving), served(serving)
    install_brake(serving)
    with ThreadPoolExecutor(2) as pool:
        batch = pool.submit(serving.convert, run_id, 1)
        with stopped(serving, after=1):
            saved = pool.submit(serving.execute, SAVE)
            waiting = "SELECT FROM pg_locks WHERE NOT granted"
            eventually(lambda: serving.rows(waiting))
        assert batch.result(60).counts.published == 2
        saved.result(60)

    assert served(serving) == {bot_id: ("v1.0", graph) for bot_id, (_, graph) in before.items()}
    assert draft(serving) == {"nodes": [{"id": "mine"}], "edges": []}
