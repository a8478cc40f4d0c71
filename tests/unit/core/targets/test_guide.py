"""The target guide: its engine to the character, and drafts that reach V1 as far as it can be reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from tests.builders import (
    DEFAULTS,
    Json,
    a_graph,
    a_search,
    a_workflow,
    an_llm,
    as_text,
    node,
    paths,
    warnings,
)
from tests.graphs import Clock, a_plain_graph, run
from tests.strategies import examples, messages, templates, workflows
from worker.core.engine import v1 as v1_engine
from worker.core.parity.trial import Equipment, TrialResult, try_draft
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.targets.guide.rendering import carried, render, trimmed
from worker.core.workflow import v1
from worker.errors import BotError
from worker.providers.echo import Echo

CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parents[3] / "data" / "v2_guide.jsonl").read_text().splitlines()
]
ECHO = Echo()


def executed(graph: bytes, message: str) -> Json:
    """What the engine did, as the corpus has it."""
    try:
        trace = run(graph, message)
    except BotError:
        return {"error": True}
    if trace.error is not None:
        return {"error": True}
    return {"answer": trace.answer, "calls": json.loads(msgspec.json.encode(trace.calls))}


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_a_draft_of_the_corpus_gets_the_platforms_answer_and_calls(case: Json) -> None:
    assert executed(json.dumps(case["graph"]).encode(), case["message"]) == case["expected"]


@given(templates(), messages(), templates(), templates())
@examples(1_000)
def test_a_prompt_is_what_the_facts_say(
    template: str, query: str, context: str, system_prompt: str
) -> None:
    assert render(
        template, query=query, context=context, system_prompt=system_prompt
    ) == reference.render_guide(template, query, context, system_prompt)


@given(st.text("\n \t\u3000\x1fa", max_size=12))
@examples(300)
def test_trimming_is_what_the_facts_say(prompt: str) -> None:
    assert trimmed(prompt) == reference.trim(prompt)


@given(workflows(max_nodes=6, odd=False), messages(), st.data())
@examples(500)
def test_an_edited_draft_runs_as_the_facts_say(workflow: Json, message: str, data: Any) -> None:
    graph = a_graph(workflow)
    for one in graph["nodes"]:
        if one["type"] == "llm":
            one["data"]["prompt_template"] = data.draw(templates() | messages())
            if data.draw(st.booleans()):
                one["variable_mappings"].pop("context", None)
            if data.draw(st.booleans()):
                one["variable_mappings"]["system_prompt"] = one["variable_mappings"]["query"]

    answer, calls = reference.run_v2(graph, message)

    assert executed(json.dumps(graph).encode(), message) == {"answer": answer, "calls": calls}


def test_inputs_that_are_not_mapped_are_empty_texts() -> None:
    trace = run(a_plain_graph(prompt_template="[{context}{system_prompt}]", model="m"))

    assert trace.answer == "m: []"


@pytest.mark.parametrize("kinds", [["start", "start", "end"], ["end"]])
def test_a_graph_without_exactly_one_start_is_refused(kinds: list[str]) -> None:
    nodes = [
        {"id": f"n{place}", "type": kind, "ports": {}, "variable_mappings": {}}
        for place, kind in enumerate(kinds)
    ]

    with pytest.raises(BotError, match="start nodes; exactly one is needed"):
        run(json.dumps({"nodes": nodes, "edges": []}).encode())


# -- drafts ----------------------------------------------------------------------------------------


@given(templates(), messages(), messages())
@examples(1_000)
def test_a_carried_template_comes_out_as_v1s_prompt_trimmed(
    template: str, message: str, context: str
) -> None:
    prompt = reference.render(template, message, context)
    brought = reference.render(template.replace("{system_prompt}", "…"), message, context)
    if "{system_prompt}" in brought:  # not from the template: see `placeholder_removed`
        return

    rendered = reference.render_guide(carried(template), message, context, "")

    assert rendered == reference.trim(prompt)


def test_literal_placeholders_of_v2_come_out_as_they_stand() -> None:
    workflow = a_workflow(an_llm(prompt_template="{query}, {system_prompt}, {question}", model="m"))

    assert run(as_text(a_graph(workflow)), "hi").answer == "m: {query}, {system_prompt}, hi"
    assert ("query_placeholder", "llm") in warnings(workflow)


@pytest.mark.parametrize("message", ["{context}", "{question}{context}", "{query}"])
def test_nothing_is_replaced_in_what_v1s_own_prompt_is_filled_with(message: str) -> None:
    graph = as_text(a_graph(a_workflow(a_search(), an_llm(prompt_template="", model="m"))))

    assert run(graph, message).answer == (
        f"m: Context: [doc-k#0] {message}\n\n[doc-k#1] {message}\n\nQuestion: {message}\n\nAnswer:"
    )


def test_a_template_that_is_trimmed_warns_once_for_a_bot() -> None:
    workflow = a_workflow(
        an_llm("a", prompt_template=" {question}"),
        an_llm("b", prompt_template="a\n\n\nb"),
        edges=paths("start>a>b>end"),
    )

    assert [one for one in warnings(workflow) if one[0] == "prompt_trimmed"] == [
        ("prompt_trimmed", "a")
    ]
    assert "prompt_trimmed" not in dict(warnings(a_workflow(an_llm(prompt_template="a\n\nb"))))


# -- trials ----------------------------------------------------------------------------------------


def trial_result(
    workflow: Json, message: str, *, strict: bool = False, edit: Json | None = None
) -> TrialResult:
    """A trial of a workflow's draft, whose first LLM's data may be edited."""
    column = as_text(workflow)
    graph = json.loads(convert_text(column, DEFAULTS).graph)
    node(graph, "llm")["data"].update(edit or {})
    equipment = Equipment(
        lambda: (ECHO, ECHO),
        Clock(),
        GUIDE.rules.built_in,
        target=GUIDE,
        strict=frozenset({"prompt_trimmed"} if strict else ()),
    )
    old = v1_engine.prepare(v1.decode(column, DEFAULTS))
    return try_draft(old, GUIDE.decode(as_text(graph)), [(1, message, "s")], equipment)


def test_trimming_alone_agrees_and_is_told() -> None:
    found = trial_result(a_workflow(an_llm(prompt_template="{question}")), " hi ")

    assert (found.agreed, found.code) == (True, None)
    assert [one.code for one in found.known] == ["prompt_trimmed"]
    assert "on ' hi ': the prompt of an LLM call is" in found.known[0].message


def test_trimming_is_a_failure_where_it_is_meant_to_be_one() -> None:
    found = trial_result(a_workflow(an_llm(prompt_template="{question}")), " hi ", strict=True)

    assert (found.agreed, found.code, found.known) == (False, "parity_mismatch", ())


def test_a_placeholder_that_a_message_brings_is_told() -> None:
    workflow = a_workflow(an_llm(prompt_template="{question}"))

    assert [one.code for one in trial_result(workflow, "a{system_prompt}b").known] == [
        "placeholder_removed"
    ]
    assert [one.code for one in trial_result(workflow, "{system_prompt} b").known] == [
        "placeholder_removed", "prompt_trimmed",
    ]  # fmt: skip


def test_a_difference_beside_trimming_is_no_known_one() -> None:
    found = trial_result(
        a_workflow(an_llm(prompt_template="{question}")),
        " hi ",
        edit={"prompt_template": "{question}!"},
    )

    assert (found.agreed, found.code, found.known) == (False, "parity_mismatch", ())


def test_nothing_known_is_told_where_both_agree() -> None:
    found = trial_result(a_workflow(an_llm(prompt_template="{question}")), "hi")

    assert (found.agreed, found.known) == (True, ())
