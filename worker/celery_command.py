"""`python -P -m worker.celery_command worker …`: Celery's commands, with our application.

Unlike `celery -A worker.app` it imports nothing from the current directory, and no variable of the
environment stands for an option.
"""

from __future__ import annotations

import sys

from celery.bin.celery import celery

from worker.app import app


def run(*arguments: str) -> None:
    """Run a command of Celery's."""
    for parameter in celery.params:
        parameter.envvar = None  # APP, BROKER_URL, LOADER … are other programs'
    app.start(list(arguments))


if __name__ == "__main__":
    run(*sys.argv[1:])
