"""What a process works with: settings, servers, an engine and a Redis client, made once each.

Prefork children inherit the parent's memory but must not share its sockets: everything that holds
one is made again in each process.
"""

from __future__ import annotations

import atexit
import importlib.metadata
import os
import time
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec
import redis
import sqlalchemy as sa

from worker import nodes
from worker import settings as settings_module
from worker.channels import config as channels_config
from worker.channels.config import Channels
from worker.core.engine.registry import Registry
from worker.core.parity.trial import Equipment
from worker.core.targets.convert import convert_text, recipe
from worker.core.targets.detect import SETTING
from worker.core.targets.registry import DEFAULT, TARGETS
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults
from worker.db.budgets import RunBudget
from worker.db.engine import create_engine, database_url
from worker.db.runs import ECHO, RunOptions
from worker.errors import ConfigError
from worker.platform.platform import Platform
from worker.providers import config as providers
from worker.providers.config import LiveConfig
from worker.providers.echo import Echo
from worker.providers.live import Live
from worker.sample import SMALLEST
from worker.servers.connect import Connections, Servers
from worker.settings import Settings

NO_SERVERS: Final = Servers("", "")
"""For a runtime that is used for what needs none."""


class Runtime:
    """The connections of one process, each opened when it is first used."""

    def __init__(
        self, settings: Settings, servers: Servers, live: LiveConfig | None = None
    ) -> None:
        self.settings = settings
        self.servers = servers
        self.live = live
        """The models that live trials may ask; None if none is configured."""
        self.pid = os.getpid()
        self._registries: dict[str, Registry] = {}
        self._live_run: tuple[int, Live] | None = None

    @cached_property
    def engine(self) -> sa.Engine:
        """PostgreSQL, with our time-outs."""
        return create_engine(
            database_url(self.servers.database_url),
            lock_timeout_ms=self.settings.lock_timeout_ms,
            statement_timeout_ms=self.settings.statement_timeout_ms,
            application_name="flowshift",
            compression=self.settings.toast_compression,
        )

    @cached_property
    def redis(self) -> redis.Redis:
        """Redis for progress: short time-outs, since nothing may wait for it."""
        return redis.Redis.from_url(
            self.servers.redis_url,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            health_check_interval=10,
        )

    @cached_property
    def registry(self) -> Registry:
        """The node types that are installed here, for the default target.

        Raises:
            ConfigError: a package brings one that cannot be used.
        """
        return self.registry_of(DEFAULT)

    def registry_of(self, target: Target) -> Registry:
        """The node types that are installed here, for a target; packages are looked for once.

        Raises:
            ConfigError: a package brings one that cannot be used.
        """
        if target.name not in self._registries:
            self._registries[target.name] = nodes.installed(target)
        return self._registries[target.name]

    @cached_property
    def echo(self) -> Equipment:
        """What drafts of the default target are executed with where no model is to be asked."""
        echo = Echo()
        return Equipment(
            lambda: (echo, echo), time.perf_counter, self.registry, platform=self.platform
        )

    @cached_property
    def platform(self) -> Platform | None:
        """The platform's own validator and engine, if the settings name one; not started yet.

        Raises:
            ConfigError: a program that is named cannot be run here.
        """
        return Platform.of(self.settings, probe=convert_text(SMALLEST, Defaults()).graph)

    @cached_property
    def channels(self) -> Channels | None:
        """Where notifications go; None if no file says so. Read when first needed: a command that helps
        in the night must not fail for it.

        Raises:
            ConfigError: the file, or one that it names, cannot be read or is wrong.
        """
        path = self.settings.notify_path
        return None if path is None else channels_config.load(path)

    def echo_for(self, target: Target, strict: Iterable[str] = ()) -> Equipment:
        """What drafts for a target are executed with where no model is to be asked.

        Raises:
            ConfigError: a package brings a node type that cannot be used.
        """
        return msgspec.structs.replace(
            self.echo, registry=self.registry_of(target), target=target, strict=frozenset(strict)
        )

    def equip(self, run_id: int, options: RunOptions) -> Equipment:
        """What a run's drafts are written for and executed with: echo, or models, opened once for a run.

        The target is the one that the run was started with, whatever this process is set to.

        Raises:
            ConfigError: the run asks models, and none are configured for this process; or its target
                is not known here.
            TransientError: the run's budget could not be read.
        """
        if options.target not in TARGETS:
            known = ", ".join(TARGETS)
            message = f"run {run_id} is for the target {options.target!r}; known here: {known}"
            raise ConfigError(f"{message}. Run workers of its version", setting=SETTING)
        target = TARGETS[options.target]
        if options.provider == ECHO:
            return self.echo_for(target, options.strict)
        if self.live is None:
            message = f"run {run_id} asks models: every worker needs the file that says which"
            raise ConfigError(message, setting=providers.SETTING)
        if self._live_run is None or self._live_run[0] != run_id:
            self._close_live()
            budget = RunBudget(self.engine, run_id)
            registry = self.registry_of(target)
            live = Live(self.live, budget, registry, target=target, strict=options.strict)
            self._live_run = (run_id, live)
        return msgspec.structs.replace(self._live_run[1].equipment, platform=self.platform)

    def _close_live(self) -> None:
        if self._live_run is not None:
            self._live_run[1].close()
            self._live_run = None

    @cached_property
    def defaults(self) -> Defaults:
        """How V1's workflows are read here."""
        return nodes.defaults(self.settings, self.registry)

    @cached_property
    def _reader(self) -> str:
        return importlib.metadata.version("pydantic")

    def recipe_of(self, target: Target) -> int:
        """What drafts for a target follow from here beside their workflows."""
        return recipe(target, self.defaults, self._reader)

    def close(self) -> None:
        """Close this process's sockets; the servers stay."""
        self._close_live()
        for name in ("engine", "redis", "platform"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.dispose() if name == "engine" else opened.close()

    def leave(self) -> None:
        """In a forked child: let go of what belongs to the parent."""
        if (platform := self.__dict__.pop("platform", None)) is not None:
            platform.leave()


_connections = Connections()
_runtime: Runtime | None = None


def configure(settings: Settings | None = None) -> Runtime:
    """Resolve the servers for this process and its children, starting them where no URL is given.

    Raises:
        ConfigError: a setting or the file of providers is wrong, or the servers cannot be started.
    """
    global _runtime  # noqa: PLW0603  (one per process is the point)
    shutdown()
    settings = settings or settings_module.load()
    path = settings.providers_path
    live = providers.load(path) if path else None
    _runtime = Runtime(settings, _connections.resolve(settings), live)
    return _runtime


def runtime() -> Runtime:
    """The runtime of this very process; in a forked child a new one with the same servers."""
    global _runtime  # noqa: PLW0603
    if _runtime is None:
        return configure()
    if _runtime.pid != os.getpid():
        # The parent's engine is dropped, not disposed of: its sockets are the parent's to close.
        _runtime.leave()
        _runtime = Runtime(_runtime.settings, _runtime.servers, _runtime.live)
    return _runtime


def shutdown() -> None:
    """Close everything and leave the servers that were started for us."""
    global _runtime  # noqa: PLW0603
    if _runtime is not None and _runtime.pid == os.getpid():
        _runtime.close()
        _runtime = None
        _connections.close()


atexit.register(shutdown)
