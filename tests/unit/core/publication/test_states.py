"""The life of a publication, a wave and a bot: what is permitted, and everything that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from worker.core.policy.states import states_before
from worker.core.publication.states import (
    BOT_STATES,
    BOT_TRANSITIONS,
    HELD_BECAUSE,
    LIVE,
    OVER,
    PUBLICATION_STATES,
    PUBLICATION_TRANSITIONS,
    WAVE_STATES,
    WAVE_TRANSITIONS,
)

PUBLICATIONS_MAY = {
    "planned": {"publishing", "held", "stopped"},
    "publishing": {"watching", "held", "rolling_back", "stopped"},
    "watching": {"publishing", "completed", "held", "rolling_back", "stopped"},
    "held": {"planned", "publishing", "watching", "rolling_back", "stopped"},
    "rolling_back": {"rolled_back", "held", "stopped"},
    "completed": {"rolling_back"},
    "stopped": {"rolling_back"},
    "rolled_back": set(),
}
WAVES_MAY = {
    "pending": {"publishing"},
    "publishing": {"watching", "failed", "rolled_back"},
    "watching": {"passed", "failed", "inconclusive", "accepted", "rolled_back"},
    "passed": {"rolled_back"},
    "failed": {"accepted", "publishing", "rolled_back"},
    "inconclusive": {"accepted", "rolled_back"},
    "accepted": {"rolled_back"},
    "rolled_back": set(),
}
BOTS_MAY = {
    "pending": {"published", "skipped", "failed"},
    "published": {"confirmed", "quarantined", "rolled_back", "superseded"},
    "confirmed": {"rolled_back", "superseded"},
    "skipped": set(),
    "failed": set(),
    "quarantined": set(),
    "rolled_back": set(),
    "superseded": set(),
}
TABLES: list[tuple[tuple[str, ...], Mapping[Any, str], Mapping[str, set[str]]]] = [
    (PUBLICATION_STATES, PUBLICATION_TRANSITIONS, PUBLICATIONS_MAY),
    (WAVE_STATES, WAVE_TRANSITIONS, WAVES_MAY),
    (BOT_STATES, BOT_TRANSITIONS, BOTS_MAY),
]


@pytest.mark.parametrize(("names", "transitions", "may"), TABLES)
def test_each_goes_where_its_table_says_and_nowhere_else(
    names: tuple[str, ...], transitions: Mapping[Any, str], may: Mapping[str, set[str]]
) -> None:
    assert set(names) == set(may)
    for old, new in product(names, names):
        assert ((old, new) in transitions) is (new in may[old]), (old, new)


@pytest.mark.parametrize(("names", "transitions", "may"), TABLES)
def test_an_update_leaves_exactly_the_states_before(
    names: tuple[str, ...], transitions: Mapping[Any, str], may: Mapping[str, set[str]]
) -> None:
    for new in names:
        before = {old for old, after in may.items() if new in after}
        assert set(states_before(transitions, new)) == before


@pytest.mark.parametrize(("names", "transitions", "may"), TABLES)
def test_every_state_is_reached_from_the_first_and_every_arrow_has_its_reason(
    names: tuple[str, ...], transitions: Mapping[Any, str], may: Mapping[str, set[str]]
) -> None:
    reached, ahead = {names[0]}, [names[0]]
    while ahead:
        new = may[ahead.pop()] - reached
        reached |= new
        ahead += sorted(new)
    assert reached == set(names)
    assert all(reason.strip() for reason in transitions.values())


def test_what_a_person_may_accept_is_a_wave_that_is_out_and_did_not_pass() -> None:
    assert set(states_before(WAVE_TRANSITIONS, "accepted")) == {
        "watching",
        "inconclusive",
        "failed",
    }


def test_a_publication_may_be_held_from_the_three_states_in_which_it_moves_and_goes_back() -> None:
    moving = {"planned", "publishing", "watching"}
    assert moving <= set(states_before(PUBLICATION_TRANSITIONS, "held"))
    assert {new for old, new in PUBLICATION_TRANSITIONS if old == "held"} >= moving
    assert HELD_BECAUSE == ("alarm", "inconclusive", "failed", "disturbed", "health", "person")


def test_from_a_publication_that_is_over_the_one_way_is_back() -> None:
    after = {new for old, new in PUBLICATION_TRANSITIONS if old in OVER}
    assert after == {"rolling_back"}


def test_a_bot_that_is_live_can_be_rolled_back_and_no_other() -> None:
    assert set(states_before(BOT_TRANSITIONS, "rolled_back")) == set(LIVE)
