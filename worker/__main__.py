"""`python -m worker` is `flowshift`."""

import gc
import sys
from io import TextIOWrapper


def main() -> None:
    """Run a command, without the garbage collector until it is loaded.

    It would find nothing there, and takes a third of the time that a short command takes:
    `worker.cli.commands` turns it on.
    """
    gc.disable()
    escape_what_encodings_lack()
    try:
        from worker.cli import main as run  # noqa: PLC0415  (what takes the time)

        run()
    except KeyboardInterrupt:  # while it was loaded
        sys.exit(130)


def escape_what_encodings_lack() -> None:
    """Let a terminal whose encoding lacks a letter of a bot's name show its code, and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
