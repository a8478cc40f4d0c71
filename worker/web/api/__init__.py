"""What programs ask: each module is a room with its handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar.types import ControllerRouterHandler

from worker.web.api import health

HANDLERS: Final[Sequence[ControllerRouterHandler]] = (health.live, health.ready)
