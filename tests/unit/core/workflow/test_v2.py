"""The checklist: for every rule a good draft, and what breaks exactly that rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.builders import (
    Json,
    a_graph,
    a_search,
    a_workflow,
    an_edge,
    an_llm,
    as_text,
    codes,
    node,
    paths,
)
from tests.strategies import examples, json_values
from worker.core.targets.guide.ports import PORTS
from worker.core.workflow import v2
from worker.core.workflow.graph_check import check
from worker.core.workflow.v2 import RESERVED_IDS, split_selector


def a_good_graph() -> Json:
    """A start, two searches side by side, a join, an LLM and an end."""
    workflow = a_workflow(
        a_search("k1"),
        a_search("k2"),
        an_llm(),
        edges=paths("start>k1>llm", "start>k2>llm>end"),
    )
    return a_graph(workflow)


def issues(graph: Json) -> list[str]:
    return codes(check(json.dumps(graph).encode()))


def edge(graph: Json, source: str, target: str) -> Json:
    found: Json = next(
        one for one in graph["edges"] if (one["source"], one["target"]) == (source, target)
    )
    return found


def set_mapping(graph: Json, node_id: str, port: str, variable: str, kind: str = "string") -> None:
    node(graph, node_id)["variable_mappings"][port] = {"variable": variable, "value_type": kind}


def add_port(graph: Json, node_id: str, side: str, name: str, kind: str) -> None:
    node(graph, node_id)["ports"][side].append({"name": name, "type": kind})


def a_bare_node(node_id: str, node_type: str = "note") -> Json:
    ports: Json = {"inputs": [], "outputs": [{"name": "text", "type": "string"}]}
    return {"id": node_id, "type": node_type, "ports": ports, "variable_mappings": {}}


def test_a_good_draft_passes() -> None:
    assert issues(a_good_graph()) == []


def test_keys_that_the_checklist_does_not_read_do_not_matter() -> None:
    graph = a_good_graph()
    graph |= {"viewport": 7}
    for thing in (*graph["nodes"], *graph["edges"]):
        thing |= {"data": 10**400, "id_": None, "position": "here"}

    assert issues(graph) == []


def two_starts(graph: Json) -> None:
    graph["nodes"].append(a_bare_node("start-2", "start"))


def no_start(graph: Json) -> None:
    node(graph, "start")["type"] = "begin"


def no_end(graph: Json) -> None:
    node(graph, "end")["type"] = "finish"


def an_island(graph: Json) -> None:
    graph["nodes"].append(a_bare_node("island"))


def a_doubled_id(graph: Json) -> None:
    graph["nodes"].append(a_bare_node("llm"))


def a_way_back(graph: Json) -> None:
    add_port(graph, "k1", "inputs", "after", "string")
    back = an_edge("llm", "k1", source_port="response", target_port="after", data_type="string")
    graph["edges"].append(back)


def a_loop(graph: Json) -> None:
    add_port(graph, "llm", "inputs", "after", "string")
    loop = an_edge("llm", "llm", source_port="response", target_port="after", data_type="string")
    graph["edges"].append(loop)


def a_number_for_a_text(graph: Json) -> None:
    set_mapping(graph, "llm", "context", "k1.doc_count")


def an_edge_of_two_types(graph: Json) -> None:
    edge(graph, "k1", "llm")["source_port"] = "documents"


BREAKS: dict[str, tuple[Callable[[Json], Any], list[str]]] = {
    # every node has ports
    "a node without ports": (lambda g: node(g, "llm").pop("ports"), ["ports"]),
    "ports that are null": (lambda g: node(g, "llm").update(ports=None), ["ports"]),
    "a port without a name": (
        lambda g: node(g, "llm")["ports"]["inputs"][0].pop("name"),
        ["ports"],
    ),
    "a port of no known type": (
        lambda g: node(g, "llm")["ports"]["inputs"][1].update(type="text"),
        ["ports"],
    ),
    "a node without mappings": (lambda g: node(g, "llm").pop("variable_mappings"), ["ports"]),
    "a mapping without a variable": (
        lambda g: node(g, "llm")["variable_mappings"]["query"].pop("variable"),
        ["ports"],
    ),
    "no nodes": (lambda g: g.pop("nodes"), ["ports"]),
    # every edge has both ports, and they exist on its nodes
    "an edge without a source port": (lambda g: g["edges"][0].pop("source_port"), ["ports"]),
    "an edge without a target port": (lambda g: g["edges"][0].pop("target_port"), ["ports"]),
    "an edge without a data type": (lambda g: g["edges"][0].pop("data_type"), ["ports"]),
    "an edge from an output that does not exist": (
        lambda g: edge(g, "k1", "llm").update(source_port="response"),
        ["edge"],
    ),
    "an edge from an input": (
        lambda g: edge(g, "k1", "llm").update(source_port="query"),
        ["edge"],
    ),
    "an edge to an input that does not exist": (
        lambda g: edge(g, "k1", "llm").update(target_port="after_9"),
        ["edge"],
    ),
    "an edge from nowhere": (lambda g: edge(g, "k1", "llm").update(source="ghost"), ["edge"]),
    "an edge to nowhere": (lambda g: edge(g, "k1", "llm").update(target="ghost"), ["edge"]),
    # every required input is mapped
    "a required input that is not mapped": (
        lambda g: node(g, "llm")["variable_mappings"].pop("query"),
        ["required"],
    ),
    # every mapping names an existing output of an ancestor
    "a mapping of no input": (
        lambda g: set_mapping(g, "llm", "colour", "start.query"),
        ["mapping"],
    ),
    "a mapping from a node that does not exist": (
        lambda g: set_mapping(g, "llm", "query", "ghost.query"),
        ["mapping"],
    ),
    "a mapping from an output that does not exist": (
        lambda g: set_mapping(g, "llm", "query", "start.question"),
        ["mapping"],
    ),
    "a mapping without an output": (lambda g: set_mapping(g, "llm", "query", "start"), ["mapping"]),
    "a mapping of two dots": (
        lambda g: set_mapping(g, "llm", "query", "start.query.text"),
        ["mapping"],
    ),
    "a mapping from a node that is no ancestor": (
        lambda g: set_mapping(g, "k2", "query", "k1.context"),
        ["mapping"],
    ),
    "a mapping from a descendant": (
        lambda g: set_mapping(g, "k1", "query", "llm.response"),
        ["mapping"],
    ),
    "a mapping from the node itself": (
        lambda g: set_mapping(g, "llm", "query", "llm.response"),
        ["mapping"],
    ),
    # types agree
    "a mapping of another type": (a_number_for_a_text, ["types"]),
    "a mapping that says another type": (
        lambda g: set_mapping(g, "llm", "query", "start.query", "number"),
        ["types"],
    ),
    "an edge between two types": (an_edge_of_two_types, ["types"]),
    "an edge that says another type": (
        lambda g: edge(g, "start", "k1").update(data_type="array"),
        ["types"],
    ),
    # ids unique, no cycle, one start, at least one end, all reachable
    "a doubled id": (a_doubled_id, ["ids"]),
    "a way back": (a_way_back, ["cycle"]),
    "a loop": (a_loop, ["cycle"]),
    "two starts": (two_starts, ["start"]),
    "no end": (no_end, ["end"]),
    "an island": (an_island, ["reachable"]),
}


@pytest.mark.parametrize(("spoil", "expected"), BREAKS.values(), ids=BREAKS)
def test_a_draft_that_breaks_one_rule_has_that_issue_alone(
    spoil: Callable[[Json], Any], expected: list[str]
) -> None:
    graph = a_good_graph()
    spoil(graph)

    assert issues(graph) == expected


def test_without_a_start_nothing_can_be_reached() -> None:
    graph = a_good_graph()
    no_start(graph)

    assert issues(graph) == ["start", *["reachable"] * 6]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"nodes": [], "edges": null}', b"\xff"]
)
def test_what_is_no_graph_at_all_has_no_ports(text: bytes) -> None:
    assert codes(check(text)) == ["ports"]


def test_an_empty_graph_has_neither_start_nor_end() -> None:
    assert issues({"nodes": [], "edges": []}) == ["start", "end"]


def test_two_ends_are_allowed() -> None:
    graph = a_good_graph()
    graph["nodes"].append({**node(graph, "end"), "id": "end-2"})
    graph["edges"].append({**edge(graph, "llm", "end"), "target": "end-2"})

    assert issues(graph) == []


@pytest.mark.parametrize("prefix", sorted(RESERVED_IDS))
def test_a_mapping_may_name_what_the_platform_provides(prefix: str) -> None:
    graph = a_good_graph()
    set_mapping(graph, "llm", "system_prompt", f"{prefix}.name.first")

    assert issues(graph) == []


def test_a_reserved_variable_still_needs_an_input_to_go_to() -> None:
    graph = a_good_graph()
    set_mapping(graph, "llm", "colour", "env.COLOUR")

    assert issues(graph) == ["mapping"]


@pytest.mark.parametrize("side", ["inputs", "outputs", "mapping", "edge"])
def test_any_agrees_with_every_type(side: str) -> None:
    graph = a_good_graph()
    add_port(graph, "llm", "inputs", "extra", "any" if side == "inputs" else "array")
    add_port(graph, "k1", "outputs", "extra", "any" if side == "outputs" else "array")
    kind = "any" if side in ("mapping", "edge") else "array"
    set_mapping(graph, "llm", "extra", "k1.extra", kind)
    edge(graph, "k1", "llm").update(source_port="extra", target_port="extra", data_type=kind)

    assert issues(graph) == []


def test_an_ancestor_may_be_far_away() -> None:
    row = [a_search(f"k{number}") for number in range(300)]
    graph = a_graph(a_workflow(*row, an_llm()))

    assert issues(graph) == []
    set_mapping(graph, "llm", "query", "k0.context")
    assert issues(graph) == []
    set_mapping(graph, "k0", "query", "k299.context")
    assert issues(graph) == ["mapping"]


def test_several_issues_are_all_told() -> None:
    graph = a_good_graph()
    two_starts(graph)
    a_number_for_a_text(graph)
    an_edge_of_two_types(graph)
    node(graph, "k1")["variable_mappings"].clear()

    assert sorted(issues(graph)) == ["required", "start", "types", "types"]


@pytest.mark.parametrize("node_id", ["\x1b[2J\u202e", "x" * 10_000])
def test_a_hostile_id_is_quoted_and_cut_in_an_issue(node_id: str) -> None:
    graph = a_good_graph()
    set_mapping(graph, "llm", node_id, f"{node_id}.{node_id}")
    set_mapping(graph, "llm", "system_prompt", f"{node_id}.{node_id}")
    edge(graph, "k1", "llm").update(source_port=node_id)
    graph["nodes"].append(a_bare_node(node_id))

    found = check(json.dumps(graph).encode())

    assert codes(found) == ["edge", "reachable", "mapping", "mapping"]
    assert all(f"{issue.path}{issue.message}".isprintable() for issue in found)
    assert all(len(issue.path) + len(issue.message) < 1_000 for issue in found)


@given(json_values(), json_values())
@examples(200)
def test_no_graph_upsets_the_checklist(nodes: Any, edges: Any) -> None:
    assert check(as_text({"nodes": nodes, "edges": edges})) != []


@pytest.mark.parametrize(
    ("variable", "parts"),
    [
        ("llm.response", ("llm", "response")),
        ("llm.response.text", ("llm", "response.text")),
        (".response", ("", "response")),
        ("llm.", ("llm", "")),
        ("llm", ("llm", "")),
        ("", ("", "")),
    ],
)
def test_a_selector_splits_at_the_first_dot(variable: str, parts: tuple[str, str]) -> None:
    assert split_selector(variable) == parts


def test_the_ports_are_those_of_the_design() -> None:
    def side(ports: tuple[v2.Port, ...]) -> list[str]:
        return [f"{port.name} {port.type}{'*' if port.required else ''}" for port in ports]

    assert {kind: (side(ports.inputs), side(ports.outputs)) for kind, ports in PORTS.items()} == {
        "start": ([], ["query string*", "session_id string"]),
        "knowledge-retrieval": (
            ["query string*"],
            ["context string*", "documents array", "doc_count number"],
        ),
        "llm": (
            ["query string*", "context string", "system_prompt string"],
            ["response string*", "tokens number", "model string"],
        ),
        "end": (["response string*"], ["final_output object*"]),
        "text-join": ([], ["text string"]),
    }


def test_a_port_has_exactly_the_designs_five_keys() -> None:
    for ports in PORTS.values():
        for port in (*ports.inputs, *ports.outputs):
            keys = list(msgspec.to_builtins(port))
            assert keys == ["name", "type", "required", "description", "display_name"]


def test_the_reserved_prefixes_are_those_of_the_design() -> None:
    assert {
        *("env", "conv", "conversation", "environment", "sys", "system", "self"),
    } == RESERVED_IDS
