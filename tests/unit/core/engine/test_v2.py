"""The V2 engine: drafts answer as V1 did, and a graph runs from its ports and edges alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.graphs import (
    BUILT_IN,
    Clock,
    Failing,
    Silent,
    Stopping,
    a_graph,
    a_node,
    a_plain_graph,
    run,
)
from tests.reference import in_guide, is_mixed
from tests.unit.core.engine.test_v1 import RUNS, calls_of
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as engine
from worker.core.engine.execution import Variables
from worker.core.engine.registry import register
from worker.core.parity.compare import Parity, compare
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.workflow import v1
from worker.core.workflow.calls import Limits, Trace
from worker.core.workflow.config import Defaults
from worker.core.workflow.node_types import Node
from worker.core.workflow.v2 import Port, Ports
from worker.errors import BotError, BudgetSpentError, TransientError
from worker.providers.echo import Echo


def statuses(trace: Trace) -> dict[str, str]:
    return {record.node_id: record.status for record in trace.nodes}


# -- drafts ----------------------------------------------------------------------------------------


OF_V1 = [case for case in RUNS if not is_mixed(case["workflow"], case["message"])]


@pytest.mark.parametrize("case", OF_V1, ids=lambda case: case["name"])
def test_the_draft_of_the_corpus_gives_the_platforms_answer_and_calls_trimmed(
    case: dict[str, Any],
) -> None:
    draft = convert_text(json.dumps(case["workflow"]).encode(), Defaults())

    trace = run(draft.graph, case["message"])

    assert trace.error is None
    answer, expected = in_guide(**case["expected"], message=case["message"])
    assert trace.answer == answer
    made = calls_of(trace)
    assert sorted(made, key=json.dumps) == sorted(expected, key=json.dumps) or all(
        made.count(call) == expected.count(call) for call in (*made, *expected)
    )


EMPTY_TEMPLATE = {
    "nodes": [
        {"id": "s", "type": "start"},
        {"id": "k", "type": "knowledge"},
        {"id": "m", "type": "llm", "data": {"prompt_template": ""}},
        {"id": "e", "type": "end"},
    ],
    "edges": [
        {"source": "s", "target": "k"},
        {"source": "k", "target": "m"},
        {"source": "m", "target": "e"},
    ],
}


def test_the_known_difference_of_an_empty_template_is_seen() -> None:
    text = json.dumps(EMPTY_TEMPLATE).encode()
    one = v1_engine.execute(
        v1_engine.prepare(v1.decode(text, Defaults())), "hi", Silent(), clock=Clock()
    )
    other = run(convert_text(text, Defaults()).graph, "hi", providers=Silent())

    assert compare(one, other) == Parity(
        False,
        r"the prompt of an LLM call is 'Question: hi\n\nAnswer:' in V1 "
        r"and 'Context: \n\nQuestion: hi\n\nAnswer:' in V2",
    )


def test_the_engine_adds_less_than_half_a_millisecond_to_a_node() -> None:
    program = GUIDE.decode(a_plain_graph())

    fastest = min(
        engine.execute(program, "hello", Echo(), clock=time.perf_counter).elapsed_us
        for _ in range(50)
    )

    assert fastest < 500 * len(program.ids)


# -- records ---------------------------------------------------------------------------------------


def test_every_node_is_recorded_with_what_it_got_and_gave() -> None:
    trace = run(a_plain_graph(model="m"), "hi", clock=Clock(step_s=0.001))

    start, llm, end = trace.nodes
    assert (start.node_id, start.type, start.order, start.status) == (
        "start", "start", 1, "succeeded",
    )  # fmt: skip
    assert start.outputs == {"query": "hi", "session_id": ""}
    assert llm.inputs == {"query": "hi"}
    assert llm.outputs == {"response": "m: hi", "tokens": 0, "model": "m"}
    assert end.outputs == {"final_output": {"response": "m: hi"}}
    assert [record.elapsed_us for record in trace.nodes] == [pytest.approx(1000, abs=1)] * 3
    assert trace.answer == "m: hi"


def test_tokens_are_counted_for_the_node_and_for_the_whole() -> None:
    class Counting(Echo):
        def generate(self, prompt: str, *arguments: Any, **_: Any) -> tuple[str, int]:
            return prompt, 7

    trace = run(a_plain_graph(), providers=Counting())

    assert [record.tokens for record in trace.nodes] == [0, 7, 0]
    assert trace.tokens == 7


def test_a_failing_node_is_named_and_those_behind_it_are_skipped() -> None:
    trace = run(a_plain_graph(model="away"), providers=Failing(model="away"))

    assert trace.error == "node 'llm' failed: ConnectionError: away is away"
    assert trace.answer is None
    assert statuses(trace) == {"start": "succeeded", "llm": "failed", "end": "skipped"}
    assert trace.nodes[1].error == "ConnectionError: away is away"
    assert len(trace.calls) == 1


@pytest.mark.parametrize("error", [BudgetSpentError(), TransientError()])
def test_what_is_no_nodes_fault_gives_the_execution_up_and_records_nothing(
    error: Exception,
) -> None:
    with pytest.raises(type(error)):
        run(a_plain_graph(), "hello", providers=Stopping(error))


def test_a_deadline_that_passes_inside_a_node_stops_before_the_next() -> None:
    clock = Clock()

    class Slow(Echo):
        def generate(self, *arguments: Any, **keys: Any) -> tuple[str, int]:
            clock.now += 11
            return super().generate(*arguments, **keys)

    trace = run(a_plain_graph(), providers=Slow(), clock=clock, limits=Limits(timeout_s=10))

    assert trace.error == "node 'end' failed: TimeoutError: more than 10 seconds"


def test_a_deadline_that_is_just_reached_is_kept() -> None:
    clock = Clock()

    class Slow(Echo):
        def generate(self, *arguments: Any, **keys: Any) -> tuple[str, int]:
            clock.now += 10
            return super().generate(*arguments, **keys)

    trace = run(a_plain_graph(), providers=Slow(), clock=clock, limits=Limits(timeout_s=10))

    assert trace.error is None


def test_prompts_that_double_with_every_node_end_before_the_memory_does() -> None:
    doubling = [
        a_node(
            f"llm-{number}",
            "llm",
            data={"prompt_template": "{question}{question}"},
            query=f"llm-{number - 1}.response" if number else "start.query",
        )
        for number in range(60)
    ]
    nodes = [a_node("start", "start"), *doubling, a_node("end", "end", response="llm-59.response")]
    edges = [("start.query", "llm-0.query"), ("llm-59.response", "end.response")]
    edges += [(f"llm-{n}.response", f"llm-{n + 1}.query") for n in range(59)]
    trace = run(a_graph(nodes, edges), limits=Limits(max_characters=100_000))

    assert trace.error == "node 'llm-11' failed: ValueError: more than 100,000 characters"
    assert [node.status for node in trace.nodes[-2:]] == ["skipped", "skipped"]


def test_what_is_handed_on_up_to_the_limit_is_kept() -> None:
    # What the start, the LLM (its response and its model) hand on; the end makes an object.
    handed_on = len("hello" + "") + len("gpt-3.5-turbo: hello") + len("gpt-3.5-turbo")

    assert run(a_plain_graph(), limits=Limits(max_characters=handed_on)).error is None
    assert run(a_plain_graph(), limits=Limits(max_characters=handed_on - 1)).error is not None


@pytest.mark.parametrize(
    ("steps", "error"), [(3, None), (2, "node 'end' failed: TimeoutError: more than 2 steps")]
)
def test_the_step_limit_counts_the_nodes_that_run(steps: int, error: str | None) -> None:
    assert run(a_plain_graph(), limits=Limits(max_steps=steps)).error == error


# -- inputs ----------------------------------------------------------------------------------------


def test_a_search_without_documents_looks_everywhere() -> None:
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("search", "knowledge-retrieval", data={"top_k": 1}, query="start.query"),
            a_node("end", "end", response="search.context"),
        ],
        [("start.query", "search.query"), ("search.context", "end.response")],
    )

    trace = run(graph, "hi")

    assert trace.answer == "[*#0] hi"
    assert trace.nodes[1].outputs["doc_count"] == 1


def test_a_system_prompt_comes_where_the_template_says() -> None:
    graph = json.loads(a_plain_graph(model="m", prompt_template="{question}! {system_prompt}"))
    graph["nodes"][1]["variable_mappings"]["system_prompt"] = {
        "variable": "env.rule",
        "value_type": "string",
    }

    trace = run(json.dumps(graph).encode(), variables=Variables(env={"rule": "Be kind."}))

    assert trace.answer == "m: hello! Be kind."


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        ("env.user.name", "dotted"),
        ("environment.user.name", "dotted"),
        ("conv.mood", "good"),
        ("conversation.mood", "good"),
        ("sys.locale", "ko"),
        ("system.locale", "ko"),
    ],
)
def test_a_reserved_prefix_finds_a_variable_split_at_the_first_dot(
    selector: str, value: str
) -> None:
    graph = a_graph(
        [a_node("start", "start"), a_node("end", "end", response=selector)],
        [("start.query", "end.response")],
    )
    variables = Variables(
        env={"user.name": "dotted"}, conversation={"mood": "good"}, system={"locale": "ko"}
    )

    assert run(graph, variables=variables).answer == value


@pytest.mark.parametrize("selector", ["env.missing", "nobody.response", "start.nothing", "self.x"])
def test_a_required_input_without_a_value_fails_its_node(selector: str) -> None:
    graph = a_graph(
        [a_node("start", "start"), a_node("end", "end", response=selector)],
        [("start.query", "end.response")],
    )

    assert run(graph).error == (
        "node 'end' failed: ValueError: its required input 'response' has no value"
    )


def test_an_answer_that_is_no_text_is_given_as_json() -> None:
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("search", "knowledge-retrieval", data={"top_k": 1}, query="start.query"),
            a_node("end", "end", response="search.documents"),
        ],
        [("start.query", "search.query"), ("search.documents", "end.response")],
    )

    assert run(graph, "hi").answer == '[{"content":"[*#0] hi"}]'


@pytest.mark.parametrize("selector", [None, "env.missing", "nobody.text", "end.final_output"])
def test_an_input_without_a_value_takes_its_ports_default(selector: str | None) -> None:
    mappings: dict[str, Any] = {"response": selector} if selector else {}
    graph = json.loads(
        a_graph(
            [a_node("start", "start"), a_node("end", "end", **mappings)],
            [("start.query", "end.response")],
        )
    )
    graph["nodes"][1]["ports"]["inputs"][0]["default"] = "by default"

    trace = run(json.dumps(graph).encode())

    assert trace.answer == "by default"
    assert trace.nodes[1].inputs == {"response": "by default"}


def test_a_default_keeps_its_ports_place_and_gives_way_to_a_value() -> None:
    graph = json.loads(
        a_graph(
            [
                a_node("start", "start"),
                a_node(
                    "join", "text-join", inputs=["a", "b", "c"], a="start.query", c="start.query"
                ),
                a_node("end", "end", response="join.text"),
            ],
            [("start.query", "join.a"), ("join.text", "end.response")],
        )
    )
    for port, default in zip(graph["nodes"][1]["ports"]["inputs"], ("x", "y", None), strict=True):
        port["default"] = default

    assert run(json.dumps(graph).encode(), "hi").answer == "hi\n\ny\n\nhi"


def test_a_default_of_null_is_none() -> None:
    graph = json.loads(a_plain_graph())
    graph["nodes"][2]["ports"]["inputs"][0]["default"] = None
    graph["nodes"][2]["variable_mappings"].clear()

    assert "its required input 'response' has no value" in (
        run(json.dumps(graph).encode()).error or ""
    )


def test_a_value_from_a_branch_that_was_not_taken_is_none() -> None:
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("if", "if-else", data=ABOUT_REFUNDS, inputs=["text"], text="start.query"),
            a_node("refund", "llm", data={"model": "m"}, inputs=["after"], query="start.query"),
            a_node(
                "join", "text-join", data={"default": "no refund"}, inputs=["text_1"],
                text_1="refund.response",
            ),
            a_node("end", "end", response="join.text"),
        ],
        [
            ("start.query", "if.text"), ("if.true", "refund.after"), ("if.false", "join.after"),
            ("refund.response", "join.text_1"), ("join.text", "end.response"),
        ],
    )  # fmt: skip

    assert run(graph, "hello").answer == "no refund"


# -- branches --------------------------------------------------------------------------------------

ABOUT_REFUNDS = {"conditions": [{"input": "text", "operator": "contains", "value": "환불"}]}


def a_branching_graph(data: dict[str, Any], *, ways: tuple[str, str] = ("true", "false")) -> bytes:
    """start → if → one of two LLMs, joined in front of one end."""
    llms = [
        a_node(
            name, "llm", data={"model": name, "prompt_template": "{question}"},
            inputs=["after"], query="start.query",
        )
        for name in ("yes", "no")
    ]  # fmt: skip
    return a_graph(
        [
            a_node("start", "start"),
            a_node("if", "if-else", data=data, inputs=["text"], text="start.query"),
            *llms,
            a_node(
                "join", "text-join", inputs=["text_1", "text_2"],
                text_1="yes.response", text_2="no.response",
            ),
            a_node("end", "end", response="join.text"),
        ],
        [
            ("start.query", "if.text"),
            (f"if.{ways[0]}", "yes.after"),
            (f"if.{ways[1]}", "no.after"),
            ("yes.response", "join.text_1"),
            ("no.response", "join.text_2"),
            ("join.text", "end.response"),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "answer", "skipped"),
    [("환불 주세요", "yes: 환불 주세요", "no"), ("hello", "no: hello", "yes")],
)
def test_only_the_branch_that_was_chosen_runs_and_a_join_waits_for_no_other(
    message: str, answer: str, skipped: str
) -> None:
    trace = run(a_branching_graph(ABOUT_REFUNDS), message)

    assert trace.answer == answer
    assert [name for name, status in statuses(trace).items() if status == "skipped"] == [skipped]
    assert len(trace.calls) == 1


def test_the_first_case_that_holds_decides() -> None:
    data = {
        "cases": [
            {"id": "a", "conditions": [{"input": "text", "operator": "=", "value": 3}]},
            {"id": "b", "conditions": [{"input": "text", "operator": "<", "value": 5}]},
        ]
    }
    graph = a_branching_graph(data, ways=("a", "b"))

    assert run(graph, "3").answer == "yes: 3"
    assert run(graph, "4").answer == "no: 4"
    assert run(graph, "9").error == "no end was reached"


def test_of_several_ends_the_first_that_ran_answers() -> None:
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("if", "if-else", data=ABOUT_REFUNDS, inputs=["text"], text="start.query"),
            a_node("no", "end", inputs=["after"], response="start.query"),
            a_node("yes", "end", inputs=["after"], response="env.refund"),
        ],
        [("start.query", "if.text"), ("if.true", "yes.after"), ("if.false", "no.after")],
    )
    variables = Variables(env={"refund": "곧 환불됩니다"})

    refund = run(graph, "환불", variables=variables)
    assert refund.answer == "곧 환불됩니다"
    assert statuses(refund)["no"] == "skipped"
    assert run(graph, "hello", variables=variables).answer == "hello"


def test_a_branch_that_leads_nowhere_skips_all_that_is_behind_it() -> None:
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("if", "if-else", data=ABOUT_REFUNDS, inputs=["text"], text="start.query"),
            a_node("llm", "llm", inputs=["after"], query="start.query"),
            a_node("end", "end", response="llm.response"),
        ],
        [("start.query", "if.text"), ("if.true", "llm.after"), ("llm.response", "end.response")],
    )

    trace = run(graph)

    assert trace.error == "no end was reached"
    assert statuses(trace)["end"] == "skipped"
    assert trace.calls == ()


# -- node types ------------------------------------------------------------------------------------


class Shout(Node[dict[str, Any]]):
    """A platform's own node."""

    type = "shout"
    ports = Ports(inputs=(Port("text", required=True),), outputs=(Port("text"),))

    def run(self, inputs: Any, data: dict[str, Any], providers: Any) -> dict[str, Any]:
        return {"text": inputs["text"].upper() + data.get("ending", "!")}


