"""Trials: both sides on one message, and what several come to."""

from __future__ import annotations

import json

import pytest

from tests.builders import DEFAULTS, Json, a_graph, a_search, a_workflow, an_llm, as_text, node
from tests.graphs import BUILT_IN, Clock
from worker.core.engine.execution import Variables
from worker.core.parity.compare import Parity
from worker.core.parity.messages import BUILT_IN as MESSAGES
from worker.core.parity.recording import SESSION_OF_TEST, run_and_message, session_id
from worker.core.parity.side_by_side import (
    Verdict,
    prepare,
    verdict,
)
from worker.core.parity.trial import Equipment, Pair, run_both
from worker.providers.echo import Echo

EQUIPMENT = Equipment(lambda: (Echo(), Echo()), Clock(), BUILT_IN)
WORKFLOW = a_workflow(a_search("k"), an_llm(prompt_template="{context}|{question}"))


def a_pair(column: object = WORKFLOW, graph: Json | bytes | None = None) -> Pair:
    graph = a_graph(WORKFLOW) if graph is None else graph
    text = graph if isinstance(graph, bytes) else json.dumps(graph).encode()
    return prepare(None if column is None else as_text(column), text, DEFAULTS, BUILT_IN)


def tried(pair: Pair) -> Verdict:
    return verdict(run_both(pair, message, EQUIPMENT) for message in MESSAGES)


def with_another_model() -> Json:
    graph = a_graph(WORKFLOW)
    node(graph, "llm")["data"]["model"] = "gpt-5"
    return graph


def test_a_conversion_does_the_same_on_every_built_in_message() -> None:
    found = tried(a_pair())

    assert (found.same, found.tried, found.differing) == (True, len(MESSAGES), 0)
    assert found.first.message == MESSAGES[0]
    assert found.first.v2.nodes[0].type == "start"


def test_an_edited_draft_differs_and_the_first_difference_is_kept() -> None:
    found = tried(a_pair(graph=with_another_model()))

    assert (found.same, found.differing) == (False, len(MESSAGES))
    assert (
        found.first.parity.difference
        == "the model of an LLM call is 'gpt-4' in V1 and 'gpt-5' in V2"
    )


def test_the_first_trial_that_differs_is_the_one_to_look_at() -> None:
    pairs = {"a": a_pair(), "b": a_pair(graph=with_another_model()), "c": a_pair()}
    found = verdict([run_both(one, said, EQUIPMENT) for said, one in pairs.items()])

    assert (found.same, found.tried, found.differing) == (False, 3, 1)
    assert found.first.message == "b"


@pytest.mark.parametrize("column", [None, {}, {"nodes": []}])
def test_without_a_v1_there_is_nothing_to_compare_with_and_v2_runs_all_the_same(
    column: object,
) -> None:
    found = tried(a_pair(column))

    assert found.same is None
    assert found.first.parity.difference is not None
    assert found.first.parity.difference.startswith("V1 gave no answer to compare with: no_")
    assert found.first.v2.answer is not None


def test_a_column_that_holds_null_is_empty() -> None:
    pair = prepare(b" null ", as_text(a_graph(WORKFLOW)), DEFAULTS, BUILT_IN)

    assert tried(pair).same is None


@pytest.mark.parametrize(
    "graph",
    [
        b"[]",
        b'{"nodes": [{"id": "a"}], "edges": []}',
        b'{"nodes": [], "edges": [], "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_a_draft_that_cannot_run_differs_and_says_why(graph: bytes) -> None:
    found = tried(a_pair(graph=graph))

    assert found.same is False
    assert found.first.parity == Parity(False, f"V1 answered, V2 did not: {found.first.v2.error}")
    assert str(found.first.v2.error).startswith("execution_failed: the graph ")


def test_v2_is_told_the_session() -> None:
    compared = run_both(a_pair(), "hi", EQUIPMENT, session_id=SESSION_OF_TEST)

    assert compared.v2.nodes[0].outputs["session_id"] == "flowshift:test"


def test_v2_finds_the_drafts_variables() -> None:
    graph = a_graph(WORKFLOW)
    variable = {"variable": "env.STYLE", "value_type": "string"}
    node(graph, "llm")["variable_mappings"]["system_prompt"] = variable
    node(graph, "llm")["data"]["prompt_template"] = "{system_prompt} {query}"
    variables = Variables({"STYLE": "Be brief."})

    assert str(run_both(a_pair(graph=graph), "hi", EQUIPMENT, variables).v2.answer).startswith(
        "gpt-4: Be brief. hi"
    )


def test_the_built_in_messages_are_different_and_of_every_kind() -> None:
    assert len(set(MESSAGES)) == len(MESSAGES) == 6
    assert any("{context}" in message and "{question}" in message for message in MESSAGES)
    assert any(not message.strip() for message in MESSAGES)
    assert any("\n" in message for message in MESSAGES)
    assert any(message.isascii() for message in MESSAGES)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "user-1", "flowshift:test", "flowshift:run-1", "flowshift:run-x:message-1"),
        *(
            "xflowshift:run-1:message-1",
            "flowshift:run-1:message-1\n",
            "flowshift:run-１:message-1",
        ),
    ],
)
def test_what_is_no_session_of_a_run_is_real_traffic(text: str | None) -> None:
    assert run_and_message(text) is None


def test_a_session_says_its_run_and_message() -> None:
    assert run_and_message(session_id(12, 3)) == (12, 3)
