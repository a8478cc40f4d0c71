"""When the demo's story goes on: once nothing moves its publication by itself."""

from __future__ import annotations

import datetime as dt

import pytest

from worker.cli.story import _answered, _rests, _sum
from worker.core.publication.states import HeldBecause, PublicationState
from worker.db.publication.waves import Options, Publication
from worker.steps.sample_traffic import Answers

NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)


def a_publication(state: PublicationState, because: HeldBecause | None = None) -> Publication:
    return Publication(
        publication_id=1,
        state=state,
        held_from="watching" if because else None,
        held_because=because,
        state_reason=None,
        gate="pause",
        version=1,
        source_run_id=1,
        retry_of=None,
        requested_by="me",
        bot_count=1,
        options=Options(target="guide"),
        created_at=NOW,
        moved_at=NOW,
        finished_at=None,
        looked_at=None,
    )


@pytest.mark.parametrize("state", ["planned", "publishing", "watching", "rolling_back"])
def test_users_go_on_while_a_publication_moves(state: PublicationState) -> None:
    assert not _rests(a_publication(state))


@pytest.mark.parametrize("because", ["alarm", "health"])
def test_and_while_it_is_held_for_what_may_pass(because: HeldBecause) -> None:
    assert not _rests(a_publication("held", because))


@pytest.mark.parametrize("because", ["failed", "disturbed", "inconclusive", "person"])
def test_they_stop_where_a_person_has_to_decide(because: HeldBecause) -> None:
    assert _rests(a_publication("held", because))


@pytest.mark.parametrize("state", ["completed", "rolled_back", "stopped"])
def test_and_where_it_is_over(state: PublicationState) -> None:
    assert _rests(a_publication(state))


def test_what_answered_is_summed_over_all_rounds() -> None:
    seen = _sum(Answers(1, 20, 3), Answers(1_000, 5, 7))
    assert _answered(seen) == "1,036 messages: V1 answered 1,001, V2 25, 10 failed"
