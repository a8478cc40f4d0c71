"""Parity: what counts as the same, and how a difference is told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from worker.core.parity.compare import Parity, compare
from worker.core.parity.known import Change, judge
from worker.core.targets.target import KnownDifference
from worker.core.workflow.calls import Call, Generate, Retrieve, Trace

PARTING = (
    f"the prompt of an LLM call is '…{'a' * 20}1{'b' * 37}…' in V1 "
    f"and '…{'a' * 20}2{'b' * 37}…' in V2 (they part at character 101)"
)


def a_search(query: str = "hi", top_k: int = 5, documents: tuple[str, ...] = ("a",)) -> Retrieve:
    return Retrieve(query, top_k, documents)


def a_prompt(prompt: str = "hi", model: str = "m", temperature: float = 0.7) -> Generate:
    return Generate(prompt, model, "openai", temperature, 4000)


def compared(v1: Sequence[Call], v2: Sequence[Call]) -> Parity:
    return compare(Trace("x", tuple(v1)), Trace("x", tuple(v2)))


def test_calls_in_another_order_are_the_same() -> None:
    calls: list[Call] = [a_search(), a_prompt("1"), a_prompt("2")]

    assert compared(calls, calls[::-1]) == Parity(True)


def test_numbers_compare_as_numbers() -> None:
    assert compared([a_prompt(temperature=0)], [a_prompt(temperature=0.0)]) == Parity(True)


def test_an_empty_response_is_told_as_what_v2_cannot_say() -> None:
    sentence = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."
    v1, without_llm = Trace(sentence, (), first_response_empty=True), Trace(sentence, ())

    assert compare(v1, Trace("", ())) == Parity(
        False,
        "the first response is empty: V1 puts its fixed sentence in its place, V2 has no such rule "
        "and answers with the empty text",
    )
    assert compare(v1, Trace(sentence, ())) == Parity(True)
    for other, answer in ((v1, " "), (without_llm, "")):
        told = compare(other, Trace(answer, ())).difference
        assert told == f"the answer is '{sentence}' in V1 and '{answer}' in V2"


def test_a_call_made_twice_is_not_a_call_made_once() -> None:
    once, twice = [a_search()], [a_search(), a_search()]

    assert compared(twice, once).difference == (
        "V2 does not make a call that V1 makes: search with query 'hi', top_k 5, document_ids ['a']"
    )
    assert compared(once, twice).difference == (
        "V2 makes a call that V1 does not: search with query 'hi', top_k 5, document_ids ['a']"
    )


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (a_search(top_k=3), a_search(top_k=5), "the top_k of a search is 3 in V1 and 5 in V2"),
        (
            a_search(),
            a_search(documents=("a", "b")),
            "the document_ids of a search is ['a'] in V1 and ['a', 'b'] in V2",
        ),
        (a_prompt(), a_prompt(model="n"), "the model of an LLM call is 'm' in V1 and 'n' in V2"),
        (
            a_prompt("a" * 100 + "1" + "b" * 100),
            a_prompt("a" * 100 + "2" + "b" * 100),
            PARTING,
        ),
    ],
)
def test_a_difference_names_the_argument_and_both_values(one: Call, other: Call, told: str) -> None:
    assert compared([one], [other]) == Parity(False, told)


def test_the_call_that_is_most_alike_is_shown_beside_v1s() -> None:
    told = compared(
        [a_search(), a_prompt("hello")], [a_search(), a_prompt("x", "n"), a_prompt("hallo")]
    ).difference

    assert told == "the prompt of an LLM call is 'hello' in V1 and 'hallo' in V2"


def test_another_answer_is_told_where_the_calls_are_the_same() -> None:
    assert compare(Trace("yes", ()), Trace("no", ())) == Parity(
        False, "the answer is 'yes' in V1 and 'no' in V2"
    )


def test_a_draft_that_fails_where_v1_answers_differs() -> None:
    assert compare(Trace("yes", ()), Trace(None, (), "node 'x' failed: no")) == Parity(
        False, "V1 answered, V2 did not: node 'x' failed: no"
    )


def test_where_v1_fails_there_is_nothing_to_compare() -> None:
    failed = Trace(None, (), "node 'x' failed: no")

    assert compare(failed, failed).same is None
    assert compare(failed, Trace("yes", ())).same is None


def test_v1_is_not_run_again_for_a_difference_that_changes_nothing_it_said() -> None:
    runs: list[tuple[Change, Change]] = []

    def run_v1(*, shown: Change, asked: Change) -> Trace:
        runs.append((shown, asked))
        return Trace("x", (a_prompt(shown("hi ")),))

    def strip(given: str) -> Parity:
        v1, v2 = Trace("x", (a_prompt(given),)), Trace("x", (a_prompt("hi"),))
        return judge(v1, v2, (KnownDifference("prompt_trimmed", str.strip, "it strips"),), run_v1)

    assert strip("ha").same is False
    assert runs == []
    assert strip("hi ").same is True
    assert len(runs) == 1
