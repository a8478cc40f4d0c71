"""V1's prompts as this platform's templates.

V1 puts the message for `{question}` and what was found for `{context}`, and touches nothing else. A
template says the same in the *plain* form, the LLM's own: variables in their place. Where the LLM would
read it otherwise (it strips, knows names in single braces and has limits), it is *built* by answer
nodes, which change nothing, out of pieces; what they would read otherwise is a constant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from worker.core.targets.answer.nodes import SIMPLE_NAMES
from worker.core.targets.answer.templates import (
    MAX_CHARACTERS,
    MAX_VARIABLES,
    Variable,
    has_blank,
    variables,
)
from worker.core.workflow.v1_texts import SEPARATOR

_PLACEHOLDERS: Final = re.compile(r"\{(question|context)\}")


class Piece(NamedTuple):
    """A piece of a prompt: a text that is used as it is, or an output (`<node id>.<port>`)."""

    text: str
    is_output: bool = False

    @property
    def written(self) -> str:
        """The piece as a template holds it."""
        return "{{" + self.text + "}}" if self.is_output else self.text


Pieces = Sequence[Piece]


def pieces_of(template: str, message: str, context: Sequence[str]) -> list[Piece]:
    """A template of V1 in pieces: `message` and `context` name outputs.

    >>> [one.written for one in pieces_of("{context}? {question}", "s.query", ["a.context"])]
    ['{{a.context}}', '? ', '{{s.query}}']
    """
    found = [Piece(message, is_output=True)]
    joined: list[Piece] = []
    for output in context:
        joined += [Piece(SEPARATOR), Piece(output, is_output=True)]
    pieces: list[Piece] = []
    for number, text in enumerate(_PLACEHOLDERS.split(template)):
        if number % 2 == 0:
            pieces += [Piece(text)] if text else []
        else:
            pieces += found if text == "question" else joined[1:]
    return list(_merged(pieces))


def _merged(pieces: Pieces) -> Iterator[Piece]:
    """The same with texts that follow each other made one."""
    texts: list[str] = []
    for piece in pieces:
        if piece.is_output:
            if texts:
                yield Piece("".join(texts))
                texts = []
            yield piece
        else:
            texts.append(piece.text)
    if texts:
        yield Piece("".join(texts))


def plain(pieces: Pieces) -> str | None:
    """The prompt as an LLM's own template, None if the LLM would make something else of it."""
    template = _template(pieces)
    if not template or template.strip() != template or len(template) > MAX_CHARACTERS:
        return None
    if any(name in template for name in SIMPLE_NAMES) or has_blank(template):
        return None
    wanted = _variables(pieces)
    means_it = len(wanted) <= MAX_VARIABLES and list(variables(template)) == wanted
    return template if means_it else None


def _template(pieces: Pieces) -> str:
    return "".join([piece.written for piece in pieces])


def _variables(pieces: Pieces) -> list[Variable]:
    """The variables that a template of the pieces should hold, each in its place."""
    found, at = [], 0
    for piece in pieces:
        end = at + len(piece.written)
        if piece.is_output:
            found.append(Variable(piece.text, at, end))
        at = end
    return found


class Built(NamedTuple):
    """A prompt that answer nodes build: the constants that it needs, and pieces with those named.

    The piece of constant number i is an output whose text is `constant(i)`.
    """

    pieces: list[Piece]
    constants: list[str]


def constant(number: int) -> str:
    """How a constant is named until it has a node."""
    return f"\n{number}"


def built(pieces: Pieces) -> Built:
    """What has to be a constant so that answer nodes change nothing: see `is_safe`."""
    if not (text := _template(pieces)).strip():
        return Built([Piece(constant(0), is_output=True)], [text])
    shown: list[Piece] = []
    constants: list[str] = []
    for piece in pieces:
        if piece.is_output or is_safe(piece.text):
            shown.append(piece)
        else:
            shown.append(Piece(constant(len(constants)), is_output=True))
            constants.append(piece.text)
    return Built(shown, constants)


_LONG: Final = MAX_CHARACTERS // 4
"""Texts from this length on are constants, so that cutting never has to divide one."""


def is_safe(text: str) -> bool:
    """Whether a template may hold a text as it is: short, and without anything like a variable."""
    return len(text) <= _LONG and not has_blank(text) and not any(True for _ in variables(text))


def cut(pieces: Pieces) -> list[list[Piece]]:
    """Pieces in runs that fit into a template each, none of them blank.

    >>> runs = cut([Piece("a.b", is_output=True)] * 250)
    >>> [len(run) for run in runs]
    [100, 100, 50]
    """
    runs: list[list[Piece]] = [[]]
    length = count = 0
    for piece in pieces:
        size = len(piece.written)
        if runs[-1] and (length + size > MAX_CHARACTERS or count + piece.is_output > MAX_VARIABLES):
            runs.append([])
            length = count = 0
        runs[-1].append(piece)
        length, count = length + size, count + piece.is_output
    if len(runs) > 1 and not _template(runs[-1]).strip():  # the last text alone, and blank
        runs[-1].insert(0, runs[-2].pop())
    return runs
