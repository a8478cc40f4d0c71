"""The command that prints every metric: for node_exporter's textfile collector, and for people."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import click

from worker import settings as settings_module
from worker.cli.printing import say
from worker.cli.session import configure_logging
from worker.core.metrics.model import Sample
from worker.core.printable import escape
from worker.errors import UsageError
from worker.progress.exposition import OPENMETRICS, write
from worker.servers.connect import database_for_command
from worker.settings import Settings
from worker.steps.metrics.reader import MetricsReader


@click.command()
@click.option(
    "--openmetrics", is_flag=True, help="In OpenMetrics' format instead of Prometheus' own."
)
@click.option(
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    show_default="standard output",
    help="Write FILE whole or not at all, as node_exporter's textfile collector needs it.",
)
def metrics(*, openmetrics: bool, path: Path | None) -> int:
    """Print every metric, read from the database now, as Prometheus reads it.

    What each says: docs/reference/metrics.md.

    The exit code is 1 if the database, or a part of it, could not be read: then `flowshift_up` or
    `flowshift_scrape_failed` says so in what is printed.

    \b
    Examples:
      flowshift metrics
      flowshift metrics --to /var/lib/prometheus/node-exporter/flowshift.prom
    """
    configure_logging()
    found = _read(settings_module.load())
    text, _ = write(lambda: found, OPENMETRICS if openmetrics else "")
    if path is None:
        for line in text.decode().splitlines():
            say(line)
    else:
        _replace(path, text)
    return 0 if _is_whole(found) else 1


def _read(values: Settings) -> list[Sample]:
    with database_for_command(values) as url, closing(MetricsReader.of(url, values)) as reader:
        return reader.read()


def _is_whole(found: list[Sample]) -> bool:
    said = {(one.name, one.value) for one in found}
    return ("flowshift_up", 1.0) in said and ("flowshift_scrape_failed", 1.0) not in said


def _replace(path: Path, text: bytes) -> None:
    """Write a file that no reader sees half written.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o644)  # the collector is another user
        Path(file.name).replace(path)
    except OSError as error:
        raise UsageError(f"{escape(str(path))} cannot be written: {error.strerror}") from error
