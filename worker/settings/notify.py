"""Settings: who is told of what happens, and by which rules of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from worker.settings.field import base_address, path, text
from worker.settings.web import Web


class Notify(Web, frozen=True, kw_only=True):
    """Who is told of what happens, and by which rules of one's own."""

    notify: Annotated[
        str,
        text(
            "A TOML file that says which channels get notifications, see "
            "[Notifications](../how-to/notifications.md). Empty: none.",
            expected="a TOML file",
            check=path,
        ),
    ] = ""
    alerts: Annotated[
        str,
        text(
            "A TOML file with alert rules of your own, see [Alert rules](../how-to/alerts.md). "
            "Empty: only the built-in ones.",
            expected="a TOML file",
            check=path,
        ),
    ] = ""
    alerts_s: Annotated[
        int, Meta(ge=1, le=300, description="Seconds between two looks at the alert rules.")
    ] = 15
    web_url: Annotated[
        str,
        text(
            "The address at which people reach `flowshift serve`, for links in notifications and "
            "in Flower. Empty: with `flowshift up`, that of its own pages if they listen on loopback; else "
            "none are linked.",
            expected="an address such as https://flowshift.example",
            check=base_address,
            is_secret=True,  # somebody may put a password into it
        ),
    ] = ""
    notify_s: Annotated[
        int,
        Meta(ge=1, le=300, description="Seconds between two looks for notifications to be sent."),
    ] = 5
    notify_give_up_h: Annotated[
        int,
        Meta(
            ge=1,
            le=720,
            description="Hours after which a notification is given up that its channel has not taken.",
        ),
    ] = 24

    @property
    def notify_path(self) -> Path | None:
        """The file with the channels, absolute; None if there is none."""
        return path(self.notify) if self.notify else None

    @property
    def alerts_path(self) -> Path | None:
        """The file with the alert rules, absolute; None if there is none."""
        return path(self.alerts) if self.alerts else None
