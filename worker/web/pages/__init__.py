"""What people look at: each module is a page, or a group of pages, with its handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from worker.web.pages import (
    acting,
    assets,
    audit,
    bots,
    executions,
    now,
    publications,
    runs,
    settings,
)
from worker.web.pages.shell import give_shell

HANDLERS: Final[Sequence[ControllerRouterHandler]] = (
    Router(
        "/",
        route_handlers=[
            assets.asset,
            now.now,
            *runs.HANDLERS,
            *bots.HANDLERS,
            *publications.HANDLERS,
            *executions.HANDLERS,
            *audit.HANDLERS,
            *settings.HANDLERS,
            *acting.HANDLERS,
        ],
        dependencies={"shell": Provide(give_shell, sync_to_thread=False)},
    ),
)
