"""The lines that flowshift and a platform's program exchange (docs/reference/platform-protocol.md).

A line each way is one JSON object. The program answers each request by its `id`, in any order.
"""

from __future__ import annotations

from typing import Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Raw

from worker.core.parity.word import Answer, Check, Failed, Messages, Question, Ran
from worker.core.printable import escape
from worker.core.workflow.calls import Call

VERSION: Final = 1
"""Of the protocol: sent with `hello`."""

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer line breaks the protocol."""

MAX_MESSAGES: Final = 100
"""Messages about one draft that are kept; the others are dropped."""

MAX_CHARACTERS: Final = 2_000
"""Characters of a message, an error or a name that are kept."""

Op = Literal["check", "execute"]
OPS: Final[tuple[Op, ...]] = get_args(Op)

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode


class ProtocolError(Exception):
    """What the program wrote is no answer."""


class Greeting(msgspec.Struct, frozen=True):
    """What a program says of itself: which of `check` and `execute` it can do, and its name."""

    ops: frozenset[str]
    name: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    id: str


class _Answer(msgspec.Struct, frozen=True):
    """The fields of every answer; a program that fails gives `error` alone."""

    error: str | None = None


class _Greeted(_Answer, frozen=True):
    ops: list[str] | None = None
    name: str = ""


class _Checked(_Answer, frozen=True):
    messages: list[str] | None = None


class _Executed(_Answer, frozen=True):
    answer: str | None = None
    calls: tuple[Call, ...] | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_greeted = msgspec.json.Decoder(_Greeted)
_checked = msgspec.json.Decoder(_Checked)
_executed = msgspec.json.Decoder(_Executed)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def hello(request_id: str) -> bytes:
    """The first line to a program."""
    return _line({"id": request_id, "op": "hello", "protocol": VERSION})


def request(request_id: str, question: Question) -> bytes:
    """The line that asks a question.

    >>> request("7f", Check(b'{"nodes": []}'))
    b'{"id":"7f","op":"check","graph":{"nodes": []}}\\n'
    """
    # A line break stands only between a document's tokens, where a blank says the same.
    graph = Raw(question.graph.replace(b"\n", b" ").replace(b"\r", b" "))
    if isinstance(question, Check):
        return _line({"id": request_id, "op": "check", "graph": graph})
    return _line(
        {
            "id": request_id,
            "op": "execute",
            "graph": graph,
            "message": question.message,
            "results": question.results,
        }
    )


def _line(fields: dict[str, object]) -> bytes:
    return _encode(fields) + b"\n"


def answered_id(line: bytes) -> str:
    """Which request a line answers.

    Raises:
        ProtocolError: it is no JSON object with an `id`.
    """
    try:
        return _envelope.decode(line).id
    except _UNREADABLE as error:
        raise _no_answer(line, error) from error


def greeting(line: bytes) -> Greeting:
    """Read the answer to `hello`.

    Raises:
        ProtocolError: it is none.
    """
    said = _read(_greeted, line)
    if said.error is not None:
        raise ProtocolError(f"it says: {_kept(said.error)}")
    if said.ops is None:
        raise ProtocolError(f"it does not say in `ops` which of {', '.join(OPS)} it can do")
    return Greeting(frozenset(said.ops), _kept(said.name))


def answer(question: Question, line: bytes) -> Answer:
    """Read the answer to a question.

    Raises:
        ProtocolError: it is none.
    """
    return _check_answer(line) if isinstance(question, Check) else _execute_answer(line)


def _check_answer(line: bytes) -> Answer:
    said = _read(_checked, line)
    if said.error is not None:
        return Failed(_kept(said.error))
    if said.messages is None:
        raise ProtocolError("it answered a check with neither `messages` nor `error`")
    return Messages(tuple(_kept(one) for one in said.messages[:MAX_MESSAGES]))


def _execute_answer(line: bytes) -> Answer:
    said = _read(_executed, line)
    if said.error is not None:
        return Failed(_kept(said.error))
    if said.answer is None or said.calls is None:
        raise ProtocolError(
            "it answered an execution with neither `answer` and `calls` nor `error`"
        )
    return Ran(said.answer, said.calls)


def _read(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    try:
        return decoder.decode(line)
    except _UNREADABLE as error:
        raise _no_answer(line, error) from error


def _no_answer(line: bytes, error: Exception) -> ProtocolError:
    why = "too deep" if isinstance(error, RecursionError) else str(error)
    shown = escape(line[:80].decode("utf-8", "backslashreplace"))
    return ProtocolError(f"it wrote a line that is no answer ({why}): {shown}")


def _kept(text: str) -> str:
    return text[:MAX_CHARACTERS]
