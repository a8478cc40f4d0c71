"""The target `answer`: its engine is the platform's, and its drafts do what V1 did."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import platform
from tests.builders import DEFAULTS, Json, as_text, paths
from tests.graphs import Clock, Saying, Silent, an_edge
from tests.reference import Echo as ReferenceEcho
from tests.reference import run_order, same_calls
from tests.strategies import columns, examples, messages, workflows
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.parity.compare import Parity, compare
from worker.core.parity.known import judge
from worker.core.targets.answer import ANSWER
from worker.core.targets.answer.nodes import NOTHING_FOUND
from worker.core.targets.answer.ports import PORTS
from worker.core.targets.answer.prompts import Piece, built, cut, pieces_of, plain
from worker.core.targets.answer.templates import TemplateError, render, usable_id, variables
from worker.core.targets.convert import convert_text
from worker.core.workflow import v1
from worker.core.workflow.calls import Providers, Trace
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.draft import Draft
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.errors import BotError
from worker.providers.echo import Echo

DATA = Path(__file__).parents[3] / "data"


def rows(name: str) -> list[Json]:
    return list(map(json.loads, (DATA / name).read_text().splitlines()))


CORPUS = rows("v2_answer.jsonl")
V1_CORPUS = [
    case
    for name in ("v1_valid.jsonl", "v1_config.jsonl")
    for case in rows(name)
    if "error" not in case["expected"]
]


def run(graph: Json | bytes, message: str = "hello", providers: Providers | None = None) -> Trace:
    text = graph if isinstance(graph, bytes) else as_text(graph)
    program = ANSWER.decode(text)
    return v2_engine.execute(program, message, providers or Echo(), clock=Clock())


def convert(workflow: Json) -> Draft:
    return convert_text(as_text(workflow), DEFAULTS, ANSWER)


def prompts(trace: Trace) -> list[str]:
    return [call["prompt"] for call in calls_of(trace) if call["kind"] == "llm"]


def calls_of(trace: Trace) -> Any:
    return json.loads(msgspec.json.encode(trace.calls))


# -- the engine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_a_graph_of_the_corpus_gets_the_platforms_answer_and_calls_in_order(case: Json) -> None:
    trace = run(case["graph"], case["message"])

    assert trace.error is None
    assert {"answer": trace.answer, "calls": calls_of(trace)} == case["expected"]


PATTERN = re.compile(r"\{\{\s*(#?)([^{}\n]+?)\s*(#?)\}\}")  # stated in the facts about the platform


def found_by_pattern(template: str) -> list[tuple[str, int, int]]:
    found = ((one[2].strip(), one.start(), one.end()) for one in PATTERN.finditer(template))
    return [one for one in found if one[0]]


@given(st.text("{}#a. \n\u00a0", max_size=16) | st.text(max_size=20))
@examples(1_500)
def test_the_variables_of_a_template_are_those_of_the_platforms_pattern(template: str) -> None:
    for text in (template, "{{" + template + "}}"):
        assert [tuple(one) for one in variables(text)] == found_by_pattern(text)


@pytest.mark.parametrize("piece", ["{{", "{{ ", "{{ a", "}}{{\n", "{ {{"])
def test_reading_a_hostile_template_takes_time_in_proportion_to_its_length(piece: str) -> None:
    assert list(variables(piece * 200_000)) == []
    assert list(variables("{{" + " " * 1_000_000)) == []


@given(st.text(max_size=12))
@examples(500)
def test_what_a_variable_holds_is_put_in_as_it_is(value: str) -> None:
    assert render("{ {{a.b}} }{{ a.b }}", {"a.b": value}.get) == f"{{ {value} }}{value}"


def test_a_template_beyond_the_limits_is_not_rendered() -> None:
    at_the_limit = "{{a.b}}" * 100 + "x" * (20_480 - 700)
    assert render(at_the_limit, {"a.b": ""}.get) == "x" * (20_480 - 700)
    for beyond in (at_the_limit + "x", "{{a.b}}" * 101, " \n", "{{a.c}}"):
        with pytest.raises(TemplateError):
            render(beyond, {"a.b": ""}.get)


def a_node(node_id: str, node_type: str, data: Json | None = None, **mappings: str) -> Json:
    """A node of this platform with the ports of its type, the inputs those alone that are mapped."""
    ports = PORTS.get(node_type)
    outputs = [port.name for port in ports.outputs] if ports else ["if", "else"]
    return {
        "id": node_id,
        "type": node_type,
        "position": {"x": 0, "y": 0},
        "data": {"type": node_type, **(data or {})},
        "ports": {
            "inputs": [{"name": name, "type": "any"} for name in mappings],
            "outputs": [{"name": name, "type": "any"} for name in outputs],
        },
        "variable_mappings": {
            name: {"variable": variable, "value_type": "any"} for name, variable in mappings.items()
        },
    }


def a_graph(template: str = "{{start.query}}", **llm: str) -> Json:
    """start → llm → answer → end; `llm` are more mappings of the LLM."""
    data = {"model": "m", "provider": "P", "prompt_template": template}
    return {
        "nodes": [
            a_node("start", "start"),
            a_node("llm", "llm", data, query="start.query", **llm),
            a_node("answer", "answer", {"template": "{{llm.response}}"}, target="llm.response"),
            a_node("end", "end", response="answer.final_output"),
        ],
        "edges": [
            an_edge("start.query", "llm.query"),
            an_edge("llm.response", "answer.target"),
            an_edge("answer.final_output", "end.response"),
        ],
    }


def node(graph: Json, node_id: str) -> Any:
    return next(one for one in graph["nodes"] if one["id"] == node_id)


@pytest.mark.parametrize(
    ("template", "message", "prompt"),
    [
        ("  {{start.query}} x \n", " m ", " m  x"),
        ("{{start.query}}\n\n\n\n{x}", "{query}", "{query}\n\n\n\n{x}"),
        ("{{start.query}}\n\n\n\n{query} ", "{context}|", "|\n\n|"),
        ("{query}{question}\n\n\n\n{context}{system_prompt}x", "m", "mm\n\nx"),
        ("{question}", "{context}{system_prompt}", ""),
        ("{quest}\n\n\n\nx", "m", "{quest}\n\n\n\nx"),
        ("{{ self.query }}{{#start.query#}}", "m", "mm"),
        ("{{{start.query}}}", "m", "{m}"),
    ],
)
def test_a_prompt_is_what_the_platform_makes_of_it(
    template: str, message: str, prompt: str
) -> None:
    trace = run(a_graph(template), message)

    assert (trace.error, prompts(trace)) == (None, [prompt])


def test_an_unmapped_input_takes_what_the_only_edge_that_fits_brings() -> None:
    graph = a_graph("{context}!")
    node(graph, "llm")["ports"]["inputs"].append({"name": "context", "type": "string"})

    assert prompts(run(graph, "m")) == ["m!"]


def test_an_unmapped_input_stays_empty_where_two_edges_fit() -> None:
    graph = a_graph("{context}!")
    node(graph, "llm")["ports"]["inputs"].append({"name": "context", "type": "string"})
    graph["edges"].append(an_edge("start.query", "llm.query"))

    assert prompts(run(graph, "m")) == ["!"]


def test_the_answer_is_some_llms_response_where_the_ends_is_empty() -> None:
    graph = a_graph()
    node(graph, "answer")["data"]["template"] = "{{start.session_id}}"
    node(graph, "answer")["variable_mappings"]["target"]["variable"] = "start.session_id"

    assert run(graph, "m").answer == "m: m"


def test_a_message_without_a_character_fails() -> None:
    assert "the message is empty" in (run(a_graph(), "").error or "")


def a_search(**data: Any) -> Json:
    graph = a_graph("{{k.context}}", found="k.context")
    graph["nodes"].append(a_node("k", "knowledge-retrieval", data, query="start.query"))
    graph["edges"] += [an_edge("start.query", "k.query"), an_edge("k.context", "llm.found")]
    return graph


def test_a_search_that_finds_nothing_searches_everywhere_and_then_says_so() -> None:
    trace = run(a_search(document_ids=["d"], top_k=3), "m", Silent())

    assert [call["document_ids"] for call in calls_of(trace)[:2]] == [["d"], ["*"]]
    assert prompts(trace) == [NOTHING_FOUND]


class Scored(Echo):
    """Finds a near document and a far one."""

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> Any:
        return [{"content": "near", "similarity": 0.4}, {"content": "far", "similarity": 0.39}]


def test_documents_below_the_threshold_are_dropped_and_none_where_it_is_0() -> None:
    assert prompts(run(a_search(), "m", Scored())) == ["near"]
    assert prompts(run(a_search(similarity_threshold=0), "m", Scored())) == ["near\n\nfar"]
    assert "not known here" in (run(a_search(similarity_threshold=0.9), "m", Scored()).error or "")


def change(node_id: str, *path: str, value: Any) -> Any:
    def apply(graph: Json) -> None:
        place = node(graph, node_id)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


def without_edge(number: int) -> Any:
    def apply(graph: Json) -> None:
        graph["edges"].pop(number)

    return apply


def with_another_end(graph: Json) -> None:
    graph["nodes"].append(a_node("end 2", "end", response="answer.final_output"))
    graph["edges"].append(an_edge("answer.final_output", "end 2.response"))


REFUSED = {
    "no answer node": change("answer", "data", "type", value="llm"),
    "is blank": change("answer", "data", "template", value=" "),
    "there is no such node": change("answer", "data", "template", value="{{nobody.x}}"),
    "without an edge or a mapping": change("llm", "data", "prompt_template", value="{{query}}"),
    "may not name 'sys.user_message'": change(
        "llm", "data", "prompt_template", value="{{sys.user_message}}"
    ),
    "which is no input": change("llm", "ports", "inputs", value=[]),
    "which does not exist": change(
        "llm", "variable_mappings", "query", value={"variable": "start.x", "value_type": "any"}
    ),
    "one is needed, or several behind a branch": with_another_end,
    "no answer leads to an end": without_edge(2),
    "'start' (a node of type start) has no edge out": without_edge(0),
    "too long, or has too many": change("answer", "data", "template", value="x" * 20_481),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_platform_refuses_is_refused_with_the_reason(why: str) -> None:
    graph = a_graph()
    run(graph)
    REFUSED[why](graph)

    with pytest.raises(BotError) as refused:
        run(graph)
    assert refused.value.code == "execution_failed"
    assert why in str(refused.value) or "has no input" in str(refused.value)
    assert any(issue.code in ("target", "edge") for issue in ANSWER.check(as_text(graph)))


def test_a_required_input_without_a_mapping_or_an_edge_is_refused() -> None:
    graph = a_graph()
    node(graph, "answer")["ports"]["inputs"].append(
        {"name": "more", "type": "number", "required": True}
    )
    node(graph, "llm")["ports"]["outputs"][0]["type"] = "string"

    with pytest.raises(BotError, match="required input 'more' of 'answer' is not mapped"):
        run(graph)


def a_branch(condition: Json) -> Json:
    """Two answers and two ends behind an if-else."""
    graph = a_graph()
    graph["edges"] = [
        an_edge("start.query", "llm.query"),
        an_edge("llm.response", "branch.response"),
        an_edge("branch.if", "answer.target"),
        an_edge("answer.final_output", "end.response"),
        an_edge("branch.else", "other.target"),
        an_edge("other.final_output", "end 2.response"),
    ]
    graph["nodes"] += [
        a_node("branch", "if-else", {"cases": [condition]}, response="llm.response"),
        a_node("other", "answer", {"template": "other"}, target="branch.else"),
        a_node("end 2", "end", response="other.final_output"),
    ]
    return graph


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        *(("empty", "", False), ("not empty", "", True), ("is", "m: Hi", True)),
        *(("is not", "m: Hi", False), ("contains", "hi", True), ("=", "x", False)),
    ],
)
def test_a_branch_takes_the_first_case_that_holds(operator: str, value: str, holds: bool) -> None:
    test = {
        "variable_selector": "llm.response",
        "comparison_operator": operator,
        "value": value,
        "varType": "string",
    }
    trace = run(a_branch({"conditions": [test], "logical_operator": "and"}), "Hi")

    assert trace.answer == ("m: Hi" if holds else "other")
    (branch,) = (record for record in trace.nodes if record.node_id == "branch")
    assert branch.outputs == {"if": holds, "else": not holds}


def test_a_type_that_this_engine_does_not_execute_is_refused_by_name() -> None:
    graph = a_graph()
    graph["nodes"].append(a_node("t", "slack"))
    graph["edges"].append(an_edge("start.query", "t.x"))
    node(graph, "t")["ports"]["inputs"] = [{"name": "x", "type": "any"}]

    with pytest.raises(BotError, match="'slack' is registered"):
        run(graph)


def test_jinja_is_not_executed() -> None:
    graph = a_graph()
    graph["nodes"].append(
        a_node("t", "template-transform", {"template": "{{ 7 * 7 }}"}, x="start.query")
    )
    graph["edges"].append(an_edge("start.query", "t.x"))

    assert "Jinja is not" in (run(graph).error or "")


# -- drafts ----------------------------------------------------------------------------------------


class Terse(Echo):
    """Echo, but every third prompt gets nothing for an answer."""

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        said, tokens = super().generate(prompt, model, provider, temperature, max_tokens)
        return ("" if len(prompt) % 3 == 0 else said), tokens


def is_unequal(workflow: v1.Workflow, message: str) -> bool:
    """Whether V1 replaces `{context}` in what it made of the message: no draft here can say that."""
    for one in workflow.nodes:
        template = one.config.template if isinstance(one.config, LlmConfig) else ""
        own = "[c]".join(
            part.replace("{question}", message) for part in template.split("{context}")
        )
        if template.replace("{question}", message).replace("{context}", "[c]") != own:
            return True
    return not message


class Reference:
    """A small engine of its own, for our drafts alone: it holds each to the platform's rules."""

    def __init__(self, graph: Json, message: str) -> None:
        self.message = message
        self.edges = graph["edges"]
        self.nodes = {one["id"]: one for one in graph["nodes"]}
        self.echo = ReferenceEcho()
        self.pool: dict[str, Any] = {}
        self.dead: set[str] = set()
        self.answers: list[str] = []

    def run(self) -> tuple[str, list[Any]]:
        """The answer and the calls of the draft."""
        ways = [(edge["source"], edge["target"]) for edge in self.edges]
        for name in run_order(list(self.nodes), ways):
            if name in self.dead:
                self.dead |= {target for source, target in ways if source == name}
                continue
            one = self.nodes[name]
            assert one["data"]["type"] == one["type"]
            assert {port["name"] for port in one["ports"]["inputs"]} == set(
                one["variable_mappings"]
            )
            assert self.taken(name) <= set(self.pool)
            getattr(self, "run_" + re.sub("-.*", "", one["type"]))(name, one["data"])
        (answer,) = self.answers
        return answer, self.echo.calls

    def taken(self, name: str) -> set[str]:
        return {one["variable"] for one in self.nodes[name]["variable_mappings"].values()}

    def rendered(self, name: str, template: str) -> str:
        """A template with its variables filled in, each of which needs an edge or a mapping."""
        sources = {edge["source"] for edge in self.edges if edge["target"] == name}
        assert len(template) <= 20_480
        assert len(PATTERN.findall(template)) <= 100

        def value(match: re.Match[str]) -> str:
            selector = match[2].strip()
            assert selector in self.taken(name) or selector.partition(".")[0] in sources
            return str(self.pool[selector])

        return PATTERN.sub(value, template)

    def run_start(self, name: str, _: Json) -> None:
        self.pool |= {f"{name}.query": self.message, f"{name}.session_id": ""}

    def run_knowledge(self, name: str, data: Json) -> None:
        assert data["similarity_threshold"] == 0
        texts = self.echo.retrieve(self.message, data["top_k"], data["document_ids"])
        self.pool |= {f"{name}.context": "\n\n".join(texts), f"{name}.documents": texts}

    def run_assigner(self, name: str, data: Json) -> None:
        for number, operation in enumerate(data["operations"]):
            self.pool[f"{name}.operation_{number}_result"] = operation["constant_value"]

    def run_answer(self, name: str, data: Json) -> None:
        assert data["template"].strip()
        self.pool[f"{name}.final_output"] = self.rendered(name, data["template"])

    def run_llm(self, name: str, data: Json) -> None:
        template = data["prompt_template"]
        assert template == template.strip() != ""
        assert not re.search(r"\{(query|question|context|system_prompt)\}", template)
        keys = ("model", "provider", "temperature", "max_tokens")
        prompt = self.rendered(name, template)
        said = self.echo.generate(prompt, **{key: data[key] for key in keys})
        self.pool[f"{name}.response"] = said

    def run_if(self, name: str, data: Json) -> None:
        ((condition,),) = [case["conditions"] for case in data["cases"]]
        assert condition["comparison_operator"] == "not empty"
        way = "if" if self.pool[condition["variable_selector"]] else "else"
        self.pool |= {f"{name}.if": way == "if", f"{name}.else": way == "else"}
        leaving = [edge for edge in self.edges if edge["source"] == name]
        self.dead |= {edge["target"] for edge in leaving if edge["source_port"] != way}

    def run_end(self, name: str, _: Json) -> None:
        mapping = self.nodes[name]["variable_mappings"]["response"]
        self.answers.append(self.pool[mapping["variable"]])


