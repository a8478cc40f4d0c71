"""Independent nodes at the same time: nothing but the time that it takes tells it from the sequence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.builders import DEFAULTS, a_workflow, an_llm, as_text, paths
from tests.graphs import BUILT_IN, Clock, a_graph, a_node, a_plain_graph, run
from tests.strategies import Tape, examples
from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as engine
from worker.core.engine.parallel import Pool, walk
from worker.core.engine.registry import register
from worker.core.parity.recording import as_row
from worker.core.parity.trial import Equipment, try_draft
from worker.core.targets.convert import convert
from worker.core.targets.guide import GUIDE
from worker.core.workflow import v1
from worker.core.workflow.calls import Limits, Trace
from worker.core.workflow.node_types import Node
from worker.core.workflow.v2 import Port, Ports
from worker.errors import BudgetSpentError
from worker.providers.echo import Echo

NEVER = Limits()


class AnyOrder:
    """A pool in this thread: what was submitted runs when somebody waits, in any order."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.waiting: list[AnyOrder.Task] = []
        self.submitted = 0

    class Task:
        def __init__(self, pool: AnyOrder, call: Callable[..., object], arguments: Any) -> None:
            self.pool, self.call, self.arguments = pool, call, arguments
            self.ended = False

        def result(self) -> object:
            while not self.ended:
                waiting = self.pool.waiting
                chosen = waiting.pop(self.pool.random.randrange(len(waiting)))
                chosen.call(*chosen.arguments)
                chosen.ended = True
            return None

    def submit(self, call: Callable[..., object], /, *arguments: Any) -> Task:
        self.submitted += 1
        self.waiting.append(AnyOrder.Task(self, call, arguments))
        return self.waiting[-1]


