"""Parity on live models: what V1 was answered, V2 is answered too.

A model does not answer the same twice, so that two executions that make the same calls may still
end with two answers. With this between them V2 gets, for a call that V1 made, the response that V1
got; only what V1 did not ask goes to the model.

    replay = Replay(providers, clock)
    v1 = v1_engine.execute(program, message, replay, clock=clock)
    waited_by_v1 = replay.waited_us
    v2 = v2_engine.execute(draft, message, replay, clock=clock)
    waited_by_v2 = replay.waited_us - waited_by_v1
    overhead_us = (v2.elapsed_us - waited_by_v2) - (v1.elapsed_us - waited_by_v1)

What `worker.core.parity.compare` compares is unchanged: which calls were made, and how often, is recorded
by the engines, whatever provider answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.core.workflow.calls import Clock, Generate, Providers, Retrieve, microseconds


class Replay:
    """Providers that are a function for one trial: the same call has the same response.

    That also holds for a call that V1 makes twice: equal calls may come in another order in V2, and
    with two responses the order would look like a difference. A response keeps its tokens when it
    is given again. What a provider raises is not remembered. One for each message of each bot.

    `waited_us` is the time that the providers took so far, which is no engine's; calls side by side
    add up.
    """

    __slots__ = ("_clock", "_documents", "_providers", "_responses", "waited_us")

    def __init__(self, providers: Providers, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock
        self._documents: dict[Retrieve, Sequence[Mapping[str, Any]]] = {}
        self._responses: dict[Generate, tuple[str, int]] = {}
        self.waited_us = 0

    def retrieve(
        self, query: str, top_k: int, document_ids: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """The documents of the first such search."""
        call = Retrieve(query, top_k, tuple(document_ids))
        known = self._documents.get(call)
        if known is not None:
            return known
        began = self._clock()
        try:
            found = self._providers.retrieve(query, top_k, document_ids)
        finally:
            self.waited_us += microseconds(self._clock() - began)
        return self._documents.setdefault(call, found)

    def generate(
        self, prompt: str, model: str, provider: str, temperature: float, max_tokens: int
    ) -> tuple[str, int]:
        """The response to the first such prompt, with its tokens."""
        call = Generate(prompt, model, provider, temperature, max_tokens)
        known = self._responses.get(call)
        if known is not None:
            return known
        began = self._clock()
        try:
            response = self._providers.generate(prompt, model, provider, temperature, max_tokens)
        finally:
            self.waited_us += microseconds(self._clock() - began)
        return self._responses.setdefault(call, response)