def assert_faithful(column: bytes, message: str) -> None:
    """V1 answers, the draft answers the same with the same calls, and a second engine says so too."""
    workflow = v1.decode(column, DEFAULTS)
    if is_unequal(workflow, message):
        return
    draft = convert_text(column, DEFAULTS, ANSWER)
    platform.read_draft(draft.graph)
    program = v1_engine.prepare(workflow)
    for providers in (Echo(), Terse()):
        one = v1_engine.execute(program, message, providers, clock=Clock())
        other = run(draft.graph, message, providers)
        assert one.error is None
        assert compare(one, other) == Parity(True)
        assert one.answer == other.answer
    answer, calls = Reference(json.loads(draft.graph), message).run()
    echoed = run(draft.graph, message)
    assert answer == echoed.answer
    assert same_calls(calls, calls_of(echoed))


@given(columns(max_nodes=8), messages())
@examples(400)
def test_any_column_does_in_a_draft_what_it_did_in_v1(column: bytes, message: str) -> None:
    assert_faithful(column, message)


@given(workflows(max_nodes=24, odd=False), messages())
@examples(100)
def test_any_graph_does_in_a_draft_what_it_did_in_v1(workflow: Json, message: str) -> None:
    assert_faithful(as_text(workflow), message)


@pytest.mark.parametrize("case", V1_CORPUS, ids=lambda case: case["name"])
def test_a_workflow_of_the_corpus_does_what_the_platforms_v1_did(case: Json) -> None:
    draft = convert(case["workflow"])
    trace = run(draft.graph, case["message"])

    assert trace.answer == case["expected"]["answer"]
    assert same_calls(calls_of(trace), case["expected"]["calls"])
    assert_faithful(as_text(case["workflow"]), case["message"])
    assert_faithful(as_text(case["workflow"]), "{question}{{x}}\n\n\n{query} ")


