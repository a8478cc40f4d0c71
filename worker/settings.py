"""Settings: environment variables `FLOWSHIFT_*`, read once, checked at start.

Names, defaults and meanings are in the class below, which also writes `docs/reference/settings.md`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import platformdirs
from msgspec import Meta

from worker.core.policy.business_hours import parse_hours
from worker.core.policy.health import Limits
from worker.errors import ConfigError

PREFIX = "FLOWSHIFT_"

_INJECTED = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+")

# Read by other parts of the environment (the compose file, the Makefile, the tests), not here.
_OTHER_NAMES = frozenset({"FLOWSHIFT_TEST_KEEP"})


class Group(msgspec.Struct, frozen=True):
    """Settings that belong together: those of the class from `first` on, up to the next group's."""

    title: str
    about: str
    first: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of flowshift runs with."""

    # -- connect --

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
    broker_url: Annotated[
        str,
        Meta(
            description="The queue: RabbitMQ 3.10 or newer, or another Redis. Empty: the Redis above."
        ),
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
            pattern=r"^[a-z0-9][a-z0-9_-]{0,39}\Z",
            description="Prefix of every Redis key and queue, so that several flowshifts share one Redis.",
        ),
    ] = "flowshift"

    # -- batches --

    batch_size: Annotated[
        int, Meta(ge=1, le=10_000, description="Bots per batch where `--batch-size` is not given.")
    ] = 500
    batch_window: Annotated[
        int, Meta(ge=1, le=1_000, description="Batches of one run in the queue at the same time.")
    ] = 16
    batch_target_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="How long a batch should last: larger ones are cut. 0: never.",
        ),
    ] = 1_000
    backup: Annotated[
        Literal["column", "table"],
        Meta(
            description="Where a run keeps each bot's V1: `bots.legacy_workflow`, or `flowshift.backups`, "
            "so that no row of `bots` is updated. Counts where the run is started."
        ),
    ] = "column"
    max_failures: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of the last bots failing with one code above which a run pauses itself, "
            "where `--max-failures` is not given. 1: never.",
        ),
    ] = 0.5
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
            "[Try drafts on live models](../how-to/live-models.md). "
            "Empty: none, trials are answered by echo."
        ),
    ] = ""
    worker_processes: Annotated[
        int,
        Meta(ge=1, le=256, description="Child processes of the worker that `flowshift up` starts."),
    ] = 2

    # -- health --

    max_replication_lag_s: Annotated[
        int,
        Meta(ge=0, le=86_400, description="Runs wait while a replica is further behind. 0: never."),
    ] = 30
    max_wal_behind_mb: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Runs wait while more WAL is not archived, or archiving fails. 0: never.",
        ),
    ] = 1_024
    max_vacuum_s: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="Runs wait while a table they write has been vacuumed for longer. 0: never.",
        ),
    ] = 60
    max_active_sessions: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Runs wait while more sessions of others are at work. 0: never.",
        ),
    ] = 50
    max_lock_waits: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Runs wait while more sessions of others wait for locks on `bots`. 0: never.",
        ),
    ] = 5
    max_commit_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="Runs wait a while when a process's last five commits took longer on average. "
            "0: never.",
        ),
    ] = 2_000
    health_query: Annotated[
        str,
        Meta(
            description="SQL that says `go`, `wait`, `stop` or a boolean (true: go), and perhaps why."
        ),
    ] = ""
    health_timeout_ms: Annotated[
        int,
        Meta(
            ge=10, le=60_000, description="Longest time of the health query, and of our own checks."
        ),
    ] = 1_000
    business_hours: Annotated[
        str,
        Meta(
            description="When runs wait, such as `mon-fri 09:00-18:00, sat 10:00-14:00`; empty: never."
        ),
    ] = ""
    time_zone: Annotated[
        str,
        Meta(min_length=1, description="Of the business hours, such as `Asia/Seoul`."),
    ] = "UTC"
    nice_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=100,
            description="How long a process rests after a batch, as a multiple of the batch's time.",
        ),
    ] = 0.0
    stop_factor: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000,
            description="A reading over so many times its limit pauses the run. 0: it only waits.",
        ),
    ] = 0.0

    # -- limits --

    lease_s: Annotated[
        int,
        Meta(
            ge=5,
            le=3_600,
            description="Seconds after which a running batch counts as abandoned, unless renewed.",
        ),
    ] = 30
    sweep_s: Annotated[
        int,
        Meta(
            ge=1, le=3_600, description="Seconds between two searches for what nobody looks after."
        ),
    ] = 15
    heartbeat_s: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="Seconds between two heartbeats of a process; after six without one it counts as "
            "not working.",
        ),
    ] = 10
    time_limit_s: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description="Longest time of a batch in seconds; a process that takes longer is killed.",
        ),
    ] = 600
    shutdown_s: Annotated[
        int,
        Meta(
            ge=1,
            le=20,
            description="Seconds that a worker told to stop gives its batches; then they are handed back.",
        ),
    ] = 20
    child_memory_mb: Annotated[
        int,
        Meta(
            ge=64,
            le=1_048_576,
            description="Memory (MiB) that a worker's child process may have; replaced at half of it.",
        ),
    ] = 1_024
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

    # -- retention --

    prune_at: Annotated[
        str,
        Meta(
            pattern=r"^(never|([01][0-9]|2[0-3]):[0-5][0-9])\Z",
            description="When the beat has old records pruned every day, in UTC; `never` if it is not to.",
        ),
    ] = "03:30"
    keep_executions_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that the platform's execution runs and their node executions are kept.",
        ),
    ] = 30
    keep_runs_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that a finished run and its batches are kept, never shorter than its ledger.",
        ),
    ] = 90
    keep_ledger_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that what a finished run did for each bot is kept; `retry` needs it.",
        ),
    ] = 90
    keep_audit_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Days that the audit trail is kept.")
    ] = 365

    # -- display --

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
        int, Meta(ge=1, description="Seconds that a run's Redis keys, and events, outlive the run.")
    ] = 7 * 24 * 3600
    flower_address: Annotated[str, Meta(description="Where Flower listens.")] = "127.0.0.1"
    flower_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Flower's port. 0: any free one.")
    ] = 5555
    flower_basic_auth: Annotated[
        str,
        Meta(description="`user:password` for Flower. Needed where it listens beyond loopback."),
    ] = ""

    def __post_init__(self) -> None:
        """Raise ConfigError for what a type cannot say."""
        for name in ("data_dir", "providers"):
            try:
                Path(getattr(self, name)).expanduser()
            except RuntimeError as error:
                message = f"there is no such user's home (it holds {getattr(self, name)!r})"
                raise ConfigError(message, setting=PREFIX + name.upper()) from error
        try:
            parse_hours(self.business_hours)
        except ValueError as error:
            raise ConfigError(str(error), setting=f"{PREFIX}BUSINESS_HOURS") from error
        try:
            ZoneInfo(self.time_zone)
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            message = f"there is no time zone {self.time_zone!r}"
            raise ConfigError(message, setting=f"{PREFIX}TIME_ZONE") from error

    @property
    def limits(self) -> Limits:
        """From where on each health check waits."""
        return Limits(
            replication_lag_s=self.max_replication_lag_s,
            wal_behind_mb=self.max_wal_behind_mb,
            vacuum_s=self.max_vacuum_s,
            active_sessions=self.max_active_sessions,
            lock_waits=self.max_lock_waits,
            commit_ms=self.max_commit_ms,
            business_hours=parse_hours(self.business_hours),
            stop_factor=self.stop_factor,
        )

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


GROUPS: Final = (
    Group("Connect", "Where the servers are, and what this installation is called", "database_url"),
    Group(
        "Batches", "How bots are converted: how many at a time, by how many processes", "batch_size"
    ),
    Group("Health", "When runs wait for the platform's database", "max_replication_lag_s"),
    Group("Limits", "How long and how much a process may take before others step in", "lease_s"),
    Group("Retention", "How long records are kept, and when old ones are pruned", "prune_at"),
    Group("Display", "Logs, progress and Flower", "log_format"),
)

USUAL: Final = (
    "database_url",
    "redis_url",
    "data_dir",
    "namespace",
    "worker_processes",
    "batch_size",
    "business_hours",
    "keep_executions_days",
)
"""What most installations set, if they set anything: first on the page."""


def is_injected(name: str, value: str) -> bool:
    """Whether a variable is one that Kubernetes makes for a service.

    For a service that is called flowshift these look as if they were settings of ours.

    >>> is_injected("FLOWSHIFT_FLOWER_PORT", "tcp://10.0.0.1:5555"), is_injected("FLOWSHIFT_PORT", "1")
    (True, False)
    >>> is_injected("FLOWSHIFT_REDIS_SERVICE_PORT_HTTP", "80")
    True
    """
    if name.endswith("_PORT") and _ADDRESS.fullmatch(value):
        return True
    return _INJECTED.fullmatch(name) is not None


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environ`; empty values count as not set.

    So does what Kubernetes injects for services whose names begin like ours.

    Raises:
        ConfigError: a value does not fit, or a `FLOWSHIFT_` name is unknown; says which, what it
            holds (never for URLs and credentials) and what it should hold.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    given: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        if (
            not name.startswith(PREFIX)
            or name in _OTHER_NAMES
            or not value
            or is_injected(name, value)
        ):
            continue
        key = name.removeprefix(PREFIX).lower()
        if key not in fields or name != name.upper():
            raise ConfigError(_unknown(name, fields), setting=name)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError("it is not UTF-8", setting=name)
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
