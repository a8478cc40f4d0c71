"""What people look at: each module is a page with its handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar.types import ControllerRouterHandler

from worker.web.pages import now

HANDLERS: Final[Sequence[ControllerRouterHandler]] = (now.now,)