def a_workflow(template: str, *, searches: int = 0, **keys: Any) -> Json:
    """start → searches → llm → end."""
    names = [f"k{number}" for number in range(searches)]
    return {
        "nodes": [
            {"id": "start", "type": "start", "data": {}},
            *({"id": name, "type": "knowledge", "data": {"documentIds": [name]}} for name in names),
            {"id": "llm", "type": "llm", "data": {"model": "m", "prompt_template": template}},
            {"id": "end", "type": "end", "data": {}},
        ],
        "edges": paths(">".join(["start", *names, "llm", "end"])),
        **keys,
    }


PLAIN = [
    "{question}",
    "Q {question} {context} A",
    "constant",
    "{{{question}}} {x} {{}}",
    "{{}}{",
]
BUILT = [
    *(
        " {question}",
        "{question}\n",
        "{query} {question}",
        "{{name}} {question}",
        "{context}",
        "  ",
    ),
    *("{{ }}", "{{ \n}}{", "{question}{{ #}}"),
    *("{system_prompt}", "{{a.b}}", "{{#start.query#}}", "\n{{query}}\n{{name}}\n"),
    *("x" * 30_000, "{question}" * 250, ("{{x}}" + "y" * 6_000 + "{question} {x}") * 12),
    *("\n" * 21_000, "{question}" + " " * 30_000, "{question}" * 10_100),
]


