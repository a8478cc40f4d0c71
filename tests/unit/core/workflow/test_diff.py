"""What changed from V1 to the draft, told for a person."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from tests.builders import a_graph, a_search, a_start, a_workflow, an_edge, an_llm, as_text, paths
from tests.strategies import examples, json_values, near_workflows
from worker.core.targets.registry import DEFAULT
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.core.workflow.diff import Difference, differences, draft_differences
from worker.core.workflow.json_values import NodeId


def changes(workflow: dict[str, Any], graph: dict[str, Any] | None = None) -> list[Difference]:
    """How the draft of `workflow` (or `graph`) differs from it."""
    renamed = DEFAULT.new_ids(v1.decode(as_text(workflow), Defaults()).nodes)
    return differences(workflow, graph or a_graph(workflow), renamed)


def a_complete_llm(node_id: NodeId = "llm", **data: Any) -> dict[str, Any]:
    """An LLM node that has every value already as the draft writes it."""
    values = {
        "model": "gpt-4",
        "provider": "openai",
        "prompt_template": "{question}",
        "temperature": 0.5,
        "max_tokens": 10,
    }
    return an_llm(node_id, **{**values, **data})


def test_a_draft_that_says_the_same_does_not_differ() -> None:
    assert changes(a_workflow(a_complete_llm())) == []


def test_what_was_written_out_is_told_with_what_stood_there() -> None:
    workflow = a_workflow(an_llm(model={"name": "gpt-4"}, prompt_template="{question}"))

    assert changes(workflow) == [
        Difference("changed", "llm: model", {"name": "gpt-4"}, "gpt-4"),
        Difference("added", "llm: provider", None, "openai"),
        Difference("added", "llm: temperature", None, 0.7),
        Difference("added", "llm: max_tokens", None, 4000),
    ]


def test_a_renamed_node_is_the_same_node_and_its_edges_are_the_same_edges() -> None:
    assert changes(a_workflow(a_complete_llm("a.b"))) == [
        Difference("changed", "node id", "a.b", "a_b")
    ]


def test_new_nodes_and_edges_are_told() -> None:
    complete = {"top_k": 5, "mode": "semantic"}
    workflow = a_workflow(
        a_search("k1", **complete),
        a_search("k2", **complete),
        a_complete_llm(),
        edges=paths("start>k1>k2>llm>end"),
    )

    assert changes(workflow) == [
        Difference("added", "node text-join-1", None, "text-join"),
        Difference("added", "edge k1 → text-join-1"),
        Difference("added", "edge k2 → text-join-1"),
        Difference("added", "edge text-join-1 → llm"),
    ]


def test_what_a_person_took_out_of_a_draft_is_told() -> None:
    workflow = a_workflow(a_complete_llm())
    graph = copy.deepcopy(a_graph(workflow))
    del graph["nodes"][1]["data"]["temperature"]
    graph["nodes"][1]["type"] = "agent"
    graph["nodes"].pop()
    graph["edges"].pop()

    assert changes(workflow, graph) == [
        Difference("changed", "llm: type", "llm", "agent"),
        Difference("removed", "llm: temperature", 0.5),
        Difference("removed", "node end"),
        Difference("removed", "edge llm → end"),
    ]


def test_a_doubled_edge_is_one_difference() -> None:
    workflow = a_workflow(a_complete_llm())
    graph = a_graph(workflow)
    graph["edges"] = [an_edge("start", "end"), an_edge("start", "end"), graph["edges"][0]]

    assert changes(workflow, graph) == [
        Difference("removed", "edge llm → end"),
        Difference("added", "edge start → end"),
    ]


@given(near_workflows(), near_workflows())
@examples(150)
def test_any_two_graphs_can_be_compared(one: dict[str, Any], other: dict[str, Any]) -> None:
    kinds = {change.change for change in differences(one, other, {})}

    assert kinds <= {"added", "removed", "changed"}
    assert differences(one, one, {}) == []


@given(json_values(), json_values())
@examples(100)
def test_nodes_and_edges_of_any_shape_can_be_compared(nodes: Any, edges: Any) -> None:
    graph = {"nodes": nodes, "edges": edges}

    assert differences(graph, copy.deepcopy(graph), {}) == []


def a_mapped_node(**variables: Any) -> Any:
    return {
        "id": "a",
        "type": "llm",
        "variable_mappings": {port: {"variable": name} for port, name in variables.items()},
    }


def test_two_drafts_differ_by_their_mappings_too() -> None:
    written = {"nodes": [a_mapped_node(query="s.query", context="k.context", same="s.query")]}
    there = {"nodes": [a_mapped_node(query="s.session_id", extra="s.query", same="s.query")]}

    assert draft_differences(written, there) == [
        Difference("changed", "a: input query", "s.query", "s.session_id"),
        Difference("removed", "a: input context", "k.context"),
        Difference("added", "a: input extra", None, "s.query"),
    ]


def test_what_else_two_drafts_differ_by_comes_first() -> None:
    written = {"nodes": [{**a_mapped_node(query="s.query"), "data": {"model": "m"}}], "edges": []}
    there = {"nodes": [{**a_mapped_node(), "data": {"model": "n"}}], "edges": []}

    assert [change.what for change in draft_differences(written, there)] == [
        "a: model",
        "a: input query",
    ]


@pytest.mark.parametrize("mappings", [None, 7, [], {"query": None}, {"query": "s.query"}])
def test_mappings_of_any_shape_can_be_compared(mappings: Any) -> None:
    there = {"nodes": [{"id": "a", "variable_mappings": mappings}, {"id": "b"}]}

    assert draft_differences({"nodes": [a_mapped_node(query="s.query")]}, there)


def test_a_number_and_its_text_are_two_nodes_with_edges_of_their_own() -> None:
    workflow = a_workflow(a_complete_llm("1"), a_complete_llm(1), start=a_start(7))

    assert changes(workflow) == [
        Difference("changed", "node id", 7, "7"),
        Difference("changed", "node id", 1, "1_2"),
        Difference("added", "edge 1 → end"),
    ]
