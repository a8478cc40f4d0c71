"""`python -P -m worker.celery_command worker …`: Celery's commands, with our application.

Unlike `celery -A worker.app` it imports nothing from the current directory, no variable of the
environment stands for an option, and whatever goes wrong is reported in the form of the log.
"""

from __future__ import annotations

import sys

import click

from worker.errors import ConfigError
from worker.log import begin_process, get_logger, refuse

log = get_logger("worker.celery_command")  # it runs as __main__


def run(*arguments: str) -> None:
    """Run a command of Celery's, and exit where it fails."""
    begin_process()
    try:
        _run(arguments)
    except click.ClickException as error:
        refuse(error)
        raise SystemExit(error.exit_code) from error
    except ConfigError as error:
        refuse(error)
        raise SystemExit(3) from error
    except Exception as error:
        log.critical("process.crashed", exc_info=error)
        raise SystemExit(1) from error


def _run(arguments: tuple[str, ...]) -> None:
    from celery.bin.celery import celery  # noqa: PLC0415  (what loading warns of is logged too)

    from worker.app import app  # noqa: PLC0415

    for parameter in celery.params:
        parameter.envvar = None  # APP, BROKER_URL, LOADER … are other programs'
    app.start(list(arguments))


if __name__ == "__main__":
    run(*sys.argv[1:])
