"""All settings in one class: the last group, with every value checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import msgspec
from msgspec import inspect

from worker.errors import ConfigError
from worker.settings.batches import Batches
from worker.settings.connect import Connect
from worker.settings.display import Display
from worker.settings.expected import extra
from worker.settings.field import variable
from worker.settings.gate import Gate
from worker.settings.health import Health
from worker.settings.limits import Limits
from worker.settings.notify import Notify
from worker.settings.platform import Platform
from worker.settings.refusal import refusal
from worker.settings.retention import Retention
from worker.settings.web import Web


class Settings(Notify, frozen=True, kw_only=True):
    """What a process of flowshift runs with."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what a type cannot say."""
        for name, kind in kinds().items():
            check = extra(kind).get("check")
            if check is None:
                continue
            value = getattr(self, name)
            try:
                check(value)
            except ValueError as error:
                raise refusal(name, kind, value, str(error)) from error
        _check_heartbeat(self.heartbeat_s, self.lease_s)
        _check_soak(self.gate_min_soak_s, self.gate_max_soak_s)
        _check_proxy(self.web_proxy_header, self.web_proxy_peers)


def _check_heartbeat(heartbeat_s: int, lease_s: int) -> None:
    """Refuse heartbeats so rare that a worker at work could count as lost when its lease ends."""
    if 3 * heartbeat_s > lease_s:
        raise ConfigError(
            f"it is {heartbeat_s}, more than a third of {variable('lease_s')} ({lease_s}), so that a "
            f"worker at work could count as lost: set it to at most {lease_s // 3}, or "
            f"{variable('lease_s')} to at least {3 * heartbeat_s}",
            setting=variable("heartbeat_s"),
        )


def _check_soak(min_soak_s: int, max_soak_s: int) -> None:
    """Refuse an end of the soak before which no wave could pass."""
    if max_soak_s < min_soak_s:
        raise ConfigError(
            f"it is {max_soak_s}, less than {variable('gate_min_soak_s')} ({min_soak_s}), so that no wave "
            "could pass: set it to at least as much",
            setting=variable("gate_max_soak_s"),
        )


def _check_proxy(header: str, peers: str) -> None:
    """Refuse a header that would be believed from nobody, or from everybody."""
    if bool(header) != bool(peers):
        missing, given = ("web_proxy_peers", "web_proxy_header")[:: 1 if header else -1]
        raise ConfigError(
            f"{variable(given)} is set and it is not: a proxy's header is believed only from the peers "
            "that are named; set both or neither",
            setting=variable(missing),
        )


GROUPS: Final[tuple[type[msgspec.Struct], ...]] = (
    Connect,
    Batches,
    Health,
    Limits,
    Retention,
    Display,
    Platform,
    Gate,
    Web,
    Notify,
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


@cache
def kinds() -> Mapping[str, inspect.Type]:
    """The type of every setting, with its bounds, by name."""
    described = inspect.type_info(Settings)
    assert isinstance(described, inspect.StructType)  # noqa: S101  (for the type checker)
    return {field.name: field.type for field in described.fields}
