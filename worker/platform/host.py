"""Answer for a platform whose validator or engine is Python: `python -m worker.platform.host NAME`.

NAME is an entry point of the group `flowshift.platform`. What it names may have two functions:

    def check(graph): …                         # returns the messages; none: an empty list
    def execute(graph, message, providers): …   # returns the answer

It runs in a process of its own, and uses the protocol like any other program of a platform.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, BinaryIO, Final

import msgspec

from worker.core.parity.word import Found, Result, Said
from worker.core.workflow.calls import Recorder
from worker.platform.protocol import OPS
from worker.providers.echo import Echo

GROUP: Final = "flowshift.platform"
_encode = msgspec.json.Encoder().encode


class Request(msgspec.Struct, frozen=True):
    """A line of flowshift's."""

    id: str
    op: str
    graph: dict[str, Any] = {}
    message: str = ""
    results: tuple[Result, ...] = ()


class Recalled:
    """Providers that give the results which came with a request, and for other calls those of echo."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._found = {
            (one.query, one.top_k, one.document_ids): one.documents
            for one in results
            if isinstance(one, Found)
        }
        self._said = {
            (one.prompt, one.model, one.provider, one.temperature, one.max_tokens): one
            for one in results
            if isinstance(one, Said)
        }
        self._echo = Echo()

    def retrieve(
        self, query: str, top_k: int, document_ids: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """The documents that the search found."""
        found = self._found.get((query, top_k, tuple(document_ids)))
        return self._echo.retrieve(query, top_k, document_ids) if found is None else found

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        """The response, and its tokens."""
        said = self._said.get((prompt, model, provider, temperature, max_tokens))
        if said is None:
            return self._echo.generate(prompt, model, provider, temperature, max_tokens)
        return said.response, said.tokens


def load(name: str) -> Any:
    """What an entry point names, made if it is a class.

    Raises:
        LookupError: there is no such entry point.
        TypeError: it has neither function.
    """
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise LookupError(f"no installed package has an entry point {name!r} of the group {GROUP}")
    loaded = next(iter(found)).load()
    platform = loaded() if isinstance(loaded, type) else loaded
    if not _ops(platform):
        raise TypeError(f"the entry point {name!r} has no function {' or '.join(OPS)}")
    return platform


def reply(platform: Any, line: bytes) -> bytes:
    """The line that answers a line of flowshift's."""
    asked = msgspec.json.decode(line, type=Request)
    try:
        said = _answer(platform, asked)
    except Exception as error:  # noqa: BLE001  (whatever it raises is what the platform says)
        said = {"error": f"{type(error).__name__}: {error}"}
    return _encode({"id": asked.id, **said}) + b"\n"


def _answer(platform: Any, asked: Request) -> dict[str, Any]:
    if asked.op == "hello":
        name = getattr(platform, "name", type(platform).__name__)
        return {"ops": _ops(platform), "name": str(name)}
    if asked.op == "check":
        return {"messages": [str(message) for message in platform.check(asked.graph)]}
    if asked.op == "execute":
        providers = Recorder(Recalled(asked.results))
        answer = platform.execute(asked.graph, asked.message, providers)
        return {"answer": answer, "calls": providers.calls}
    return {"error": f"there is no {asked.op!r} here"}


def _ops(platform: Any) -> list[str]:
    return [op for op in OPS if callable(getattr(platform, op, None))]


def serve(platform: Any, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer line by line until there are no more."""
    for line in requests:
        answers.write(reply(platform, line))
        answers.flush()


def main(name: str) -> None:
    """Serve the entry point `name` on the standard streams; what it prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        platform = load(name)
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(1) from error
    serve(platform, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main(sys.argv[1])
