"""The command line: `flowshift`.

Exit codes: 0 all good · 1 failures remain · 2 used wrongly · 3 the environment is not ready ·
130 interrupted.
"""

from __future__ import annotations

import sys

import click

from worker import __version__
from worker.cli.commands import Commands
from worker.errors import FlowshiftError, UsageError

EPILOG = """\b
Exit codes: 0 all good, 1 failures remain, 2 used wrongly, 3 the environment is
not ready. Settings are environment variables FLOWSHIFT_…: see docs/settings.md.
Without FLOWSHIFT_DATABASE_URL and FLOWSHIFT_REDIS_URL both servers are started
for you in FLOWSHIFT_DATA_DIR.

\b
Completion in bash (zsh and fish likewise):
  eval "$(_FLOWSHIFT_COMPLETE=bash_source flowshift)\""""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowshift")
def cli() -> None:
    """Take a fleet of chatbot workflows from V1 to V2.

    \b
    First time:      flowshift demo
    A real platform: flowshift db check      what is there, what is missing
                     flowshift db upgrade    create or adopt the tables
                     flowshift up            workers, beat and Flower
                     flowshift migrate --dry-run
                     flowshift migrate
                     flowshift status
    """


def main() -> None:
    """Run the command line and exit with its code; errors are one readable line."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except FlowshiftError as error:
        from worker.log import hide_credentials  # noqa: PLC0415  (loads what logging needs)

        click.echo(f"flowshift: {hide_credentials(str(error))}", err=True)
        code = 2 if isinstance(error, UsageError) else 3
    except KeyboardInterrupt:
        code = 130
    sys.exit(code or 0)
