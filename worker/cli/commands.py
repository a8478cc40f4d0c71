"""What commands there are, by what a person wants to do, and where each is: loaded when it is called.

`flowshift --help` and shell completion are read from here, so that they load none of them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a command is, as `module:name` below `worker.cli`, and what it does in one line."""

    path: str
    summary: str


SECTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "Start": {
        "demo": Entry("demo:demo", "Convert, publish and roll back a sample fleet"),
        "db": Entry("database:db", "Check, create and adopt the database's tables"),
        "check-target": Entry(
            "check_target:command", "Hold a built-in corpus against the platform's own word"
        ),
        "up": Entry("serve:up", "Run workers, the beat, Flower and serve until Ctrl-C"),
        "flower": Entry("serve:flower", "Run Flower alone"),
        "serve": Entry("serve:serve", "Answer people and programs over HTTP, alone"),
        "credential": Entry("credential:credential", "Make a user or a token for serve"),
    },
    "Convert the fleet": {
        "migrate": Entry("migrate:migrate", "Convert bots from V1 to V2 drafts"),
        "validate": Entry("validate:validate", "Execute drafts beside V1, as they are"),
        "retry": Entry("retry:retry", "Take bots again that failed, or that went back to V1"),
    },
    "Follow a run": {
        "status": Entry("status:status", "Show the state of a run and of the fleet"),
        "watch": Entry("watch:watch", "Follow a run until it is over"),
        "runs": Entry("runs:runs", "List runs, the newest first"),
        "health": Entry("health:health", "Check whether workers, beat, Flower and serve work"),
        "metrics": Entry("metrics:metrics", "Print every metric as Prometheus reads it"),
    },
    "Control a run": {
        "pause": Entry("control:pause", "Pause RUN: no other batch begins"),
        "resume": Entry("control:resume", "Let a paused RUN continue"),
        "tune": Entry("tune:tune", "Change the limits of RUN while it is active"),
        "cancel": Entry("control:cancel", "End RUN for good"),
        "alerts": Entry("alerts:alerts", "Show the alert rules, and which are firing"),
        "notify": Entry("notify:notify", "List what people were told, or send them a test"),
        "audit": Entry("audit:audit", "Show who did what, when and why"),
    },
    "Publish": {
        "publish": Entry("publish:publish", "Make proven drafts the live versions, wave by wave"),
        "publications": Entry("publication:publications", "List publications, the newest first"),
        "publication": Entry("publication:publication", "Show one publication and its waves"),
        "gate": Entry("gate:gate", "Show what the gate says of a wave, and why"),
        "accept": Entry("gate:accept", "Accept a wave that the gate did not let pass"),
        "go": Entry("publication:go", "Let publication N go on"),
        "hold": Entry("publication:hold", "Hold publication N: no other bot is published"),
        "stop": Entry("publication:stop", "Stop publication N for good: what is out stays out"),
        "rollback": Entry("rollback:rollback", "Let V1 answer again for bots that are published"),
        "backup": Entry("backup:backup", "Back up the database into a directory, or verify one"),
        "finish": Entry(
            "finish:finish", "Clear V1 of bots that have run V2 for long; the last step"
        ),
    },
    "Look at bots": {
        "failures": Entry("failures:failures", "Show which bots are still broken, by code"),
        "warnings": Entry("failures:warnings", "Show what drafts make explicit, by code"),
        "show": Entry("show:show", "Show one bot: its history, its draft, what changed"),
        "executions": Entry("executions:executions", "List executions, or show one node by node"),
    },
    "Change one bot": {
        "versions": Entry("versions:versions", "List the versions of one bot"),
        "draft": Entry("versions:draft", "Print one bot's draft, or write a corrected one"),
        "archive": Entry("versions:archive", "Archive VERSION of a bot"),
        "restore": Entry("versions:restore", "Copy VERSION of a bot into its draft"),
    },
    "Try without writing": {
        "test": Entry("trial:test", "Execute one bot's draft now, and V1 beside it"),
        "convert": Entry("convert:convert", "Convert JSON lines, without any server"),
        "trace": Entry("trace:trace", "Execute JSON lines as V1 and V2, without any server"),
    },
    "Clean up": {
        "prune": Entry("prune:prune", "Delete old execution records"),
    },
}

ENTRIES: Final[Mapping[str, Entry]] = {
    name: entry for section in SECTIONS.values() for name, entry in section.items()
}


def load(name: str) -> click.Command:
    """Import a command.

    The garbage collector is off since the program began (`worker.__main__`): what is loaded by now
    is put out of its sight, and it is turned on.

    Raises:
        KeyError: there is no such command.
    """
    module, _, attribute = ENTRIES[name].path.partition(":")
    command: click.Command = getattr(import_module(f"worker.cli.{module}"), attribute)
    gc.freeze()
    gc.enable()
    return command


PIPE_CLOSED: Final = 141
"""128 and the number of SIGPIPE, as a shell says it: no failure of what was asked."""


@contextmanager
def _ended_as_by_sigpipe() -> Iterator[None]:
    """End with `PIPE_CLOSED` if the reader of a pipe has ended, as `head` does: click would with 1."""
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(PIPE_CLOSED) from None


class Commands(click.Group):
    """A group whose commands are those of `SECTIONS`."""

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        """Read what was typed, which may print help."""
        with _ended_as_by_sigpipe():
            return super().make_context(*args, **given)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _ended_as_by_sigpipe():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return load(cmd_name) if cmd_name in ENTRIES else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, ENTRIES))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), entry.summary) for name, entry in section.items()]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [*_items(incomplete), *click.Command.shell_complete(self, ctx, incomplete)]


def _items(incomplete: str) -> Iterator[CompletionItem]:
    return (
        CompletionItem(name, help=entry.summary)
        for name, entry in sorted(ENTRIES.items())
        if name.startswith(incomplete)
    )
