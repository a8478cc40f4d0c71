"""Prompts: two placeholders, replaced literally."""

from __future__ import annotations


def render(template: str, question: str, context: str) -> str:
    """`template` with `{question}` and `{context}` filled in, and nothing else touched.

    Only the template is searched: what is filled in may hold placeholders and stays as it is.

    >>> render("{context}|{question}|{{x}}", question="{context}", context="a{question}")
    'a{question}|{context}|{{x}}'
    """
    parts = template.split("{question}")
    return question.join([part.replace("{context}", context) for part in parts])
