"""Workflows by their prompts: what an engine might trim, squeeze, replace or read as its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker.core.corpus.building import Case, chain, end, knowledge, llm, start

SPACES: Final[Mapping[str, str]] = {
    "outer": "  {context}\n\n{question}  ",
    "lines": "A\n\n\n\nB {context}\n\n\n{question}\n",
    "tabs": "\t{question}\t\r\n{context}\r\n",
    "wide": "　{question}\u00a0",
}
LITERALS: Final[Mapping[str, str]] = {
    "query": "{query} {question}",
    "system": "{system_prompt}|{context}|{query}",
    "double": "Hi {{name}}, {question}",
    "selector": "{{#a.b#}} {{start-1.query}} {context}",
    "jinja": "{% if x %}{{ x | upper }}{% endif %} {question} {# no #}",
    "nested": "{{question}} {{{context}}} {{}} {}",
    "json": '{"q": "{question}", "c": ["{context}"]}',
    "percent": "%s %(question)s $question ${context} {question}",
    "html": "<b>{question}</b> & \"{context}\" 'x'",
    "names": "{Question} { question } {CONTEXT} {question}",
    "twice": "{question}{question}{context}{context}",
    "neither": "Say hello.",
    "sys": "{{sys.query}} {{env.KEY}} {{conversation.x}} {question}",
}


def prompts() -> Iterator[Case]:
    """Prompts with blanks, braces, placeholders of others, nothing, and very much."""
    for name, template in SPACES.items():
        yield _with("spaces", name, template)
    for name, template in LITERALS.items():
        yield _with("literal", name, template)
    yield _with("blank_template", "blanks", "  \n ")
    yield _with("default_template", "absent", None)
    yield chain("default_template", "no-search", start(), llm(prompt=None), end())
    yield _with("empty_template", "search", "")
    yield chain("empty_template", "no-search", start(), llm(prompt=""), end())
    yield _with("huge", "text", "가나다 abc " * 3_000 + "{question} {context}")
    yield _with("huge", "variables", "{question} {context} " * 80)


def _with(kind: str, name: str, template: str | None) -> Case:
    return chain(kind, name, start(), knowledge(), llm(prompt=template), end())
