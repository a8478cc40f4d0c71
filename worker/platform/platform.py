"""The connected platform: its validator, its engine, or both, behind one interface."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from typing import Final, Self, TypeVar

import msgspec

from worker.core.parity.word import Answer, Check, Execute, Question
from worker.core.printable import escape
from worker.errors import ConfigError
from worker.platform.client import Client, Limits, PlatformAwayError, Ticket
from worker.platform.command import command
from worker.platform.protocol import Op
from worker.settings import Settings, variable
from worker.settings.platform import names

WINDOW: Final = 32
"""Drafts that a platform is asked about at the same time, at most."""

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Bytes of drafts that it is asked about at the same time, unless a single one has more."""

_Key = TypeVar("_Key")
_SETTINGS: Final[Mapping[Op, str]] = {
    "check": variable("platform_check"),
    "execute": variable("platform_engine"),
}


class Capability(msgspec.Struct, frozen=True):
    """What a program of the platform is asked for, and what it calls itself."""

    op: Op
    program: str
    name: str

    def in_words(self) -> str:
        """One line for people.

        >>> Capability("check", "node check.js", "Acme 4.2").in_words()
        "the platform's validator answers: Acme 4.2 (`node check.js`)"
        """
        what = "validator" if self.op == "check" else "engine"
        name = f"{escape(self.name)} (`{self.program}`)" if self.name else f"`{self.program}`"
        return f"the platform's {what} answers: {name}"


class Platform:
    """What is connected: see `worker.core.parity.word.Word`. For one process, and one thread of it.

    Where both settings name the same program, one process of it does both.
    """

    def __init__(self, clients: Mapping[Op, Client]) -> None:
        self._clients = clients

    @classmethod
    def of(
        cls, settings: Settings, *, probe: bytes, environ: Mapping[str, str] = os.environ
    ) -> Self | None:
        """The platform that the settings name; None if they name none. Nothing is started yet.

        `probe` is a draft that is good.

        Raises:
            ConfigError: a program that is named is not there, or cannot be run.
        """
        limits = Limits(answer_s=settings.platform_timeout_s)
        passed_on = names(settings.platform_env)
        opened: dict[str, Client] = {}
        clients: dict[Op, Client] = {}
        named: dict[Op, str] = {
            "check": settings.platform_check,
            "execute": settings.platform_engine,
        }
        for op, setting in named.items():
            if not setting:
                continue
            if setting not in opened:
                found = command(
                    setting, setting=_SETTINGS[op], passed_on=passed_on, environ=environ
                )
                question = Check(probe) if op == "check" else Execute(probe, "?")
                opened[setting] = Client(found, probe=question, limits=limits)
            clients[op] = opened[setting]
        return cls(clients) if clients else None

    @property
    def checks(self) -> bool:
        """Whether its validator is connected."""
        return "check" in self._clients

    @property
    def executes(self) -> bool:
        """Whether its engine is connected."""
        return "execute" in self._clients

    def answers(
        self, asked: Iterable[tuple[_Key, tuple[Question, ...]]]
    ) -> Generator[tuple[_Key, tuple[Answer, ...]]]:
        """See `Word`."""
        ahead: deque[tuple[_Key, tuple[Ticket, ...], int]] = deque()
        held = 0
        try:
            for key, questions in asked:
                ahead.append((key, self._submit(questions), size := _size(questions)))
                held += size
                while len(ahead) > WINDOW or (held > WINDOW_BYTES and len(ahead) > 1):
                    held -= ahead[0][2]
                    yield self._answered(ahead)
            while ahead:
                yield self._answered(ahead)
        finally:
            for _, tickets, _ in ahead:
                for ticket in tickets:
                    self._client(ticket.question).forget(ticket)

    def _submit(self, questions: tuple[Question, ...]) -> tuple[Ticket, ...]:
        return tuple(self._client(question).submit(question) for question in questions)

    def _answered(
        self, ahead: deque[tuple[_Key, tuple[Ticket, ...], int]]
    ) -> tuple[_Key, tuple[Answer, ...]]:
        key, tickets, _ = ahead[0]
        answers = tuple(self._client(ticket.question).result(ticket) for ticket in tickets)
        ahead.popleft()
        return key, answers

    def _client(self, question: Question) -> Client:
        return self._clients["check" if isinstance(question, Check) else "execute"]

    def capabilities(self) -> tuple[Capability, ...]:
        """Start what is connected, and ask whether it does what it is connected for.

        Raises:
            ConfigError: it does not start, does something else, or breaks over a draft that is good.
        """
        found = []
        for op, client in self._clients.items():
            try:
                greeting = client.greeting()
                if op in greeting.ops:
                    client.prove()
            except PlatformAwayError as error:
                raise ConfigError(str(error), setting=_SETTINGS[op]) from error
            if op not in greeting.ops:
                listed = ", ".join(sorted(greeting.ops)) or "nothing"
                message = f"`{client.command}` cannot {op}: it says that it can do {listed}"
                raise ConfigError(message, setting=_SETTINGS[op])
            found.append(Capability(op, str(client.command), greeting.name))
        return tuple(found)

    def close(self) -> None:
        """End its programs. Safe to repeat; they are started again when they are asked again."""
        for client in self._clients.values():
            client.close()

    def leave(self) -> None:
        """In a fork: forget programs that belong to the process that started them."""
        for client in self._clients.values():
            client.leave()


def _size(questions: Iterable[Question]) -> int:
    return max((len(question.graph) for question in questions), default=0)
