"""Settings: how bots are converted: how many at a time, by how many processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from worker.core.codes import parse_differences
from worker.core.targets.detect import AUTO, CHOICES, or_
from worker.settings.connect import Connect
from worker.settings.field import path, text


def _target(name: str) -> None:
    if name not in CHOICES:
        raise ValueError


class Batches(Connect, frozen=True, kw_only=True):
    """How bots are converted: how many at a time, by how many processes."""

    batch_size: Annotated[
        int, Meta(ge=1, le=10_000, description="Bots per batch where `--batch-size` is not given.")
    ] = 500
    batch_window: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Batches of one run that wait in the queue at the same time.",
        ),
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
    toast_compression: Annotated[
        Literal["auto", "pglz", "lz4"],
        Meta(
            description="How our sessions have PostgreSQL compress large values, where the column says "
            "nothing itself: `pglz`, `lz4` (14 and newer, built with it), or `auto`: `lz4` where the "
            "server has it. Readers notice nothing; its replicas must have it, too."
        ),
    ] = "auto"
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
        str, text("The model of an LLM node that names none.", min_length=1)
    ] = "gpt-3.5-turbo"
    default_provider: Annotated[
        str, text("The provider if neither the node nor its model names one.", min_length=1)
    ] = "openai"
    target: Annotated[
        str,
        text(
            "The V2 engine that drafts are written for: `guide`, `answer`, or `auto`, which looks at the "
            "database, see [Targets](../explanation/targets.md). Counts where the run is started.",
            expected=or_(CHOICES),
            check=_target,
        ),
    ] = AUTO
    strict: Annotated[
        str,
        text(
            "Known differences from V1 that are failures instead of warnings: `all`, or codes such as "
            "`prompt_trimmed,second_search`. Empty: none. Counts where the run is started.",
            expected="all, or codes of known differences with commas between",
            check=parse_differences,
        ),
    ] = ""
    providers: Annotated[
        str,
        text(
            "A TOML file that says which models live trials may ask, see "
            "[Try drafts on live models](../how-to/live-models.md). "
            "Empty: none, trials are answered by echo.",
            expected="a TOML file",
            check=path,
        ),
    ] = ""
    worker_processes: Annotated[
        int,
        Meta(ge=1, le=256, description="Child processes of the worker that `flowshift up` starts."),
    ] = 2

    @property
    def providers_path(self) -> Path | None:
        """The file with the providers of live trials, absolute; None if there is none."""
        return path(self.providers) if self.providers else None
