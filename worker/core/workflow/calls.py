"""What an execution asks of its providers, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from worker.errors import BudgetSpentError, TransientError

Clock = Callable[[], float]
"""Seconds that only grow, from any beginning: `time.monotonic` or `time.perf_counter`."""

Status = Literal["succeeded", "failed", "skipped"]
STOPS: Final = (BudgetSpentError, TransientError)
"""What says nothing of the node that met it: the engines let it through, and record nothing."""


class Providers(Protocol):
    """Where documents and answers come from.

    Whatever these raise fails the node that asked, but for `STOPS`, which end the execution.
    """

    def retrieve(
        self, query: str, top_k: int, document_ids: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """The documents found, best first; the text of each is its `content`."""

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        """The model's response, and the tokens that it took."""


class Retrieve(msgspec.Struct, frozen=True, tag_field="kind", tag="retrieve"):
    """One search."""

    query: str
    top_k: int
    document_ids: tuple[str, ...]


class Generate(msgspec.Struct, frozen=True, tag_field="kind", tag="llm"):
    """One prompt."""

    prompt: str
    model: str
    provider: str
    temperature: float
    max_tokens: int


Call = Retrieve | Generate


class NodeRecord(msgspec.Struct, frozen=True):
    """What became of one node; `order` counts from 1 in the order of execution.

    `since_us` is how long after the execution's beginning the node began, where nodes ran side by
    side; None if it began when the one before it ended.
    """

    node_id: str
    type: str
    order: int
    status: Status
    inputs: Mapping[str, Any] = {}
    outputs: Mapping[str, Any] = {}
    error: str | None = None
    tokens: int = 0
    elapsed_us: int = 0
    since_us: int | None = None


class Trace(msgspec.Struct, frozen=True):
    """One execution: it has an answer, or an error that names the node.

    `calls` are in the order in which they were made, one that failed included. V1 records no
    `nodes`: there is no table for them. `first_response_empty` is V1's alone: its answer is the fixed
    sentence because the first response holds nothing.
    """

    answer: str | None
    calls: tuple[Call, ...]
    error: str | None = None
    nodes: tuple[NodeRecord, ...] = ()
    tokens: int = 0
    elapsed_us: int = 0
    first_response_empty: bool = False


class Limits(msgspec.Struct, frozen=True):
    """When an execution is given up: looked at between nodes, never inside one.

    `max_characters` is what V2's nodes may hand on together: prompts that repeat each other
    double with every node, and a small graph would fill the memory.
    """

    max_steps: int = 10_000
    timeout_s: float = 60.0
    max_characters: int = 64 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


class Recorder:
    """Providers that remember what was asked of them, and add up the tokens."""

    __slots__ = ("_providers", "calls", "tokens")

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self.calls: list[Call] = []
        self.tokens = 0

    def retrieve(
        self, query: str, top_k: int, document_ids: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """Record a search, then make it."""
        self.calls.append(Retrieve(query, top_k, tuple(document_ids)))
        return self._providers.retrieve(query, top_k, document_ids)

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        """Record a prompt, then send it."""
        self.calls.append(Generate(prompt, model, provider, temperature, max_tokens))
        response, tokens = self._providers.generate(
            prompt, model, provider, temperature, max_tokens
        )
        self.tokens += tokens
        return response, tokens


def microseconds(seconds: float) -> int:
    """A difference of two readings of a clock, for a record."""
    return int(seconds * 1_000_000)


def reason(error: Exception) -> str:
    """An exception in words, its kind first: many a message says nothing without it.

    >>> reason(KeyError("content")), reason(TimeoutError())
    ("KeyError: 'content'", 'TimeoutError')
    """
    return f"{type(error).__name__}: {error}".removesuffix(": ")
