"""The command line: `flowshift`.

Exit codes: 0 all good · 1 failures remain · 2 used wrongly · 3 the environment is not ready ·
130 interrupted · 141 the reader of the pipe ended.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from worker import __version__
from worker.cli.commands import PIPE_CLOSED, Commands
from worker.cli.streams import flush_output

EPILOG = """\b
Exit codes: 0 all good, 1 failures remain, 2 used wrongly, 3 not ready.
Settings are environment variables FLOWSHIFT_…: docs/reference/settings.md.
Without FLOWSHIFT_DATABASE_URL and FLOWSHIFT_REDIS_URL, both servers are
started for you in FLOWSHIFT_DATA_DIR.

\b
Completion in bash (zsh and fish: docs/how-to/completion.md):
  eval "$(_FLOWSHIFT_COMPLETE=bash_source flowshift)\""""


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, prog_name="flowshift")
def cli() -> None:
    """Convert a fleet of chatbot workflows from V1 to V2.

    \b
    First time:      flowshift demo
    A real platform: flowshift db check      what is there, what is missing
                     flowshift db upgrade    create or adopt the tables
                     flowshift up            workers, the beat, Flower and pages
                     flowshift migrate --dry-run
                     flowshift migrate
                     flowshift status
    """


def main() -> None:
    """Run the command line and exit with its code; errors are one readable line."""
    try:
        code = cli.main(prog_name="flowshift", standalone_mode=False)
        flush_output()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # `flowshift … | head` has seen enough: as what SIGPIPE ends
        code = PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  (an unexpected error is reported in full)
        from worker.cli.refusal import explain  # noqa: PLC0415  (loads what printing needs)

        code = explain(error)
    with suppress(OSError):  # said already
        flush_output()
    sys.exit(code or 0)
