"""The one sentence that refuses a value: its setting, what it holds, what it must be."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from msgspec import inspect

from worker.core.printable import escape
from worker.errors import ConfigError
from worker.settings.expected import expected, extra
from worker.settings.field import variable

_MOST_SHOWN: Final = 80
"""Characters of a value that are shown: it may be a whole file by mistake."""


def refusal(name: str, kind: inspect.Type, value: object, reason: str = "") -> ConfigError:
    """The error for a setting whose value does not fit; a secret's value is not shown.

    >>> from msgspec import Meta
    >>> from typing import Annotated
    >>> print(refusal("sweep_s", inspect.type_info(Annotated[int, Meta(ge=1)]), "soon"))
    FLOWSHIFT_SWEEP_S: it holds 'soon', but must be a whole number of at least 1
    """
    held = "a value that does not fit" if extra(kind).get("is_secret") else _shown(value)
    message = f"it holds {held}, but must be {expected(kind)}"
    return ConfigError(f"{message} ({reason})" if reason else message, setting=variable(name))


def unknown(name: str, known: Collection[str]) -> ConfigError:
    """The error for a variable that is no setting, with the one that may be meant."""
    close = difflib.get_close_matches(name.upper(), map(variable, known), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return ConfigError(f"there is no such setting{hint}", setting=escape(name))


def _shown(value: object) -> str:
    text = str(value)
    return f"{text[:_MOST_SHOWN]!r}{'…' if len(text) > _MOST_SHOWN else ''}"
