"""A token in every form of ours: a page of another site can send a form, but cannot know it.

It is made from the name of who asks, the hour, and a key; nothing is kept, and there is no cookie to
steal or to fix. Processes that share FLOWSHIFT_WEB_SECRET take each other's forms.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any, Final

from litestar import Request
from litestar.exceptions import PermissionDeniedException

from worker.web.doors.origin import SAFE

FIELD: Final = "csrf_token"
"""The field of a form that holds it; a script may send it as the header X-CSRF-Token instead."""

VALID_S: Final = 12 * 3600


class FormTokens:
    """Makes the tokens of forms, and knows its own again: those of the same secret."""

    def __init__(self, secret: str = "") -> None:
        """Without a secret the key is this object's own."""
        given = secret.encode("utf-8", "surrogatepass")
        self._key = hashlib.sha256(given).digest() if secret else secrets.token_bytes(32)

    def make(self, name: str, now: float | None = None) -> str:
        """The token for the forms that are shown to `name` now (seconds since 1970)."""
        issued = str(int(time.time() if now is None else now))
        return f"{issued}.{self._sign(name, issued)}"

    def is_valid(self, token: str, name: str, now: float | None = None) -> bool:
        """Whether a token was made for `name` within the last 12 hours, with this key."""
        issued, _, signed = token.partition(".")
        if not (issued.isascii() and issued.isdigit() and len(issued) < 15):
            return False
        age_s = (time.time() if now is None else now) - int(issued)
        wanted = self._sign(name, issued).encode()
        same = hmac.compare_digest(signed.encode("utf-8", "replace"), wanted)
        return same and -60 <= age_s <= VALID_S

    def _sign(self, name: str, issued: str) -> str:
        said = f"form\n{issued}\n{name}".encode("utf-8", "replace")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()

    async def check(self, request: Request[Any, Any, Any]) -> None:
        """Refuse a form without a valid token; before every handler of a page.

        Raises:
            PermissionDeniedException: the token is missing, too old, or another's.
        """
        if request.method in SAFE:
            return
        token = request.headers.get("x-csrf-token") or str((await request.form()).get(FIELD, ""))
        if not self.is_valid(token, request.user.name):
            raise PermissionDeniedException(
                "the form is too old, or was not made here: load its page again, then send it"
            )
