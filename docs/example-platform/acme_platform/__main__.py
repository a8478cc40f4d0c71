"""The platform as a command that speaks flowshift's protocol, with nothing but Python's own library.

A line comes in, a line goes out: requests on standard input, answers on standard output, each a JSON
object with the request's id. Whatever else it has to say goes to standard error.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from acme_platform import engine, validator


class Providers:
    """Gives the results that came with a request, and writes down what was asked.

    A call that is not among the results is one that V1 does not make; what it gives does not matter
    any more.
    """

    def __init__(self, results: list[dict[str, Any]]) -> None:
        self.calls: list[dict[str, Any]] = []
        self._results = results

    def retrieve(self, query: str, top_k: int, document_ids: list[str]) -> list[dict[str, Any]]:
        call = {"query": query, "top_k": top_k, "document_ids": list(document_ids)}
        found = self._result("retrieve", call)
        return [] if found is None else list(found["documents"])

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        call = {
            "prompt": prompt,
            "model": model,
            "provider": provider,
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        said = self._result("llm", call)
        return ("", 0) if said is None else (said["response"], said["tokens"])

    def _result(self, kind: str, call: dict[str, Any]) -> dict[str, Any] | None:
        self.calls.append({"kind": kind, **call})
        wanted = self.calls[-1]
        same = (one for one in self._results if all(one.get(k) == v for k, v in wanted.items()))
        return next(same, None)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What the platform says to a request."""
    if request["op"] == "hello":
        return {"ops": ["check", "execute"], "name": "Acme 4.2"}
    if request["op"] == "check":
        return {"messages": validator.objections(request["graph"])}
    providers = Providers(request["results"])
    said = engine.run(request["graph"], request["message"], providers)
    return {"answer": said, "calls": providers.calls}


def main() -> None:
    """Answer line by line until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            said = answer(request)
        except Exception as error:  # noqa: BLE001  (flowshift records it on the bot)
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"id": request["id"], **said}), flush=True)


if __name__ == "__main__":
    main()
