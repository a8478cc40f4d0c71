"""Decoding V1: its execution order, every code by which it refuses, and which of several counts."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import platform, reference
from tests.builders import (
    DEFAULTS,
    Json,
    a_node,
    a_search,
    a_start,
    a_workflow,
    an_edge,
    an_end,
    an_llm,
    as_text,
    exactly,
    order,
    paths,
    read_exactly,
    refusal,
)
from tests.custom_types import TYPES, WITH_TYPES, Glossary
from tests.strategies import damaged_texts, examples, json_values, near_workflows, workflows
from worker.core.codes import FAILURE_CODES
from worker.core.targets import convert
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults, KnowledgeConfig, LlmConfig
from worker.core.workflow.kept import Counts, Kept
from worker.core.workflow.v1 import MAX_KEPT, MAX_KEPT_BYTES, MAX_KEPT_KEYS, MAX_KEPT_SIZE
from worker.errors import BotError

HOSTILE = [
    json.loads(line)
    for line in (Path(__file__).parents[3] / "data" / "v1_hostile.jsonl").read_text().splitlines()
]
# The codes that a workflow can be refused with: the others come from running it.
CODES_OF_A_WORKFLOW = FAILURE_CODES[: FAILURE_CODES.index("execution_failed")]


# -- the corpus ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case["name"])
def test_a_hostile_column_has_exactly_its_outcome(case: Json) -> None:
    text = case["column_text"].encode()

    if case["code"] == "converted":
        convert.convert_text(text, DEFAULTS)  # holds the draft against the checklist
    else:
        assert refusal(text).code == case["code"]


# -- what is read --------------------------------------------------------------------------------


def test_a_workflow_is_read_with_its_nodes_edges_and_order() -> None:
    workflow = v1.decode(as_text(a_workflow(a_search("k"), an_llm())), DEFAULTS)

    assert [(node.id, node.type) for node in workflow.nodes] == [
        ("start", "start"),
        ("k", "knowledge-retrieval"),
        ("llm", "llm"),
        ("end", "end"),
    ]
    assert [(edge.source, edge.target) for edge in workflow.edges] == [
        ("start", "k"),
        ("k", "llm"),
        ("llm", "end"),
    ]
    assert workflow.order == ("start", "k", "llm", "end")


@pytest.mark.parametrize("name", ["knowledge", "knowledge-retrieval"])
def test_a_knowledge_node_has_two_spellings(name: str) -> None:
    workflow = v1.decode(as_text(a_workflow(a_node("k", name), an_llm())), DEFAULTS)

    assert workflow.nodes[1].type == "knowledge-retrieval"


def test_the_type_of_a_custom_node_is_in_its_data() -> None:
    workflow = v1.decode(as_text(a_workflow(a_node("k", "custom", {"type": "llm"}))), DEFAULTS)

    assert workflow.nodes[1].type == "llm"


def test_the_type_in_the_data_of_any_other_node_means_nothing() -> None:
    workflow = v1.decode(as_text(a_workflow(an_llm(type="end"))), DEFAULTS)

    assert workflow.nodes[1].type == "llm"


def test_missing_data_is_empty() -> None:
    workflow = v1.decode(as_text(a_workflow({"id": "llm", "type": "llm"})), DEFAULTS)

    assert workflow.nodes[1].data == {}


@pytest.mark.parametrize("node_type", ["start", "end"])
def test_data_that_is_null_is_empty_for_the_start_and_the_end(node_type: str) -> None:
    null = {"id": node_type, "type": node_type, "data": None}
    ends: dict[str, Any] = {node_type: null}
    workflow = v1.decode(as_text(a_workflow(**ends)), DEFAULTS)

    (found,) = [node for node in workflow.nodes if node.type == node_type]
    assert found.data == {}


@pytest.mark.parametrize("node_type", ["llm", "knowledge", "knowledge-retrieval"])
def test_data_that_is_null_is_refused_where_a_configuration_is_read(node_type: str) -> None:
    error = refusal(a_workflow({"id": "n", "type": node_type, "data": None}))

    assert (error.code, str(error)) == ("invalid_config", "node 'n': its data is null")


def test_of_a_doubled_key_the_last_counts() -> None:
    text = as_text(a_workflow())

    assert v1.decode(b'{"nodes": [], "edges": 7, ' + text[1:], DEFAULTS).order == (
        "start",
        "llm",
        "end",
    )
    assert refusal(text[:-1] + b', "nodes": []}').code == "no_nodes"


@pytest.mark.parametrize(
    ("text", "is_null"),
    [
        (b"null", True),
        (b" \n\tnull\r\n", True),
        (b'"null"', False),
        (b"[null]", False),
        (b"", False),
        (b"{}", False),
    ],
)
def test_jsons_null_is_told_from_a_workflow(text: bytes, is_null: bool) -> None:
    assert v1.is_json_null(text) is is_null


# -- V1's order ----------------------------------------------------------------------------------


def test_ties_run_in_the_order_of_the_nodes() -> None:
    workflow = a_workflow(
        a_search("c"),
        a_search("a"),
        a_search("b"),
        an_llm(),
        edges=paths("start>a>llm", "start>b>llm", "start>c>llm>end"),
    )

    assert order(workflow) == ("start", "a", "b", "c", "llm", "end")
    assert order({**workflow, "edges": workflow["edges"][::-1]}) == (
        *("start", "c", "b", "a", "llm", "end"),
    )


def test_the_first_to_become_ready_runs_first_wherever_it_stands() -> None:
    workflow = a_workflow(
        an_llm("late"),
        an_llm("early"),
        edges=paths("start>early>end", "early>late", "start>late", "late>end"),
    )

    assert order(workflow) == ("start", "early", "late", "end")


def test_a_doubled_edge_counts_twice_in_v1s_order() -> None:
    nodes = [a_search("a"), a_search("b"), an_llm()]
    rest = paths("a>llm", "b>llm", "llm>end")

    once = a_workflow(*nodes, edges=[*paths("start>b", "start>a"), *rest])
    twice = a_workflow(*nodes, edges=[*paths("start>b", "start>a", "start>b"), *rest])

    assert order(once) == ("start", "b", "a", "llm", "end")
    assert order(twice) == ("start", "a", "b", "llm", "end")


def test_a_doubled_edge_is_no_cycle() -> None:
    assert order(a_workflow(edges=paths("start>llm>end", "start>llm>end"))) == (
        *("start", "llm", "end"),
    )


@given(workflows(max_nodes=8, odd=False) | workflows(max_nodes=4))
@examples(300)
def test_the_order_is_the_one_that_the_design_describes(workflow: Json) -> None:
    ids = [node["id"] for node in workflow["nodes"]]
    edges = [(edge["source"], edge["target"]) for edge in workflow["edges"]]

    assert order(workflow) == tuple(reference.run_order(ids, edges))


# -- why a workflow is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "not_a_workflow"),
        (b" ", "not_a_workflow"),
        (b"{", "not_a_workflow"),
        (b"nodes", "not_a_workflow"),
        (b"{} {}", "not_a_workflow"),
        (b"\xef\xbb\xbf{}", "not_a_workflow"),
        (b'{"\xff": 1}', "not_a_workflow"),
        (b'{"x": "\xed\xa0\x80"}', "not_a_workflow"),
        (b'{"x": NaN}', "not_a_workflow"),
        (b'{"x": 01}', "not_a_workflow"),
        (b'{"x": "\\q"}', "not_a_workflow"),
        (b'{"x": "a\nb"}', "not_a_workflow"),
        (b"null", "not_a_workflow"),
        (b"[]", "not_a_workflow"),
        (b'{"nodes": {}}', "not_a_workflow"),
        (b'{"nodes": "start"}', "not_a_workflow"),
        (b'{"nodes": [[]]}', "not_a_workflow"),
        (b'{"nodes": [null]}', "not_a_workflow"),
        (b'{"nodes": [{}], "edges": {}}', "not_a_workflow"),
        (b'{"nodes": [{}], "edges": [null]}', "not_a_workflow"),
        (b"{}", "no_nodes"),
        (b'{"nodes": []}', "no_nodes"),
        (b'{"nodes": null}', "no_nodes"),
        (b'{"edges": null, "nodes": null}', "no_nodes"),
        (b'{"nodes": [{}]}', "node_without_id"),
    ],
)
def test_a_column_that_holds_no_workflow_is_refused_by_its_code(text: bytes, code: str) -> None:
    assert refusal(text).code == code


@pytest.mark.parametrize("data", ["x", 7, [], True, [{}]])
def test_data_that_is_no_object_is_no_workflow(data: Any) -> None:
    assert refusal(a_workflow({"id": "llm", "type": "llm", "data": data})).code == "not_a_workflow"


@pytest.mark.parametrize("node_id", ["", None, [], {}, ["llm"], [1]])
def test_an_id_is_a_text_that_is_not_empty_or_a_number(node_id: Any) -> None:
    assert refusal(a_workflow({**an_llm(), "id": node_id}, edges=[])).code == "node_without_id"


# -- ids that are numbers: as in Python, 1 is 1.0 and true, and never "1" ---------------------------


def test_numbers_and_texts_are_different_ids_and_run_in_the_order_of_the_nodes() -> None:
    workflow = {
        "nodes": [a_node(i, t) for i, t in (("e", "end"), (2, "llm"), ("2", "llm"), (1, "start"))],
        "edges": [an_edge(*ends) for ends in ((1, "2"), (1, 2), (2, "e"), ("2", "e"))],
    }

    assert order(workflow) == (1, "2", 2, "e")


@pytest.mark.parametrize("written", ["1", "1.0", "1.00", "1e0", "10E-1", "true"])
def test_an_edge_may_write_a_number_in_every_way_that_is_equal(written: str) -> None:
    edges = [an_edge("start", exactly("1")), an_edge(exactly("1"), "end")]
    text = as_text(a_workflow(an_llm(exactly("1")), edges=edges))
    text = text.replace(b'"source": 1', f'"source": {written}'.encode())

    assert order(text) == ("start", 1, "end")
    assert repr(v1.decode(text, DEFAULTS).edges[1].source) == "1"


@pytest.mark.parametrize(
    ("node_id", "end"), [(1, "1"), ("1", 1), ("1.0", 1.0), ("true", True), ("1", 1.0), (0, None)]
)
def test_a_number_is_not_its_text(node_id: Any, end: Any) -> None:
    edges = [an_edge("start", end), an_edge(node_id, "end")]

    assert refusal(a_workflow(an_llm(node_id), edges=edges)).code == "edge_endpoint_missing"


@pytest.mark.parametrize("other", [1, 1.0, True, exactly("1e0")])
def test_numbers_of_one_value_are_one_id(other: Any) -> None:
    error = refusal(a_workflow(an_llm(1), an_llm(other), edges=[]))

    assert error.code == "duplicate_node_id"
    assert refusal(a_workflow(edges=[an_edge(1, other)])).code == "edge_endpoint_missing"


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0",
        "7",
        "7.5",
        "-1e-7",
        "false",
        "123456789012345678901234567890",
        "1e400",
        "9" * 5_000,
    ],
    ids=lambda number: number[:12],
)
def test_any_number_is_an_id_of_its_own(number: str) -> None:
    workflow = a_workflow(an_llm(exactly(number) if number != "false" else False))
    workflow["edges"] = [
        an_edge("start", workflow["nodes"][1]["id"]),
        an_edge(workflow["nodes"][1]["id"], "end"),
    ]

    found = v1.decode(as_text(workflow), DEFAULTS).nodes[1].id
    assert float(found) == float(number.replace("false", "0"))
    assert found not in ("0", number)


@pytest.mark.parametrize("end", [[], {}, ["start"], {"id": "start"}, None, ""])
@pytest.mark.parametrize("which", ["source", "target"])
def test_an_edge_that_names_no_id_leads_nowhere(which: str, end: Any) -> None:
    edge = {**an_edge("start", "end"), which: end}

    assert refusal(a_workflow(edges=[*paths("start>llm>end"), edge])).code == (
        "edge_endpoint_missing"
    )


def test_a_message_tells_a_number_from_a_text() -> None:
    told = str(refusal(a_workflow(an_llm(7, temperature=2))))
    assert told == "node 7: temperature must be a number from 0 to 1 (it is '2')"
    told = str(refusal(a_workflow(edges=[*paths("start>llm>end"), an_edge("llm", 9)])))
    assert told == "edges[2]: its target does not exist: 9"


@pytest.mark.parametrize("falsy", ["", None, 0, exactly("0.0"), exactly("-0"), False, [], {}])
@pytest.mark.parametrize("place", ["type", "data.type"])
def test_a_type_that_python_takes_for_nothing_is_missing(falsy: Any, place: str) -> None:
    node = a_node("llm", "custom", {"type": falsy})
    if place == "type":
        node |= {"type": falsy, "data": {"type": "llm"}}

    assert refusal(a_workflow(node)).code == "node_without_type"


def test_a_node_without_the_key_type_has_no_type() -> None:
    assert refusal(a_workflow({"id": "llm"})).code == "node_without_type"
    assert refusal(a_workflow({"id": "llm", "type": "custom"})).code == "node_without_type"


def test_the_type_in_the_data_counts_for_custom_nodes_only() -> None:
    node = {"id": "llm", "data": {"type": "llm"}}

    assert refusal(a_workflow(node)).code == "node_without_type"
    assert refusal(a_workflow({**node, "type": ""})).code == "node_without_type"


@pytest.mark.parametrize(
    "node_type",
    ["LLM", "llm ", "loop", "text-join", 7, True, ["llm"], {"llm": 1}, exactly("1e400")],
)
@pytest.mark.parametrize("is_custom", [False, True])
def test_any_other_type_is_unknown(node_type: Any, is_custom: bool) -> None:
    node = {"id": "llm", "type": node_type}
    if is_custom:
        node = a_node("llm", "custom", {"type": node_type})

    assert refusal(a_workflow(node)).code == "unknown_node_type"


def test_custom_within_custom_is_unknown() -> None:
    node = a_node("llm", "custom", {"type": "custom"})

    assert refusal(a_workflow(node)).code == "unknown_node_type"


@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("value", ["ghost", "", None, 7, [], {}])
def test_an_edge_needs_both_its_ends(end: str, value: Any) -> None:
    dangling = {**an_edge("start", "end"), end: value}

    assert refusal(a_workflow(edges=[*paths("start>llm>end"), dangling])).code == (
        "edge_endpoint_missing"
    )


@pytest.mark.parametrize("edges", [None, []])
def test_missing_edges_leave_every_node_alone(edges: Any) -> None:
    assert refusal({**a_workflow(), "edges": edges}).code == "disconnected"


def test_a_start_that_something_leads_to_is_on_a_cycle() -> None:
    assert refusal(a_workflow(edges=paths("start>llm>end", "llm>start"))).code == "cycle"


def test_an_end_that_leads_somewhere_is_on_a_cycle_or_leads_to_a_node_without_way_out() -> None:
    assert refusal(a_workflow(edges=paths("start>llm>end>llm"))).code == "cycle"
    assert (
        refusal(a_workflow(an_llm(), a_search("k"), edges=paths("start>llm>end>k"))).code
        == "disconnected"
    )


@pytest.mark.parametrize(
    ("edges", "why"),
    [
        (paths("start>llm", "start>end"), "no edge leads out of node 'llm'"),
        (paths("start>end", "llm>end"), "no edge leads into node 'llm'"),
        (paths("start>llm"), "no edge leads out of node 'llm'"),
        (paths("llm>end"), "no edge leads out of node 'start'"),
    ],
)
def test_a_node_without_the_ways_it_needs_is_named(edges: list[Json], why: str) -> None:
    error = refusal(a_workflow(edges=edges))

    assert error.code == "disconnected"
    assert str(error) == why


# -- several at once -----------------------------------------------------------------------------

Fault = Callable[[Json], None]


def add(workflow: Json, node: Json, *routes: str) -> None:
    workflow["nodes"].append(node)
    workflow["edges"] += paths(*routes)


# One for every code, each of which breaks nothing else.
FAULTS: dict[str, Fault] = {
    "invalid_text": lambda w: w.update(note="\x00"),
    "not_a_workflow": lambda w: add(w, {"id": "x1", "type": "llm", "data": "x"}, "start>x1>llm"),
    "node_without_id": lambda w: add(w, {"type": "llm"}),
    "node_without_type": lambda w: add(w, {"id": "x2"}, "start>x2>llm"),
    "duplicate_node_id": lambda w: add(w, an_llm()),
    "unknown_node_type": lambda w: add(w, a_node("x3", "loop"), "start>x3>llm"),
    "start_count": lambda w: add(w, a_start("x4"), "x4>llm"),
    "end_count": lambda w: add(w, an_end("x5"), "llm>x5"),
    "edge_endpoint_missing": lambda w: w["edges"].append(an_edge("ghost", "llm")),
    "self_loop": lambda w: w["edges"].append(an_edge("llm", "llm")),
    "cycle": lambda w: add(w, a_search("x6"), "llm>x6>llm"),
    "disconnected": lambda w: add(w, a_search("x7"), "start>x7"),
    "invalid_config": lambda w: add(w, a_search("x8", top_k=0), "start>x8>llm"),
}


def a_faulty(*faults: str) -> Json:
    workflow = a_workflow()
    for fault in faults:
        FAULTS[fault](workflow)
    return workflow


def test_there_is_a_fault_for_every_code_but_size_and_emptiness() -> None:
    assert set(FAULTS) == set(CODES_OF_A_WORKFLOW) - {"too_large", "no_nodes"}


@pytest.mark.parametrize("code", FAULTS)
def test_a_single_fault_has_its_code_and_no_other(code: str) -> None:
    error = refusal(a_faulty(code))

    assert (error.code, error.also) == (code, ())
    assert "also" not in str(error)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(FAULTS, 2)))
def test_of_two_faults_the_first_of_the_design_counts_and_the_message_names_the_other(
    first: str, second: str
) -> None:
    assert (error := refusal(a_faulty(second, first))).code == first
    assert error.also == (second,)
    error = refusal(a_faulty(first, second))
    assert str(error) == f"{refusal(a_faulty(first))} (also: {second})"


def test_of_all_faults_at_once_the_message_names_every_one() -> None:
    error = refusal(a_faulty(*reversed(FAULTS)))

    assert (error.code, *error.also) == tuple(FAULTS)
    assert str(error).endswith(f"(also: {', '.join(error.also)})")


def test_a_text_that_cannot_be_stored_is_looked_at_all_the_same() -> None:
    error = refusal(b'{"nodes": [], "note": "\\ud800"}')

    assert (error.code, error.also) == ("invalid_text", ("no_nodes",))


def test_ids_that_differ_in_a_surrogate_pair_are_no_duplicates_in_a_text_that_cannot_be_stored() -> (
    None
):
    workflow = a_workflow(an_llm("🙂"), an_llm("🙃"), note="\x00")
    error = refusal(json.dumps(workflow).encode())

    assert (error.code, error.also) == ("invalid_text", ())


def test_a_workflow_may_be_invalid_and_too_large() -> None:
    too_many = [an_llm(f"llm-{number}") for number in range(2_001)]
    error = refusal({"nodes": too_many, "note": "\x00"})

    assert (error.code, error.also) == ("invalid_text", ("too_large",))


# -- limits --------------------------------------------------------------------------------------


def a_row(nodes: int) -> Json:
    """A workflow of so many nodes, one behind the other."""
    return a_workflow(*(a_search(f"k{number}") for number in range(nodes - 2)))


def test_2000_nodes_are_fine_and_one_more_is_too_large() -> None:
    assert len(order(a_row(2_000))) == 2_000

    error = refusal(a_row(2_001))
    assert (error.code, str(error)) == ("too_large", "2,001 nodes; at most 2,000")


def test_10000_edges_are_fine_and_one_more_is_too_large() -> None:
    edges = [*paths("start>llm") * 9_999, *paths("llm>end")]

    assert order(a_workflow(edges=edges)) == ("start", "llm", "end")
    error = refusal(a_workflow(edges=[*edges, edges[0]]))
    assert (error.code, str(error)) == ("too_large", "10,001 edges; at most 10,000")


def test_edges_count_even_where_there_are_no_nodes() -> None:
    assert refusal({"edges": paths("a>b") * 10_001}).code == "too_large"


def test_4_mib_of_workflow_are_fine_and_one_byte_more_is_too_large() -> None:
    size = 4 * 1024 * 1024
    text = as_text(a_workflow(note=""))
    padded = text.replace(b'"note": ""', b'"note": "' + b"x" * (size - len(text)) + b'"')

    assert len(padded) == size
    assert v1.decode(padded, DEFAULTS).order == ("start", "llm", "end")
    assert refusal(padded + b"\n").code == "too_large"


def test_100_levels_of_workflow_are_fine_and_one_more_is_too_large() -> None:
    def nested(levels: int) -> bytes:
        text = as_text(a_workflow(note=0))
        return text.replace(b'"note": 0', b'"note": ' + b"[" * levels + b"]" * levels)

    assert v1.decode(nested(99), DEFAULTS).order == ("start", "llm", "end")
    assert refusal(nested(100)).code == "too_large"


def test_a_megabyte_of_json_in_one_string_is_a_text() -> None:
    inner = json.dumps({"a": "[" * 1_000_000})

    assert order(a_workflow(an_llm(note=inner))) == ("start", "llm", "end")


@pytest.mark.parametrize("bracket", ["[", "{", '[{"nodes":'])
def test_4_mib_of_opening_brackets_are_refused_without_recursion(bracket: str) -> None:
    text = (bracket * (4 * 1024 * 1024))[: 4 * 1024 * 1024].encode()

    assert refusal(text).code == "too_large"


def test_a_number_beyond_numeric_is_invalid_wherever_it_stands() -> None:
    assert refusal(a_workflow(an_llm(seed=exactly("1e131072")))).code == "invalid_text"
    assert order(a_workflow(an_llm(seed=exactly("1e131071")))) == ("start", "llm", "end")


# -- messages ------------------------------------------------------------------------------------

HOSTILE_IDS = {
    "control characters": "\x1b[2J\r\x07",
    "right to left": "\u202egnp.exe\u2066",
    "10,000 characters": "x" * 10_000,
    "10,000 control characters": "\x9b" * 10_000,
    "lines": "a\n\u2028b",
}


def a_hostile(code: str, node_id: str) -> Json:
    """A workflow with a fault at a node of a hostile id."""
    if code == "unknown_node_type":
        return a_workflow(a_node("llm", node_id))
    if code == "edge_endpoint_missing":
        return a_workflow(edges=[*paths("start>llm>end"), an_edge(node_id, "llm")])
    faulty: dict[str, Json] = {
        "not_a_workflow": {"id": node_id, "type": "llm", "data": 7},
        "node_without_type": {"id": node_id},
        "duplicate_node_id": an_llm(node_id),
        "self_loop": an_llm(node_id),
        "disconnected": an_llm(node_id),
        "invalid_config": an_llm(node_id, temperature=node_id),
    }
    workflow = a_workflow(faulty[code])
    if code == "duplicate_node_id":
        workflow["nodes"].append(an_llm(node_id))
    elif code == "self_loop":
        workflow["edges"].append(an_edge(node_id, node_id))
    elif code == "disconnected":
        workflow["edges"].pop()
    return workflow


@pytest.mark.parametrize("node_id", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
@pytest.mark.parametrize(
    "code",
    [
        "not_a_workflow",
        "node_without_type",
        "duplicate_node_id",
        "unknown_node_type",
        "edge_endpoint_missing",
        "self_loop",
        "disconnected",
        "invalid_config",
    ],
)
def test_a_hostile_id_is_quoted_and_cut_in_the_message(code: str, node_id: str) -> None:
    error = refusal(a_hostile(code, node_id))

    assert error.code == code
    assert str(error).isprintable()
    assert len(str(error)) < 1_000
    assert "'" in str(error)


# -- any JSON at all -----------------------------------------------------------------------------


def assert_it_converts_or_is_refused(text: bytes) -> None:
    try:
        draft = convert.convert_text(text, DEFAULTS)
    except BotError as error:
        assert error.code in CODES_OF_A_WORKFLOW  # noqa: PT017
        assert set(error.also) < set(CODES_OF_A_WORKFLOW)  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        read_exactly(text)
        read_exactly(draft.graph)
        platform.read_draft(draft.graph)


@given(near_workflows())
@examples(600)
def test_a_workflow_with_something_amiss_converts_or_is_refused_by_a_listed_code(
    workflow: Json,
) -> None:
    assert_it_converts_or_is_refused(as_text(workflow))


@given(damaged_texts())
@examples(400)
def test_a_damaged_text_converts_or_is_refused_by_a_listed_code(text: bytes) -> None:
    assert_it_converts_or_is_refused(text)


@given(
    json_values(max_leaves=10)
    | st.fixed_dictionaries({"nodes": json_values()}, optional={"edges": json_values()})
    | st.fixed_dictionaries(
        {
            "nodes": st.lists(
                st.fixed_dictionaries(
                    {"id": json_values(2), "type": json_values(2)},
                    optional={"data": json_values(2)},
                ),
                max_size=3,
            )
        }
    )
)
@examples(300)
def test_any_json_converts_or_is_refused_by_a_listed_code(value: Any) -> None:
    assert_it_converts_or_is_refused(as_text(value))


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode))
@examples(300)
def test_any_bytes_are_refused_by_a_listed_code(text: bytes) -> None:
    assert_it_converts_or_is_refused(text)


# -- what is kept of what was read ---------------------------------------------------------------


@pytest.fixture(name="kept")
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Counts, Counts]]:
    """Nothing is kept yet; what was kept of nodes' data and of structures since."""
    contents, orders = Kept[Any, Any](MAX_KEPT), Kept[Any, Any](MAX_KEPT)
    monkeypatch.setattr(v1, "_contents", contents)
    monkeypatch.setattr(v1, "_orders", orders)
    return lambda: (contents.counts, orders.counts)


