"""Echo: providers that touch nothing, and say back exactly what they were asked."""

from __future__ import annotations

from collections.abc import Sequence

FOUND_PER_DOCUMENT = 2
"""A search finds this many pieces of each document, or `top_k` where that is less."""


class Echo:
    """The default providers: the same question always gives the same answer, at once and for free."""

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        """Pieces of every document, each naming the document and repeating the query.

        >>> Echo().retrieve("hello", 1, ["faq"])
        [{'content': '[faq#0] hello'}]
        """
        pieces = range(min(top_k, FOUND_PER_DOCUMENT))
        return [{"content": f"[{one}#{i}] {query}"} for one in document_ids for i in pieces]

    def generate(
        self,
        prompt: str,
        model: str,
        provider: str,  # noqa: ARG002
        temperature: float,  # noqa: ARG002
        max_tokens: int,  # noqa: ARG002
    ) -> tuple[str, int]:
        """The model's name and the whole prompt, for no tokens.

        >>> Echo().generate("hello", "gpt-4o", "openai", 0.7, 4000)
        ('gpt-4o: hello', 0)
        """
        return f"{model}: {prompt}", 0
