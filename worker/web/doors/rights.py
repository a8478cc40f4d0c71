"""What a person may do: viewers look, operators act."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from worker.web.doors.origin import SAFE

FOR_VIEWERS = {"for_viewers": True}
"""`opt=FOR_VIEWERS`: a handler with another method than GET that changes nothing."""


def need_right(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: who may only look is refused what changes something.

    Raises:
        PermissionDeniedException: the person is a viewer.
    """
    method = str(connection.scope.get("method"))
    if method in SAFE or handler.opt.get("for_viewers") or connection.user.may_act:
        return
    raise PermissionDeniedException(
        f"{connection.user.name} is a viewer: only an operator may do this"
    )
