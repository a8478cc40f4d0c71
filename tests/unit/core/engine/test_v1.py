"""The V1 engine: what the platform's own did on the corpus, and what V1 does implicitly."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.graphs import Clock, Failing, Saying, Silent, Stopping
from worker.core.engine import v1 as engine
from worker.core.workflow import v1
from worker.core.workflow.calls import DEFAULT_LIMITS, Limits, Trace
from worker.core.workflow.config import Defaults
from worker.core.workflow.v1_texts import NO_LLM_ANSWER
from worker.errors import BotError, BudgetSpentError, ProviderError, TransientError
from worker.providers.echo import Echo

DATA = Path(__file__).parents[3] / "data"
CORPUS = [
    json.loads(line)
    for name in ("v1_valid.jsonl", "v1_config.jsonl", "v1_adversarial.jsonl")
    for line in (DATA / name).read_text().splitlines()
]
RUNS = [case for case in CORPUS if "error" not in case["expected"]]
REFUSED = [case for case in CORPUS if "error" in case["expected"]]


def run(
    workflow: dict[str, Any],
    message: str = "hello",
    *,
    providers: Echo | None = None,
    clock: Clock | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Trace:
    decoded = v1.decode(json.dumps(workflow).encode(), Defaults())
    return engine.execute(
        engine.prepare(decoded),
        message,
        providers or Echo(),
        clock=clock or Clock(),
        limits=limits,
    )


def a_chain(*nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A workflow whose nodes follow one another: start, n1, n2 …, end."""
    ids = ["start", *(f"n{number}" for number in range(1, len(nodes) + 1)), "end"]
    types = [("start", {}), *nodes, ("end", {})]
    return {
        "nodes": [
            {"id": i, "type": t, "data": data} for i, (t, data) in zip(ids, types, strict=True)
        ],
        "edges": [{"source": a, "target": b} for a, b in pairwise(ids)],
    }


def calls_of(trace: Trace) -> Any:
    return json.loads(msgspec.json.encode(trace.calls))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_what_the_platform_refuses_in_the_corpus_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(BotError):
        run(case["workflow"], case["message"])


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case["name"])
def test_the_corpus_gets_the_platforms_answer_and_calls_in_order(case: dict[str, Any]) -> None:
    trace = run(case["workflow"], case["message"])

    assert trace.error is None
    assert trace.answer == case["expected"]["answer"]
    assert calls_of(trace) == case["expected"]["calls"]


@pytest.mark.parametrize("response", ["", "words"])
def test_an_empty_first_response_is_the_fixed_sentence(response: str) -> None:
    workflow = a_chain(("llm", {"model": "first"}), ("llm", {"model": "second"}))

    trace = run(workflow, providers=Saying({"first": response, "second": "never shown"}))

    assert trace.answer == (response or NO_LLM_ANSWER)
    assert trace.first_response_empty is not bool(response)
    assert len(trace.calls) == 2


def test_a_blank_first_response_is_an_answer() -> None:
    assert run(a_chain(("llm", {"model": "m"})), providers=Saying({"m": " \n"})).answer == " \n"


def test_the_fixed_sentence_of_a_workflow_without_an_llm_is_no_empty_response() -> None:
    trace = run(a_chain(("knowledge", {})))

    assert (trace.answer, trace.first_response_empty) == (NO_LLM_ANSWER, False)


def test_an_empty_template_asks_with_the_context_where_something_was_found() -> None:
    workflow = a_chain(("knowledge", {"top_k": 1}), ("llm", {"prompt_template": ""}))

    found = run(workflow)
    nothing = run(workflow, providers=Silent())

    assert found.answer == (
        "gpt-3.5-turbo: Context: [default-dataset#0] hello\n\nQuestion: hello\n\nAnswer:"
    )
    assert nothing.answer == "gpt-3.5-turbo: Question: hello\n\nAnswer:"


def test_the_context_is_filled_into_a_message_that_asks_for_it() -> None:
    workflow = a_chain(
        ("knowledge", {"document_ids": ["{question}"], "top_k": 1}),
        ("llm", {"model": "m", "prompt_template": "{context}|{question}|{other}|{{question}}"}),
    )

    trace = run(workflow, "{context}{question}")

    assert trace.answer == (
        "m: [{question}#0] {context}{question}|"
        "[{question}#0] {context}{question}{question}|{other}|"
        "{[{question}#0] {context}{question}{question}}"
    )


def test_a_provider_that_fails_ends_the_execution_with_the_node_named() -> None:
    workflow = a_chain(("llm", {"model": "first"}), ("llm", {"model": "second"}))

    trace = run(workflow, providers=Failing(model="second"))

    assert trace.answer is None
    assert trace.error == "node 'n2' failed: ConnectionError: second is away"
    assert [call.model for call in trace.calls if hasattr(call, "model")] == ["first", "second"]


@pytest.mark.parametrize("error", [BudgetSpentError(), TransientError()])
def test_what_is_no_nodes_fault_gives_the_execution_up_and_records_nothing(
    error: Exception,
) -> None:
    with pytest.raises(type(error)):
        run(a_chain(("llm", {})), providers=Stopping(error))


def test_a_prompt_that_no_provider_answers_fails_its_node() -> None:
    trace = run(a_chain(("llm", {})), providers=Stopping(ProviderError("no provider answered")))

    assert trace.error == "node 'n1' failed: ProviderError: no provider answered"


def test_an_execution_that_takes_too_long_is_given_up() -> None:
    workflow = a_chain(("llm", {}), ("llm", {}))

    trace = run(workflow, clock=Clock(step_s=1), limits=Limits(timeout_s=1))

    assert trace.error == "node 'n2' failed: TimeoutError: more than 1 seconds"


def test_an_execution_of_too_many_steps_is_given_up() -> None:
    trace = run(a_chain(("llm", {}), ("llm", {})), limits=Limits(max_steps=1))

    assert trace.error == "node 'n2' failed: TimeoutError: more than 1 steps"


def test_what_v1_refuses_is_not_executed() -> None:
    with pytest.raises(BotError, match="no edge leads out of node 'start'"):
        run({"nodes": a_chain()["nodes"], "edges": []})
