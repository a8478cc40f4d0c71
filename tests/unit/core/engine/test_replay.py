"""Replay: V2 is answered what V1 was answered, and only what V1 did not ask goes to the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import assume, given

from tests.builders import as_text
from tests.graphs import BUILT_IN
from tests.strategies import examples, messages, workflows
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.engine.replay import Replay
from worker.core.parity.compare import compare
from worker.core.parity.known import judge
from worker.core.parity.trial import Equipment, try_draft
from worker.core.targets.convert import convert_text
from worker.core.targets.guide import GUIDE
from worker.core.workflow import v1
from worker.core.workflow.calls import Trace
from worker.core.workflow.config import Defaults
from worker.providers.echo import Echo


class Moody:
    """A model and a search that never say the same twice; each call takes two seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[Any] = []
        self._number = count(1)

    def clock(self) -> float:
        return self.now

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        self.now += 2.0
        self.asked.append((query, top_k, tuple(document_ids)))
        return [{"content": f"document {next(self._number)}"}]

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        self.now += 2.0
        self.asked.append((prompt, model, provider, temperature, max_tokens))
        return f"answer {next(self._number)}", 10


END = {"id": "e", "type": "end"}
ANOTHER = {"id": "m", "type": "llm", "data": {"model": "another"}}
A_PROMPT: dict[str, Any] = {
    "nodes": [{"id": "s", "type": "start"}, {"id": "m", "type": "llm"}, END],
    "edges": [{"source": "s", "target": "m"}, {"source": "m", "target": "e"}],
}


def both(workflow: dict[str, Any], providers: Replay | Moody, message: str) -> tuple[Trace, Trace]:
    text = as_text(workflow)
    program = v1_engine.prepare(v1.decode(text, Defaults()))
    draft = GUIDE.decode(convert_text(text, Defaults()).graph)
    return (
        v1_engine.execute(program, message, providers, clock=lambda: 0.0),
        v2_engine.execute(draft, message, providers, clock=lambda: 0.0),
    )


@given(workflow=workflows(), message=messages())
@examples(200)
def test_a_draft_is_faithful_on_a_model_that_never_says_the_same_twice(
    workflow: dict[str, Any], message: str
) -> None:
    moody = Moody()
    replay = Replay(moody, moody.clock)
    traces = both(workflow, replay, message)

    assume("{system_prompt}" not in str(traces[0].calls))  # not told apart: `placeholder_removed`
    program = v1_engine.prepare(v1.decode(as_text(workflow), Defaults()))

    def again(*, shown: Callable[[str], str], asked: Callable[[str], str]) -> Trace:
        return v1_engine.execute(
            program, message, replay, clock=lambda: 0.0, shown=shown, asked=asked
        )

    assert judge(*traces, GUIDE.differences, again).same
    assert len(moody.asked) == len({call for trace in traces for call in trace.calls})
    assert traces[1].tokens == traces[0].tokens


def test_without_it_the_same_draft_would_look_unfaithful() -> None:
    assert compare(*both(A_PROMPT, Moody(), "hello")).same is False


ARGUMENTS = [
    ("p", "m", "openai", 0.5, 100),
    ("q", "m", "openai", 0.5, 100),
    ("p", "n", "openai", 0.5, 100),
    ("p", "m", "google", 0.5, 100),
    ("p", "m", "openai", 0.6, 100),
    ("p", "m", "openai", 0.5, 101),
]


def test_a_call_that_differs_in_any_argument_goes_to_the_model() -> None:
    moody = Moody()
    replay = Replay(moody, moody.clock)

    first = [replay.generate(*arguments) for arguments in ARGUMENTS]
    again = [replay.generate(*arguments) for arguments in ARGUMENTS]

    assert first == again == [(f"answer {n}", 10) for n in range(1, 7)]
    assert moody.asked == ARGUMENTS


def test_a_search_that_differs_in_any_argument_is_made() -> None:
    moody = Moody()
    replay = Replay(moody, moody.clock)
    searches = [("q", 5, ["a"]), ("r", 5, ["a"]), ("q", 6, ["a"]), ("q", 5, ["a", "b"])]

    first = [replay.retrieve(*arguments) for arguments in searches]

    assert [replay.retrieve(*arguments) for arguments in searches] == first
    assert len(moody.asked) == 4


def test_a_search_that_found_nothing_is_not_made_again() -> None:
    class Empty(Moody):
        def retrieve(self, *arguments: Any) -> list[dict[str, str]]:
            super().retrieve(*arguments)
            return []

    moody = Empty()
    replay = Replay(moody, moody.clock)

    assert [replay.retrieve("q", 1, ["a"]) for _ in range(2)] == [[], []]
    assert len(moody.asked) == 1


def test_the_time_of_the_providers_is_told_apart_and_memory_takes_none() -> None:
    moody = Moody()
    replay = Replay(moody, moody.clock)

    replay.retrieve("q", 1, ["a"])
    replay.generate(*ARGUMENTS[0])
    assert replay.waited_us == 4_000_000

    replay.retrieve("q", 1, ["a"])
    replay.generate(*ARGUMENTS[0])
    assert replay.waited_us == 4_000_000


def test_the_overhead_of_a_draft_leaves_out_what_the_model_took() -> None:
    moody = Moody()

    def pair() -> tuple[Replay, Replay]:
        replay = Replay(moody, moody.clock)
        return replay, replay

    text = json.dumps(A_PROMPT).encode()
    trial_result = try_draft(
        v1_engine.prepare(v1.decode(text, Defaults())),
        GUIDE.decode(convert_text(text, Defaults()).graph),
        [(1, "hello", "s-1"), (2, "bye", "s-2")],
        Equipment(pair, moody.clock, BUILT_IN),
    )

    assert trial_result.agreed
    assert moody.now == 4.0, "each message was asked once"
    assert trial_result.overhead_us == 0


def test_the_overhead_of_a_call_that_only_v2_makes_leaves_it_out_too() -> None:
    moody = Moody()

    def pair() -> tuple[Replay, Replay]:
        replay = Replay(moody, moody.clock)
        return replay, replay

    text = json.dumps(A_PROMPT).encode()
    other = json.dumps(A_PROMPT | {"nodes": [*A_PROMPT["nodes"][:1], ANOTHER, END]}).encode()
    trial_result = try_draft(
        v1_engine.prepare(v1.decode(text, Defaults())),
        GUIDE.decode(convert_text(other, Defaults()).graph),
        [(1, "hello", "s-1")],
        Equipment(pair, moody.clock, BUILT_IN),
    )

    assert trial_result.code == "parity_mismatch"
    assert moody.now == 4.0, "V1's call and V2's"
    assert trial_result.overhead_us == 0


def test_a_failure_is_not_remembered_but_its_time_is() -> None:
    class Recovering(Moody):
        def generate(self, *arguments: Any) -> tuple[str, int]:
            answer = super().generate(*arguments)
            if len(self.asked) == 1:
                raise ConnectionError("away")
            return answer

    moody = Recovering()
    replay = Replay(moody, moody.clock)

    with pytest.raises(ConnectionError):
        replay.generate(*ARGUMENTS[0])

    assert replay.generate(*ARGUMENTS[0]) == ("answer 2", 10)
    assert replay.waited_us == 4_000_000


def test_on_echo_it_changes_nothing() -> None:
    replay = Replay(Echo(), lambda: 0.0)

    assert replay.generate(*ARGUMENTS[0]) == Echo().generate(*ARGUMENTS[0])
    assert replay.retrieve("q", 2, ["a"]) == Echo().retrieve("q", 2, ["a"])