def a_shouting_graph(**mappings: str) -> bytes:
    return a_graph(
        [
            a_node("start", "start"),
            a_node("shout", "shout", data={"ending": "?"}, inputs=["text"], outputs=["text"], **mappings),
            a_node("end", "end", response="shout.text"),
        ],
        [("start.query", "shout.text"), ("shout.text", "end.response")],
    )  # fmt: skip


def test_a_platforms_own_node_runs_once_it_is_registered() -> None:
    trace = run(a_shouting_graph(text="start.query"), registry=register(BUILT_IN, Shout()))

    assert trace.answer == "HELLO?"


def test_a_type_states_defaults_that_a_graph_may_override() -> None:
    class Polite(Shout):
        ports = Ports(
            inputs=(Port("text", default="please"), Port("end", default=".")),
            outputs=(Port("text"),),
        )

        def run(self, inputs: Any, data: dict[str, Any], providers: Any) -> dict[str, Any]:
            return {"text": inputs["text"] + inputs["end"]}

    registry = register(BUILT_IN, Polite())
    graph = json.loads(a_shouting_graph())
    assert run(json.dumps(graph).encode(), registry=registry).answer == "please."

    graph["nodes"][1]["ports"]["inputs"][0]["default"] = "now"
    assert run(json.dumps(graph).encode(), registry=registry).answer == "now."


