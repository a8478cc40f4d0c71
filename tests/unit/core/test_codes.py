"""The words of the ledger, which of several codes counts, and ids shown without harm."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.codes import (
    FAILURE_CODES,
    OUTCOMES,
    SKIP_CODES,
    Issue,
    Outcome,
    first_issue,
    quote,
)


def test_the_failures_are_those_of_the_design_in_its_order() -> None:
    assert FAILURE_CODES == (
        "invalid_text",
        "too_large",
        "not_a_workflow",
        "no_nodes",
        "node_without_id",
        "node_without_type",
        "duplicate_node_id",
        "unknown_node_type",
        "start_count",
        "end_count",
        "edge_endpoint_missing",
        "self_loop",
        "cycle",
        "disconnected",
        "invalid_config",
        "execution_failed",
        "parity_mismatch",
        "platform_refused",
        "not_recorded",
        "worker_lost",
        "internal_error",
    )


def test_the_outcomes_and_the_reasons_to_skip_are_those_of_the_design() -> None:
    assert get_args(Outcome) == OUTCOMES
    assert OUTCOMES == ("converted", "unchanged", "published", "rolled_back", "skipped", "failed")
    assert SKIP_CODES == (
        "duplicate_bot_id",
        "no_workflow",
        "already_v2",
        "flagged_without_version",
        "draft_edited",
        "stale_target",
        "no_draft",
        "budget_spent",
        "taken_back",
        "not_proven",
        "v1_changed",
        "node_type_missing",
        "no_way_back",
        "already_published",
        "newer_version",
        "draft_would_go_live",
        "busy",
    )


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(FAILURE_CODES, 2)))
def test_of_two_issues_the_earlier_in_the_design_counts(first: str, second: str) -> None:
    issues = [Issue(second, "", "later"), Issue(first, "", "sooner")]

    assert first_issue(issues) == (Issue(first, "", "sooner"), (second,))


def test_of_one_code_the_first_issue_counts_and_others_are_named_once() -> None:
    issues = [
        Issue("disconnected", "b", "b hangs"),
        Issue("cycle", "", "one"),
        Issue("cycle", "", "two"),
        Issue("disconnected", "a", "a hangs"),
        Issue("invalid_config", "c", "c is wrong"),
    ]

    assert first_issue(issues) == (
        Issue("cycle", "", "one"),
        ("disconnected", "invalid_config"),
    )


def test_there_is_nothing_first_among_no_issues() -> None:
    with pytest.raises(ValueError, match="no issue"):
        first_issue([])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("llm-1", "'llm-1'"),
        ("", "''"),
        ("시작 🙂", "'시작 🙂'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("a\nb\r", r"'a\nb\r'"),
        ("\u202eabc", r"'\u202eabc'"),
        ("\u200f\u2066", r"'\u200f\u2066'"),
        ("\x00\x7f\x9b", r"'\x00\x7f\x9b'"),
        ("\u2028", r"'\u2028'"),
        ("\ud800", r"'\ud800'"),
        ("\U000e0001", r"'\U000e0001'"),
    ],
)
def test_an_id_is_shown_with_what_does_not_print_escaped(text: str, shown: str) -> None:
    assert quote(text) == shown


def test_sixty_characters_are_shown_and_one_more_is_cut() -> None:
    assert quote("x" * 60) == "'" + "x" * 60 + "'"
    assert quote("x" * 61) == "'" + "x" * 59 + "…'"
    assert quote("x" * 10_000, 40) == "'" + "x" * 39 + "…'"


@given(st.text())
@examples(300)
def test_whatever_an_id_holds_it_is_shown_in_one_short_printable_line(text: str) -> None:
    shown = quote(text)

    assert shown.isprintable()
    assert len(shown) <= 602
