"""V1's prompts: two replacements, one after the other."""

from __future__ import annotations


def render(template: str, question: str, context: str) -> str:
    """`template` with every `{question}` replaced, then every `{context}` in what that gave.

    So a message that holds `{context}` has it replaced; what a search found stays as it is.

    >>> render("{context}|{question}|{{x}}", question="{context}", context="a{question}")
    'a{question}|a{question}|{{x}}'
    """
    return template.replace("{question}", question).replace("{context}", context)
