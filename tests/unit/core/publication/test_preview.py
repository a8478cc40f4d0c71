"""The preview of a rollback: which bots do what, what is lost, and a digest of exactly that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.preview import Preview, Published, preview


def a_bot(bot_id: str = "b", **changes: Any) -> Published:
    usual: dict[str, Any] = {
        "ours": "v-1",
        "live": "v-1",
        "content_hash": 1,
        "content_hash_now": 1,
        "workflow_hash": 2,
        "workflow_hash_now": 2,
    }
    return Published(bot_id=bot_id, **{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "group", "loses_nothing"),
    [
        ({}, "returns", True),
        ({"workflow_hash_now": 3}, "v1_edited", False),
        ({"content_hash_now": 3}, "version_edited", False),
        ({"live": "v-2"}, "newer_version", True),
        ({"live": None, "content_hash_now": None}, "newer_version", True),
        ({"uses_v2": False}, "already_back", True),
        ({"workflow_hash_now": None}, "no_way_back", False),
        ({"v1_runs": False}, "no_way_back", False),
        ({"exists": False}, "gone", True),
    ],
)
def test_each_bot_is_counted_as_what_a_rollback_does_for_it(
    changes: dict[str, Any], group: str, loses_nothing: bool
) -> None:
    said = preview([a_bot(**changes)])

    assert getattr(said, group).bots == 1
    assert getattr(said, group).examples == ("b",)
    assert said.loses_nothing is loses_nothing
    of_each = [said.returns, said.newer_version, said.already_back, said.no_way_back, said.gone]
    assert sum(one.bots for one in of_each) == 1


def test_edits_count_only_where_something_happens_to_them() -> None:
    elsewhere = a_bot(live="v-2", workflow_hash_now=9, content_hash_now=9)

    assert preview([elsewhere]).loses_nothing


def test_a_preview_says_what_happens_in_lines() -> None:
    bots = [a_bot(f"b{n}") for n in range(5)]
    bots += [a_bot("x\x1b", live="v-2", running=3), a_bot("y", workflow_hash_now=5, running=1)]
    said = preview(bots)

    assert said.lines() == [
        "6 bots: V1 answers again ('b0', 'b1', 'b2', …)",
        "1 bot: V1 goes live with an edit made since ('y')",
        "1 bot: left alone, a later version is live ('x\\x1b')",
        "4 executions are still running: each ends as it began",
        "versions and drafts stay as they are",
        f"plan {said.digest}",
    ]


def test_no_bots_have_a_preview_too() -> None:
    assert preview([]).lines()[0] == "versions and drafts stay as they are"
    assert preview([]).digest != preview([a_bot()]).digest


CHANGES = {
    "bot_id": "c",
    "exists": False,
    "uses_v2": False,
    "ours": "v-3",
    "live": None,
    "content_hash": 7,
    "content_hash_now": None,
    "workflow_hash": 7,
    "workflow_hash_now": 7,
    "v1_runs": False,
    "previous": "v0.9",
    "is_finished": True,
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_digest_changes_with_everything_that_a_rollback_depends_on(field: str) -> None:
    before = a_bot()
    after = msgspec.structs.replace(before, **{field: CHANGES[field]})

    assert preview([before]).digest != preview([after]).digest
    assert set(CHANGES) == set(Published.__struct_fields__) - {"running"}


def test_the_digest_does_not_change_with_executions_at_work() -> None:
    assert preview([a_bot(running=1)]).digest == preview([a_bot(running=2)]).digest


BOTS = st.lists(
    st.builds(
        a_bot,
        st.text(max_size=3),
        live=st.sampled_from([None, "v-1", "v-2"]),
        workflow_hash_now=st.sampled_from([None, 2, 3]),
        uses_v2=st.booleans(),
        running=st.integers(0, 2),
    ),
    max_size=8,
)


@examples(200)
@given(BOTS, st.randoms(use_true_random=False))
def test_the_order_of_bots_does_not_count_and_their_number_does(
    bots: list[Published], rng: Any
) -> None:
    said: Preview = preview(bots)
    shuffled = list(bots)
    rng.shuffle(shuffled)

    assert preview(shuffled) == said
    assert preview([*bots, a_bot("one more")]).digest != said.digest
    # One twice is another plan than one once.
    assert not bots or preview([*bots, bots[0]]).digest != said.digest
