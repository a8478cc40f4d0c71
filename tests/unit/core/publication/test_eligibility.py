"""Whether a bot may be published: each condition alone, and which counts where several apply."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgspec
import pytest

from worker.core.codes import MEANINGS, REMEDIES, SKIP_CODES
from worker.core.publication.eligibility import (
    CODES,
    Code,
    Heard,
    Proof,
    Rules,
    Seen,
    TakenBack,
    decide,
)

READY = Seen(
    bot_id="b",
    content_hash=1,
    is_ours=True,
    node_types=frozenset({"start", "llm"}),
    workflow_hash=2,
    proof=Proof(1, 2),
    heard=Heard(1),
)
RULES = Rules(node_types=frozenset({"start", "llm", "end"}), target="guide", asks_platform=True)

NOT: dict[Code, dict[str, Any]] = {
    "busy": {"is_locked": False},
    "duplicate_bot_id": {"rows": 2},
    "taken_back": {"taken_back": TakenBack(3, proven_since=False)},
    "no_draft": {"content_hash": None},
    "already_published": {"uses_v2": True, "is_published": True},
    "draft_would_go_live": {"uses_v2": True},
    "no_way_back": {"v1_problem": "a cycle"},
    "draft_edited": {"is_ours": False},
    "not_proven": {"proof": Proof(9, 2)},
    "v1_changed": {"workflow_hash": 3},
    "stale_target": {"node_types": frozenset({"start", "answer"})},
    "node_type_missing": {"node_types": frozenset({"start", "sms"})},
    "platform_refused": {"heard": Heard(1, "the platform refuses the draft: no")},
}


def code(seen: Seen, rules: Rules = RULES) -> Code | None:
    refusal = decide(seen, rules)
    return refusal.code if refusal else None


def but(**changes: Any) -> Seen:
    return msgspec.structs.replace(READY, **changes)


def test_a_bot_for_which_everything_holds_may_be_published() -> None:
    assert decide(READY, RULES) is None
    assert decide(but(is_published=True), RULES) is None  # rolled back before: the flag is off
    assert (
        decide(but(node_types=frozenset({"sms"})), Rules()) is None
    )  # the platform's are not known


@pytest.mark.parametrize("expected", NOT)
def test_each_condition_alone_keeps_a_bot_out(expected: Code) -> None:
    refusal = decide(but(**NOT[expected]), RULES)

    assert refusal is not None
    assert refusal.code == expected
    assert refusal.message
    assert refusal.code in (*SKIP_CODES, "platform_refused")  # the one that a conversion fails with
    assert MEANINGS[refusal.code]
    assert REMEDIES[refusal.code]


# A version is published or it is not, and a bot that uses V2 is not back on V1.
CANNOT_BE = {
    ("already_published", "draft_would_go_live"),
    ("taken_back", "already_published"),
    ("taken_back", "draft_would_go_live"),
}
PAIRS = [pair for pair in combinations(CODES, 2) if pair not in CANNOT_BE]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_where_two_apply_the_first_in_order_counts(first: Code, second: Code) -> None:
    changes = {**NOT[second], **NOT[first]}
    assert code(but(**changes)) == first


def test_the_conditions_are_all_there_in_their_order() -> None:
    assert tuple(NOT) == CODES


def test_a_bot_that_was_given_back_to_v1_stays_there_until_it_was_proven_again() -> None:
    back = but(taken_back=TakenBack(3, proven_since=False))

    refusal = decide(back, Rules())
    assert refusal is not None
    assert "flowshift retry --publication 3" in refusal.message
    assert code(but(taken_back=TakenBack(3, proven_since=True))) is None
    assert (
        code(msgspec.structs.replace(back, uses_v2=True, is_published=True)) == "already_published"
    ), "a person published it since"


def test_an_edited_draft_is_taken_where_that_is_allowed_and_that_content_is_proven() -> None:
    edited = but(is_ours=False, content_hash=5, heard=Heard(5))
    allowed = msgspec.structs.replace(RULES, publish_edited=True)

    assert code(edited) == "draft_edited"
    assert code(edited, allowed) == "not_proven"
    assert code(msgspec.structs.replace(edited, proof=Proof(5, 2)), allowed) is None


def test_a_draft_that_would_be_live_is_taken_only_where_that_is_allowed() -> None:
    flagged = but(uses_v2=True)

    assert code(flagged, msgspec.structs.replace(RULES, live_drafts=True)) is None
    assert (
        code(but(uses_v2=True, is_published=True), Rules(live_drafts=True)) == "already_published"
    )


def test_a_bot_that_is_gone_or_was_never_proven_says_so() -> None:
    assert decide(but(rows=0, content_hash=None), RULES).message == "the bot is gone"  # type: ignore[union-attr]
    assert code(but(proof=None)) == "not_proven"
    assert code(but(workflow_hash=None)) == "no_way_back"


def test_missing_node_types_are_named_whatever_they_hold() -> None:
    types = frozenset({"\x1b[2J", *(f"t{n}" for n in range(7))})
    refusal = decide(but(node_types=types), RULES)

    assert refusal is not None
    assert "and 3 more" in refusal.message
    assert refusal.message.isprintable()


@pytest.mark.parametrize("heard", [None, Heard(9), Heard(9, "the platform refuses the draft: no")])
def test_a_draft_that_the_platform_was_not_asked_about_comes_again(heard: Heard | None) -> None:
    assert code(but(heard=heard)) == "busy"
    assert code(but(heard=heard), msgspec.structs.replace(RULES, asks_platform=False)) is None
    assert code(but(heard=heard, proof=None)) == "not_proven", "what is wrong anyway counts first"


def test_where_the_platform_is_not_asked_what_it_said_does_not_count() -> None:
    refused = but(heard=Heard(1, "no"))
    assert code(refused, msgspec.structs.replace(RULES, asks_platform=False)) is None
