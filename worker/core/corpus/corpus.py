"""The whole corpus: its workflows, and the messages that each is tried on."""

from __future__ import annotations

from typing import Final

from worker.core.corpus.building import Case
from worker.core.corpus.configs import configs
from worker.core.corpus.names import names
from worker.core.corpus.prompts import prompts
from worker.core.corpus.shapes import shapes

MESSAGES: Final = (
    "환불은 언제 되나요?",
    "   pad \n\n\n\n x  ",
    "{query} {prompt} {{x.y}} {{start-1.query}} {% if %}",
    "{question}{context}{question}",
    "a < b & 'c' \"d\" \\ / \t 🙂",
)
"""In Korean, with blanks, with placeholders, and with what an engine might escape."""


def corpus() -> tuple[Case, ...]:
    """Every workflow; V1 runs each of them."""
    return (*shapes(), *prompts(), *names(), *configs())
