"""The platform's answers: what it is asked about a draft, and what it may answer.

The platform's validator judges a draft; its engine executes one. Both are the platform's programs:
how it is run and kept in bounds is `worker.platform`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Protocol, TypeVar

import msgspec

from worker.core.workflow.calls import Call, Generate, Providers, Retrieve

_Key = TypeVar("_Key")


class Found(Retrieve, frozen=True, tag="retrieve"):
    """A search, and what it found."""

    documents: tuple[Any, ...]


class Said(Generate, frozen=True, tag="llm"):
    """A prompt, and what the model said to it."""

    response: str
    tokens: int


Result = Found | Said


class Check(msgspec.Struct, frozen=True):
    """Is this draft one that the platform takes?"""

    graph: bytes


class Execute(msgspec.Struct, frozen=True):
    """What does this draft answer to a message, and what does it call?

    `results` are what the expected calls give.
    """

    graph: bytes
    message: str
    results: tuple[Result, ...] = ()


Question = Check | Execute


class Messages(msgspec.Struct, frozen=True):
    """The validator's messages about a draft; none if it accepts the draft."""

    messages: tuple[str, ...]


class Ran(msgspec.Struct, frozen=True):
    """What the engine answered, and the calls that it made."""

    answer: str
    calls: tuple[Call, ...]


class Failed(msgspec.Struct, frozen=True):
    """The program says itself that it could not do what was asked."""

    error: str


class Broke(msgspec.Struct, frozen=True):
    """The program crashed, hung or broke the protocol over this question alone, which `how` says."""

    how: str


Answer = Messages | Ran | Failed | Broke


class Word(Protocol):
    """A platform that can be asked."""

    @property
    def checks(self) -> bool:
        """Whether it judges drafts."""

    @property
    def executes(self) -> bool:
        """Whether it executes drafts."""

    def answers(
        self, asked: Iterable[tuple[_Key, tuple[Question, ...]]]
    ) -> Generator[tuple[_Key, tuple[Answer, ...]]]:
        """Answer questions, in the order in which they come, each key with its own.

        Questions are taken a few ahead of the answers, so that the platform works while the next ones
        are being made. What was taken and not answered is forgotten if the iterator is closed.

        Raises:
            TransientError: the platform cannot be asked now; nothing is known of the rest.
        """


def results(calls: Iterable[Call], providers: Providers) -> tuple[Result, ...]:
    """What each of the calls gives, each different one once, in their order."""
    return tuple(_result(call, providers) for call in dict.fromkeys(calls))


def _result(call: Call, providers: Providers) -> Result:
    match call:
        case Retrieve(query, top_k, document_ids):
            found = providers.retrieve(query, top_k, document_ids)
            return Found(query, top_k, document_ids, tuple(found))
        case Generate(prompt, model, provider, temperature, max_tokens):
            response, tokens = providers.generate(prompt, model, provider, temperature, max_tokens)
            return Said(prompt, model, provider, temperature, max_tokens, response, tokens)
