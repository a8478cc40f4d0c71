"""Environment variables that are not for us, though they look as if they were.

Kubernetes injects variables for every service (`FLOWSHIFT_PORT=tcp://…` for one called flowshift);
Celery and Flower read variables of their own, which are other applications' here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

from worker.log import get_logger
from worker.settings import is_injected

log = get_logger(__name__)

# What Celery's own command line and its settings read besides.
_OF_CELERY = frozenset({"BROKER_URL", "RESULT_BACKEND"})
# What Celery writes into its own environment: no person set it, so it is not reported.
_SET_BY_CELERY = frozenset(
    f"CELERY_LOG_{name}" for name in ("FILE", "LEVEL", "REDIRECT", "REDIRECT_LEVEL")
)
_PREFIXES = ("CELERY_", "CELERYD_", "CELERYBEAT_", "FLOWER_")


def is_others(name: str) -> bool:
    """Whether a variable steers Celery or Flower, which only our settings may do here."""
    return name in _OF_CELERY or name.startswith(_PREFIXES)


def for_children(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of processes that we start: without what could steer Celery or Flower."""
    return {name: value for name, value in environ.items() if not is_others(name)}


def ignore(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take out of a process of ours what steers Celery or Flower, and log once what that was.

    A person may have set it in the belief that it counts.
    """
    names = sorted(
        name
        for name, value in environ.items()
        if is_others(name) and name not in _SET_BY_CELERY and not is_injected(name, value)
    )
    if is_injected("FLOWSHIFT_FLOWER_PORT", environ.get("FLOWSHIFT_FLOWER_PORT", "")):
        names.append("FLOWSHIFT_FLOWER_PORT")
    for name in [name for name in environ if is_others(name)]:
        del environ[name]
    if names:
        log.warning(
            "environment.ignored",
            names=names,
            reason="the settings are FLOWSHIFT_…: docs/reference/settings.md",
        )
