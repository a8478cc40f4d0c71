"""The settings of this process: their values, where these are from, secrets hidden."""

from __future__ import annotations

import os
from typing import Final

from litestar import Response, get

from worker.settings.origin import shown
from worker.web.pages.shell import PageShell


@get("/settings", sync_to_thread=True, include_in_schema=False)
def settings(shell: PageShell) -> Response[str]:
    """Every setting by group."""
    return shell.page("settings.html", groups=shown(shell.current.settings, os.environ))


HANDLERS: Final = (settings,)