def read_anew(text: bytes) -> v1.Workflow:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_contents", "_orders"):
            patch.setattr(v1, name, Kept[Any, Any](0))
        return v1.decode(text, WITH_TYPES)


@given(workflows(own_types=(*TYPES,)))
@examples(300)
def test_a_workflow_is_read_the_same_whatever_was_read_before(workflow: Json) -> None:
    text = as_text(workflow)
    anew = read_anew(text)

    assert v1.decode(text, WITH_TYPES) == anew
    assert v1.decode(text, WITH_TYPES) == anew


def test_data_that_is_the_same_to_the_byte_is_read_once(
    kept: Callable[[], tuple[Counts, Counts]],
) -> None:
    for name in ("a", "b"):
        v1.decode(as_text(a_workflow(an_llm(name, title="T"))), DEFAULTS)
    assert kept() == (Counts(3, 3), Counts(1, 1))

    v1.decode(as_text(a_workflow(an_llm("c", title="t"))), DEFAULTS)
    assert kept()[0] == Counts(5, 4)


def test_what_a_model_defaults_to_is_part_of_what_is_kept(
    kept: Callable[[], tuple[Counts, Counts]],
) -> None:
    text = as_text(a_workflow(a_node("llm", "llm", {"title": "T"})))
    models = [
        v1.decode(text, Defaults(*said)).nodes[1].config
        for said in (("m", "p"), ("n", "p"), ("n", "q"))
    ]

    assert [(one.model, one.provider) for one in models if isinstance(one, LlmConfig)] == [
        ("m", "p"),
        ("n", "p"),
        ("n", "q"),
    ]


