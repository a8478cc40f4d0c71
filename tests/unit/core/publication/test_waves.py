"""Who goes when: one plan for one set of bots, everybody in one wave, people's wishes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.coverage import Candidate
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.publication.waves import Wishes, plan_waves

STEPS = parse_waves(DEFAULT_WAVES)


def some(count: int, **kinds: str) -> list[Candidate]:
    return [Candidate(f"bot-{n}", frozenset(kinds.get(f"bot_{n}", "common"))) for n in range(count)]


def test_first_come_those_named_then_canaries_then_the_rest_and_last_those_named() -> None:
    bots = some(50, bot_7="rare", bot_8="odd")
    wishes = Wishes(first=("bot-3", "bot-1"), last=("bot-2",), never=("bot-4",))
    plan = plan_waves(bots, STEPS, salt="1", wishes=wishes)

    assert plan.bot_ids[:2] == ("bot-3", "bot-1")
    assert set(plan.bot_ids[2:4]) == {"bot-7", "bot-8"}
    assert plan.canaries == 4
    assert plan.bot_ids[-1] == "bot-2"
    assert "bot-4" not in plan.bot_ids
    assert sorted(plan.bot_ids) == sorted(f"bot-{n}" for n in range(50) if n != 4)
    assert dict(plan.members())[1] == ["bot-3"]


def test_a_kind_that_a_bot_of_first_holds_needs_no_canary() -> None:
    bots = some(9, bot_5="rare")

    assert plan_waves(bots, STEPS, salt="1", wishes=Wishes(first=("bot-5", "bot-0"))).canaries == 2


def test_a_bot_that_is_to_come_last_is_no_canary() -> None:
    plan = plan_waves(some(9, bot_5="rare"), STEPS, salt="1", wishes=Wishes(last=("bot-5",)))

    assert plan.bot_ids[-1] == "bot-5"
    assert plan.canaries == 1


def test_another_publication_begins_with_others() -> None:
    orders = [plan_waves(some(30), STEPS, salt=salt, wishes=Wishes()).bot_ids for salt in "12"]

    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_ids_that_are_not_to_be_published_are_named() -> None:
    wishes = Wishes(first=("bot-1", "gone", "gone"), last=("away",), never=("nowhere",))

    assert plan_waves(some(3), STEPS, salt="1", wishes=wishes).unknown == ("gone", "away")


def test_a_bot_in_two_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="'b' in both --first and --never"):
        Wishes(first=("a", "b"), never=("b",))
    with pytest.raises(ValueError, match="'1', '2', '3' and 1 more in both --last and --never"):
        Wishes(last=("1", "2", "3", "4"), never=("4", "3", "2", "1"))


def test_two_bots_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two bots have the id 'b'"):
        plan_waves([Candidate("b"), Candidate("b")], STEPS, salt="1", wishes=Wishes())


IDS = st.lists(st.text(max_size=4), unique=True, max_size=30)


@examples(200)
@given(IDS, st.data())
def test_every_bot_is_in_one_wave_whatever_the_order_it_came_in(
    ids: list[str], data: st.DataObject
) -> None:
    bots = [Candidate(bot_id, frozenset(bot_id)) for bot_id in ids]
    lists: list[list[str]] = [[], [], [], []]
    for bot_id in ids:
        lists[data.draw(st.integers(0, 3))].append(bot_id)
    wishes = Wishes(first=tuple(lists[0]), last=tuple(lists[1]), never=tuple(lists[2]))

    plan = plan_waves(bots, STEPS, salt="1", wishes=wishes)
    members = [bot_id for _, wave in plan.members() for bot_id in wave]

    assert tuple(members) == plan.bot_ids
    assert sorted(members) == sorted(set(ids) - set(wishes.never))
    assert plan_waves(bots[::-1], STEPS, salt="1", wishes=wishes) == plan


def test_a_large_fleet_is_planned() -> None:
    bots = [
        Candidate(f"bot-{n}", frozenset({f"k{n % 300}"}), traffic=n % 2) for n in range(100_000)
    ]

    plan = plan_waves(bots, STEPS, salt="1", wishes=Wishes())

    assert (len(set(plan.bot_ids)), plan.canaries) == (100_000, 300)
    assert [wave.size for wave in plan.waves] == [1, 10, 110, 179, 700, 9_000, 40_000, 50_000]
