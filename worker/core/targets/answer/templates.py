"""The platform's templates: `{{node.port}}`, `{{ node.port }}`, `{{#node.port#}}` (answer and LLM nodes).

Templates are untrusted: reading one takes time in proportion to its length, and what a variable
holds is put in as it is, never read again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

MAX_CHARACTERS: Final = 20 * 1024
MAX_VARIABLES: Final = 100
"""How many variables a template may hold, one that occurs twice is counted twice."""

OUTER_VARIABLES: Final = frozenset({"env", "environment", "conv", "conversation", "sys", "system"})
"""What a selector begins with that names no node, whether in capitals or not."""
OWN_INPUTS: Final = "self"
_DOUBLE_BRACES: Final = re.compile(r"\{\{([^{}]+)\}\}")


class TemplateError(ValueError):
    """A template that the platform does not render."""


class Variable(NamedTuple):
    """A variable in a template: what it names, and where it stands (`end` is behind it)."""

    selector: str
    start: int
    end: int


def variables(template: str) -> Iterator[Variable]:
    """The variables of a template, in order.

    >>> [one.selector for one in variables("{{a.b}} {{ #c.d }} {{{e.f}}} {g} {{h\\ni}} {{}}")]
    ['a.b', 'c.d', 'e.f']
    """
    for found in _DOUBLE_BRACES.finditer(template):
        if (selector := _selector(found[1])) is not None:
            yield Variable(selector, found.start(), found.end())


def _selector(inside: str) -> str | None:
    """The text between double braces, as a selector: None if it names nothing.

    Blanks around it do not count. Neither does one `#` on either side, inside those blanks on the left
    and outside them on the right. A line cannot end within.
    """
    body = inside.lstrip()
    for text in (body[1:], body) if body.startswith("#") else (body,):
        named = text.removesuffix("#").rstrip() or text[:1]
        if named and "\n" not in named:
            return named.strip() or None
    return None


def has_blank(template: str) -> bool:
    """Whether double braces hold nothing but blanks and `#`: what a platform makes of it is not known.

    >>> has_blank("{{ }}"), has_blank("{{ #}}"), has_blank("{{}} {{ a }} { }")
    (True, True, False)
    """
    return any(not inside.replace("#", "").strip() for inside in _DOUBLE_BRACES.findall(template))


def check(template: str) -> None:
    """Hold a template against the platform's limits.

    Raises:
        TemplateError: it is blank, too long, or holds too many variables.
    """
    if not template.strip():
        raise TemplateError("the template is blank")
    if len(template) > MAX_CHARACTERS:
        raise TemplateError(
            f"the template has {len(template):,} characters; at most {MAX_CHARACTERS:,} are rendered"
        )
    count = sum(1 for _ in variables(template))
    if count > MAX_VARIABLES:
        raise TemplateError(
            f"the template has {count:,} variables; at most {MAX_VARIABLES} are rendered"
        )


def render(template: str, value_of: Callable[[str], Any]) -> str:
    """Put the values of a template's variables into it; `value_of` gives None if there is none.

    Raises:
        TemplateError: it is beyond the limits, or a variable has no value.
    """
    check(template)
    parts, done = [], 0
    for selector, start, end in variables(template):
        value = value_of(selector)
        if value is None:
            raise TemplateError(f"the variable {selector} has no value")
        parts += [template[done:start], shown(value)]
        done = end
    return "".join([*parts, template[done:]])


def shown(value: Any) -> str:
    """A value as a template shows it.

    >>> shown("a"), shown(1.0), shown(True), shown(["é"])
    ('a', '1.0', 'True', '[\\n  "é"\\n]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, indent=2)
    return str(value)


def is_usable_id(node_id: str) -> bool:
    """Whether a template's variables can name the outputs of a node with this id."""
    return (
        bool(node_id)
        and node_id != OWN_INPUTS
        and node_id.lower() not in OUTER_VARIABLES
        and "." not in node_id
        and [one.selector for one in variables("{{" + node_id + ".x}}")] == [node_id + ".x"]
    )


def usable_id(node_id: str) -> str:
    """The id itself where variables can name it, else one near it.

    >>> usable_id("노드 1"), usable_id("a.b{c}"), usable_id("#x "), usable_id("Sys"), usable_id("")
    ('노드 1', 'a_b_c_', '_x', 'Sys_node', 'node')
    """
    if is_usable_id(node_id):
        return node_id
    if node_id == OWN_INPUTS or node_id.lower() in OUTER_VARIABLES:
        return f"{node_id}_node"
    near = "".join("_" if c in ".{}#" or not c.isprintable() else c for c in node_id).strip()
    return near if near and is_usable_id(near) else f"{near}_node" if near else "node"
