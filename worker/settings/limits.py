"""Settings: how long and how much a process may take before others step in."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from worker.settings.health import Health


class Limits(Health, frozen=True, kw_only=True):
    """How long and how much a process may take before others step in."""

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
            ge=1, le=3_600, description="Seconds between two searches for work that no worker does."
        ),
    ] = 15
    heartbeat_s: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="Seconds between two heartbeats of a process, at most a third of "
            "FLOWSHIFT_LEASE_S; after six without one it counts as not working.",
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
            description="Seconds that a worker gives its batches when it stops; then it hands them back.",
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
