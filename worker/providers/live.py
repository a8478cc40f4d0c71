"""What drafts are executed with where real models are asked."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from worker.core.engine.registry import Registry
from worker.core.engine.replay import Replay
from worker.core.parity.trial import Equipment
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow.calls import Limits
from worker.errors import ConfigError
from worker.providers import chain
from worker.providers.budget import Budget
from worker.providers.config import SETTING, LiveConfig

SIDE_BY_SIDE: Final = 8
"""Nodes of one draft that ask at the same time."""

# A bot's trials end well within a task's hard time limit, whatever the models do: no message is
# begun after the first, no node after the second.
BOT_S: Final = 120.0
EXECUTION_S: Final = 60.0


def check(config: LiveConfig | None) -> LiveConfig:
    """The models that can be asked from this process; touches no network.

    Raises:
        ConfigError: none are configured, the extra `live` is missing, or a key is.
    """
    if config is None:
        raise ConfigError("it should name the file that says which models to ask", setting=SETTING)
    chain.check(config)
    return config


class Live:
    """Models to ask, within a budget, and the threads to ask them from; closed at the end."""

    def __init__(
        self,
        config: LiveConfig,
        budget: Budget,
        registry: Registry,
        *,
        target: Target = DEFAULT,
        strict: Iterable[str] = (),
    ) -> None:
        """Open it in this very process; nothing is asked yet.

        Raises:
            ConfigError: the extra `live` is not installed, or a key is not in the environment.
            UsageError: there is no budget, or one in money where prices are missing.
            TransientError: the budget could not be read.
        """
        self._chain = chain.open_chain(config, budget)
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="live")
        self.equipment = Equipment(
            self._pair,
            time.perf_counter,
            registry,
            limits=Limits(timeout_s=EXECUTION_S),
            pool=self._pool,
            bot_s=BOT_S,
            target=target,
            strict=frozenset(strict),
        )

    def _pair(self) -> tuple[Replay, Replay]:
        replay = Replay(self._chain, time.perf_counter)
        return replay, replay

    @property
    def answered(self) -> dict[str, int]:
        """How many answers each provider gave."""
        return dict(self._chain.answered)

    def close(self) -> None:
        """Close the connections and end the threads. Safe to repeat."""
        self._chain.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
