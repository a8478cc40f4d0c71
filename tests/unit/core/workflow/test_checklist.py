"""The six questions: yes with what was counted, no with what is wrong, whatever the draft holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import Json, as_text, node
from tests.graphs import BUILT_IN
from tests.strategies import examples, json_values
from tests.unit.core.workflow.test_v2 import BREAKS, a_good_graph, set_mapping
from worker.core.workflow import checklist as module
from worker.core.workflow.checklist import QUESTIONS, Answer, checklist
from worker.core.workflow.graph_check import check

PORTS, EDGES, REQUIRED, MAPPINGS, TYPES, SOUND = QUESTIONS


def answers(graph: object) -> dict[str, Answer]:
    text = graph if isinstance(graph, bytes) else json.dumps(graph).encode()
    found = checklist(text)
    assert [answer.question for answer in found] == list(QUESTIONS)
    return {answer.question: answer for answer in found}


def noes(graph: object) -> list[str]:
    return [question for question, answer in answers(graph).items() if not answer.yes]


def told(answer: Answer) -> list[str]:
    return [f"{issue.path}: {issue.message}" for issue in answer.issues]


def test_a_good_draft_gets_six_yeses_with_what_was_counted() -> None:
    found = answers(a_good_graph())

    assert all(answer.yes and not answer.issues for answer in found.values())
    assert {question: answer.evidence for question, answer in found.items()} == {
        PORTS: "6 nodes, 23 ports",
        EDGES: "8 edges",
        REQUIRED: "9 mappings, 4 of them required",
        MAPPINGS: "9 mappings",
        TYPES: "8 edges, 9 mappings",
        SOUND: "6 nodes with ids of their own, no cycle, 1 start, 1 end, all reachable",
    }


def test_mappings_from_variables_are_counted_apart() -> None:
    graph = a_good_graph()
    set_mapping(graph, "llm", "system_prompt", "env.HOUSE_STYLE")

    assert answers(graph)[MAPPINGS].evidence == "10 mappings, 1 of them from variables"


# What is wrong, and the questions whose answer it makes no.
EXPECTED: dict[str, list[str]] = {
    "a node without ports": [PORTS, EDGES, MAPPINGS],
    "ports that are null": [PORTS, EDGES, MAPPINGS],
    "a port without a name": [PORTS, EDGES, MAPPINGS],
    "a port of no known type": [PORTS, EDGES, MAPPINGS],
    "a node without mappings": [REQUIRED, MAPPINGS],
    "a mapping without a variable": [REQUIRED, MAPPINGS],
    "no nodes": list(QUESTIONS),
    "an edge without a source port": [EDGES],
    "an edge without a target port": [EDGES],
    "an edge without a data type": [TYPES],
    "an edge from an output that does not exist": [EDGES],
    "an edge from an input": [EDGES],
    "an edge to an input that does not exist": [EDGES],
    "an edge from nowhere": [EDGES],
    "an edge to nowhere": [EDGES],
    "a required input that is not mapped": [REQUIRED],
    "a mapping of no input": [MAPPINGS],
    "a mapping from a node that does not exist": [MAPPINGS],
    "a mapping from an output that does not exist": [MAPPINGS],
    "a mapping without an output": [MAPPINGS],
    "a mapping of two dots": [MAPPINGS],
    "a mapping from a node that is no ancestor": [MAPPINGS],
    "a mapping from a descendant": [MAPPINGS],
    "a mapping from the node itself": [MAPPINGS],
    "a mapping of another type": [TYPES],
    "a mapping that says another type": [TYPES],
    "an edge between two types": [TYPES],
    "an edge that says another type": [TYPES],
    "a doubled id": [EDGES, REQUIRED, MAPPINGS, TYPES, SOUND],
    "a way back": [MAPPINGS, SOUND],
    "a loop": [MAPPINGS, SOUND],
    "two starts": [SOUND],
    "no end": [SOUND],
    "an island": [SOUND],
}


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_what_is_wrong_makes_the_answer_no_where_it_belongs(name: str, expected: list[str]) -> None:
    graph = a_good_graph()
    BREAKS[name][0](graph)

    assert noes(graph) == expected


def test_every_way_to_break_a_draft_has_its_questions() -> None:
    assert set(EXPECTED) == set(BREAKS)


def drop(key: str, *names: str) -> Callable[[Json], Any]:
    def spoil(graph: Json) -> None:
        for name in names:
            graph[key][0].pop(name)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "question", "message"),
    [
        (drop("nodes", "ports"), PORTS, "'start': it has no ports"),
        (drop("nodes", "id"), SOUND, "nodes[0]: it has no id"),
        (drop("nodes", "type"), SOUND, "'start': it has no type"),
        (drop("nodes", "variable_mappings"), MAPPINGS, "'start': it has no variable_mappings"),
        (drop("edges", "source"), EDGES, "edges[0]: it has no source"),
        (drop("edges", "source_port"), EDGES, "edges[0]: it has no source_port"),
        (drop("edges", "data_type"), TYPES, "edges[0]: it has no data_type"),
        (lambda g: g["edges"].insert(0, 7), EDGES, "edges[0]: it is no object"),
        (lambda g: g["nodes"].insert(0, []), PORTS, "nodes[0]: it is no object"),
        (lambda g: g["nodes"].insert(0, []), SOUND, "nodes[0]: it is no object"),
        (
            lambda g: g["nodes"][0].update(ports=7),
            PORTS,
            "'start': its ports cannot be read: Expected `object`, got `int`",
        ),
    ],
)
def test_what_cannot_be_read_is_told_once_and_named(
    spoil: Callable[[Json], Any], question: str, message: str
) -> None:
    graph = a_good_graph()
    spoil(graph)
    answer = answers(graph)[question]

    assert told(answer)[0] == message
    assert len({(issue.code, issue.path) for issue in answer.issues}) == len(answer.issues)


def test_faults_are_counted_and_all_there() -> None:
    graph = a_good_graph()
    for node_id in ("k1", "k2", "llm"):
        node(graph, node_id)["variable_mappings"].pop("query")
    answer = answers(graph)[REQUIRED]

    assert answer.evidence == "3 faults"
    assert told(answer) == [
        f"'{node_id}': its input query is not mapped" for node_id in ("k1", "k2", "llm")
    ]


def test_where_two_nodes_share_an_id_the_rest_is_left_open_and_says_why() -> None:
    graph = a_good_graph()
    graph["nodes"].append(node(graph, "llm"))
    found = answers(graph)

    assert told(found[SOUND]) == ["'llm': two nodes have this id"]
    assert found[PORTS].yes
    for question in (EDGES, REQUIRED, MAPPINGS, TYPES):
        assert found[question].evidence == "cannot be decided: two nodes have the same id"


def test_on_a_cycle_what_needs_no_ancestors_is_decided_all_the_same() -> None:
    graph = a_good_graph()
    BREAKS["a way back"][0](graph)
    node(graph, "k2")["variable_mappings"].clear()
    set_mapping(graph, "llm", "system_prompt", "start.query", "number")
    found = answers(graph)

    assert told(found[REQUIRED]) == ["'k2': its input query is not mapped"]
    assert told(found[TYPES]) == [
        "'llm'.'system_prompt': it says 'number', its source gives string"
    ]
    assert found[MAPPINGS].evidence.startswith("cannot be decided: on a cycle")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"nodes": {}}', "Expected `array`, got `object` - at `$.nodes`"),
        (b'{"nodes": []}', "Object missing required field `edges`"),
        (b'{"nodes": [], "edges": [], "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "too deep"),
        (b'{"nodes": [' + b"[" * 5_000 + b"]" * 5_000 + b'], "edges": []}', "too deep"),
    ],
)
def test_of_what_is_no_graph_nothing_can_be_decided(text: bytes, why: str) -> None:
    for answer in answers(text).values():
        assert not answer.yes
        assert answer.evidence.startswith("cannot be decided: the graph cannot be read: ")
        assert why in answer.evidence
        assert answer.issues == ()


def test_an_empty_graph_is_not_sound() -> None:
    assert told(answers({"nodes": [], "edges": []})[SOUND]) == [
        ": 0 start nodes; exactly one is needed",
        ": no end node",
    ]


def test_a_graph_beyond_all_measure_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NODES", 5)

    assert {answer.evidence for answer in answers(a_good_graph()).values()} == {
        "cannot be decided: 6 nodes; at most 5 are looked at"
    }


def test_a_hostile_word_is_escaped_where_the_decoder_repeats_it() -> None:
    graph = a_good_graph()
    node(graph, "llm")["ports"]["inputs"][0]["type"] = "\x1b[2J\u202e" + "x" * 1000
    answer = answers(graph)[PORTS]

    assert "\\x1b[2J" in answer.issues[0].message
    assert answer.issues[0].message.isprintable()
    assert len(answer.issues[0].message) < 300


@given(json_values(), json_values())
@examples(100)
def test_any_graph_gets_six_answers_and_not_all_yes(nodes: Any, edges: Any) -> None:
    text = as_text({"nodes": nodes, "edges": edges})

    assert check(text) != []
    assert noes(text)


@given(json_values(), st.integers(0, 10_000))
@examples(200)
def test_all_six_are_yes_exactly_where_the_check_finds_nothing(value: Any, place: int) -> None:
    # Any JSON in any one place of a good draft.
    graph = a_good_graph()
    places = [
        (thing, key)
        for thing in (*graph["nodes"], *graph["edges"])
        for key in ("id", "type", "ports", "variable_mappings", "source", "data_type")
        if key in thing
    ]
    thing, key = places[place % len(places)]
    thing[key] = value
    text = as_text(graph)

    for types in ({}, BUILT_IN):
        answers = checklist(text, types)
        assert all(answer.yes for answer in answers) == (check(text, types) == [])


def test_a_port_that_the_nodes_type_requires_belongs_to_the_first_question() -> None:
    graph = a_good_graph()
    node(graph, "start")["ports"]["outputs"] = []

    said = checklist(as_text(graph), BUILT_IN)[0]
    assert (said.question, told(said)) == (
        PORTS,
        ["'start': its type requires the output port 'query'"],
    )
