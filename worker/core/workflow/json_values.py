"""Values of a workflow that stay JSON until they are read: ids, texts, objects, what counts as absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from worker.core.codes import quote

JsonObject = dict[str, Raw]
NodeId: TypeAlias = str | int | float
"""A node's id as the platform, written in Python, has it: a text or a number, true and false included.

Ids are equal where Python's values are: 1 is 1.0 and true, and never "1".
"""


_object = msgspec.json.Decoder(JsonObject)
_text = msgspec.json.Decoder(str)
_NULL: Final = Raw(b"null")


def as_node_id(value: object) -> NodeId | None:
    """A value as an id, None if it is none: an empty text, null, a list, an object."""
    return value if value != "" and isinstance(value, (str, int, float)) else None


def loose_id(value: object) -> NodeId:
    """A value as an id, so that 1 is not taken for "1"; what is no id as a text."""
    return value if isinstance(value, str | int | float) else str(value)


def objects_in(value: object) -> list[dict[str, Any]]:
    """The objects of a list, none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def object_or_empty(value: object) -> Mapping[str, Any]:
    """The object that a value is, empty if it is none."""
    return value if isinstance(value, dict) else {}


def id_text(node_id: NodeId) -> str:
    """An id as a text: a number's is its JSON.

    >>> id_text("1"), id_text(1), id_text(1.0), id_text(True)
    ('1', '1', '1.0', 'true')
    """
    return node_id if isinstance(node_id, str) else json.dumps(node_id)


def quote_id(node_id: NodeId, limit: int = 60) -> str:
    """An id for a message: a text in quotes, a number without.

    >>> quote_id("1"), quote_id(1)
    ("'1'", '1')
    """
    shown = quote(id_text(node_id), limit)
    return shown if isinstance(node_id, str) else shown[1:-1]


def text_of(raw: Raw | None) -> str | None:
    """The string that `raw` holds, None if it holds anything else."""
    if raw is None:
        return None
    try:
        return _text.decode(raw)
    except msgspec.ValidationError:
        return None


def object_of(raw: Raw | None) -> JsonObject | None:
    """The keys of the object that `raw` holds, None if it holds anything else."""
    if raw is None:
        return None
    try:
        return _object.decode(raw)
    except msgspec.ValidationError:
        return None


def is_null(raw: Raw) -> bool:
    """Whether `raw` is JSON's null."""
    return raw == _NULL
