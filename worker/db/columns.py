"""What the models of tables are made of: their metadata, and columns that many have."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = sa.MetaData()

EMPTY = text("'{}'::jsonb")
"""The default of a column that holds an object."""


def json_b() -> JSONB:
    """The type jsonb."""
    # None means SQL's NULL. By default SQLAlchemy would write the JSON value null.
    return JSONB(none_as_null=True)


def time(name: str) -> Column[Any]:
    """A time with its zone."""
    return Column(name, sa.DateTime(timezone=True))


def time_now(name: str) -> Column[Any]:
    """A time with its zone, which is the present one where none is given."""
    return Column(name, sa.DateTime(timezone=True), nullable=False, server_default=text("now()"))


def uuid_key() -> Column[Any]:
    """The key of one of the platform's tables."""
    # Adopted tables may have no default here: an INSERT has to give the id.
    return Column("id", sa.Uuid(), primary_key=True, server_default=text("gen_random_uuid()"))


def count(name: str) -> Column[Any]:
    """How many, from zero."""
    return Column(name, sa.Integer, nullable=False, server_default=text("0"))
