"""Which target the evidence says, what contradicts it, and which target a draft was written for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import DEFAULTS, as_text
from worker.core.targets.convert import convert_text
from worker.core.targets.detect import (
    CHOICES,
    Choice,
    Evidence,
    Published,
    choose,
    columns_of,
    decide,
    without_database,
    written_for,
)
from worker.core.targets.registry import DEFAULT, TARGETS
from worker.core.targets.target import Target
from worker.errors import BotError

ANSWER, GUIDE = TARGETS["answer"], TARGETS["guide"]
CORPUS = Path(__file__).parents[3] / "data" / "v1_valid.jsonl"

VERSIONS, RUNS = "bot_workflow_versions", "workflow_execution_runs"
OWN = frozenset({f"{VERSIONS}.graph", f"{VERSIONS}.status", f"{RUNS}.inputs"})


def shown(
    *columns: str, graphs: tuple[tuple[str, ...], ...] = (), says_types: bool = True
) -> Choice:
    published = tuple(Published(frozenset(types), says_types) for types in graphs)
    return decide(Evidence(OWN | frozenset(columns), published))


@pytest.mark.parametrize(
    "columns",
    [
        (f"{VERSIONS}.is_in_library",),
        (f"{VERSIONS}.library_name",),
        (f"{VERSIONS}.port_definitions",),
        (f"{VERSIONS}.api_endpoint_alias",),
        (f"{RUNS}.api_request_id",),
        (f"{VERSIONS}.node_count", f"{VERSIONS}.edge_count"),
        (f"{VERSIONS}.input_schema", f"{RUNS}.api_key_id"),
    ],
)
def test_columns_of_the_last_version_say_answer(columns: tuple[str, ...]) -> None:
    found = shown(*columns)
    assert (found.target, found.finding) == ("answer", None)
    assert all(name.partition(".")[2] in found.reason for name in columns)


@pytest.mark.parametrize("column", sorted(ANSWER.shared_columns))
def test_one_column_that_others_may_have_too_says_nothing_but_is_named(column: str) -> None:
    found = shown(column)
    assert found.target == "guide"
    assert (found.finding or "").startswith(f"{column} is there, as with another target")
    assert "set FLOWSHIFT_TARGET" in (found.finding or "")


@pytest.mark.parametrize(
    "column", [f"{RUNS}.is_in_library", f"{VERSIONS}.in_library", "bots.node_count"]
)
def test_a_column_of_that_name_elsewhere_says_nothing(column: str) -> None:
    assert shown(column).finding is None
    assert shown(column).target == "guide"


def test_graphs_decide_where_no_column_does_and_that_is_a_finding() -> None:
    found = shown(graphs=(("start", "answer", "end"), ("start", "end")))
    assert found.target == "answer"
    assert "1 of 2 published graphs have a node of type answer" in found.reason
    assert "no column of answer is there" in (found.finding or "")


def test_graphs_of_the_guide_beside_columns_of_answer_are_a_finding() -> None:
    graphs = (("start", "text-join", "end"),)
    found = shown(f"{VERSIONS}.is_in_library", graphs=graphs, says_types=False)
    assert found.target == "answer"
    assert "none of 1 published graphs has a node of type answer" in (found.finding or "")
    assert "1 have nodes without data.type" in (found.finding or "")
    said = shown(f"{VERSIONS}.is_in_library", graphs=graphs).finding or ""
    assert "data.type" not in said


def test_one_graph_of_answer_is_enough_beside_its_columns() -> None:
    found = shown(f"{VERSIONS}.is_in_library", graphs=(("start", "end"), ("answer",)))
    assert found.finding is None


def test_graphs_with_the_join_of_the_guide_are_no_finding() -> None:
    found = shown(graphs=(("start", "text-join", "end"),))
    assert (found.target, found.finding) == ("guide", None)
    assert "1 of 1 published graphs have a node of type text-join" in found.reason


def test_many_columns_are_counted_not_listed() -> None:
    names = ("is_in_library", "library_name", "library_tags", "node_count", "edge_count")
    found = shown(*(f"{VERSIONS}.{name}" for name in names))
    assert "has is_in_library, library_name, library_tags and 2 more;" in found.reason


@pytest.mark.parametrize("asked", ["guide", "answer"])
def test_what_is_asked_for_holds_and_the_database_may_contradict_it(asked: str) -> None:
    found = shown(f"{VERSIONS}.is_in_library")
    choice = choose(asked, "--target", found)
    assert (choice.target, choice.reason) == (asked, "--target says so")
    assert (choice.finding is None) == (asked == "answer")
    assert choose("auto", "--target", found) is found


def test_without_a_database_auto_is_the_default() -> None:
    assert CHOICES == ("auto", "guide", "answer")
    assert without_database(None, "auto") is without_database("auto", "answer") is DEFAULT
    assert without_database(None, "answer") is without_database("answer", "guide") is ANSWER


def test_every_other_target_can_be_told_from_the_default() -> None:
    for target in TARGETS.values():
        signs = [sign.replace("*", "x") for sign in (*target.columns, *target.shared_columns)]
        assert len(columns_of(target, signs)) == len(signs)
        assert target is DEFAULT or (target.types and signs)
        assert target.types, "no draft could be known as its own"


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_draft_is_known_as_one_for_its_target(target: Target) -> None:
    known = 0
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        try:
            draft = convert_text(as_text(json.loads(line)["workflow"]), DEFAULTS, target)
        except BotError:
            continue
        assert written_for(draft.graph) is target
        known += 1
    assert known > 100


@pytest.mark.parametrize(
    "graph", [b"", b"[]", b"{}", b'{"nodes": null}', b'{"nodes": [{}]}', b"[" * 9999]
)
def test_what_is_no_graph_is_one_for_the_default(graph: bytes) -> None:
    assert written_for(graph) is GUIDE
