"""What programs ask: each module is a room with its handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import Router
from litestar.types import ControllerRouterHandler

from worker.web.api import audit, health, publications, retries, rollbacks, runs, status
from worker.web.api.guide import chat, executions, versions

PREFIX: Final = "/api/v1"

GUIDE: Final[Sequence[ControllerRouterHandler]] = (
    chat.chat,
    versions.versions,
    versions.version,
    versions.read_draft,
    versions.draft,
    versions.publish,
    versions.publish_draft,
    versions.restore_draft,
    versions.archive_draft,
    versions.restore,
    versions.archive,
    executions.executions,
    executions.execution,
)

OURS: Final[Sequence[ControllerRouterHandler]] = (
    runs.runs,
    runs.start,
    runs.run,
    runs.pause,
    runs.resume,
    runs.cancel,
    runs.tune,
    runs.retry,
    runs.failures,
    runs.failures_stream,
    publications.publications,
    publications.publish,
    publications.publication,
    publications.gate,
    publications.accept,
    publications.go,
    publications.hold,
    publications.stop,
    retries.retry_publication,
    rollbacks.roll_back,
    audit.audit,
    status.status,
    status.health,
)

PROBES: Final[Sequence[ControllerRouterHandler]] = (health.live, health.ready)

HANDLERS: Final[Sequence[ControllerRouterHandler]] = (
    *PROBES,
    Router(PREFIX, route_handlers=(*GUIDE, *OURS)),
)
