"""The converter: V1 and its draft agree, nothing is lost, and each difference is a warning."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import platform
from tests.builders import (
    DEFAULTS,
    Json,
    a_draft,
    a_graph,
    a_node,
    a_search,
    a_start,
    a_workflow,
    an_edge,
    an_end,
    an_llm,
    as_text,
    exactly,
    inputs,
    lines,
    mapped,
    node,
    paths,
    read_exactly,
    refusal,
    warnings,
    without_plans,
)
from tests.reference import Call, in_guide, is_mixed, run_v1, run_v2, same_calls
from tests.strategies import examples, workflows
from worker.core.codes import Issue
from worker.core.targets import convert
from worker.core.targets.registry import DEFAULT
from worker.core.workflow import graph_check
from worker.core.workflow.config import Defaults
from worker.core.workflow.json_values import id_text
from worker.errors import BotError

DATA = Path(__file__).parents[3] / "data"
VALID = [
    case
    for name in ("v1_valid.jsonl", "v1_config.jsonl", "v1_adversarial.jsonl")
    for case in map(json.loads, (DATA / name).read_text().splitlines())
    if "error" not in case["expected"]
]
FIXED_SENTENCE = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."


def run_both(workflow: object, message: str) -> tuple[str, list[Call]]:
    """V1's answer and calls, after V1 and the draft agreed on them but for what the engine trims."""
    text = as_text(workflow)
    answer, calls = run_v1(json.loads(text), message)
    v2_answer, v2_calls = run_v2(a_graph(text), message)
    if not is_mixed(json.loads(text), message):
        expected, expected_calls = in_guide(answer, calls, message)
        assert v2_answer == expected
        assert same_calls(v2_calls, expected_calls)
    return answer, calls


# -- the corpus ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["name"])
def test_a_workflow_of_the_corpus_does_in_v2_what_the_platforms_v1_did(case: Json) -> None:
    answer, calls = run_both(case["workflow"], case["message"])

    assert answer == case["expected"]["answer"]
    assert calls == case["expected"]["calls"]


# -- prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["{context}", "{question}", "{question}{context}", "\\1", ""])
@pytest.mark.parametrize(
    "template", ["{context}|{question}", "{question}", "{{question}}", "{context} {context}", "{"]
)
def test_what_is_filled_in_is_filled_in_again_as_in_v1(template: str, message: str) -> None:
    run_both(a_workflow(a_search("k"), an_llm(prompt_template=template)), message)


# -- one input, one output -----------------------------------------------------------------------


@given(workflows(max_nodes=4))
@examples(150)
def test_the_same_text_gives_the_same_bytes_and_warnings(workflow: Json) -> None:
    text = as_text(workflow)

    assert a_draft(text) == a_draft(bytes(bytearray(text)))


