"""Flower as a process of ours: `python -m worker.processes.flower`, with a heartbeat.

Celery's command for Flower, with an application that shows that it works: an event that it sends
itself comes back by way of the queue, and its pages are answered.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import flower.command
from flower.app import Flower
from flower.events import Events
from tornado.ioloop import IOLoop
from tornado.options import options

from worker import __version__, celery_command
from worker import log as logging_setup
from worker.app import app
from worker.db.heartbeats import Sign
from worker.errors import ConfigError
from worker.log import get_logger
from worker.processes.flower_pages import Templates, page_of
from worker.processes.heartbeat import Heartbeat
from worker.runtime import runtime
from worker.servers import connect

log = get_logger("worker.processes.flower")  # it runs as __main__

EVENT: Final = "flowshift-pulse"
"""The type of the event that Flower sends to itself; others that see it know no such group."""

ANSWER_S: Final = 3.0
"""How long its own pages, and its own event, may take."""

STOP_S: Final = 10
"""How long Flower may take to stop when it is asked to."""


class Receiver(Events):  # type: ignore[misc] # it has no types
    """Flower's receiver of events, which notes the one that it sent itself and keeps it from the pages."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.came = threading.Event()
        self.mine = f"{socket.gethostname()}/{os.getpid()}"

    def on_event(self, event: dict[str, Any]) -> None:
        """Called in the receiver's thread for each event."""
        if event.get("type") != EVENT:
            super().on_event(event)
        elif event.get("hostname") == self.mine:
            self.came.set()


class Application(Flower):  # type: ignore[misc] # it has no types
    """Flower, whose heart begins to beat once it listens."""

    def __init__(self, options: Any = None, capp: Any = None, **given: Any) -> None:
        loop = IOLoop.current()
        receiver = Receiver(  # as Flower makes its own
            capp,
            db=options.db,
            persistent=options.persistent,
            state_save_interval=options.state_save_interval,
            enable_events=options.enable_events,
            io_loop=loop,
            max_workers_in_memory=options.max_workers,
            max_tasks_in_memory=options.max_tasks,
        )
        pages = runtime().settings.web_url
        given["template_loader"] = Templates(given["template_path"])
        given["page_of"] = lambda path: page_of(pages, path)
        super().__init__(options=options, capp=capp, events=receiver, io_loop=loop, **given)
        self._port: int | None = None

    def start_http_server(self) -> int | None:
        """Listen; returns the port."""
        stop_in_time(STOP_S)
        self._port = super().start_http_server()
        address = "127.0.0.1" if self.options.address in ("0.0.0.0", "") else self.options.address  # noqa: S104
        log.info("flower.ready", url=f"http://{address}:{self._port}/tasks", version=__version__)
        return self._port

    def start(self) -> None:
        """Serve until it is stopped."""
        work = Work(self.events, self.options.address or "127.0.0.1", self._port or 0)
        Heartbeat(runtime(), "flower", f"flower@{socket.gethostname()}", work.sign).start()
        super().start()


class Work:
    """What Flower can say of its work."""

    def __init__(
        self,
        receiver: Receiver,
        address: str,
        port: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receiver = receiver
        self._address = "127.0.0.1" if address in ("0.0.0.0", "") else address  # noqa: S104
        self._port = port
        self._clock = clock

    def sign(self) -> Sign:
        """What there is to say now."""
        began = self._clock()
        problem = self._unanswered() or self._unheard()
        if problem:
            return Sign(None, problem=problem)
        return Sign(self._clock() - began, "it answers, and events reach it")

    def _unanswered(self) -> str | None:
        connection = http.client.HTTPConnection(self._address, self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/healthcheck")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"its pages are not answered: {str(error) or type(error).__name__}"
        finally:
            connection.close()
        return None if status == http.client.OK else f"its health check answers {status}"

    def _unheard(self) -> str | None:
        """Send an event the way that workers do, and wait until the receiver has it."""
        self._receiver.came.clear()
        try:
            with (
                app.connection_for_write() as connection,
                app.events.Dispatcher(connection, hostname=self._receiver.mine) as dispatcher,
            ):
                dispatcher.send(EVENT, retry=False)
        except Exception as error:  # noqa: BLE001  (kombu's transports raise what they like)
            return f"the queue takes no event: {str(error) or type(error).__name__}"
        return None if self._receiver.came.wait(ANSWER_S) else "no event reaches it"


def stop_in_time(seconds: int) -> None:
    """Let the system end this process if it is asked to stop, and still lives so many seconds later.

    Flower's handler raises SystemExit wherever the process is at that moment. What swallows it there (a
    callback of the garbage collector, for one) would leave Flower running.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT):
        former = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, former: Any = former) -> None:
            signal.alarm(seconds)
            former(number, frame)

        if callable(former):
            signal.signal(number, stop)


def main() -> None:
    """Run Flower by Celery's command line, with our application; the environment says the rest."""
    logging_setup.begin_process()
    flower.command.Flower = Application
    flower.command.setup_logging = _keep_logging
    try:
        values = runtime().settings
        connect.check_rights(runtime().servers, values)
    except ConfigError as error:
        logging_setup.refuse(error)
        sys.exit(3)
    logging_setup.configure(log_format=values.log_format, level=values.log_level)
    options.logging = "none"  # tornado's, which would set another level
    celery_command.run("--quiet", "flower", *sys.argv[1:])


def _keep_logging() -> None:
    """In place of Flower's own set-up, which drops what tornado says of requests that failed."""


if __name__ == "__main__":
    main()
