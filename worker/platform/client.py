"""Ask one program of the platform: many questions ahead, each answered once, whatever the program does.

    submit ─► queue ─► sent ─► answered
                ▲        │ it crashed, hung or broke the protocol: killed, started again
                └────────┘ the questions that it had are asked again, one at a time

So a question over which the program breaks is found, and alone gets `Broke`. Where it breaks over several
in a row, it is asked about a draft that is good: if it breaks over that too, the fault is no draft's.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from worker.core.parity.word import Answer, Broke, Question
from worker.core.printable import escape
from worker.errors import TransientError
from worker.log import get_logger
from worker.platform import protocol
from worker.platform.command import Command
from worker.platform.process import Process, ProcessError
from worker.platform.protocol import Greeting, ProtocolError

log = get_logger(__name__)

START_ATTEMPTS: Final = 3
BACKOFF_S: Final = (0.2, 1.0)
"""Pauses between attempts to start the program."""

STRIKES: Final = 2
"""A question over which the program breaks so often, alone, is the one at fault."""

IN_A_ROW: Final = 5
"""Questions at fault one after another, from which on the program itself is doubted."""

SAID_CHARACTERS: Final = 500
"""Characters of its standard error that are logged when it breaks."""


class PlatformAwayError(TransientError):
    """The platform's program cannot be asked now."""


class Limits(msgspec.Struct, frozen=True):
    """How long a program may take, in seconds: to start, and between two answers."""

    start_s: float = 30.0
    answer_s: float = 5.0


class Ticket:
    """A question that was submitted, and its answer once there is one."""

    __slots__ = ("answer", "is_forgotten", "question", "strikes", "suspect")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answer: Answer | None = None
        self.strikes = 0
        self.suspect = False
        self.is_forgotten = False