def test_the_same_data_is_read_for_each_type_anew() -> None:
    data = {"top_k": 2, "title": "T"}
    workflow = a_workflow(a_node("k", "knowledge", data), a_node("m", "llm", data))
    read = v1.decode(as_text(workflow), DEFAULTS)

    assert isinstance(read.nodes[1].config, KnowledgeConfig)
    assert isinstance(read.nodes[2].config, LlmConfig)


def test_data_that_was_refused_is_refused_again_by_the_name_of_its_node() -> None:
    for name in ("a", "b"):
        workflow = a_workflow(an_llm(name, temperature=2))
        assert str(refusal(workflow)).startswith(f"node '{name}': temperature must be")


def test_a_structure_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        assert refusal(a_workflow(an_llm("a"), edges=paths("start>a>a2", "a>end"))).code
        assert refusal(a_workflow(an_llm("a"), an_llm("b"), edges=paths("start>a>end"))).code == (
            "disconnected"
        )


def test_a_custom_type_reads_every_node_itself() -> None:
    reads: list[bytes] = []

    class Reading(Glossary):
        def read(self, data: Any) -> Any:
            reads.append(bytes(data))
            return super().read(data)

    defaults = Defaults(types={**TYPES, "glossary": Reading()})
    for _ in range(2):
        v1.decode(as_text(a_workflow(a_node("g", "glossary", {}), an_llm())), defaults)

    assert reads == [b"{}", b"{}"]