class Nervous(Echo):
    """Echo that takes a moment or two; `away` fails, and for `spent` nobody may be asked."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = Random(seed)
        self.is_slow = seed is not None

    def _pause(self) -> None:
        if self.is_slow:
            time.sleep(self.random.choice((0, 0, 0.0002, 0.001)))

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        self._pause()
        if "away" in document_ids:
            raise TimeoutError("the index is away")
        return super().retrieve(query, top_k, document_ids)

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        self._pause()
        if model == "away":
            raise ConnectionError("the model is away")
        if model == "spent":
            raise BudgetSpentError
        return f"{model}: {prompt}"[:80], len(prompt)


class Picky(Node[dict[str, Any]]):
    """Gives what it got, unless there is too little of it."""

    type = "picky"
    ports = Ports(inputs=(Port("a"), Port("b", default="B")), outputs=(Port("text"),))

    def run(self, inputs: Any, data: dict[str, Any], providers: Any) -> dict[str, Any]:
        if len(inputs) < data.get("least", 0):
            raise ValueError("too little")
        return {"text": json.dumps(inputs, ensure_ascii=False)[:80]}


REGISTRY = register(BUILT_IN, Picky())
LEAD = ("query", "context", "response", "text", "true", "false", "x", "nothing")


def a_wild_graph(tape: Tape) -> bytes:
    """Branches, joins, several ends and roots, doubled edges, mappings to anywhere, nodes that fail."""
    count = 2 + tape.below(9)
    ids = [f"n{place}" for place in range(count)]
    nodes = [a_node("n0", "start")]
    edges = []
    for place in range(1, count):
        nodes.append(_a_wild_node(tape, place, ids))
        for _ in range(tape.below(4)):
            source = tape.below(place)
            edges.append((f"n{source}.{tape.pick(LEAD)}", f"n{place}.after"))
    return a_graph(tape.shuffled(nodes), tape.shuffled(edges))


def _a_wild_node(tape: Tape, place: int, ids: Sequence[str]) -> dict[str, Any]:
    def selector() -> str:
        # Mostly to what ran before; now and then to anything, as no checklist would let through.
        source = tape.pick(ids) if tape.below(4) == 3 else f"n{tape.below(place)}"
        return f"{source}.{tape.pick(LEAD)}"

    def query() -> str:
        return selector() if tape.below(4) == 3 else "n0.query"

    node_id, kind = f"n{place}", tape.below(12)
    if kind < 4:
        model = "away" if tape.below(16) == 15 else f"m{place}"
        return a_node(node_id, "llm", data={"model": model}, query=query(), context=selector())
    if kind < 6:
        documents = ["away"] if tape.below(12) == 11 else [node_id]
        return a_node(
            node_id, "knowledge-retrieval", data={"document_ids": documents}, query=query()
        )
    if kind < 8:
        condition = {"input": "text", "operator": "contains", "value": tape.pick("abc:")}
        data = {"conditions": [condition]}
        if tape.below(2):
            data = {"cases": [{"id": "x", **data}]}
        return a_node(node_id, "if-else", data=data, inputs=["text"], text=selector())
    if kind < 9:
        return a_node(node_id, "text-join", inputs=["i", "j"], i=selector(), j=selector())
    if kind < 10:
        least = tape.below(3)
        return a_node(node_id, "picky", data={"least": least}, inputs=["a", "b"], a=selector())
    return a_node(node_id, "end", response=selector())


def in_sequence(graph: bytes, message: str, limits: Limits) -> Trace:
    return run(graph, message, providers=Nervous(), limits=limits, registry=REGISTRY)


def in_parallel(graph: bytes, message: str, limits: Limits, pool: Pool, providers: Echo) -> Trace:
    program = GUIDE.decode(graph, REGISTRY)
    trace = engine.execute(program, message, providers, clock=Clock(), limits=limits, pool=pool)
    return structs.replace(
        trace, nodes=tuple(structs.replace(record, since_us=None) for record in trace.nodes)
    )


TAPES = st.binary(min_size=200, max_size=200).map(Tape).map(a_wild_graph)
LIMITS = st.sampled_from(
    (NEVER, NEVER, Limits(max_steps=3), structs.replace(NEVER, max_characters=60))
)
MESSAGES = st.sampled_from(("abc", "b", "", "{context}:"))


@examples(1_000)
@given(TAPES, MESSAGES, LIMITS, st.integers(0, 99))
def test_in_whatever_order_nodes_end_the_trace_is_that_of_the_sequence(
    graph: bytes, message: str, limits: Limits, seed: int
) -> None:
    trace = in_parallel(graph, message, limits, AnyOrder(seed), Nervous())

    assert trace == in_sequence(graph, message, limits)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@examples(150)
@given(graph=TAPES, message=MESSAGES, limits=LIMITS, seed=st.integers(0, 99))
def test_in_threads_that_take_their_time_the_trace_is_that_of_the_sequence(
    threads: ThreadPoolExecutor, graph: bytes, message: str, limits: Limits, seed: int
) -> None:
    trace = in_parallel(graph, message, limits, threads, Nervous(seed))

    assert trace == in_sequence(graph, message, limits)


def test_the_wild_graphs_are_wild() -> None:
    random = Random(1)
    seen: set[tuple[str, object]] = set()
    for _ in range(300):
        trace = in_sequence(a_wild_graph(Tape(random.randbytes(200))), "abc", NEVER)
        seen |= {("answer", trace.error is None), ("calls", len(trace.calls) > 2)}
        seen |= {(record.type, record.status) for record in trace.nodes}

    kinds = set(REGISTRY) - {"start"}
    assert seen >= {("answer", True), ("answer", False), ("calls", True)}
    assert seen >= {(kind, status) for kind in kinds for status in ("succeeded", "skipped")}
    failing = kinds - {"if-else", "text-join"}
    assert seen >= {(kind, "failed") for kind in failing}


# -- what it is for --------------------------------------------------------------------------------


def a_fan(count: int, **models: str) -> bytes:
    """start → `count` LLMs beside one another → text-join → end."""
    numbers = range(count)
    mappings: dict[str, Any] = {f"text_{n}": f"llm-{n}.response" for n in numbers}
    llms = [
        a_node(
            f"llm-{n}", "llm", data={"model": models.get(f"llm_{n}", f"llm-{n}")},
            query="start.query",
        )
        for n in numbers
    ]  # fmt: skip
    return a_graph(
        [
            a_node("start", "start"),
            *llms,
            a_node("join", "text-join", inputs=list(mappings), **mappings),
            a_node("end", "end", response="join.text"),
        ],
        [
            *(("start.query", f"llm-{n}.query") for n in numbers),
            *((source, f"join.{text}") for text, source in mappings.items()),
            ("join.text", "end.response"),
        ],
    )


class Meeting(Echo):
    """A model that answers nobody before `count` have asked at the same time."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=20)

    def generate(self, prompt: str, *arguments: Any, **_: Any) -> tuple[str, int]:
        self.barrier.wait()
        return prompt, 1


