"""The heart of the product: for any message, a draft does what V1 did (design sections 2 and 3).

The property is stated once, in `assert_faithful`, of the product's own engines and `compare`. So that
these cannot be wrong together, both are held against the small engines of `tests.reference` too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, seed, settings

from tests import platform
from tests.builders import DEFAULTS, Json, as_text, paths
from tests.graphs import Clock
from tests.reference import run_v1, run_v2, trim
from tests.shapes import SHAPES, shapes
from tests.strategies import MESSAGES, columns, examples, messages, workflows
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.parity.known import judge
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.workflow import v1
from worker.core.workflow.calls import Generate, Providers, Trace
from worker.providers.echo import Echo

DATA = Path(__file__).parents[3] / "data"
CORPUS = [
    case
    for name in ("v1_valid.jsonl", "v1_config.jsonl", "v1_adversarial.jsonl")
    for case in map(json.loads, (DATA / name).read_text().splitlines())
    if "error" not in case["expected"]
]


class Patchy(Echo):
    """Echo, but some searches find nothing, and the others find placeholders."""

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        if (len(document_ids[0]) + len(document_ids)) % 2:
            return []
        found = super().retrieve(query, top_k, document_ids)
        return [{"content": f"{{question}}{one['content']}{{context}}"} for one in found]


def assert_faithful(column: bytes, message: str) -> None:
    """V1 answers, and the draft makes the same calls and gives the same answer."""
    draft = convert_text(column, DEFAULTS)
    platform.read_draft(draft.graph)
    program = v1_engine.prepare(v1.decode(column, DEFAULTS))
    graph = GUIDE.decode(draft.graph)

    def run_both(providers: Providers) -> tuple[Trace, Trace]:
        def run_v1(*, shown: Callable[[str], str], asked: Callable[[str], str]) -> Trace:
            return v1_engine.execute(
                program, message, providers, clock=Clock(), shown=shown, asked=asked
            )

        one = v1_engine.execute(program, message, providers, clock=Clock())
        other = v2_engine.execute(graph, message, providers, clock=Clock())
        assert one.error is None
        # `{system_prompt}` of a message is removed, which cannot be told apart from the template's.
        if "{system_prompt}" not in "".join(prompts(one)):
            assert judge(one, other, GUIDE.differences, run_v1).same is True
            trimmed = [trim(prompt) for prompt in prompts(one)]
            assert sorted(prompts(other)) == sorted(trimmed)
        assert {record.status for record in other.nodes} == {"succeeded"}
        return one, other

    # V1 words an empty template by what was found, which no draft can say: that is its warning.
    if "empty_template" not in {warning.code for warning in draft.warnings}:
        run_both(Patchy())
    one, other = run_both(Echo())
    assert_engines_are_right(json.loads(column), json.loads(draft.graph), message, one, other)


def assert_engines_are_right(
    workflow: Json, graph: Json, message: str, one: Trace, other: Trace
) -> None:
    """V1's trace is the reference's call by call, and V2's too."""
    answer, calls = run_v1(workflow, message)
    assert (one.answer, calls_of(one)) == (answer, calls)
    assert (other.answer, calls_of(other)) == run_v2(graph, message)


def prompts(trace: Trace) -> list[str]:
    return [call.prompt for call in trace.calls if isinstance(call, Generate)]


def calls_of(trace: Trace) -> Any:
    return json.loads(msgspec.json.encode(trace.calls))


ON_A_BRIDGE: Json = {
    "nodes": [
        {"id": "end", "type": "end"},
        {"id": "env", "type": "llm", "data": {"use_context_from": ["k.2", "k.1", "k.2"]}},
        {"id": "k.2", "type": "knowledge", "data": {"topK": 1}},
        {"id": "k.1", "type": "custom", "data": {"type": "knowledge", "documentIds": ["a"]}},
        {"id": "s", "type": "start"},
    ],
    "edges": paths("s>k.1>k.2>env>end"),
}


@given(columns(max_nodes=8), messages())
@example(as_text(ON_A_BRIDGE), "{context}")
@examples(4_000)
def test_any_column_does_in_v2_what_it_did_in_v1(column: bytes, message: str) -> None:
    assert_faithful(column, message)


@given(workflows(max_nodes=24, odd=False), messages())
@examples(2_000)
def test_any_graph_does_in_v2_what_it_did_in_v1(workflow: Json, message: str) -> None:
    assert_faithful(as_text(workflow), message)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_a_workflow_of_the_corpus_does_in_v2_what_it_did_in_v1_for_any_message(case: Json) -> None:
    column = json.dumps(case["workflow"]).encode()

    for message in (case["message"], *MESSAGES):
        assert_faithful(column, message)


ROUNDS = 4


@pytest.mark.hypothesis
def test_the_generated_examples_hold_every_shape() -> None:
    """Hypothesis draws constants of what is imported, too: 1,000 hold the rarest 1 to 25 times."""
    counted: Counter[str] = Counter()

    @settings(max_examples=1_000, database=None)
    @given(columns(max_nodes=8), messages())
    def draw(column: bytes, message: str) -> None:
        counted.update(shapes(column, message))

    for number in range(ROUNDS):
        seed(number)(draw)()

    assert {name: counted[name] for name in SHAPES if counted[name] < 5 * ROUNDS} == {}