@pytest.mark.parametrize("template", [*PLAIN, *BUILT], ids=lambda text: repr(text[:30]))
def test_a_prompt_reaches_the_model_to_the_character(template: str) -> None:
    draft = convert(a_workflow(template))

    for message in ("m", " {query}\n\n\n{{start.query}} ", "{{x}}"):
        wanted = template.replace("{question}", message).replace("{context}", "")
        assert prompts(run(draft.graph, message)) == [wanted]
    answers = sum(one["type"] == "answer" for one in json.loads(draft.graph)["nodes"])
    assert (answers == 2) == (template in PLAIN)


@given(
    st.lists(
        st.sampled_from(["{question}", "{context}", "{{a.b}}", "{", "}", " ", "\n", "x" * 6_000]),
        max_size=40,
    ).map("".join),
    st.integers(0, 3),
)
@examples(300)
def test_pieces_put_together_are_the_prompt(template: str, searches: int) -> None:
    context = [f"k{number}.context" for number in range(searches)]
    pieces = pieces_of(template, "start.query", context)
    values = {"start.query": "<m>", **{name: f"<{name}>" for name in context}}

    wanted = template.replace("{question}", "<m>").replace(
        "{context}", "\n\n".join(f"<{name}>" for name in context)
    )
    assert "".join(values[p.text] if p.is_output else p.text for p in pieces) == wanted
    if (own := plain(pieces)) is not None:
        assert render(own, values.get) == wanted
    shown, constants = built(pieces)
    values |= {f"\n{number}": text for number, text in enumerate(constants)}
    named = [
        Piece(one.text.replace("\n", "c.") if one.is_output else one.text, one.is_output)
        for one in shown
    ]
    values = {name.replace("\n", "c."): text for name, text in values.items()}
    runs = cut(named)
    assert "".join(render("".join(p.written for p in run), values.get) for run in runs) == wanted