def test_nodes_that_do_not_depend_on_one_another_run_at_the_same_time(
    threads: ThreadPoolExecutor,
) -> None:
    trace = in_parallel(a_fan(3), "hi", NEVER, threads, Meeting(3))

    assert trace.error is None
    assert trace.tokens == 3


def test_a_node_behind_a_quick_one_does_not_wait_for_a_slow_one(
    threads: ThreadPoolExecutor,
) -> None:
    """Two chains; the second LLM of one and the first of the other meet only if both may run."""
    graph = a_graph(
        [
            a_node("start", "start"),
            a_node("slow", "llm", query="start.query"),
            a_node("search", "knowledge-retrieval", query="start.query"),
            a_node("behind", "llm", query="start.query", context="search.context"),
            a_node("end", "end", response="behind.response"),
        ],
        [
            ("start.query", "slow.query"),
            ("start.query", "search.query"),
            ("search.context", "behind.context"),
            ("behind.response", "end.response"),
        ],
    )

    assert in_parallel(graph, "hi", NEVER, threads, Meeting(2)).error is None


def test_a_chain_never_touches_the_pool() -> None:
    pool = AnyOrder(0)

    assert in_parallel(a_plain_graph(), "hi", NEVER, pool, Echo()).error is None
    assert pool.submitted == 0


@pytest.mark.parametrize("seed", range(8))
def test_of_several_failures_the_first_in_order_counts_and_what_is_behind_it_is_not_told(
    seed: int,
) -> None:
    graph = a_fan(4, llm_1="away", llm_2="away")
    trace = in_parallel(graph, "hi", NEVER, AnyOrder(seed), Nervous())

    assert trace.error == "node 'llm-1' failed: ConnectionError: the model is away"
    assert [record.status for record in trace.nodes] == [
        "succeeded", "succeeded", "failed", "skipped", "skipped", "skipped", "skipped",
    ]  # fmt: skip
    assert [getattr(call, "model", "") for call in trace.calls] == ["llm-0", "away"]


def test_what_would_be_told_of_nobody_is_not_started() -> None:
    asked = []

    class Asked(Nervous):
        def generate(self, prompt: str, model: str, *arguments: Any, **keys: Any) -> Any:
            asked.append(model)
            return super().generate(prompt, model, *arguments, **keys)

    in_parallel(a_fan(30, llm_0="away"), "hi", NEVER, AnyOrder(1), Asked())

    assert 1 < len(asked) < 30


def test_texts_that_would_fill_the_memory_are_not_asked_for() -> None:
    asked = []

    class Talkative(Echo):
        def generate(self, *arguments: Any, **_: Any) -> tuple[str, int]:
            asked.append(1)
            return "x" * 1_000, 0

    limits = Limits(max_characters=3_500)
    trace = in_parallel(a_fan(30), "hi", limits, AnyOrder(1), Talkative())

    assert trace.error == "node 'llm-3' failed: ValueError: more than 3,500 characters"
    assert 3 < len(asked) < 30


def test_a_deadline_that_passes_meanwhile_stops_what_comes_after(
    threads: ThreadPoolExecutor,
) -> None:
    clock = Clock()

    class Slow(Echo):
        def generate(self, prompt: str, *arguments: Any, **_: Any) -> tuple[str, int]:
            clock.now = 111
            return prompt, 0

    program = GUIDE.decode(a_fan(2))
    trace = engine.execute(
        program, "hi", Slow(), clock=clock, limits=Limits(timeout_s=10), pool=threads
    )

    assert trace.error is not None
    assert trace.error.endswith("failed: TimeoutError: more than 10 seconds")
    assert trace.elapsed_us == 11_000_000


