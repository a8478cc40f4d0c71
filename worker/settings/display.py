"""Settings: logs, progress and Flower."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from worker.settings.field import base_address, text
from worker.settings.retention import Retention


def _user_and_password(value: str) -> None:
    user, colon, password = value.partition(":")
    if value and not (user and colon and password):
        raise ValueError


class Display(Retention, frozen=True, kw_only=True):
    """Logs, progress and Flower."""

    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="`auto`: console on a terminal, else JSON."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least level logged.")
    ] = "info"
    progress_interval_ms: Annotated[
        int,
        Meta(ge=0, le=60_000, description="Least time between two progress messages of a process."),
    ] = 250
    progress_keep_s: Annotated[
        int,
        Meta(
            ge=1,
            le=315_360_000,
            description="Seconds that a run's Redis keys, and events, outlive the run.",
        ),
    ] = 7 * 24 * 3600
    flower_address: Annotated[
        str, text("Where Flower listens.", expected="an address or a host name")
    ] = "127.0.0.1"
    flower_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Flower's port. 0: any free one.")
    ] = 5555
    flower_basic_auth: Annotated[
        str,
        text(
            "`user:password` for Flower. Needed where it listens beyond loopback.",
            expected="user:password",
            check=_user_and_password,
            is_secret=True,
        ),
    ] = ""
    flower_url: Annotated[
        str,
        text(
            "The address at which people reach Flower, for links on pages. Empty: where it listens, by "
            "FLOWSHIFT_FLOWER_ADDRESS and FLOWSHIFT_FLOWER_PORT.",
            expected="an address such as https://flower.example",
            check=base_address,
            is_secret=True,  # somebody may put a password into it
        ),
    ] = ""
