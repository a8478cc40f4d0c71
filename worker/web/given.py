"""What a handler can ask for, by the name of its parameter."""

from __future__ import annotations

from typing import TypeAlias

import sqlalchemy as sa
from litestar.di import NamedDependency

from worker.runtime import Runtime
from worker.web.doors.people import Person

Reading: TypeAlias = NamedDependency[sa.Engine]
"""`reading`: the engine for everything that only shows. Its transactions cannot write."""

Current: TypeAlias = NamedDependency[Runtime]
"""`current`: what this process works with, for actions and for settings."""

Who: TypeAlias = NamedDependency[Person]
"""`who`: the person that asks; `who.name` is what the audit trail has."""

CsrfToken: TypeAlias = NamedDependency[str]
"""`csrf_token`, for pages: the value of the hidden field of that name in each of their forms."""
