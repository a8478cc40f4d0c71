"""V1's prompts: two literal replacements, one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests import reference
from tests.strategies import examples, messages, templates
from worker.core.workflow.v1_texts import render


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("", ""),
        ("{question}", "QC{question}"),
        ("{context}{question}", "C{question}QC{question}"),
        ("{question", "{question"),
        ("{{question}}", "{QC{question}}"),
        ("{Question} {query} %s \\1", "{Question} {query} %s \\1"),
        ("{ques{context}tion}", "{quesC{question}tion}"),
        ("{con{question}text}", "{conQC{question}text}"),
    ],
)
def test_a_template_becomes(template: str, prompt: str) -> None:
    assert render(template, "Q{context}", "C{question}") == prompt


@given(templates(), messages(), templates())
@examples(500)
def test_the_context_is_filled_into_what_the_question_gave(
    template: str, question: str, context: str
) -> None:
    assert render(template, question, context) == reference.render(template, question, context)
