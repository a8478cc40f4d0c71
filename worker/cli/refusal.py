"""Why a command did not do what was asked: in words, and as its exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeGuard

import click

from worker.cli.printing import say, say_lines
from worker.errors import FlowshiftError, UsageError
from worker.log import configure_early, get_logger, hide_credentials, refuse, writes_json
from worker.servers.data_dir import NO_ROOM

log = get_logger(__name__)


def explain(error: Exception) -> int:
    """Say on standard error what went wrong, if that can be written; returns the exit code."""
    with suppress(OSError):
        return _explain(error)
    return 3


def _explain(error: Exception) -> int:
    if isinstance(error, click.ClickException):
        return _used_wrongly(error)
    if isinstance(error, FlowshiftError):
        say_lines(f"flowshift: {hide_credentials(str(error))}", err=True)
        return 2 if isinstance(error, UsageError) else 3
    if _is_of_the_machine(error):
        say(f"flowshift: {hide_credentials(_of_the_machine(error))}", err=True)
        return 3
    lines = hide_credentials("".join(traceback.format_exception(error))).splitlines()
    say_lines("\n".join(f"  {line}" for line in lines), err=True)
    said = hide_credentials(f"{type(error).__name__}: {error}")
    say(f"flowshift: unexpected error, please report it: {said}", err=True)
    return 3


@contextmanager
def logged() -> Iterator[None]:
    """For commands that run as processes: where the log is JSON, what ends them is a line of it."""
    configure_early()
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if not writes_json():
            raise
        if isinstance(error, FlowshiftError):
            refuse(error)
        elif _is_of_the_machine(error):
            refuse(FlowshiftError(_of_the_machine(error)))
        else:
            log.critical("process.crashed", exc_info=error)
        raise click.exceptions.Exit(2 if isinstance(error, UsageError) else 3) from error


def _is_of_the_machine(error: Exception) -> TypeGuard[OSError]:
    return (
        isinstance(error, OSError)
        and bool(error.strerror)
        and not isinstance(error, ConnectionError)
    )


def _of_the_machine(error: OSError) -> str:
    """What the system refused, and what to do: a full disk or a missing right is no fault of ours."""
    remedy = (
        "Make room, then run the command again"
        if error.errno in NO_ROOM
        else "Repair that, then run the command again"
    )
    if error.filename is None:
        return f"cannot go on: {error.strerror}. {remedy}"
    return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}. {remedy}"


def _used_wrongly(error: click.ClickException) -> int:
    """What click says of it repeats what was typed."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say_lines(error.format_message(), err=True)
        return error.exit_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        path = error.ctx.command_path
        say_lines(f"{error.ctx.get_usage()}\nTry '{path} --help' for help.\n", err=True)
    say(f"Error: {error.format_message()}", err=True)
    return error.exit_code
