"""Node types that an installation adds to V1: read, converted, executed and checked alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given

from tests.builders import (
    Json,
    a_graph,
    a_node,
    a_search,
    a_workflow,
    an_llm,
    as_text,
    codes,
    inputs,
    lines,
    mapped,
    node,
    paths,
    without_plans,
)
from tests.custom_types import REGISTRY, TYPES, WITH_TYPES, Glossary
from tests.graphs import BUILT_IN, Clock, run
from tests.strategies import examples, messages, workflows
from worker.core.engine import v1 as v1_engine
from worker.core.engine.registry import custom_types, register
from worker.core.parity.known import judge
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.workflow import plan, v1
from worker.core.workflow.calls import Generate, Trace
from worker.core.workflow.config import Defaults
from worker.core.workflow.graph_check import check
from worker.core.workflow.node_types import CustomNode
from worker.core.workflow.plan import PlannedNode
from worker.core.workflow.v2 import Port, Ports
from worker.errors import BotError
from worker.providers.echo import Echo


def a_glossary(node_id: str = "g", **data: Any) -> Json:
    return a_node(node_id, "glossary", {"terms": {"refund": "Money back."}, **data})


def run_v1(
    workflow: Json,
    message: str,
    defaults: Defaults = WITH_TYPES,
    shown: Callable[[str], str] | None = None,
    asked: Callable[[str], str] | None = None,
) -> Trace:
    program = v1_engine.prepare(v1.decode(as_text(workflow), defaults))
    return v1_engine.execute(program, message, Echo(), clock=Clock(), shown=shown, asked=asked)


def prompts(trace: Trace) -> list[str]:
    return [call.prompt for call in trace.calls if isinstance(call, Generate)]


def run_draft(workflow: Json, message: str, defaults: Defaults = WITH_TYPES) -> Trace:
    graph = convert_text(as_text(workflow), defaults).graph
    return run(graph, message, registry={**REGISTRY, **defaults.types})


def refusal(workflow: Json, defaults: Defaults = WITH_TYPES) -> BotError:
    with pytest.raises(BotError) as refused:
        convert_text(as_text(workflow), defaults)
    return refused.value


def warned(workflow: Json) -> list[tuple[str, str | None, str]]:
    draft = convert_text(as_text(workflow), WITH_TYPES)
    return [(warning.code, warning.node, warning.message) for warning in draft.warnings]


# -- parity ----------------------------------------------------------------------------------------

EVERYTHING = a_workflow(
    a_glossary(),
    a_search(),
    a_node("o", "custom", {"type": "oracle"}),
    a_node("r", "rerank"),
    an_llm(use_context_from=["r", "o", "g", "j"]),
    a_node("j", "judge"),
    a_node("w", "stopwatch"),
    edges=paths("start>w>llm>end", "start>g>j>end", "start>k>r>j", "start>o>j"),
)


@examples(1_000)
@given(workflows(own_types=tuple(TYPES)), messages())
@example(EVERYTHING, "a refund, {context}")
def test_a_draft_with_types_of_ones_own_makes_v1s_calls_and_gives_its_answer(
    workflow: Json, message: str
) -> None:
    # V1 words an empty template by what was found, and a glossary may find nothing.
    assume("empty_template" not in [code for code, *_ in warned(workflow)])

    one, other = run_v1(workflow, message), run_draft(workflow, message)

    assert one.error is None
    assume("{system_prompt}" not in "".join(prompts(one)))  # not told apart: `placeholder_removed`
    again = partial(run_v1, workflow, message, WITH_TYPES)
    assert judge(one, other, GUIDE.differences, again).same


def test_everything_that_v1_hands_around_reaches_a_type_of_ones_own() -> None:
    trace = run_v1(EVERYTHING, "a refund")

    asked = [call for call in trace.calls if isinstance(call, Generate) and call.provider == "own"]
    told = [json.loads(call.prompt) for call in asked]
    assert [name for name, *_ in told] == ["stopwatch", "oracle", "rerank", "judge"]
    by_name: Mapping[str, dict[str, Any]] = {name: dict(values) for name, *values in told}
    assert by_name["oracle"] == {
        "query": "a refund",
        "context": "Money back.\n\n[doc-k#0] a refund\n\n[doc-k#1] a refund",
        "draft": "none",
    }
    assert by_name["rerank"]["found"].startswith(by_name["oracle"]["context"] + "\n\n")
    assert by_name["judge"] == {"said": trace.answer, "asked": "a refund", "level": 2}
    assert trace.answer is not None
    assert trace.answer.startswith('oracle: ["oracle"')


# -- V1 reads them ---------------------------------------------------------------------------------


def test_a_type_that_is_not_installed_stays_unknown() -> None:
    assert refusal(a_workflow(a_glossary()), Defaults()).code == "unknown_node_type"


def test_a_type_for_v2_alone_is_unknown_to_v1() -> None:
    assert refusal(a_workflow(a_node("j", "text-join"))).code == "unknown_node_type"


@pytest.mark.parametrize(
    "drawn", [a_glossary(), a_node("g", "custom", {"type": "glossary", "limit": 9})]
)
def test_a_type_is_read_however_it_is_spelled(drawn: Json) -> None:
    graph = json.loads(convert_text(as_text(a_workflow(drawn, an_llm())), WITH_TYPES).graph)

    assert node(graph, "g")["type"] == "glossary"
    assert node(graph, "g")["data"] == drawn["data"]


@pytest.mark.parametrize("route", ["start>llm>end", "start>g>llm>end"])
def test_a_node_of_ones_own_needs_a_way_in_and_a_way_out(route: str) -> None:
    dead_end = "start>g" if "g" not in route else "start>llm"
    workflow = a_workflow(a_glossary(), an_llm(), edges=paths(route, dead_end))
    if "g" in route:
        workflow["edges"] = paths("start>llm>end", "g>llm")

    assert refusal(workflow).code == "disconnected"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"limit": 0}, r"node 'g': its data does not fit its type: Expected `int` >= 1"),
        ({"terms": [1]}, r"node 'g': its data does not fit its type: Expected `object`"),
    ],
)
def test_data_that_its_type_refuses_is_an_invalid_config(data: Json, why: str) -> None:
    error = refusal(a_workflow(a_node("g", "glossary", data), an_llm()))

    assert error.code == "invalid_config"
    assert str(error).startswith(why)


def test_a_number_beyond_a_float_in_data_of_any_kind_does_no_harm() -> None:
    text = as_text(a_workflow(a_node("w", "stopwatch", {"x": 0}), an_llm()))
    text = text.replace(b'{"x": 0}', b'{"x": 1e400}')
    draft = convert_text(text, WITH_TYPES)

    assert b'{"x":1e400}' in draft.graph.replace(b" ", b"")
    assert run(draft.graph, registry=REGISTRY).error is None


# -- the draft says what V1 does -------------------------------------------------------------------


def test_ports_and_mappings_are_those_that_the_type_declares() -> None:
    graph = a_graph(a_workflow(a_glossary(), an_llm()), WITH_TYPES)

    assert node(graph, "g")["ports"] == json.loads(msgspec.json.encode(Glossary.ports))
    assert mapped(graph, "g") == {"question": "start.query"}
    assert mapped(graph, "llm") == {"query": "start.query", "context": "g.text"}
    assert lines(graph) == [
        "start.query -> g.question",
        "g.text -> llm.context",
        "llm.response -> end.response",
    ]
    assert warned(a_workflow(a_glossary(), an_llm())) == []


def test_what_a_type_takes_without_an_edge_becomes_mappings_edges_and_warnings() -> None:
    workflow = a_workflow(
        a_search(),
        an_llm("a"),
        an_llm("b"),
        a_node("agent", "agent"),
        edges=paths("start>k>a>b>agent>end", "start>agent"),
    )
    graph = a_graph(workflow, WITH_TYPES)

    assert mapped(graph, "agent") == {
        "query": "start.query",
        "context": "k.context",
        "draft": "a.response",
        "after": "b.response",
    }
    assert mapped(graph, "end") == {"response": "a.response", "after": "agent.reply"}
    assert lines(graph)[6:] == [
        "k.context -> b.context",
        "k.context -> agent.context",
        "a.response -> agent.draft",
        "a.response -> end.response",
    ]
    assert warned(workflow)[2:] == [
        ("implicit_context", "agent", "V1 gives it what 'k' found, without an edge"),
        (
            "implicit_response",
            "agent",
            "V1 gives it what 'a' said, the first LLM to run, without an edge",
        ),
        ("order_only_edge", "agent", "V1 passes nothing on from 'b'"),
        ("end_takes_first_llm", "end", "V1 answers with 'a', the first LLM to run"),
    ]


def test_an_edge_that_carries_what_the_type_takes_carries_it_in_the_draft() -> None:
    graph = a_graph(a_workflow(an_llm(), a_node("j", "judge"), a_search()), WITH_TYPES)

    assert "llm.response -> j.said" in lines(graph)


def test_an_edge_along_which_nothing_flows_gets_a_free_port_of_the_sources_kind() -> None:
    graph = a_graph(
        a_workflow(a_node("w", "stopwatch"), a_node("j", "judge"), an_llm()), WITH_TYPES
    )

    assert lines(graph)[1:3] == ["w.time -> j.after_2", "j.score -> llm.after"]
    assert inputs(graph, "j") == ["said", "asked", "after", "level", "after_2"]
    assert [edge["data_type"] for edge in graph["edges"]] == [
        "string", "object", "number", "string",
    ]  # fmt: skip


def test_a_type_that_takes_nothing_is_only_put_in_order() -> None:
    workflow = a_workflow(a_node("w", "stopwatch"), an_llm())

    assert mapped(a_graph(workflow, WITH_TYPES), "w") == {"after": "start.query"}
    assert warned(workflow) == [("order_only_edge", "llm", "V1 passes nothing on from 'w'")]


def test_a_draft_that_lacks_what_its_types_declare_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def careless(node_type: str, ports: Ports, _: object, *more: Any) -> PlannedNode:
        named = [port.name for port in ports.outputs]
        kept = ports.outputs[:1] if "notes" in named else ports.outputs
        fewer = Ports(ports.inputs, kept)
        return PlannedNode(node_type, fewer, fewer, *more)

    monkeypatch.setattr(plan, "PlannedNode", careless)
    text = as_text(a_workflow(a_node("o", "oracle")))
    with pytest.raises(BotError, match="type requires the output port 'notes'") as raised:
        convert_text(text, WITH_TYPES, without_plans(GUIDE))

    assert raised.value.code == "internal_error"


def test_several_that_give_context_are_joined_by_the_ports_that_give_it() -> None:
    graph = a_graph(
        a_workflow(a_glossary(), a_search(), a_node("r", "rerank"), an_llm()), WITH_TYPES
    )

    assert mapped(graph, "r")["found"] == "text-join-1.text"
    assert mapped(graph, "text-join-2") == {
        "text_1": "g.text",
        "text_2": "k.context",
        "text_3": "r.best",
    }


def test_a_type_that_gives_a_response_answers_where_there_is_no_llm() -> None:
    workflow = a_workflow(a_node("a", "agent"))

    assert warned(workflow) == []
    answer = run_draft(workflow, "hi").answer
    assert answer == 'agent: ["agent", ["query", "hi"], ["draft", "none"]]'
    assert answer == run_v1(workflow, "hi").answer


def test_use_context_from_leaves_out_a_type_of_ones_own_too() -> None:
    workflow = a_workflow(a_search(), a_glossary(), an_llm(use_context_from=["k"]))

    assert [(code, where) for code, where, _ in warned(workflow)] == [
        ("order_only_edge", "g"),
        ("implicit_context", "llm"),
        ("context_not_used", "llm"),
    ]
    assert mapped(a_graph(workflow, WITH_TYPES), "llm")["context"] == "k.context"


# -- execution -------------------------------------------------------------------------------------


class Faulty(CustomNode[dict[str, Any]]):
    """Gives what its data says."""

    type = "faulty"
    ports = Ports(outputs=(Port("text", required=True),))
    gives_response = "text"

    def run(self, inputs: Any, data: dict[str, Any], providers: Any) -> dict[str, Any]:
        return data["gives"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("gives", "why"),
    [
        ({}, "TypeError: it gives no 'text', which its type requires"),
        ({"text": None}, "TypeError: it gives no 'text', which its type requires"),
        ({"text": 7}, "TypeError: its 'text' is no text but int"),
        ([], "TypeError: its outputs are no dict but list"),
    ],
)
def test_outputs_other_than_declared_fail_the_node_in_both_engines(gives: Any, why: str) -> None:
    workflow = a_workflow(a_node("f", "faulty", {"gives": gives}))
    defaults = Defaults(types=custom_types(register(BUILT_IN, Faulty())))

    for execute in (run_v1, run_draft):
        assert execute(workflow, "hi", defaults).error == f"node 'f' failed: {why}"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (object(), "TypeError: its outputs are no JSON: Encoding objects of type object"),
        ("\ud800", None),
        (float("inf"), None),
    ],
)
def test_outputs_that_could_not_be_recorded_fail_the_node(more: object, error: str | None) -> None:
    class Full(Faulty):
        def run(self, inputs: Any, data: Any, providers: Any) -> dict[str, Any]:
            return {"text": "", "more": more}

    workflow = a_workflow(a_node("f", "faulty"))
    trace = run_draft(workflow, "hi", Defaults(types=custom_types(register(BUILT_IN, Full()))))

    assert (trace.error or "").startswith(f"node 'f' failed: {error}" if error else "")
    assert (trace.error is None) is (error is None)


def test_a_draft_gives_a_type_of_v1s_no_port_that_it_does_not_declare() -> None:
    workflow = a_workflow(an_llm(), a_node("w", "stopwatch"))

    assert mapped(a_graph(workflow, WITH_TYPES), "w") == {"after": "llm.response"}
    [_, call] = run_draft(workflow, "hi").calls
    assert isinstance(call, Generate)
    assert call.prompt == '["stopwatch"]'


# -- the checklist ---------------------------------------------------------------------------------


def checked(change: Any) -> list[str]:
    graph = a_graph(a_workflow(a_glossary(), an_llm()), WITH_TYPES)
    change(node(graph, "g"))
    return [f"{i.code} {i.path}: {i.message}" for i in check(as_text(graph), REGISTRY)]


def test_a_draft_holds_what_its_types_declare() -> None:
    assert checked(lambda _: None) == []


def test_a_port_that_its_type_requires_is_missed() -> None:
    def change(drawn: Json) -> None:
        drawn["ports"]["inputs"][0]["name"] = "ask"
        drawn["variable_mappings"] = {"ask": drawn["variable_mappings"]["question"]}

    assert "ports 'g': its type requires the input port 'question'" in checked(change)


def test_an_output_that_its_type_requires_is_missed() -> None:
    assert "ports 'g': its type requires the output port 'text'" in checked(
        lambda drawn: drawn["ports"]["outputs"].clear()
    )


def test_an_input_that_its_type_requires_must_be_mapped_whatever_the_draft_says() -> None:
    def change(drawn: Json) -> None:
        drawn["ports"]["inputs"][0]["required"] = False
        drawn["variable_mappings"].clear()

    assert checked(change) == ["required 'g': its input question is not mapped"]


def test_a_port_of_another_kind_than_its_type_declares_is_an_issue() -> None:
    issues = checked(lambda drawn: drawn["ports"]["inputs"][0].update(type="number"))

    assert "types 'g'.'question': number does not fit its type's string" in issues


def test_without_types_the_checklist_knows_of_none() -> None:
    graph = a_graph(a_workflow(a_glossary(), an_llm()), WITH_TYPES)
    node(graph, "g")["ports"]["inputs"].append({"name": "x", "required": True})

    assert codes(check(as_text(graph))) == ["required"]


# -- declarations ----------------------------------------------------------------------------------


def declared(**attributes: Any) -> CustomNode[dict[str, Any]]:
    """A type that is declared well, but for `attributes`."""
    well: dict[str, Any] = {
        "type": "own",
        "ports": Ports(
            inputs=(Port("q", required=True), Port("n", "number")), outputs=(Port("text", required=True),)
        ),
        "takes_message": "q",
        "run": lambda *_: {"text": ""},
    }  # fmt: skip
    made: CustomNode[dict[str, Any]] = type("Own", (CustomNode,), {**well, **attributes})()
    return made


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"type": None}, "its class sets no `type`"),
        ({"ports": {}}, "its class sets no `ports`"),
        ({"ports": Ports(outputs=(Port("a"), Port("a")))}, "two ports are called 'a'"),
        ({"ports": Ports(inputs=(Port("q"),))}, "it has no output, which every edge"),
        ({"takes_context": "x"}, "it takes the context by 'x', which is no text input"),
        ({"takes_response": "n"}, "it takes the response by 'n', which is no text input"),
        ({"takes_message": None}, "its input 'q' is required, and V1 may have no value for it"),
        ({"takes_context": "q"}, "'q' is used for two things"),
        ({"gives_context": "q"}, "it gives the context by 'q', which is no required text output"),
        ({"gives_response": "n"}, "it gives the response by 'n', which is no required text output"),
        ({"gives_response": "text", "gives_context": "text"}, "'text' is used for two things"),
        (
            {"ports": Ports(outputs=(Port("text"),)), "takes_message": None, "gives_context": "text"},
            "it gives the context by 'text', which is no required text output",
        ),
        ({"type": "knowledge"}, "the node type 'knowledge' means something else in V1"),
        ({"type": "custom"}, "the node type 'custom' means something else in V1"),
        ({"type": "llm"}, "the node type 'llm' is registered already"),
    ],
)  # fmt: skip
def test_a_type_that_is_declared_wrongly_is_not_registered(attributes: Json, why: str) -> None:
    register(BUILT_IN, declared())

    with pytest.raises(ValueError, match=why):
        register(BUILT_IN, declared(**attributes))