DIGEST_OF_THE_CORPUS = """
import hashlib, json, sys
from worker.core.workflow.config import Defaults
from worker.core.targets.convert import convert_text

digest = hashlib.sha256()
for workflow in json.load(sys.stdin):
    draft = convert_text(json.dumps(workflow).encode(), Defaults())
    digest.update(draft.graph + repr(draft.warnings).encode())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("seed", ["0", "1"])
def test_another_process_gives_the_same_bytes(seed: str) -> None:
    digest = hashlib.sha256()
    for case in VALID:
        draft = a_draft(json.dumps(case["workflow"]).encode())
        digest.update(draft.graph + repr(draft.warnings).encode())

    told = subprocess.run(
        [sys.executable, "-c", DIGEST_OF_THE_CORPUS],
        input=json.dumps([case["workflow"] for case in VALID]),
        env={**os.environ, "PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert told.strip() == digest.hexdigest()


# -- nothing is lost -----------------------------------------------------------------------------

V2_NODE_KEYS = {"id", "type", "position", "data", "ports", "variable_mappings"}
V2_EDGE_KEYS = {
    *("id", "type", "source", "target", "source_port", "target_port", "data_type", "data"),
}
NORMALISED = {
    "start": set[str](),
    "end": set[str](),
    "llm": {"model", "provider", "prompt_template", "temperature", "max_tokens"},
    "knowledge-retrieval": {"document_ids", "dataset_id", "top_k", "mode"},
}


def without(values: Json, keys: set[str]) -> Json:
    return {key: value for key, value in values.items() if key not in keys}


def assert_nothing_is_lost(text: bytes) -> None:
    before, after = read_exactly(text), read_exactly(a_draft(text).graph)
    assert without(after, {"nodes", "edges"}) == without(before, {"nodes", "edges"})
    kept_nodes = after["nodes"][: len(before["nodes"])]
    # As the platform reads them: of ids that are numbers, those of equal value are equal.
    workflow = platform.loads(text)
    renamed = {old["id"]: new["id"] for old, new in zip(workflow["nodes"], kept_nodes, strict=True)}
    for old, new in zip(before["nodes"], kept_nodes, strict=True):
        assert without(new, V2_NODE_KEYS) == without(old, V2_NODE_KEYS)
        assert_a_position_is_kept(old.get("position"), new["position"])
        own = NORMALISED[new["type"]]
        assert without(new["data"], own) == without(old.get("data") or {}, own)
    for drawn, old, new in zip(workflow["edges"], before["edges"], after["edges"], strict=False):
        assert without(new, V2_EDGE_KEYS) == without(old, V2_EDGE_KEYS)
        assert (new["source"], new["target"]) == (
            renamed[drawn["source"]],
            renamed[drawn["target"]],
        )
        assert_an_edges_data_is_kept(old.get("data"), new["data"])
    new_nodes = after["nodes"][len(before["nodes"]) :]
    assert {one["type"] for one in new_nodes} <= {"text-join"}
    assert len(after["edges"]) >= len(before["edges"])


def is_number(value: Any) -> bool:
    return isinstance(value, tuple) and math.isfinite(float(value[1]))


def assert_a_position_is_kept(old: Any, new: Json) -> None:
    """Every coordinate that is a number stands as it stood, and so does what is no coordinate."""
    given = old if isinstance(old, dict) else {}
    assert without(new, {"x", "y"}) == without(given, {"x", "y"})
    for name in ("x", "y"):
        assert is_number(new[name])
        assert not is_number(given.get(name)) or new[name] == given[name]


def assert_an_edges_data_is_kept(old: Any, new: Json) -> None:
    given = old if isinstance(old, dict) else {}
    names = {"source_type", "target_type"}
    assert without(new, names) == without(given, names)
    for name in names & given.keys():
        assert not isinstance(given[name], str) or new[name] == given[name]


@given(workflows(max_nodes=4))
@examples(300)
def test_unknown_keys_survive_untouched_with_numbers_to_the_last_digit(workflow: Json) -> None:
    assert_nothing_is_lost(as_text(workflow))


@pytest.mark.parametrize("case", VALID[::9], ids=lambda case: case["name"])
def test_nothing_of_the_corpus_is_lost(case: Json) -> None:
    assert_nothing_is_lost(json.dumps(case["workflow"]).encode())


@pytest.mark.parametrize(
    "number",
    [
        *("0.10", "1E5", "-0", "-0.0", "1e400", "4e-400", "1e131071", "0e999999"),
        *("123456789012345678901234567890", "0.1000000000000000055511151231257827021181583404541"),
        "9" * 5_000,
    ],
    ids=lambda number: number[:24],
)
def test_a_number_keeps_its_digits_wherever_it_stands(number: str) -> None:
    text = as_text(
        a_workflow(
            an_llm(seed=exactly(number)),
            edges=[*paths("start>llm"), an_edge("llm", "end", weight=exactly(number))],
            start={**a_start(), "width": exactly(number)},
            scale=[exactly(number)],
        )
    )

    assert_nothing_is_lost(text)
    assert a_draft(text).graph.count(number.encode()) >= 4


def test_what_stands_in_the_place_of_ports_is_replaced() -> None:
    workflow = a_workflow(
        {**an_llm(), "ports": "mine", "variable_mappings": 7},
        edges=[
            an_edge("start", "llm", source_port=1, target_port=2, data_type=3),
            *paths("llm>end"),
        ],
    )

    graph = a_graph(workflow)

    assert inputs(graph, "llm") == ["query", "context", "system_prompt"]
    assert lines(graph)[0] == "start.query -> llm.query"


@given(workflows(max_nodes=5), st.booleans())
@examples(300)
def test_every_edge_has_an_id_of_its_own_however_ids_are_escaped(
    workflow: Json, as_ascii: bool
) -> None:
    graph = a_graph(as_text(workflow, as_ascii=as_ascii))
    ids = [json.dumps(edge["id"]) for edge in graph["edges"]]

    assert len(set(ids)) == len(ids)
    assert not {"null", '""'} & set(ids)


def test_edge_ids_that_differ_only_in_how_they_are_escaped_are_the_same_id() -> None:
    text = as_text(a_workflow(edges=paths("start>llm>end")))
    one, other = b'"id": "start->llm"', b'"id": "llm->end"'
    text = text.replace(one, '"id": "é"'.encode()).replace(other, b'"id": "\\u00e9"')

    assert [edge["id"] for edge in a_graph(text)["edges"]] == ["é", "e-llm-end"]


def test_a_new_edge_id_is_free_however_the_taken_ones_are_escaped() -> None:
    taken = an_edge("start", "시작", id="e-시작-end")
    workflow = a_workflow(an_llm("시작"), edges=[taken, {"source": "시작", "target": "end"}])

    assert [edge["id"] for edge in a_graph(as_text(workflow, as_ascii=True))["edges"]] == [
        "e-시작-end",
        "e-시작-end-2",
    ]


# -- what a draft looks like ---------------------------------------------------------------------


def test_a_draft_in_full() -> None:
    workflow = {
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "k", "type": "knowledge", "data": {"documentIds": ["d1"], "topK": 3}},
            {
                "id": "a",
                "type": "custom",
                "position": {"x": 1},
                "data": {"type": "llm", "model": {"id": "claude-3"}, "prompt": "{question}"},
            },
            {"id": "e", "type": "end", "data": None},
        ],
        "edges": [
            {"source": "s", "target": "k"},
            {"id": "k-a", "source": "k", "target": "a", "animated": True},
            {"id": 7, "source": "a", "target": "e"},
        ],
        "viewport": {"zoom": 1.5},
    }

    graph = a_graph(workflow)

    for one in graph["nodes"]:
        del one["ports"]  # test_the_ports_of_a_type_are_written_out has them
    query = {"variable": "s.query", "value_type": "string"}
    assert graph == {
        "nodes": [
            {
                "id": "s",
                "type": "start",
                "position": {"x": 0, "y": 0},
                "data": {},
                "variable_mappings": {},
            },
            {
                "id": "k",
                "type": "knowledge-retrieval",
                "position": {"x": 300, "y": 0},
                "data": {
                    "documentIds": ["d1"],
                    "topK": 3,
                    "document_ids": ["d1"],
                    "top_k": 3,
                    "mode": "semantic",
                },
                "variable_mappings": {"query": query},
            },
            {
                "id": "a",
                "type": "llm",
                "position": {"x": 1, "y": 0},
                "data": {
                    "type": "llm",
                    "model": "claude-3",
                    "prompt": "{question}",
                    "provider": "anthropic",
                    "prompt_template": "{question}",
                    "temperature": 0.7,
                    "max_tokens": 4000,
                },
                "variable_mappings": {
                    "query": query,
                    "context": {"variable": "k.context", "value_type": "string"},
                },
            },
            {
                "id": "e",
                "type": "end",
                "position": {"x": 900, "y": 0},
                "data": {},
                "variable_mappings": {
                    "response": {"variable": "a.response", "value_type": "string"}
                },
            },
        ],
        "edges": [
            {
                "id": "e-s-k",
                "source": "s",
                "target": "k",
                "source_port": "query",
                "target_port": "query",
                "data_type": "string",
                "type": "custom",
                "data": {"source_type": "start", "target_type": "knowledge-retrieval"},
            },
            {
                "id": "k-a",
                "source": "k",
                "target": "a",
                "animated": True,
                "source_port": "context",
                "target_port": "context",
                "data_type": "string",
                "type": "custom",
                "data": {"source_type": "knowledge-retrieval", "target_type": "llm"},
            },
            {
                "id": "7",
                "source": "a",
                "target": "e",
                "source_port": "response",
                "target_port": "response",
                "data_type": "string",
                "type": "custom",
                "data": {"source_type": "llm", "target_type": "end"},
            },
        ],
        "viewport": {"zoom": 1.5},
    }


def test_the_ports_of_a_type_are_written_out() -> None:
    assert node(a_graph(a_workflow()), "end")["ports"] == {
        "inputs": [
            {
                "name": "response",
                "type": "string",
                "required": True,
                "description": "사용자에게 보낼 응답",
                "display_name": "응답",
            }
        ],
        "outputs": [
            {
                "name": "final_output",
                "type": "object",
                "required": True,
                "description": "워크플로우의 결과",
                "display_name": "결과",
            }
        ],
    }


def test_the_defaults_are_the_configured_ones() -> None:
    defaults = Defaults(model="solar-pro", provider="Upstage")
    data = node(a_graph(a_workflow(an_llm(model="")), defaults), "llm")["data"]

    assert (data["model"], data["provider"]) == ("solar-pro", "upstage")


def test_a_dataset_that_is_searched_is_written_out_as_documents() -> None:
    data = node(a_graph(a_workflow(a_node("k", "knowledge"), an_llm())), "k")["data"]

    assert data == {
        "document_ids": ["default-dataset"],
        "dataset_id": "default-dataset",
        "top_k": 5,
        "mode": "semantic",
    }


def test_nodes_keep_their_order_and_new_ones_come_behind() -> None:
    workflow = a_workflow(a_search("k2"), an_llm(), a_search("k1"))
    workflow["edges"] = paths("start>k1>k2>llm>end")
    workflow["nodes"].reverse()

    assert [one["id"] for one in a_graph(workflow)["nodes"]] == [
        *("end", "k1", "llm", "k2", "start", "text-join-1"),
    ]


# -- context -------------------------------------------------------------------------------------


def test_an_llm_without_searches_has_no_context() -> None:
    assert mapped(a_graph(a_workflow()), "llm") == {"query": "start.query"}


def test_one_search_is_mapped_directly() -> None:
    graph = a_graph(a_workflow(a_search("k"), an_llm()))

    assert mapped(graph, "llm") == {"query": "start.query", "context": "k.context"}
    assert lines(graph) == [
        "start.query -> k.query",
        "k.context -> llm.context",
        "llm.response -> end.response",
    ]


def test_a_search_without_an_edge_to_the_llm_gets_one() -> None:
    graph = a_graph(
        a_workflow(a_search("k"), an_llm("a"), an_llm("b"), edges=paths("start>k>a>b>end"))
    )

    assert mapped(graph, "b")["context"] == "k.context"
    assert lines(graph)[4:] == ["k.context -> b.context", "a.response -> end.response"]


def test_a_search_that_runs_later_is_no_context() -> None:
    graph = a_graph(a_workflow(an_llm(), a_search("k"), edges=paths("start>llm>k>end")))

    assert "context" not in mapped(graph, "llm")


def test_several_searches_are_joined_in_the_order_in_which_they_run() -> None:
    workflow = a_workflow(
        a_search("late"),
        a_search("early"),
        an_llm(),
        edges=paths("start>early>late>llm>end"),
    )

    graph = a_graph(workflow)

    assert mapped(graph, "text-join-1") == {"text_1": "early.context", "text_2": "late.context"}
    assert inputs(graph, "text-join-1") == ["text_1", "text_2"]
    assert mapped(graph, "llm")["context"] == "text-join-1.text"
    assert lines(graph) == [
        "start.query -> early.query",
        "early.context -> late.after",
        "late.context -> llm.after",
        "llm.response -> end.response",
        "early.context -> text-join-1.text_1",
        "late.context -> text-join-1.text_2",
        "text-join-1.text -> llm.context",
    ]
    joined = node(graph, "text-join-1")
    assert joined["data"] == {
        "title": "text-join-1",
        "type": "text-join",
        "separator": "\n\n",
        "default": "",
    }


def test_use_context_from_is_joined_in_its_own_order_with_its_repetitions() -> None:
    llm = an_llm(use_context_from=["k2", "ghost", "k1", "llm", "end", "late", "k2"])
    workflow = a_workflow(
        a_search("k1"),
        a_search("k2"),
        llm,
        a_search("late"),
        edges=paths("start>k1>k2>llm>late>end"),
    )

    graph = a_graph(workflow)

    assert mapped(graph, "text-join-1") == {
        "text_1": "k2.context",
        "text_2": "k1.context",
        "text_3": "k2.context",
    }
    assert "late" not in " ".join(mapped(graph, "llm").values())
    run_both(workflow, "hello")


def test_use_context_from_of_nothing_known_means_no_context() -> None:
    workflow = a_workflow(a_search("k"), an_llm(use_context_from=["ghost"]))

    graph = a_graph(workflow)

    assert mapped(graph, "llm") == {"query": "start.query", "after": "k.context"}


def test_use_context_from_names_nodes_by_their_ids_in_v1() -> None:
    workflow = a_workflow(a_search("k.1"), a_search("k_1"), an_llm(use_context_from=["k.1"]))

    assert mapped(a_graph(workflow), "llm")["context"] == "k_1_2.context"


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ({"x": 700, "y": 150.5}, {"x": 540, "y": 150.5}),
        ({"x": 0, "y": 0, "z": 1}, {"x": -160, "y": 0}),
        (exactly("1e300"), {"x": 740, "y": 300}),
    ],
)
def test_a_join_stands_left_of_its_llm(position: Any, expected: Json) -> None:
    workflow = a_workflow(a_search("k1"), a_search("k2"), {**an_llm(), "position": position})

    assert node(a_graph(workflow), "text-join-1")["position"] == expected


# -- what the platform's interface reads ---------------------------------------------------------


def placed(**positions: Any) -> Json:
    """start ─► k ─► llm ─► end, with these positions; none where none is given."""
    workflow = a_workflow(a_search("k"), an_llm())
    for one in workflow["nodes"]:
        del one["position"]
        if one["id"] in positions:
            one["position"] = positions[one["id"]]
    return workflow


def where(workflow: Json) -> dict[str, tuple[float, float]]:
    nodes = a_graph(workflow)["nodes"]
    return {one["id"]: (one["position"]["x"], one["position"]["y"]) for one in nodes}


def test_nodes_without_a_position_are_laid_out_in_columns() -> None:
    workflow = placed()
    workflow["nodes"] += [a_search("k2"), a_search("k3")]
    del workflow["nodes"][-1]["position"], workflow["nodes"][-2]["position"]
    workflow["edges"] = paths("start>k>llm>end", "start>k2>k3>llm", "start>llm")

    assert where(workflow) == {
        "start": (0, 0),
        "k": (300, 0),
        "k2": (300, 150),
        "k3": (600, 0),
        "llm": (900, 0),
        "end": (1200, 0),
        "text-join-1": (740, 0),
    }


def test_nodes_without_a_position_go_below_those_that_have_one() -> None:
    found = where(placed(start={"x": 5, "y": 7}, llm={"x": 1, "y": 400}, k={"x": 0, "y": -900}))

    assert found == {"start": (5, 7), "k": (0, -900), "llm": (1, 400), "end": (900, 550)}


@pytest.mark.parametrize("far", ["1e9", "1e300", "-1e300"])
def test_a_node_far_out_moves_nothing_else(far: str) -> None:
    assert where(placed(llm={"x": 0, "y": exactly(far)}))["end"] == (900, 0)


@pytest.mark.parametrize(
    "nonsense",
    [
        *(None, "100", "", True, [1], {"x": 1}, exactly("1e400"), exactly("-1e400")),
        exactly("9" * 400),
    ],
    ids=lambda nonsense: str(nonsense)[:12],
)
def test_a_coordinate_that_is_no_number_is_laid_out_and_the_rest_is_kept(nonsense: Any) -> None:
    workflow = placed(llm={"x": nonsense, "y": exactly("12.50"), "z": exactly("0.10")})
    position = node(read_exactly(a_draft(as_text(workflow)).graph), "llm")["position"]

    assert position == {"x": ("number", "600"), "y": ("number", "12.50"), "z": ("number", "0.10")}
    position = node(a_graph(placed(llm={"x": 7, "y": nonsense})), "llm")["position"]
    assert position == {"x": 7, "y": 0}


@pytest.mark.parametrize("position", [None, [], [1, 2], "1,2", 7, {}, {"left": 1}])
def test_a_position_of_another_shape_is_laid_out(position: Any) -> None:
    assert where(placed(llm=position))["llm"] == (600, 0)


def test_every_edge_has_a_type_and_the_types_of_its_ends() -> None:
    graph = a_graph(a_workflow(a_search("k1"), a_node("k2", "knowledge"), an_llm()))
    kinds = {one["id"]: one["type"] for one in graph["nodes"]}

    for edge in graph["edges"]:
        assert edge["type"] == "custom"
        assert edge["data"] == {
            "source_type": kinds[edge["source"]],
            "target_type": kinds[edge["target"]],
        }
    assert {edge["data"]["source_type"] for edge in graph["edges"]} == {
        *("start", "knowledge-retrieval", "text-join", "llm"),
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"source_type": "", "target_type": "x"}, {"source_type": "", "target_type": "x"}),
        ({"label": "예"}, {"label": "예", "source_type": "start", "target_type": "llm"}),
        ({"source_type": None, "target_type": 7}, {"source_type": "start", "target_type": "llm"}),
        *(
            (nothing, {"source_type": "start", "target_type": "llm"})
            for nothing in (None, [], "x", 7, True, [{"source_type": "a"}])
        ),
    ],
)
def test_an_edges_data_stays_and_is_completed(data: Any, expected: Json) -> None:
    edges = [an_edge("start", "llm", data=data), *paths("llm>end")]

    assert a_graph(a_workflow(edges=edges))["edges"][0]["data"] == expected


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [("smoothstep", "smoothstep"), ("", ""), (None, "custom"), (7, "custom"), (["a"], "custom")],
)
def test_an_edges_type_stays_where_it_is_a_text(given_type: Any, expected: str) -> None:
    edges = [an_edge("start", "llm", type=given_type), *paths("llm>end")]

    assert a_graph(a_workflow(edges=edges))["edges"][0]["type"] == expected


def test_a_draft_that_lacks_what_the_interface_reads_is_noticed() -> None:
    graph = a_graph(a_workflow())
    for place, key in (("edges", "data"), ("edges", "type"), ("nodes", "position")):
        broken = json.loads(json.dumps(graph))
        del broken[place][0][key]
        with pytest.raises(ValueError, match=key):
            platform.read_draft(json.dumps(broken).encode())


# -- ids that are numbers ------------------------------------------------------------------------


def test_an_id_that_is_a_number_is_a_text_in_the_draft() -> None:
    workflow = {
        "nodes": [a_node(1, "start"), a_node(7.5, "knowledge"), an_llm(3), a_node("e", "end")],
        "edges": [an_edge(1.0, 7.5), an_edge(7.5, 3), an_edge(3, "e")],
    }

    graph = a_graph(workflow)

    assert [one["id"] for one in graph["nodes"]] == ["1", "7_5", "3", "e"]
    assert mapped(graph, "3") == {"query": "1.query", "context": "7_5.context"}
    assert lines(graph)[0] == "1.query -> 7_5.query"
    assert warnings(workflow) == [
        ("renamed_node", "1"),
        ("renamed_node", "7.5"),
        ("renamed_node", "3"),
    ]
    run_both(workflow, "hello")


def test_a_number_beside_its_text_gets_another_id() -> None:
    workflow = a_workflow(a_search("1"), a_search(1), an_llm("1_2"), an_llm(2))

    graph = a_graph(workflow)

    assert [one["id"] for one in graph["nodes"]][1:5] == ["1", "1_3", "1_2", "2"]
    assert a_draft(workflow).warnings[0].message == "renamed to '1_3': in V1 it is a number"
    run_both(workflow, "hello")


def test_use_context_from_names_texts_and_never_numbers() -> None:
    numbered = a_workflow(a_search(1), an_llm(use_context_from=["1"]))
    both = a_workflow(a_search(1), a_search("1"), an_llm(use_context_from=["1"]))

    assert "context" not in mapped(a_graph(numbered), "llm")
    assert mapped(a_graph(both), "llm")["context"] == "1.context"
    for workflow in (numbered, both):
        run_both(workflow, "hello")


def many_searches(searches: int, llms: int) -> Json:
    return a_workflow(
        *(a_search(f"k{number}") for number in range(searches)),
        *(an_llm(f"llm{number}") for number in range(llms)),
    )


def test_20000_join_inputs_are_fine_and_more_are_too_large() -> None:
    graph = a_graph(many_searches(200, 100))

    assert sum(len(inputs(graph, f"text-join-{number}")) for number in range(1, 101)) == 20_000
    error = refusal(many_searches(200, 101))
    assert (error.code, str(error)) == (
        "too_large",
        "its LLM nodes see more than 20,000 searches together, which a draft would have to spell out",
    )


def test_any_number_of_llms_behind_one_search_need_no_join() -> None:
    assert len(a_graph(many_searches(1, 500))["nodes"]) == 503


# -- the answer ----------------------------------------------------------------------------------


def test_the_end_takes_the_first_llm_that_ran() -> None:
    workflow = a_workflow(an_llm("a"), an_llm("b"), edges=paths("start>a>b>end"))

    graph = a_graph(workflow)

    assert mapped(graph, "end") == {"response": "a.response", "after": "b.response"}
    assert lines(graph)[2:] == ["b.response -> end.after", "a.response -> end.response"]


def test_a_workflow_without_an_llm_gets_a_join_that_holds_the_fixed_sentence() -> None:
    graph = a_graph(a_workflow(a_search("k")))

    assert node(graph, "text-join-1")["data"]["default"] == FIXED_SENTENCE
    assert mapped(graph, "text-join-1") == {}
    assert mapped(graph, "end") == {"response": "text-join-1.text", "after": "k.context"}
    assert lines(graph)[2:] == [
        "start.query -> text-join-1.after",
        "text-join-1.text -> end.response",
    ]


def test_a_start_and_an_end_alone_answer_with_the_fixed_sentence() -> None:
    workflow = {"nodes": [a_start(), an_end()], "edges": paths("start>end")}

    assert run_both(workflow, "hello") == (FIXED_SENTENCE, [])


# -- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "template"),
    [
        (
            a_workflow(a_search("k"), an_llm(prompt_template="")),
            "Context: {context}\n\nQuestion: {system_prompt}\n\nAnswer:",
        ),
        (a_workflow(an_llm(prompt_template="")), "Question: {system_prompt}\n\nAnswer:"),
        (
            a_workflow(a_search("k"), an_llm(prompt_template="", use_context_from=["ghost"])),
            "Question: {system_prompt}\n\nAnswer:",
        ),
        (a_workflow(an_llm()), "Context: {context}\nQuestion: {question}\nAnswer:"),
        (a_workflow(an_llm(prompt="P")), "P"),
        (a_workflow(an_llm(prompt_template="T", prompt="P")), "T"),
        (a_workflow(an_llm(prompt_template="{0} {{x}} {")), "{0} {{x}} {"),
    ],
)
def test_the_template_that_v1_used_is_written_out(workflow: Json, template: str) -> None:
    assert node(a_graph(workflow), "llm")["data"]["prompt_template"] == template
    run_both(workflow, "hello")


# -- edges that only keep the order --------------------------------------------------------------


def test_every_further_source_gets_a_port_of_its_own() -> None:
    workflow = a_workflow(
        an_llm("a"),
        an_llm("b"),
        an_llm("c"),
        edges=paths("start>a>c", "start>b>c>end", "a>c", "start>c"),
    )

    graph = a_graph(workflow)

    assert inputs(graph, "c") == ["query", "context", "system_prompt", "after", "after_2"]
    assert mapped(graph, "c") == {
        "query": "start.query",
        "after": "a.response",
        "after_2": "b.response",
    }
    assert lines(graph)[:7] == [
        "start.query -> a.query",
        "a.response -> c.after",
        "start.query -> b.query",
        "b.response -> c.after_2",
        "c.response -> end.after",
        "a.response -> c.after",
        "start.query -> c.query",
    ]


def test_an_after_port_is_optional_and_of_its_sources_type() -> None:
    graph = a_graph(a_workflow(an_llm(), edges=paths("start>llm>end", "start>end")))

    assert node(graph, "end")["ports"]["inputs"][1] == {
        "name": "after",
        "type": "string",
        "required": False,
        "description": "실행 순서만 정하는 연결",
        "display_name": "순서",
    }


# -- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a.b"], ["a_b"]),
        (["a.b", "a_b"], ["a_b_2", "a_b"]),
        (["a_b", "a.b", "a_b_2"], ["a_b", "a_b_3", "a_b_2"]),
        (["a.b.c"], ["a_b_c"]),
        (["a.b", "a..b"], ["a_b", "a__b"]),
        (["a.b.c", "a_b.c", "a.b_c"], ["a_b_c", "a_b_c_2", "a_b_c_3"]),
        ([".", "..", "_"], ["__2", "__", "_"]),
        (["env"], ["env_node"]),
        (["env", "env_node"], ["env_node_2", "env_node"]),
        (["sys.query"], ["sys_query"]),
        (
            ["conv", "conversation", "environment", "sys", "system", "self"],
            [
                *("conv_node", "conversation_node", "environment_node"),
                *("sys_node", "system_node", "self_node"),
            ],
        ),
        (["Env", "selfie", "SYS"], ["Env", "selfie", "SYS"]),
        (["__proto__", "a b", "시작", "{x}", "\x01"], ["__proto__", "a b", "시작", "{x}", "\x01"]),
        (["y." * 500], ["y_" * 500]),
    ],
)
def test_an_id_that_a_selector_cannot_name_gets_a_free_one(
    ids: list[str], expected: list[str]
) -> None:
    graph = a_graph(a_workflow(*(an_llm(node_id) for node_id in ids)))

    assert [one["id"] for one in graph["nodes"][1:-1]] == expected


def test_a_start_and_an_end_are_renamed_too() -> None:
    workflow = a_workflow(start=a_start("sys"), end=an_end("the.end"))

    assert lines(a_graph(workflow)) == [
        "sys_node.query -> llm.query",
        "llm.response -> the_end.response",
    ]


def test_a_join_takes_an_id_that_no_node_has() -> None:
    workflow = a_workflow(
        a_search("text-join-1"), a_search("text.join-2"), an_llm("text-join-3"), an_llm("b")
    )

    graph = a_graph(workflow)

    # text.join-2 is text_join-2 now, so that text-join-2 is free.
    assert [one["id"] for one in graph["nodes"][6:]] == ["text-join-2", "text-join-4"]


@pytest.mark.parametrize(
    ("edge_ids", "expected"),
    [
        (["e1", "e2", "e3"], ["e1", "e2", "e3"]),
        (["e1", "e1", "e1"], ["e1", "e-start-llm", "e-llm-end"]),
        ([None, "", 0], ["e-start-llm", "e-start-llm-2", "0"]),
        (["e-start-llm", None, "e-start-llm-2"], ["e-start-llm", "e-start-llm-3", "e-start-llm-2"]),
        ([1, 1.0, "1"], ["1-2", "1.0", "1"]),
        ([7, 7, True], ["7", "7-2", "true"]),
        ([["e"], ["e"], {"e": 1}], ["e-start-llm", "e-start-llm-2", "e-llm-end"]),
    ],
)
def test_an_edge_keeps_its_id_where_it_is_a_text_and_no_other_has_it(
    edge_ids: list[Any], expected: list[str]
) -> None:
    ends = [("start", "llm"), ("start", "llm"), ("llm", "end")]
    edges = [an_edge(*end, id=edge_id) for end, edge_id in zip(ends, edge_ids, strict=True)]

    assert [edge["id"] for edge in a_graph(a_workflow(edges=edges))["edges"]] == expected


@pytest.mark.parametrize("named", [{}, {"id": 7}, {"id": "e"}])
def test_edges_that_want_one_id_get_ids_of_their_own_in_time_that_grows_as_their_number(
    named: Json,
) -> None:
    def processor_s(count: int) -> float:
        edges = [{"source": "start", "target": "llm", **named} for _ in range(count)]
        workflow = a_workflow(edges=[*edges, *paths("llm>end")])
        began = time.process_time()
        graph = a_graph(workflow)
        took_s = time.process_time() - began
        assert len({edge["id"] for edge in graph["edges"]}) == count + 1
        return took_s

    # As the square of the number it would be a hundred times as long.
    assert processor_s(9_990) < 40 * max(processor_s(999) for _ in range(3))


# -- warnings ------------------------------------------------------------------------------------

CHAIN = "start>k>llm>end"
WARNED: dict[str, tuple[Json, tuple[str, str | None], Json]] = {
    "renamed_node: a dot": (
        a_workflow(an_llm("a.b")),
        ("renamed_node", "a.b"),
        a_workflow(an_llm("a_b")),
    ),
    "renamed_node: a number": (
        a_workflow(an_llm(7)),
        ("renamed_node", "7"),
        a_workflow(an_llm("7")),
    ),
    "renamed_node: a reserved word": (
        a_workflow(end=an_end("self")),
        ("renamed_node", "self"),
        a_workflow(end=an_end("selfie")),
    ),
    "implicit_context: a search further up": (
        a_workflow(a_search(), an_llm(), an_llm("b"), edges=paths("start>k>llm>b>end")),
        ("implicit_context", "b"),
        a_workflow(a_search(), an_llm(), an_llm("b"), edges=paths("start>k>llm>b>end", "k>b")),
    ),
    "implicit_context: one of two searches": (
        a_workflow(a_search(), a_search("k2"), an_llm(), edges=paths("start>k>k2>llm>end")),
        ("implicit_context", "llm"),
        a_workflow(
            a_search(), a_search("k2"), an_llm(), edges=paths("start>k>k2>llm>end", "k>llm")
        ),
    ),
    "context_not_used": (
        a_workflow(a_search(), an_llm(use_context_from=["ghost"]), edges=paths(CHAIN)),
        ("context_not_used", "llm"),
        a_workflow(a_search(), an_llm(use_context_from=["ghost", "k"]), edges=paths(CHAIN)),
    ),
    "join_node": (
        a_workflow(a_search(), a_search("k2"), an_llm()),
        ("join_node", "llm"),
        a_workflow(a_search(), an_llm(), an_llm("b")),
    ),
    "join_node: one search twice": (
        a_workflow(a_search(), an_llm(use_context_from=["k", "k"])),
        ("join_node", "llm"),
        a_workflow(a_search(), a_search("k2"), an_llm(use_context_from=["k"])),
    ),
    "end_takes_first_llm: another leads to the end": (
        a_workflow(an_llm(), an_llm("b"), edges=paths("start>llm>b>end")),
        ("end_takes_first_llm", "end"),
        a_workflow(an_llm(), a_search(), edges=paths("start>llm>end", "start>k>end")),
    ),
    "end_takes_first_llm: both lead to the end": (
        a_workflow(an_llm(), an_llm("b"), edges=paths("start>llm>end", "start>b>end")),
        ("end_takes_first_llm", "end"),
        a_workflow(an_llm(), edges=paths("start>llm>end", "start>llm>end")),
    ),
    "end_takes_first_llm: none leads to the end": (
        a_workflow(an_llm(), a_search(), edges=paths("start>llm>k>end")),
        ("end_takes_first_llm", "end"),
        a_workflow(an_llm(), a_search(), edges=paths("start>llm>k>end", "llm>end")),
    ),
    "no_llm": (a_workflow(a_search()), ("no_llm", "end"), a_workflow(a_search(), an_llm())),
    "order_only_edge: between LLMs": (
        a_workflow(an_llm(), an_llm("b")),
        ("order_only_edge", "b"),
        a_workflow(an_llm(), an_llm("b"), edges=paths("start>llm>end", "start>b>end")),
    ),
    "order_only_edge: between searches": (
        a_workflow(a_search(), a_search("k2"), an_llm()),
        ("order_only_edge", "k2"),
        a_workflow(a_search(), a_search("k2"), an_llm(), edges=paths(CHAIN, "start>k2>llm")),
    ),
    "order_only_edge: from an LLM to a search": (
        a_workflow(an_llm(), a_search("k"), edges=paths("start>llm>k>end")),
        ("order_only_edge", "k"),
        a_workflow(an_llm(), a_search("k"), edges=paths("start>llm>end", "start>k>end")),
    ),
    "query_placeholder: query": (
        a_workflow(an_llm(prompt_template="{query}")),
        ("query_placeholder", "llm"),
        a_workflow(an_llm(prompt_template="{question} query {context} {Query}")),
    ),
    "query_placeholder: system_prompt": (
        a_workflow(an_llm(prompt="{system_prompt}")),
        ("query_placeholder", "llm"),
        a_workflow(an_llm(prompt="{system_prompt}", prompt_template="T")),
    ),
    "empty_template": (
        a_workflow(a_search(), an_llm(prompt_template="")),
        ("empty_template", "llm"),
        a_workflow(an_llm(prompt_template="")),
    ),
    "empty_template: or none": (
        a_workflow(a_search(), an_llm(prompt_template="")),
        ("empty_template", "llm"),
        a_workflow(a_search(), an_llm()),
    ),
    "edge_id_replaced": (
        a_workflow(edges=[an_edge("start", "llm", id="e"), an_edge("llm", "end", id="e")]),
        ("edge_id_replaced", "end"),
        a_workflow(edges=[an_edge("start", "llm", id="e"), an_edge("llm", "end", id=None)]),
    ),
    "edge_id_replaced: no text": (
        a_workflow(edges=[an_edge("start", "llm", id=7), an_edge("llm", "end")]),
        ("edge_id_replaced", "llm"),
        a_workflow(edges=[an_edge("start", "llm", id="7"), an_edge("llm", "end", id="")]),
    ),
}


@pytest.mark.parametrize(("workflow", "warning", "_quiet"), WARNED.values(), ids=WARNED)
def test_a_difference_from_the_picture_is_a_warning_at_its_node(
    workflow: Json, warning: tuple[str, str | None], _quiet: Json
) -> None:
    assert warnings(workflow).count(warning) == 1


@pytest.mark.parametrize(("_noisy", "warning", "workflow"), WARNED.values(), ids=WARNED)
def test_a_workflow_beside_it_has_no_such_warning(
    _noisy: Json, warning: tuple[str, str | None], workflow: Json
) -> None:
    assert warning[0] not in [code for code, _ in warnings(workflow)]


def test_every_warning_has_its_tests() -> None:
    assert {warning[0] for _, warning, _ in WARNED.values()} == {
        "renamed_node",
        "implicit_context",
        "context_not_used",
        "join_node",
        "end_takes_first_llm",
        "no_llm",
        "order_only_edge",
        "query_placeholder",
        "empty_template",
        "edge_id_replaced",
    }


def test_a_plain_workflow_has_no_warnings() -> None:
    assert warnings(a_workflow(a_search("k"), an_llm())) == []


def test_warnings_come_in_the_order_of_the_nodes() -> None:
    workflow = a_workflow(
        an_llm("b.b", prompt_template="{query}"),
        an_llm("a.a"),
        end=an_end("c.c"),
        edges=paths("start>a.a>b.b>c.c"),
    )

    assert warnings(workflow) == [
        ("renamed_node", "b.b"),
        ("query_placeholder", "b.b"),
        ("order_only_edge", "b.b"),
        ("renamed_node", "a.a"),
        ("renamed_node", "c.c"),
        ("end_takes_first_llm", "c.c"),
    ]


def messages_of(workflow: Json) -> dict[str, str]:
    return {warning.code: warning.message for warning in a_draft(workflow).warnings}


def test_a_warning_says_what_a_person_needs_to_decide() -> None:
    searches = [a_search(f"k{number}") for number in range(1, 8)]
    told = messages_of(a_workflow(*searches, an_llm("a.b"), an_llm("c")))

    assert told["renamed_node"] == "renamed to 'a_b'"
    assert told["implicit_context"] == (
        "V1 gives it what 'k1', 'k2', 'k3', 'k4', 'k5' and 2 more found, without an edge"
    )
    assert told["join_node"] == (
        "'text-join-2' joins what 'k1', 'k2', 'k3', 'k4', 'k5' and 2 more found: "
        "the platform must have the node type text-join"
    )
    assert told["end_takes_first_llm"] == "V1 answers with 'a.b', the first LLM to run"


@given(workflows(max_nodes=5))
@example(a_workflow(an_llm("\x1b[2J."), an_llm("\u202e" * 10_000), a_search("k." * 5_000)))
@examples(300)
def test_no_warning_moves_a_cursor_or_fills_a_screen(workflow: Json) -> None:
    told = a_draft(workflow).warnings
    ids = {id_text(one["id"]) for one in workflow["nodes"]}

    assert all(warning.message.isprintable() for warning in told)
    assert all(len(warning.message) < 3_000 for warning in told)
    assert {warning.node for warning in told} <= ids


# -- when the converter itself is wrong ----------------------------------------------------------


def test_a_draft_that_fails_the_checklist_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = [Issue("mapping", f"'n{number}'", "wrong") for number in range(9)]
    monkeypatch.setattr(graph_check, "check", lambda graph, declared, rule: wrong)

    with pytest.raises(BotError) as caught:
        convert.convert_text(as_text(a_workflow()), DEFAULTS, without_plans(DEFAULT))

    assert caught.value.code == "internal_error"
    assert str(caught.value) == "the draft fails the checklist: " + "; ".join(
        f"'n{number}': wrong" for number in range(5)
    )
