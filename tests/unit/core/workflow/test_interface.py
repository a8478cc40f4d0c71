"""A draft that was only opened and saved in the platform's interface is not edited; a changed one is."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from tests import platform
from tests.builders import DEFAULTS, Json, a_search, a_workflow, an_llm, as_text
from tests.strategies import columns, examples
from worker.core.targets.convert import convert_text
from worker.core.targets.registry import TARGETS
from worker.core.workflow.interface import compare
from worker.errors import BotError

Change = Callable[[Json], object]

UNKNOWN: Json = {"viewport": {"zoom": 2}, "edited_by": "a person"}
WORKFLOW = a_workflow(
    a_search(top_k=3), an_llm(prompt_template="{context}|{question}", temperature=0.10), **UNKNOWN
)
for one in (*WORKFLOW["nodes"], *WORKFLOW["edges"]):
    one |= {"width": 240, "selected": False}


def a_draft(target: str = "guide") -> Json:
    """The draft of a workflow whose graph, nodes and edges have keys that no schema knows."""
    draft: Json = json.loads(convert_text(as_text(WORKFLOW), DEFAULTS, TARGETS[target]).graph)
    return draft


def saved(graph: Json) -> Json:
    """What the interface stores of it."""
    stored: Json = platform.save_draft(json.dumps(graph).encode())
    return stored


def became(written: Any, found: Any) -> str:
    return compare(json.dumps(written).encode(), json.dumps(found).encode())


# -- saving ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
@examples(150)
@given(columns())
def test_any_draft_that_is_only_saved_is_not_edited(target: str, column: bytes) -> None:
    try:
        graph = convert_text(column, DEFAULTS, TARGETS[target]).graph
        stored = json.dumps(platform.save_draft(graph), allow_nan=False).encode()
    except (
        BotError,
        ValueError,
    ):  # V1 refuses the workflow, or JSON cannot say what a browser holds
        return

    assert compare(graph, graph) == "saved"
    assert compare(graph, stored) == "saved"
    bare = json.dumps(platform.save_draft(graph, platform.InterfaceGraph)).encode()
    assert compare(graph, bare) == "stripped"


def test_a_save_drops_what_the_schema_does_not_know_and_keeps_data() -> None:
    draft = a_draft()
    stored = saved(draft)

    assert not stored.keys() & UNKNOWN.keys()
    assert not any("width" in one for one in (*stored["nodes"], *stored["edges"]))
    assert became(draft, stored) == "saved"


def test_a_draft_that_lost_v2s_own_keys_is_not_edited_and_not_the_same() -> None:
    draft = a_draft()
    stored = platform.save_draft(json.dumps(draft).encode(), platform.InterfaceGraph)

    assert became(draft, stored) == "stripped"
    stored["nodes"][2]["data"]["prompt_template"] = "Be rude."
    assert became(draft, stored) == "edited"


def test_mappings_that_one_node_alone_lost_were_removed_by_a_person() -> None:
    draft = a_draft()
    stored = saved(draft)
    del stored["nodes"][2]["variable_mappings"]

    assert became(draft, stored) == "edited"


# -- editing ---------------------------------------------------------------------------------------

EDITS: dict[str, Change] = {
    "a prompt": lambda g: g["nodes"][2]["data"].update(prompt_template="{question}"),
    "a number": lambda g: g["nodes"][1]["data"].update(top_k=4),
    "a number into a truth value": lambda g: g["nodes"][2]["data"].update(temperature=True),
    "a key of data that is new": lambda g: g["nodes"][2]["data"].update(note="mine"),
    "a key of data that is empty": lambda g: g["nodes"][2]["data"].update(note=None),
    "a key of data that is gone": lambda g: g["nodes"][2]["data"].pop("model"),
    "a mapping": lambda g: g["nodes"][2]["variable_mappings"]["query"].update(variable="k.context"),
    "a mapping that is gone": lambda g: g["nodes"][2]["variable_mappings"].pop("context"),
    "all mappings": lambda g: [node.update(variable_mappings={}) for node in g["nodes"]],
    "a new mapping": lambda g: g["nodes"][2]["variable_mappings"].update(
        system_prompt={"variable": "start.query", "value_type": "string"}
    ),
    "what a mapping says of its type": lambda g: g["nodes"][2]["variable_mappings"]["query"].update(
        value_type="any"
    ),
    "a port": lambda g: g["nodes"][2]["ports"]["inputs"][0].update(name="question"),
    "whether a port is required": lambda g: g["nodes"][2]["ports"]["inputs"][0].update(
        required=False
    ),
    "a port's default": lambda g: g["nodes"][2]["ports"]["inputs"][0].update(default="hello"),
    "a port's name for people": lambda g: g["nodes"][2]["ports"]["inputs"][0].update(
        display_name="Q"
    ),
    "a port that is gone": lambda g: g["nodes"][2]["ports"]["inputs"].pop(),
    "where a node stands": lambda g: g["nodes"][2]["position"].update(x=7),
    "a position without a number": lambda g: g["nodes"][2]["position"].pop("y"),
    "a node's type": lambda g: g["nodes"][2].update(type="answer"),
    "a node's id": lambda g: g["nodes"][2].update(id="llm-9"),
    "a new node": lambda g: g["nodes"].append(copy.deepcopy(g["nodes"][2]) | {"id": "llm-2"}),
    "a node that is gone": lambda g: g["nodes"].pop(),
    "the order of nodes": lambda g: g["nodes"].reverse(),
    "an edge's end": lambda g: g["edges"][0].update(target="end"),
    "an edge's port": lambda g: g["edges"][0].update(target_port="after"),
    "an edge's type": lambda g: g["edges"][0].update(type="straight"),
    "what an edge says of its ends": lambda g: g["edges"][0]["data"].pop("target_type"),
    "a new edge": lambda g: g["edges"].append(copy.deepcopy(g["edges"][0]) | {"id": "e-9"}),
    "an edge that is gone": lambda g: g["edges"].pop(),
    "all edges": lambda g: g["edges"].clear(),
    "a key that no schema knows": lambda g: g.update(note="mine"),
    "a key of a node that no schema knows": lambda g: g["nodes"][0].update(note="mine"),
    "an unknown key that changed": lambda g: g["nodes"][0].update(width=9),
    "the variables": lambda g: g.update(environment_variables={"tone": "rude"}),
    "the nodes into something else": lambda g: g.update(nodes="none"),
    "a node into something else": lambda g: g["nodes"].__setitem__(0, "start"),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("before", [saved, copy.deepcopy], ids=["after a save", "in place"])
def test_a_change_is_edited(before: Callable[[Json], Json], change: Change) -> None:
    draft = a_draft()
    found = before(draft)
    assert became(draft, found) == "saved"
    change(found)

    assert became(draft, found) == "edited"


def test_numbers_are_those_that_a_browser_holds() -> None:
    written = b'{"nodes": [], "edges": [], "n": [1e2, 123456789012345678901234567890, 1]}'

    assert (
        compare(written, b'{"nodes":[],"edges":[],"n":[100,1.2345678901234568e29,1.0]}') == "saved"
    )
    assert (
        compare(written, b'{"nodes":[],"edges":[],"n":[100,1.2345678901234568e29,2]}') == "edited"
    )
    assert (
        compare(written, b'{"nodes":[],"edges":[],"n":[100,1.2345678901234568e29,true]}')
        == "edited"
    )


@pytest.mark.parametrize("found", ["[]", "null", "{}", '{"nodes": []}', "[" * 5000 + "]" * 5000])
def test_what_is_no_graph_is_edited(found: str) -> None:
    assert compare(json.dumps(a_draft()).encode(), found.encode()) == "edited"