def test_an_llm_that_says_nothing_is_answered_with_v1s_sentence() -> None:
    draft = convert(a_workflow("{question}"))

    assert run(draft.graph, "hi", Saying({"m": ""})).answer == NO_LLM_ANSWER
    assert run(draft.graph, "hi", Saying({"m": " "})).answer == " "


def test_every_edge_into_the_end_leads_to_the_branch_before_it() -> None:
    workflow = a_workflow("{question}", searches=2)
    workflow["edges"] += paths("k0>end", "start>end")
    graph = json.loads(convert(workflow).graph)

    ends = {one["id"] for one in graph["nodes"] if one["type"] == "end"}
    assert len(ends) == 2
    for end in ends:
        (edge,) = (edge for edge in graph["edges"] if edge["target"] == end)
        assert node(graph, edge["source"])["type"] == "answer"


MEANS_SOMETHING = {
    "start": {"ports": {"outputs": []}, "port_bindings": {"query": {}}, "output_schema": []},
    "k0": {"similarity_threshold": 0.9, "persist_to_conversation": True, "conversation_x_key": "c"},
    "llm": {
        "template": "{{nobody.x}}",
        "allow_conversation_context_fallback": True,
        "conversation_context_key": "c",
        "type": "strange",
    },
}


def test_keys_that_mean_something_only_to_this_platform_are_set_aside() -> None:
    workflow = a_workflow(
        "{question}", searches=1, environment_variables={"a": 1}, workflow_version_id="v", kept=1
    )
    for one in workflow["nodes"]:
        one["data"] |= MEANS_SOMETHING.get(one["id"], {})
    graph = json.loads(convert(workflow).graph)

    for name, keys in MEANS_SOMETHING.items():
        data = node(graph, name)["data"]
        assert {key: data[f"v1_{key}"] for key in keys} == keys
        assert set(keys) & set(data) <= {"type", "similarity_threshold"}
        assert data["type"] == node(graph, name)["type"]
    assert node(graph, "k0")["data"]["similarity_threshold"] == 0
    assert (graph["v1_environment_variables"], graph["v1_workflow_version_id"]) == ({"a": 1}, "v")
    assert "environment_variables" not in graph
    assert graph["kept"] == 1