def test_a_record_says_when_its_node_began(threads: ThreadPoolExecutor) -> None:
    clock = Clock()

    class Late(Meeting):
        def generate(self, prompt: str, *arguments: Any, **_: Any) -> tuple[str, int]:
            self.barrier.wait()
            clock.now = 102
            return prompt, 0

    program = GUIDE.decode(a_fan(2))
    nodes = engine.execute(program, "hi", Late(2), clock=clock, pool=threads).nodes
    assert [record.since_us for record in nodes] == [0, 0, 0, 2_000_000, 2_000_000]
    assert [record.elapsed_us for record in nodes] == [0, 2_000_000, 2_000_000, 0, 0]

    in_a_row = engine.execute(program, "hi", Echo(), clock=clock).nodes
    assert {record.since_us for record in in_a_row} == {None}


def test_a_draft_is_proved_side_by_side_and_recorded_as_it_ran(
    threads: ThreadPoolExecutor,
) -> None:
    workflow = a_workflow(an_llm("a"), an_llm("b"), edges=paths("start>a>end", "start>b>end"))
    decoded = v1.decode(as_text(workflow), DEFAULTS)
    clock = Clock()

    class Late(Echo):
        barrier = threading.Barrier(2, timeout=20)

        def generate(self, *arguments: Any, **keys: Any) -> tuple[str, int]:
            self.barrier.wait()
            clock.now = 101
            return super().generate(*arguments, **keys)

    trial_result = try_draft(
        v1_engine.prepare(decoded),
        GUIDE.decode(convert(decoded).graph),
        [(1, "hi", "s-1")],
        Equipment(lambda: (Echo(), Late()), clock, BUILT_IN, pool=threads),
    )

    assert trial_result.agreed
    rows = as_row("bot-1", trial_result.executions[0], GUIDE.recording).nodes
    assert {row.node_id: (row.since_us, row.elapsed_us) for row in rows} == {
        "start": (0, 0),
        "a": (0, 1_000_000),
        "b": (0, 1_000_000),
        "end": (1_000_000, 0),
    }


def test_a_pool_that_is_shut_down_is_no_nodes_fault() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    with pytest.raises(RuntimeError, match="after shutdown"):
        in_parallel(a_fan(2), "hi", NEVER, pool, Echo())


# -- walking ---------------------------------------------------------------------------------------


@examples(200)
@given(st.binary(min_size=40, max_size=40), st.integers(0, 99))
def test_every_place_is_visited_once_after_all_that_lead_to_it(choices: bytes, seed: int) -> None:
    tape = Tape(choices)
    count = 1 + tape.below(8)
    targets = [
        [tape.below(count - place - 1) + place + 1 for _ in range(tape.below(4))]
        if place < count - 1
        else []
        for place in range(count)
    ]
    visited: list[int] = []

    walk(targets, visited.append, AnyOrder(seed))

    assert sorted(visited) == list(range(count))
    for place, ways in enumerate(targets):
        assert all(visited.index(place) < visited.index(target) for target in ways)


def test_walking_returns_when_every_visit_has_ended(threads: ThreadPoolExecutor) -> None:
    ended = []

    def visit(place: int) -> None:
        time.sleep(0.001)
        ended.append(place)

    walk([[1, 2, 3, 4, 5], [], [], [], [6], [], []], visit, threads)

    assert sorted(ended) == list(range(7))


def test_one_thread_is_enough_for_any_graph() -> None:
    visited: list[int] = []
    wide = [[*range(1, 50)], *([50] for _ in range(49)), []]

    with ThreadPoolExecutor(1) as pool:
        walk(wide, visited.append, pool)

    assert sorted(visited) == list(range(51))


@pytest.mark.parametrize("seed", range(8))
def test_a_budget_that_is_spent_gives_the_execution_up_once_nothing_runs_any_more(
    seed: int,
) -> None:
    pool = AnyOrder(seed)

    with pytest.raises(BudgetSpentError):
        in_parallel(a_fan(4, llm_1="spent", llm_3="away"), "hi", NEVER, pool, Nervous())

    assert pool.waiting == []


@pytest.mark.parametrize("seed", range(8))
def test_a_failure_counts_where_the_sequence_would_have_asked_nobody_after_it(seed: int) -> None:
    graph = a_fan(4, llm_1="away", llm_2="spent")
    trace = in_parallel(graph, "hi", NEVER, AnyOrder(seed), Nervous())

    assert trace == in_sequence(graph, "hi", NEVER)
    assert trace.error == "node 'llm-1' failed: ConnectionError: the model is away"
