"""What a handler can ask for, by the name of its parameter."""

from __future__ import annotations

from typing import TypeAlias

import sqlalchemy as sa
from litestar.di import NamedDependency

from worker.runtime import Runtime

Reading: TypeAlias = NamedDependency[sa.Engine]
"""`reading`: the engine for everything that only shows. Its transactions cannot write."""

Current: TypeAlias = NamedDependency[Runtime]
"""`current`: what this process works with, for actions and for settings."""
