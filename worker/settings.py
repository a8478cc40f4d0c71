"""Settings: environment variables `FLOWSHIFT_*`, read once, checked at start.

Names, defaults and meanings are in the class below, which also writes `docs/settings.md`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs
from msgspec import Meta

from worker.errors import ConfigError

PREFIX = "FLOWSHIFT_"

# Read by other parts of the environment (the compose file, the Makefile, the tests), not here.
_OTHER_NAMES = frozenset({"FLOWSHIFT_TEST_KEEP"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of flowshift runs with."""

    database_url: Annotated[
        str,
        Meta(
            description="PostgreSQL 13 or newer. Empty: one is started for you in the data directory."
        ),
    ] = ""
    redis_url: Annotated[
        str,
        Meta(description="Redis 6 or newer. Empty: one is started for you in the data directory."),
    ] = ""
    data_dir: Annotated[
        str,
        Meta(
            description="Where the started servers and local state live. Empty: the user's data folder."
        ),
    ] = ""
    namespace: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
            description="Prefix of every Redis key and queue, so that several flowshifts share one Redis.",
        ),
    ] = "flowshift"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="`auto`: console on a terminal, else JSON."),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least level logged.")
    ] = "info"
    batch_size: Annotated[
        int, Meta(ge=1, le=10_000, description="Bots per batch where `--batch-size` is not given.")
    ] = 500
    batch_window: Annotated[
        int, Meta(ge=1, le=1_000, description="Batches of one run in the queue at the same time.")
    ] = 16
    lease_s: Annotated[
        int,
        Meta(
            ge=5, le=3_600, description="Seconds after which a running batch counts as abandoned."
        ),
    ] = 120
    lock_timeout_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="Longest wait for a lock before the batch is tried again.",
        ),
    ] = 5_000
    statement_timeout_ms: Annotated[
        int, Meta(ge=1_000, le=600_000, description="Longest run of one statement of a batch.")
    ] = 60_000
    progress_interval_ms: Annotated[
        int,
        Meta(ge=0, le=60_000, description="Least time between two progress messages of a process."),
    ] = 250
    progress_keep_s: Annotated[
        int, Meta(ge=1, description="Seconds that a run's Redis keys outlive the run.")
    ] = 7 * 24 * 3600
    default_model: Annotated[
        str, Meta(min_length=1, description="The model of an LLM node that names none.")
    ] = "gpt-3.5-turbo"
    default_provider: Annotated[
        str, Meta(min_length=1, description="The provider where neither node nor model tells it.")
    ] = "openai"
    providers: Annotated[
        str,
        Meta(
            description="A TOML file that says which models live trials may ask, see "
            "[execution.md](execution.md#live-models). Empty: none, trials are answered by echo."
        ),
    ] = ""
    worker_processes: Annotated[
        int,
        Meta(ge=1, le=256, description="Child processes of the worker that `flowshift up` starts."),
    ] = 2
    flower_address: Annotated[str, Meta(description="Where Flower listens.")] = "127.0.0.1"
    flower_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Flower's port. 0: any free one.")
    ] = 5555
    flower_basic_auth: Annotated[
        str,
        Meta(description="`user:password` for Flower. Needed where it listens beyond loopback."),
    ] = ""

    @property
    def providers_path(self) -> Path | None:
        """The file with the providers of live trials, absolute; None where there is none."""
        return Path(self.providers).expanduser().absolute() if self.providers else None

    @property
    def data_path(self) -> Path:
        """The data directory, absolute; it need not exist yet."""
        if self.data_dir:
            return Path(self.data_dir).expanduser().absolute()
        return platformdirs.user_data_path("flowshift")


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ`; empty values count as not set.

    Raises:
        ConfigError: a value does not fit, or a `FLOWSHIFT_` name is unknown; says which, what it
            holds (never for URLs and credentials) and what it should hold.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    given: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in _OTHER_NAMES or not value:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key not in fields or name != name.upper():
            raise ConfigError(_unknown(name, fields), setting=name)
        given[key] = value
    values: dict[str, object] = {}
    for key, value in given.items():
        name = PREFIX + key.upper()
        try:
            values[key] = msgspec.convert(value, fields[key].type, strict=False)
        except msgspec.ValidationError as error:
            shown = "" if "url" in key or "auth" in key else f" (it holds {value!r})"
            raise ConfigError(f"{error}{shown}", setting=name) from error
    return Settings(**values)  # type: ignore[arg-type]


def _unknown(name: str, fields: Mapping[str, object]) -> str:
    names = [PREFIX + field.upper() for field in fields]
    close = difflib.get_close_matches(name.upper(), names, n=1)
    return "there is no such setting" + (f"; did you mean {close[0]}?" if close else "")
