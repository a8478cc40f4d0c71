"""Prompts: one literal pass."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests import reference
from tests.strategies import examples, messages, templates
from worker.core.engine.template import render


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("", ""),
        ("{question}", "Q{context}"),
        ("{context}{question}", "C{question}Q{context}"),
        ("{question", "{question"),
        ("{{question}}", "{Q{context}}"),
        ("{Question} {query} %s \\1", "{Question} {query} %s \\1"),
        ("{ques{context}tion}", "{quesC{question}tion}"),
        ("{con{question}text}", "{conQ{context}text}"),
    ],
)
def test_a_template_becomes(template: str, prompt: str) -> None:
    assert render(template, "Q{context}", "C{question}") == prompt


@given(templates(), messages(), templates())
@examples(500)
def test_what_is_filled_in_is_never_looked_at_again(
    template: str, question: str, context: str
) -> None:
    assert render(template, question, context) == reference.render(template, question, context)
