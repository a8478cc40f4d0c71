"""Every setting as a person may see it: its value, where that is from, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from worker.settings.expected import extra
from worker.settings.field import variable
from worker.settings.model import GROUPS, Settings, kinds
from worker.settings.secret_files import file_variable, secret_of

Origin = Literal["environment", "file", "default"]


class Shown(msgspec.Struct, frozen=True):
    """A setting; `value` is empty where it is not set, and never a secret's."""

    name: str
    value: str
    origin: Origin
    is_secret: bool
    description: str


class Group(msgspec.Struct, frozen=True):
    """The settings of one group, in their order."""

    title: str
    settings: tuple[Shown, ...]


def shown(values: Settings, environ: Mapping[str, str]) -> list[Group]:
    """All settings by group, with what this process runs with; of a secret only whether it is set."""
    groups = []
    for group in GROUPS:
        names = [name for name in group.__annotations__ if name in kinds()]
        title = (group.__doc__ or group.__name__).partition("\n")[0].rstrip(".")
        groups.append(Group(title, tuple(_shown(name, values, environ) for name in names)))
    return groups


def _shown(name: str, values: Settings, environ: Mapping[str, str]) -> Shown:
    kind, value = kinds()[name], getattr(values, name)
    is_secret = bool(extra(kind).get("is_secret"))
    text = ("set, and not shown" if value else "") if is_secret else _text(value)
    return Shown(
        name=variable(name),
        value=text,
        origin=_origin(name, environ),
        is_secret=is_secret,
        description=str(_description(kind)),
    )


def _origin(name: str, environ: Mapping[str, str]) -> Origin:
    if environ.get(variable(name)):
        return "environment"
    is_in_file = secret_of(file_variable(name)) is not None and environ.get(file_variable(name))
    return "file" if is_in_file else "default"


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _description(kind: object) -> str:
    """What it means, as its declaration says."""
    return str((getattr(kind, "extra_json_schema", None) or {}).get("description", ""))