@pytest.mark.parametrize(
    "data",
    [
        {"title": "x" * MAX_KEPT_BYTES},
        {f"k{number}": 1 for number in range(MAX_KEPT_KEYS + 1)},
    ],
)
def test_data_beyond_the_limits_is_not_kept(
    kept: Callable[[], tuple[Counts, Counts]], data: Json
) -> None:
    for _ in range(2):
        v1.decode(as_text(a_workflow(a_node("llm", "llm", data))), DEFAULTS)

    assert kept()[0].hits == 2  # the start's and the end's


def test_a_structure_beyond_the_limit_is_not_kept(
    kept: Callable[[], tuple[Counts, Counts]],
) -> None:
    workflow = a_workflow(an_llm("m", use_context_from=["m"] * MAX_KEPT_SIZE))
    for _ in range(2):
        v1.decode(as_text(workflow), DEFAULTS)

    assert kept()[1].hits == 0


def hostile_node(number: int) -> Json:
    """A node whose data takes as much memory as any that is kept."""
    names = [f"{number:04}{place}" for place in range(MAX_KEPT_BYTES // 9)]
    data: Json = {"use_context_from": names}
    while len(as_text(an_llm(**data)["data"])) > MAX_KEPT_BYTES:
        names.pop()
    return an_llm(f"m{number}", **data)


def test_as_much_as_is_kept_fits_into_32_mebibytes_whatever_the_workflows_are(
    kept: Callable[[], tuple[Counts, Counts]],
) -> None:
    v1.decode(as_text(a_workflow(hostile_node(0))), DEFAULTS)
    tracemalloc.start()
    try:  # (Each text is made within, so that one that is held on to is seen.)
        for number in range(MAX_KEPT):
            v1.decode(as_text(a_workflow(hostile_node(number), note="x" * 40_000)), DEFAULTS)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept()[0].evictions > 0
    assert grown < 32 * 1024 * 1024


def test_of_more_data_than_is_kept_the_one_goes_that_was_used_longest_ago(
    kept: Callable[[], tuple[Counts, Counts]],
) -> None:
    for number in (*range(MAX_KEPT - 2), 0, MAX_KEPT - 2, 0, 1):
        v1.decode(as_text(a_workflow(an_llm(title=number))), DEFAULTS)

    misses, evictions = kept()[0].misses, kept()[0].evictions
    assert (misses, evictions) == (MAX_KEPT + 2, 2)