@pytest.mark.parametrize(
    "case",
    [one for one in rows("v1_adversarial.jsonl") if "error" not in one["expected"]],
    ids=lambda case: case["name"],
)
def test_an_adversarial_workflow_differs_from_v1_by_nothing_but_a_context_in_the_message(
    case: Json,
) -> None:
    message, draft = case["message"], convert(case["workflow"])
    program = v1_engine.prepare(v1.decode(as_text(case["workflow"]), DEFAULTS))
    one = v1_engine.execute(program, message, Echo(), clock=Clock())
    other = run(draft.graph, message)
    assert one.answer == case["expected"]["answer"]

    def again(*, shown: Any, asked: Any) -> Trace:
        return v1_engine.execute(program, message, Echo(), clock=Clock(), shown=shown, asked=asked)

    parity = judge(one, other, ANSWER.differences, again)
    assert parity.same
    assert {known.code for known in parity.known} <= {"context_in_message"}
    assert not parity.known or "{context}" in message
    assert not parity.known or "context_in_message" in {one.code for one in draft.warnings}


def test_what_no_draft_can_prevent_is_a_warning_once_a_bot() -> None:
    def codes(workflow: Json) -> Counter[str]:
        return Counter(warning.code for warning in convert(workflow).warnings)

    unequal = ("second_search", "search_errors", "context_in_message")
    assert [codes(a_workflow("{question}", searches=3))[code] for code in unequal] == [1, 1, 1]
    assert [codes(a_workflow("x"))[code] for code in unequal] == [0, 0, 0]


@given(
    st.text(max_size=8)
    | st.sampled_from(["sys", "Env", "self", "CONV", "a.b", " a", "#a", "a#", ""])
)
@examples(1_000)
def test_an_id_is_kept_where_a_variable_can_name_it_and_else_becomes_one_that_can(
    name: str,
) -> None:
    usable = usable_id(name)

    assert [one.selector for one in variables("{{" + usable + ".x}}")] == [usable + ".x"]
    assert "." not in usable
    assert usable.lower() not in ("env", "environment", "conv", "conversation", "sys", "system")
    assert usable != "self"
    assert usable_id(usable) == usable


@given(columns(max_nodes=6))
@examples(200)
def test_the_same_column_gives_the_same_bytes(column: bytes) -> None:
    first = convert_text(column, DEFAULTS, ANSWER)

    assert convert_text(column, DEFAULTS, ANSWER) == first