def test_an_input_that_the_type_requires_is_required_whatever_the_graph_says() -> None:
    trace = run(a_shouting_graph(), registry=register(BUILT_IN, Shout()))

    assert trace.error == "node 'shout' failed: ValueError: its required input 'text' has no value"


def test_outputs_that_are_no_dict_fail_the_node() -> None:
    class Rude(Shout):
        def run(self, inputs: Any, data: Any, providers: Any) -> Any:
            return "hello"

    trace = run(a_shouting_graph(text="start.query"), registry=register(BUILT_IN, Rude()))

    assert trace.error == "node 'shout' failed: TypeError: its outputs are no dict but str"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda g: g["nodes"][1].update(type="loop"), "node 'llm' is a loop .type 'loop'."),
        (lambda g: g["nodes"][1].update(type="iteration"), "is a loop"),
        (lambda g: g["nodes"][1].update(type="teapot"), "no node type 'teapot' is registered"),
        (lambda g: g["nodes"][1].update(id="sys"), "edges.0. leads from or to a node"),
        (lambda g: g["nodes"][1].update(id="start"), "two nodes have the same id"),
        (lambda g: g["nodes"][1]["data"].update(max_tokens="x"), "the data of node 'llm'"),
        (lambda g: g["nodes"][1].pop("ports"), "the graph cannot be read"),
        (lambda g: g["edges"].append({**g["edges"][0], "source": "llm", "target": "start"}), "cycle"),
        (lambda g: (g["edges"].clear(), g["nodes"][1].update(id="env")), "'env' is reserved"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_a_reason(change: Any, why: str) -> None:
    graph = json.loads(a_plain_graph())
    change(graph)

    with pytest.raises(BotError, match=why) as refused:
        GUIDE.decode(json.dumps(graph).encode())

    assert refused.value.code == "execution_failed"


def test_a_number_beyond_a_float_in_a_key_that_nobody_reads_does_no_harm() -> None:
    graph = a_plain_graph().replace(b'"prompt_template"', b'"big": 1e999, "prompt_template"')

    assert run(graph).error is None