class Client:
    """A program of the platform, started when it is first asked and again when it broke.

    `probe` is a question about a draft that is good. `clock` and `sleep` are for tests.
    """

    def __init__(
        self,
        command: Command,
        *,
        probe: Question,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.command = command
        self._limits = limits or Limits()
        self._probe = probe
        self._clock = clock
        self._sleep = sleep
        self._process: Process | None = None
        self._greeting: Greeting | None = None
        self._queue: deque[Ticket] = deque()
        self._sent: dict[str, Ticket] = {}
        self._heard_at = 0.0
        self._broke_in_a_row = 0
        self._is_doubted = False

    def greeting(self) -> Greeting:
        """What the program says of itself; starts it.

        Raises:
            PlatformAwayError: it cannot be started, or says nothing.
        """
        if self._process is None:
            self._start()
        assert self._greeting is not None  # noqa: S101  (for the type checker)
        return self._greeting

    def submit(self, question: Question) -> Ticket:
        """Put a question into the queue, and send what can be sent; waits for nothing."""
        ticket = Ticket(question)
        self._queue.append(ticket)
        if self._process is not None and not self._is_doubted:
            self._step(0.0)
        return ticket

    def result(self, ticket: Ticket) -> Answer:
        """Wait for the answer to a question.

        Raises:
            PlatformAwayError: the program cannot be started, or breaks over whatever it is asked.
        """
        self._heard_at = self._clock()
        while ticket.answer is None:
            if self._is_doubted:
                self.prove()
            if self._process is None:
                self._start()
            self._step(self._left_s())
            if self._sent and self._left_s() <= 0:
                self._broken(f"it gave no answer for {self._limits.answer_s:g} s")
        return ticket.answer

    def forget(self, ticket: Ticket) -> None:
        """Forget a question: its answer is read, and dropped."""
        ticket.is_forgotten = True
        if ticket in self._queue:
            self._queue.remove(ticket)

    def close(self) -> None:
        """End the program, and drop what it was not asked yet. Safe to repeat."""
        if self._process is not None:
            self._process.stop()
        self._drop()

    def leave(self) -> None:
        """In a fork: close the fork's ends. The program goes on, for the process that started it."""
        if self._process is not None:
            self._process.forget()
        self._drop()

    def _drop(self) -> None:
        self._process = None
        self._queue.clear()
        self._sent.clear()

    # -- one step ------------------------------------------------------------------------------

    def _step(self, wait_s: float) -> None:
        """Send, read and take what came; a fault of the program's ends it."""
        assert self._process is not None  # noqa: S101  (for the type checker)
        self._send()
        try:
            for line in self._process.exchange(wait_s):
                self._take(line)
        except (ProcessError, ProtocolError) as error:
            self._broken(str(error))

    def _send(self) -> None:
        """Send every question, but one alone where the program broke over several."""
        assert self._process is not None  # noqa: S101  (for the type checker)
        while self._queue and not (self._sent and self._queue[0].suspect):
            if any(ticket.suspect for ticket in self._sent.values()):
                return
            ticket = self._queue.popleft()
            if not self._sent:
                self._heard_at = self._clock()
            # Not guessed by a program that answers what it was not asked yet.
            request_id = secrets.token_hex(8)
            self._sent[request_id] = ticket
            self._process.send(protocol.request(request_id, ticket.question))

    def _take(self, line: bytes) -> None:
        request_id = protocol.answered_id(line)
        ticket = self._sent.get(request_id)
        if ticket is None:
            shown = escape(request_id[:40])
            raise ProtocolError(f"it answered {shown!r}, which it was not asked, or not any more")
        ticket.answer = protocol.answer(ticket.question, line)
        del self._sent[request_id]
        self._heard_at = self._clock()
        self._broke_in_a_row = 0

    def _left_s(self) -> float:
        return self._heard_at + self._limits.answer_s - self._clock()

    # -- faults --------------------------------------------------------------------------------

    def _broken(self, how: str) -> None:
        """End the program, and find the question that it broke over."""
        is_alone = len(self._sent) == 1
        had = [ticket for ticket in self._sent.values() if not ticket.is_forgotten]
        self._stop(how, questions=len(had))
        self._sent.clear()
        if is_alone and had:
            self._strike(had[0], how)
        for ticket in reversed(had):
            ticket.suspect = True
            if ticket.answer is None:
                self._queue.appendleft(ticket)

    def _strike(self, ticket: Ticket, how: str) -> None:
        ticket.strikes += 1
        if ticket.strikes < STRIKES:
            return
        ticket.answer = Broke(how)
        self._broke_in_a_row += 1
        if self._broke_in_a_row >= IN_A_ROW:
            self._is_doubted = True

    def prove(self) -> None:
        """Ask about the good draft, with nothing else to answer.

        Raises:
            PlatformAwayError: it breaks over that too, or cannot be started.
        """
        waiting, self._queue = self._queue, deque()
        self._is_doubted = False
        self._broke_in_a_row = 0
        try:
            answer = self.result(self.submit(self._probe))
        finally:
            self._queue = waiting
        if isinstance(answer, Broke):
            self._is_doubted = True
            raise PlatformAwayError(
                f"the platform's program breaks over every draft: {answer.how}; "
                f"it is started by `{self.command}`"
            )

    def _stop(self, how: str, *, questions: int) -> None:
        assert self._process is not None  # noqa: S101  (for the type checker)
        said = escape(self._process.said[-SAID_CHARACTERS:])
        self._process.stop()
        self._process = None
        log.warning("platform.stopped", reason=how, questions=questions, said=said)

    # -- start ---------------------------------------------------------------------------------

    def _start(self) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._greeting = self._begin()
            except (OSError, ProcessError, ProtocolError) as error:
                how = self._not_started(error)
            else:
                log.debug("platform.started", program=str(self.command), name=self._greeting.name)
                return
            if attempt < START_ATTEMPTS:
                self._sleep(BACKOFF_S[attempt - 1])
        raise PlatformAwayError(f"the platform's program `{self.command}` does not start: {how}")

    def _begin(self) -> Greeting:
        """Start it and read its greeting."""
        self._process = process = Process(self.command)
        request_id = secrets.token_hex(8)
        process.send(protocol.hello(request_id))
        until = self._clock() + self._limits.start_s
        while not (lines := process.exchange(until - self._clock())):
            if self._clock() >= until:
                raise ProtocolError(f"it did not answer `hello` within {self._limits.start_s:g} s")
        if len(lines) > 1 or protocol.answered_id(lines[0]) != request_id:
            raise ProtocolError("it wrote something else than the answer to `hello`")
        return protocol.greeting(lines[0])

    def _not_started(self, error: Exception) -> str:
        how = str(error)
        if self._process is not None:
            said = self._process.said.rpartition("\n")[2][-SAID_CHARACTERS:]
            how = f"{how}; it says: {escape(said)}" if said else how
            self._process.stop()
            self._process = None
        return how
