"""The target `answer` on workflows that are written against it: braces, ids, limits, keys, silence.

Whatever a person wrote in V1, the draft asks the same and answers the same, but for what is listed
(`is_unequal`), and there the bot is warned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import platform
from tests.builders import DEFAULTS, Json, as_text
from tests.graphs import Clock
from tests.strategies import examples
from tests.unit.core.targets.test_answer import assert_faithful, convert, is_unequal, prompts, run
from worker.core.engine import v1 as v1_engine
from worker.core.parity.compare import Parity, compare
from worker.core.workflow import v1
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.providers.echo import Echo

IDS = (
    *(
        "시작-1",
        "지식 노드",
        "a.b",
        "a..b",
        ".",
        "a b",
        " a",
        "a ",
        "#a",
        "a#",
        "##",
        "{a}",
        "{{a}}",
    ),
    *(
        "a}}b",
        "a\nb",
        "self",
        "Self",
        "SELF",
        "env",
        "ENV",
        "sys",
        "System",
        "conv",
        "Conversation",
    ),
    *(
        "environment",
        "env_node",
        "Sys_node",
        "answer-1",
        "answer-2",
        "if-else-1",
        "assigner-1",
        "end-1",
    ),
    *("start", "query", "0", "1.5", "🙂", "\u00a0a", "\u2028", "node", "_", "-", "a_b"),
)
PARTS = (
    *(
        "{question}",
        "{context}",
        "{query}",
        "{system_prompt}",
        "{name}",
        "{{name}}",
        "{{",
        "}}",
        "{",
    ),
    *("}", "{{ }}", "{{}}", "{{start.query}}", "{{#start.query#}}", "{{ self.query }}", "{{.}}"),
    *("{{a.b}}", "{{ a b.response }}", "{{sys.user}}", "{{env.x}}", "{{conv.x}}", "{{query}}"),
    *(
        "{{{question}}}",
        "{{{{question}}.x}}",
        "{{ {question} }}",
        "{{#{context}#}}",
        "{que{question}ry}",
    ),
    *(
        "{{시작-1.query}}",
        "{{지식 노드.context}}",
        "\n\n\n",
        "\n",
        " ",
        "\t",
        "\u00a0",
        "질문: ",
        "🙂",
    ),
    *(
        "{% raw %}",
        "{# x #}",
        "<b>&amp;</b>",
        "\\n",
        "%s",
        "$x",
        "\x01",
        "{{a\n.b}}",
        "{{a.b",
        "a.b}}",
    ),
)
LONG = (
    "x" * 6_000,
    "x" * 21_000,
    "{{a.b}}" * 120,
    "{question}" * 60,
    "{question} " * 101,
    " " * 21_000,
)
MESSAGES = (
    *(
        "m",
        " m ",
        "{query}",
        "{question}",
        "{system_prompt}",
        "{{start.query}}",
        "{{x}}",
        "}}",
        "{{",
    ),
    *("\n\n\n\n", "한글 메시지", "<b>", "context", "{context}", "{con", "text}", "{% x %}", "0"),
)
KEYS: Json = {
    "start": {"ports": {"inputs": []}, "port_bindings": {"a": 1}, "output_schema": {"x": "y"}},
    "knowledge": {
        "similarity_threshold": 0.99,
        "persist_to_conversation": True,
        "conversation_result_key": "k",
    },
    "llm": {
        "template": "{{other}}",
        "allow_conversation_context_fallback": True,
        "conversation_context_key": "k",
    },
    "end": {"template": "x", "type": "llm"},
}


class Quiet(Echo):
    """Echo, whose models say nothing at all."""

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        return "", super().generate(prompt, model, provider, temperature, max_tokens)[1]


def templates() -> SearchStrategy[str]:
    """Templates of V1: few parts and, one in a few, one that breaks a limit."""
    parts = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
    return parts | st.tuples(parts, st.sampled_from(LONG), parts).map("".join)


@st.composite
def hostile(draw: DrawFn) -> Json:
    """A workflow whose nodes stand in a row, with some edges besides."""
    middle = draw(st.lists(st.sampled_from(["knowledge", "llm"]), min_size=1, max_size=5))
    types = ["start", *middle, "end"]
    ids = draw(
        st.lists(st.sampled_from(IDS), min_size=len(types), max_size=len(types), unique=True)
    )
    nodes = [
        {"id": name, "type": kind, "data": _data(draw, kind)}
        for name, kind in zip(ids, types, strict=True)
    ]
    ends = list(pairwise(ids))
    for one, other in draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=4)):
        if one < other < len(ids):
            ends.append((ids[one], ids[other]))
    edges = [{"source": source, "target": target} for source, target in dict.fromkeys(ends)]
    graph = draw(
        st.sampled_from([{}, {"environment_variables": {"x": 1}, "workflow_version_id": 7}])
    )
    return {**graph, "nodes": nodes, "edges": edges}


def _data(draw: DrawFn, kind: str) -> Json:
    data: Json = dict(KEYS[kind]) if draw(st.booleans()) else {}
    if kind == "llm":
        data |= {"model": "m", "prompt_template": draw(templates())}
    if kind == "knowledge":
        data |= {"documentIds": draw(st.lists(st.sampled_from("abc"), max_size=2, unique=True))}
    return data


def messages() -> SearchStrategy[str]:
    return st.sampled_from(MESSAGES) | st.lists(
        st.sampled_from((*MESSAGES, *PARTS)), min_size=1, max_size=4
    ).map("".join)


def one_llm(template: str, **ids: str) -> Json:
    """start → llm → end."""
    names = [ids.get(name, name) for name in ("start", "llm", "end")]
    kinds: Sequence[tuple[str, Json]] = (
        ("start", {}),
        ("llm", {"model": "m", "prompt_template": template}),
        ("end", {}),
    )
    return {
        "nodes": [
            {"id": name, "type": kind, "data": data}
            for name, (kind, data) in zip(names, kinds, strict=True)
        ],
        "edges": [{"source": one, "target": other} for one, other in pairwise(names)],
    }


@given(hostile(), messages())
@example(one_llm("{{{question}}}", start="{{a}}"), "m")
@example(one_llm("{{#start.query#}} {question}" + "x" * 21_000), "{query}")
@example(one_llm("{{시작-1.query}}{question}", start="시작-1"), "m")
@examples(600)
def test_a_hostile_workflow_does_in_a_draft_what_it_did_in_v1(workflow: Json, message: str) -> None:
    assert_faithful(as_text(workflow), message)


@given(hostile(), messages())
@examples(200)
def test_where_models_say_nothing_v1s_sentence_is_the_answer(workflow: Json, message: str) -> None:
    column = as_text(workflow)
    decoded = v1.decode(column, DEFAULTS)
    assume(not is_unequal(decoded, message))
    one = v1_engine.execute(v1_engine.prepare(decoded), message, Quiet(), clock=Clock())
    other = run(convert(workflow).graph, message, Quiet())

    assert (one.answer, other.answer) == (NO_LLM_ANSWER, NO_LLM_ANSWER)
    assert compare(one, other) == Parity(True)


@given(hostile())
@examples(200)
def test_a_message_that_v1_reads_again_is_warned_of(workflow: Json) -> None:
    decoded = v1.decode(as_text(workflow), DEFAULTS)
    assume(is_unequal(decoded, "{context}"))

    assert "context_in_message" in {one.code for one in convert(workflow).warnings}


@given(hostile())
@examples(200)
def test_a_hostile_draft_is_read_by_the_interface_and_survives_a_save(workflow: Json) -> None:
    graph = convert(workflow).graph
    platform.read_draft(graph)
    saved: Any = platform.save_draft(graph)

    assert prompts(run(as_text(saved), "m")) == prompts(run(graph, "m"))
