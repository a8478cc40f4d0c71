"""The texts that V1 itself puts into prompts and answers, and how it fills a prompt (design section 2)."""

from __future__ import annotations

from typing import Final

DEFAULT_TEMPLATE: Final = "Context: {context}\nQuestion: {question}\nAnswer:"
"""The prompt template of an LLM node that has none."""

SEPARATOR: Final = "\n\n"
"""The separator between the documents of a context."""

NO_LLM_ANSWER: Final = "워크플로우가 완료되었지만 응답을 생성할 수 없습니다."
"""The answer if there is no LLM, and where the first one said nothing."""


def render(template: str, question: str, context: str) -> str:
    """`template` with every `{question}` replaced, then every `{context}` in what that gave.

    So a message that holds `{context}` has it replaced; what a search found stays as it is.

    >>> render("{context}|{question}|{{x}}", question="{context}", context="a{question}")
    'a{question}|a{question}|{{x}}'
    """
    return template.replace("{question}", question).replace("{context}", context)


def own_prompt(question: str, context: str) -> str:
    """V1's prompt for an empty template: nothing in it is replaced again.

    >>> own_prompt("{context}?", ""), own_prompt("why?", "because")
    ('Question: {context}?\\n\\nAnswer:', 'Context: because\\n\\nQuestion: why?\\n\\nAnswer:')
    """
    found = f"Context: {context}\n\n" if context else ""
    return f"{found}Question: {question}\n\nAnswer:"
